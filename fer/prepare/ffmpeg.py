"""The ffmpeg binary, which writes the synthetic corpus. Media files are read by media.py.

The binary comes inside the imageio-ffmpeg wheel, so nothing needs root or a system package; ffmpeg-python and pydub
are told to use it here and nowhere else.
"""

import warnings

import imageio_ffmpeg

with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # pydub looks for an ffmpeg on the PATH before it can be told where one is
    from pydub import AudioSegment

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
AudioSegment.converter = FFMPEG
