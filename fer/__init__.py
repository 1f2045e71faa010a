# SPDX-License-Identifier: Apache-2.0
"""Audio-visual facial emotion recognition in video (EmotiW / AFEW, 7 classes)."""

__version__ = '0.1.0'

from fer.interpreter import require_supported

require_supported()  # here, because every command imports this first, and an older Python could not import the rest
