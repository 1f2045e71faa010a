# SPDX-License-Identifier: Apache-2.0
"""Groups of openSMILE's features, by the low-level descriptor (LLD) that a feature's name begins with.

The groups are those of the ComParE set (Weninger, Eyben, Schuller, Mortillaro, Scherer, "On the Acoustics of Emotion in
Audio", Frontiers in Psychology 2013, table 1): energy, spectral, cepstral and voicing. Voicing is split into pitch and
voice quality, and the bands of the spectrum are a group of their own. GeMAPS (Eyben et al. 2016) adds formants and
rhythm. A feature belongs to one group, whatever its functional, and so do its deltas.
"""

import re
from collections.abc import Sequence

import numpy as np

OTHER = 'other'
# The first pattern that a name begins with decides.
GROUPS = {
    'formants': r'F\d(frequency|bandwidth|amplitude)',
    'pitch': r'F0',
    'rhythm': r'loudnessPeaksPerSec|VoicedSegmentsPerSec|(Mean|Stddev)(Unv|V)oicedSegmentLength',
    'voice quality': r'voiceProb|voicingFinal|jitter|shimmer|logHNR|HNR|logRelF0-H1',
    'MFCC': r'(pcm_fftMag_)?mfcc',
    'spectral bands': r'pcm_fftMag_melspec|logMelFreqBand|audSpec_Rfilt|pcm_fftMag_fband',
    'energy': r'pcm_(LOG|RMS)energy|pcm_intensity|pcm_loudness|loudness|equivalentSoundLevel|audspec(Rasta)?_'
    r'lengthL1norm|pcm_zcr',
    'spectral shape': r'pcm_fftMag_(spectral|psySharpness)|spectralFlux|lspFreq|alphaRatio|hammarbergIndex|slopeU?V',
}


def group_features(names: Sequence[str]) -> dict[str, np.ndarray]:
    """Sorts features into groups.

    Args:
      names: of the D columns.

    Returns:
      The columns of each group that has some, int [D'], in the order of GROUPS. Features that fit none are OTHER.
    """
    columns: dict[str, list[int]] = {name: [] for name in (*GROUPS, OTHER)}
    for column, name in enumerate(names):
        group = next((group for group, pattern in GROUPS.items() if re.match(pattern, name)), OTHER)
        columns[group].append(column)
    return {group: np.array(found) for group, found in columns.items() if found}
