# SPDX-License-Identifier: Apache-2.0
"""Facts for the cards that no run holds: where training data come from, their terms, and what weights are not for."""

from typing import NamedTuple

WEIGHTS_LICENCE = 'LicenseRef-fer-starter-weights'  # fer/starter/LICENSE, as setup.py names it
NOTICE = 'for non-commercial research only, on the terms of fer/starter/LICENSE'


class Dataset(NamedTuple):
    """A dataset that a network of the starter set is trained on."""

    title: str
    licence: str
    url: str
    citation: str
    grey: bool = False  # whether its images have no colour
    margin: float | None = None  # of fer.prepare, for faces as large as its images, which come cut out. None: no images


DATASETS = {
    'fer2013': Dataset(
        'FER2013',
        'made for a research challenge and published without a licence; used for research only',
        'https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge',
        'Goodfellow et al., Challenges in Representation Learning: A report on three machine learning contests, '
        'ICONIP 2013, arXiv:1307.0414',
        grey=True,
        margin=-0.06,  # python -m tests.benchmarks.framing
    ),
    'ravdess': Dataset(
        'RAVDESS',
        'CC BY-NC-SA 4.0',
        'https://doi.org/10.5281/zenodo.1188976',
        'Livingstone and Russo, The Ryerson Audio-Visual Database of Emotional Speech and Song, PLoS ONE 13(5), 2018, '
        'e0196391',
    ),
}

INTENDED_FOR = (
    'research and teaching: a start for training on data of your own, and a baseline to compare with',
    'trying this project without data of your own',
)
# After the dissertation, section 3.2, and the data.
NOT_FOR = (
    'decisions about people, such as hiring, credit, insurance, schooling, policing, borders or health',
    'surveillance, or any use on people who do not know of it, have not agreed to it or cannot refuse it',
    'finding out what somebody feels: the classes are labels that others gave to an expression or to acted speech',
    'people, cameras, microphones or languages unlike those of the training data without a test on them. The data are '
    'not balanced over age, gender, skin colour or culture, and errors differ between groups and classes',
    'situations where somebody may try to deceive it',
    'commercial products',
)
STORAGE = 'Recordings of people with emotions assigned to them are personal data. Store no more than the purpose needs.'
