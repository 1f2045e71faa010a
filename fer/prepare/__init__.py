# SPDX-License-Identifier: Apache-2.0
"""Preparation of raw media: frames, aligned faces, wav, openSMILE features, manifests and ledgers.

__main__.py       the command
datasets/         finds the items of each dataset
layout.py         the items of a dataset by split
prepare_split.py  prepares one split with the modules below, and writes its manifests
videos.py         videos and recordings, in parallel, with a record of each that is finished
video_files.py    the files of one video
still_faces.py    stills whose face is cut out
stills.py         stills and folders of faces that are used unchanged
detectors.py      the face detectors, such as mtcnn.py and blazeface.py
tracking.py       the person to follow through a video, by appearance.py
faces.py          a face, and its alignment
media/            reads the frames and the audio of media files
smile/            openSMILE features
statistics/       lengths and classes of prepared splits
synthetic/        a corpus of synthetic videos, for tests and the demo

No module here imports `fer.tf1`, because MTCNN needs TensorFlow in eager mode.
"""
