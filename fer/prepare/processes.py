# SPDX-License-Identifier: Apache-2.0
"""Processes that prepare videos and stills, each with a detector of its own."""

from pathlib import Path
from typing import NamedTuple

import cv2

from fer.prepare.detectors import Detector, make_detector
from fer.prepare.settings import Settings
from fer.prepare.workers import Workers


class ProcessState(NamedTuple):
    """The state that a process keeps from one item to the next."""

    detect: Detector
    settings: Settings
    output: Path


_state: ProcessState


def make_workers(settings: Settings, output: Path, jobs: int) -> Workers:
    """Returns `jobs` processes, which start with the first item."""
    return Workers(jobs, _start, (settings, output))


def _start(settings: Settings, output: Path) -> None:
    """Makes the detector once per process, because MTCNN takes seconds to load."""
    global _state
    cv2.setNumThreads(1)  # the processes already fill the cores
    _state = ProcessState(make_detector(settings.detector), settings, output)


def process_state() -> ProcessState:
    """Returns the state of this process, which `make_workers` started."""
    return _state
