# SPDX-License-Identifier: Apache-2.0
"""The words on screens and pictures for what a manifest lists: videos or stills, of faces, audio or both."""

from typing import NamedTuple


class Words(NamedTuple):
    """The words for the items of a manifest."""

    item: str  # in the singular
    items: str
    contents: str  # what an item needs so that a model can answer it
    lines: str  # what the lines of an item are, empty if an item has one line

    @property
    def without(self) -> str:
        """Returns words for items that the manifest does not have, such as `without frames`."""
        return f'without {self.lines or self.contents}'


def words_for(item: str, *, images: bool, audio: bool) -> Words:
    """Returns the words for the items of a manifest.

    Args:
      item: what a line is: frame, video or still (fer/manifest.py).
      images: whether images are read.
      audio: whether audio is read.
    """
    if item == 'still':
        return Words('still', 'stills', 'faces', '')
    contents = ' and '.join(name for name, is_read in (('faces', images), ('audio', audio)) if is_read)
    return Words('video', 'videos', contents, '' if item == 'video' else 'frames' if images else 'clips')
