# SPDX-License-Identifier: Apache-2.0
"""Reader of media files: 25 frames/s and mono audio, both from the file's time 0 on.

read.py     the public functions, `read_frames`, `extract_wav` and `open_audio_packets`
streams.py  which streams are read, and their decoded frames
clock.py    when each packet is due, decided once for the frames and the audio
frames.py   the frames at 25 frames/s, upright and deinterlaced
audio.py    the audio as mono wav, with silence in its gaps
"""

from fer.prepare.media.read import AudioPackets, estimate_seconds, extract_wav, open_audio_packets, read_frames
from fer.prepare.media.streams import FRAMES_PER_SECOND, PLAYERS_CHOICE, Choice, Findings, MediaError, ffmpeg_build

__all__ = [
    'FRAMES_PER_SECOND',
    'PLAYERS_CHOICE',
    'AudioPackets',
    'Choice',
    'Findings',
    'MediaError',
    'estimate_seconds',
    'extract_wav',
    'ffmpeg_build',
    'open_audio_packets',
    'read_frames',
]
