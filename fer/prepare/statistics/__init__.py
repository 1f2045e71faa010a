# SPDX-License-Identifier: Apache-2.0
"""Statistics of prepared splits: lengths of their videos, their classes, and what was left out and why.

The breakdown of dissertation 2.2.2 (figures 2.1 to 2.5), for any prepared dataset. A length is the number of frames
that face detection kept, not the length of the video itself. Everything comes from manifests, their ledgers and the
frames.csv beside each video's faces. No image is opened. `python -m fer.prepare.statistics` is the command.
"""
