# SPDX-License-Identifier: Apache-2.0
"""One clock from the time stamps of both streams: joins, jumps, gaps and interleaved streams."""

import pytest

from fer.prepare.media.clock import Jump, Stamp, set_clock

VIDEO, AUDIO = 0, 1


def recording(start, seconds, late=0.0):
    """Returns packets of both streams in the order of a file, in which audio is `late` seconds behind."""
    video = [Stamp(VIDEO, start + k * 0.04, start + k * 0.04, 0.04) for k in range(round(seconds / 0.04))]
    audio = [Stamp(AUDIO, start + k * 0.02, start + k * 0.02, 0.02) for k in range(round(seconds / 0.02))]
    return sorted([*video, *audio], key=lambda stamp: stamp.decoded + late * (stamp.stream == AUDIO))


def interleave(first, second, late=0.3):
    """Joins two recordings. The audio of the first continues after the video of the second has begun."""
    tail = [stamp for stamp in first if stamp.stream == AUDIO and stamp.decoded >= first[-1].decoded - late]
    head = [stamp for stamp in first if stamp not in tail]
    begun = [stamp for stamp in second if stamp.stream == VIDEO][:5]
    return head + begun + tail + [stamp for stamp in second if stamp not in begun]


def due(stamps, clock):
    return [stamp.shown + offset for stamp, offset in zip(stamps, clock.offsets, strict=True)]


def test_single_recording_starts_at_0():
    stamps = recording(1.4, 2)
    clock = set_clock(stamps, 1.4, 10)
    assert due(stamps, clock) == pytest.approx([stamp.shown - 1.4 for stamp in stamps])
    assert clock.jumps == []
    assert clock.ends == {VIDEO: pytest.approx(2), AUDIO: pytest.approx(2)}


@pytest.mark.parametrize('start', [0.0, 1.4, 2000.0, 95443.0], ids=['again', 'elsewhere', 'far ahead', 'wrapped'])
def test_streams_of_the_second_recording_share_an_offset(start):
    second = recording(start, 2)
    stamps = interleave(recording(1.4, 3), second)
    clock = set_clock(stamps, 1.4, 10)
    ours = {id(stamp) for stamp in second}
    offsets = {offset for stamp, offset in zip(stamps, clock.offsets, strict=True) if id(stamp) in ours}
    assert list(offsets) == pytest.approx([3 - start])
    assert len(clock.jumps) == 1
    assert max(clock.ends.values()) == pytest.approx(5)


def test_three_recordings_follow_each_other():
    first, second, third = recording(0, 3), recording(0.5, 2), recording(0, 1)
    clock = set_clock([*first, *second, *third], 0, 10)
    starts = [clock.offsets[at] for at in (0, len(first), len(first) + len(second))]
    assert starts == pytest.approx([0, 2.5, 5])


def test_jump_is_reported_with_both_stamps():
    stamps = [*recording(0, 2), *recording(602, 1)]
    clock = set_clock(stamps, 0, 10)
    assert clock.jumps == [Jump(pytest.approx(2), 602)]
    assert max(due(stamps, clock)) < 3


def test_single_wild_stamp_moves_no_other_packet():
    stamps = recording(0, 4)
    wild = [index for index, stamp in enumerate(stamps) if stamp.stream == VIDEO][50]
    stamps[wild] = stamps[wild]._replace(decoded=700.0, shown=700.0)
    clock = set_clock(stamps, 0, 10)
    others = [offset for index, offset in enumerate(clock.offsets) if index != wild]
    assert others == pytest.approx([0] * len(others))
    assert due(stamps, clock)[wild] == pytest.approx(2.0)


def test_gap_that_the_other_stream_fills_stays():
    """The video may stand still for a minute while a person talks, and audio may be silent."""
    for stream in (VIDEO, AUDIO):
        stamps = [stamp for stamp in recording(0, 60) if stamp.stream != stream or not 10 < stamp.shown < 50]
        clock = set_clock(stamps, 0, 10)
        assert clock.jumps == []
        assert set(clock.offsets) == {0.0}


def test_frames_out_of_order_make_no_jump():
    """Presentation stamps of B-frames go back and forth. Matroska has no decoding stamps for the first ones."""
    shown = [0.16, 0.08, 0.04, 0.12, 0.32, 0.24]
    decoded = [None, None, 0.0, 0.04, 0.08, 0.12]
    stamps = [Stamp(VIDEO, *pair, 0.04) for pair in zip(decoded, shown, strict=True)]
    clock = set_clock(stamps, 0, 10)
    assert clock.jumps == []
    assert set(clock.offsets) == {0.0}


def test_packet_without_stamps_joins_the_current_piece():
    stamps = [*recording(0, 1), Stamp(VIDEO, None, None, 0.0), *recording(5000, 1)]
    clock = set_clock(stamps, 0, 10)
    assert clock.offsets[75] == clock.offsets[0] == 0.0


def test_no_packets_give_no_offsets():
    assert set_clock([], None, 10).offsets == []
