# SPDX-License-Identifier: Apache-2.0
"""The ffmpeg binary, which writes the synthetic corpus. `fer/prepare/media/` reads media files without it.

The binary comes inside the imageio-ffmpeg wheel, so it needs neither root nor a system package. ffmpeg-python and pydub
are told to use it here.
"""

import warnings

import imageio_ffmpeg

with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # pydub searches the PATH for an ffmpeg before it can be told where to find one
    from pydub import AudioSegment

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
AudioSegment.converter = FFMPEG
