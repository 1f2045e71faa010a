# SPDX-License-Identifier: Apache-2.0
"""The table of datasets, by the name that `--dataset` gives them."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fer.prepare.datasets import afew, affectnet, cremad, dfew, fer2013, ferv39k, folder, rafdb, ravdess, speech
from fer.prepare.layout import SourceStill, SourceVideo, Splits


class Options(NamedTuple):
    """The choices that some datasets offer."""

    seed: int = 0  # chooses the people held out, and the images that stay under the cap
    fold: int = 1  # one of DFEW's five folds. For audio of fewer than five people, the person who is held out.
    class_cap: int | None = None  # maximum number of training images of a class, for AffectNet. None for all.


FoundItems = Splits[SourceVideo] | Splits[SourceStill]

DATASETS: dict[str, Callable[[Path, Options], FoundItems]] = {
    'afew': lambda source, options: afew.find_videos(source),
    'afew_faces': lambda source, options: afew.find_faces(source),
    'fer2013': lambda source, options: fer2013.find_stills(source),
    'rafdb': lambda source, options: rafdb.find_stills(source),
    'affectnet': lambda source, options: affectnet.find_stills(source, options.seed, options.class_cap),
    'ravdess': lambda source, options: ravdess.find_recordings(source, options.seed, options.fold),
    'cremad': lambda source, options: cremad.find_recordings(source, options.seed, options.fold),
    'emodb': lambda source, options: speech.find_recordings('emodb', source, options.seed, options.fold),
    'tess': lambda source, options: speech.find_recordings('tess', source, options.seed, options.fold),
    'savee': lambda source, options: speech.find_recordings('savee', source, options.seed, options.fold),
    'dfew': lambda source, options: dfew.find_videos(source, options.fold),
    'ferv39k': lambda source, options: ferv39k.find_videos(source),
    'folder': lambda source, options: folder.find_items(source, options.seed),
}
