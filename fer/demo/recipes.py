# SPDX-License-Identifier: Apache-2.0
"""The recipes of the starter set: data, runs of configs/open, and the scores of each network's card."""

from typing import NamedTuple


class Evaluation(NamedTuple):
    """An evaluation that fer.experiment does not make."""

    run: str  # of configs/open
    split: str
    manifest: str  # below the folder of the data


class Recipe(NamedTuple):
    """The way to a network of the starter set."""

    dataset: str  # its name in fer.prepare, and the flag that names its source
    folder: str  # of the prepared data, below --data
    prepare_flags: tuple[str, ...]
    manifests: tuple[str, ...]  # that preparation writes
    built: str  # run of configs/open whose network is built
    scored: tuple[str, ...]  # runs that give the scores of the card
    val_split: str  # name of the results that temperatures are fitted on, '' for those of the other folds
    test_split: str  # name of the results that are scored
    evaluation: Evaluation  # the test set, or training data, on which the float16 network is compared


_FOLDS = tuple(f'fold{fold}/{split}_functionals.txt' for fold in range(5) for split in ('train', 'val'))
RECIPES = {
    'face': Recipe(
        dataset='fer2013',
        folder='fer2013',
        prepare_flags=('--detector=none',),
        manifests=('train.txt', 'val.txt', 'test.txt'),
        built='face-t1-r1',
        scored=('face-t1-r1',),
        val_split='val',
        test_split='test',
        evaluation=Evaluation('face-t1-r1', 'test', 'test.txt'),
    ),
    'voice': Recipe(
        dataset='ravdess',
        folder='ravdess_audio',
        prepare_flags=('--audio_features=functionals', '--sample_rate=16000', '--people_folds=5'),
        manifests=('train_functionals.txt', 'val_functionals.txt', 'test_functionals.txt', *_FOLDS),
        built='voice-t2-r1',  # learns from all actors
        scored=tuple(f'voice-t1-r{number}' for number in range(1, 6)),  # each is scored on actors held out
        val_split='',
        test_split='val',
        evaluation=Evaluation('voice-t2-r1', 'train', 'train_functionals.txt'),
    ),
}
