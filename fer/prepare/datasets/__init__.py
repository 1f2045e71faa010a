"""One module per dataset; each finds what its layout holds, and none writes anything."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fer.prepare.datasets import afew, affectnet, cremad, dfew, fer2013, ferv39k, folder, rafdb, ravdess, speech
from fer.prepare.layout import SourceStill, SourceVideo, Splits


class Options(NamedTuple):
    """What a dataset may be asked for beyond its folder."""

    seed: int = 0  # of splits by subject, and of the images under the cap
    fold: int = 1  # DFEW has five; of audio by fewer than five people, which of them is held out
    class_cap: int | None = None  # AffectNet: the most training images of a class


Found = Splits[SourceVideo] | Splits[SourceStill]

DATASETS: dict[str, Callable[[Path, Options], Found]] = {
    'afew': lambda source, options: afew.find_videos(source, options.seed),
    'afew_faces': lambda source, options: afew.find_faces(source, options.seed),
    'fer2013': lambda source, options: fer2013.find_stills(source),
    'rafdb': lambda source, options: rafdb.find_stills(source),
    'affectnet': lambda source, options: affectnet.find_stills(source, options.seed, options.class_cap),
    'ravdess': lambda source, options: ravdess.find_recordings(source, options.seed, options.fold),
    'cremad': lambda source, options: cremad.find_recordings(source, options.seed, options.fold),
    'emodb': lambda source, options: speech.find_recordings('emodb', source, options.seed, options.fold),
    'tess': lambda source, options: speech.find_recordings('tess', source, options.seed, options.fold),
    'savee': lambda source, options: speech.find_recordings('savee', source, options.seed, options.fold),
    'dfew': lambda source, options: dfew.find_videos(source, options.seed, options.fold),
    'ferv39k': lambda source, options: ferv39k.find_videos(source, options.seed),
    'folder': lambda source, options: folder.find_items(source, options.seed),
}
