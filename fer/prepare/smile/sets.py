# SPDX-License-Identifier: Apache-2.0
"""The feature sets of openSMILE that summarise a whole audio, by the names that the field gives them.

The dissertation's emo_large is defined in configs/opensmile/. The opensmile package brings the others.
"""

EMO_LARGE = 'emo_large'
# The configuration of each set below the folder core/config/ of the opensmile package, '' for our own.
SETS = {
    EMO_LARGE: '',
    'IS09': 'is09-13/IS09_emotion.conf',
    'IS10': 'is09-13/IS10_paraling_compat.conf',
    'IS11': 'is09-13/IS11_speaker_state.conf',
    'IS12': 'is09-13/IS12_speaker_trait_compat.conf',
    'IS13': 'is09-13/IS13_ComParE.conf',
    'ComParE_2016': 'compare/ComParE_2016.conf',
    'emobase': 'emobase/emobase.conf',
    'GeMAPSv01b': 'gemaps/v01b/GeMAPSv01b.conf',
    'eGeMAPSv02': 'egemaps/v02/eGeMAPSv02.conf',
}


def name_functionals(opensmile_set: str) -> str:
    """Returns the name of a set's functionals in audio features, folders and manifests: functionals, _IS10 and so on.

    The names of emo_large are those of all data prepared before there were other sets.
    """
    return 'functionals' if opensmile_set == EMO_LARGE else f'functionals_{opensmile_set}'
