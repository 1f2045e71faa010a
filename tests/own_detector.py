# SPDX-License-Identifier: Apache-2.0
"""Detectors outside the package, for test_faces.py."""

from fer.prepare.detectors import anywhere
from fer.prepare.faces import TEMPLATE, Face


def make_corner():
    """Makes a detector that finds a face in the upper left corner of every image."""
    return anywhere(lambda image: [Face((1.0, 2.0, 30.0, 30.0), TEMPLATE * 30 + (1, 2), 0.5)])


def make_nothing():
    """Forgets to return the detector."""


def fail():
    raise OSError('no weights\nanywhere')


def detect(image):
    """Detects, where a function that makes a detector is expected."""
    return [image]
