# SPDX-License-Identifier: Apache-2.0
"""The findings of a pass over a video, and the parts that the passes of a command share."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer.predict.members import Member, Network
from fer.predict.request import PredictionRequest
from fer.predict.spool import Spool
from fer.predict.verdict import Fusion
from fer.predict.watch import CLIPS_FILE, Ended


class Tools(NamedTuple):
    """The parts that all videos of a command share."""

    request: PredictionRequest
    members: Sequence[Member]
    networks: Sequence[Network]  # of the members
    fusion: Fusion
    lock: threading.Lock  # one video at a time passes the networks, so that their threads do not compete


class Stretch(NamedTuple):
    """A window of the audio or all of it, and the answers of the networks of functionals."""

    begin_s: float
    end_s: float
    is_window: bool
    logits: np.ndarray  # float32 [M, 7], NaN where a network does not read functionals
    values: dict[int, np.ndarray]  # float32 [D], the features that a member takes, by its number. Only with --explain


class Heard(NamedTuple):
    """The answers of the networks to the audio."""

    stretches: list[Stretch]
    of_clips: dict[int, tuple[np.ndarray, np.ndarray]]  # by member: frames, from 1, int [N], and logits [N, 7]


class Pass(NamedTuple):
    """The findings of a pass over a video."""

    ended: Ended
    heard: Heard
    spool: Spool
    folder: Path  # of temporary files

    def open_clips(self) -> np.ndarray | None:
        """Returns the features of the clips of all frames, float32 [frames, D], on the disk. None without audio."""
        return np.load(self.folder / CLIPS_FILE, mmap_mode='r', allow_pickle=False) if self.ended.clip_names else None
