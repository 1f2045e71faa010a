"""Time stamps of packets to one clock for both streams: joins, jumps, gaps, streams that are interleaved."""

import pytest

from fer.prepare.media.clock import Jump, Stamp, set_clock

PICTURES, AUDIO = 0, 1


def recording(start, seconds, late=0.0):
    """Packets of both streams in the order of a file, audio `late` seconds behind in it."""
    pictures = [Stamp(PICTURES, start + k * 0.04, start + k * 0.04, 0.04) for k in range(round(seconds / 0.04))]
    audio = [Stamp(AUDIO, start + k * 0.02, start + k * 0.02, 0.02) for k in range(round(seconds / 0.02))]
    return sorted([*pictures, *audio], key=lambda stamp: stamp.decoded + late * (stamp.stream == AUDIO))


def interleave(first, second, late=0.3):
    """Two recordings in one file, where the audio of the first goes on after the pictures of the second began."""
    tail = [stamp for stamp in first if stamp.stream == AUDIO and stamp.decoded >= first[-1].decoded - late]
    head = [stamp for stamp in first if stamp not in tail]
    begun = [stamp for stamp in second if stamp.stream == PICTURES][:5]
    return head + begun + tail + [stamp for stamp in second if stamp not in begun]


def due(stamps, clock):
    return [stamp.shown + offset for stamp, offset in zip(stamps, clock.offsets, strict=True)]


def test_a_single_recording_starts_at_0():
    stamps = recording(1.4, 2)
    clock = set_clock(stamps, 1.4, 10)
    assert due(stamps, clock) == pytest.approx([stamp.shown - 1.4 for stamp in stamps])
    assert clock.jumps == []
    assert clock.ends == {PICTURES: pytest.approx(2), AUDIO: pytest.approx(2)}


@pytest.mark.parametrize('start', [0.0, 1.4, 2000.0, 95443.0], ids=['again', 'elsewhere', 'far ahead', 'wrapped'])
def test_streams_of_the_second_recording_share_an_offset(start):
    """Also where each stream meets the join at another packet."""
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


def test_stamps_that_jump_are_named_with_both_numbers():
    stamps = [*recording(0, 2), *recording(602, 1)]
    clock = set_clock(stamps, 0, 10)
    assert clock.jumps == [Jump(pytest.approx(2), 602)]
    assert max(due(stamps, clock)) < 3


def test_a_single_wild_stamp_moves_nothing_else():
    stamps = recording(0, 4)
    wild = [index for index, stamp in enumerate(stamps) if stamp.stream == PICTURES][50]
    stamps[wild] = stamps[wild]._replace(decoded=700.0, shown=700.0)
    clock = set_clock(stamps, 0, 10)
    others = [offset for index, offset in enumerate(clock.offsets) if index != wild]
    assert others == pytest.approx([0] * len(others))
    assert due(stamps, clock)[wild] == pytest.approx(2.0)


def test_a_gap_that_the_other_stream_fills_is_kept():
    """Pictures may rest for a minute while somebody talks, and audio may be silent."""
    for stream in (PICTURES, AUDIO):
        stamps = [stamp for stamp in recording(0, 60) if stamp.stream != stream or not 10 < stamp.shown < 50]
        clock = set_clock(stamps, 0, 10)
        assert clock.jumps == []
        assert set(clock.offsets) == {0.0}


def test_frames_out_of_order_are_no_jump():
    """Presentation stamps of B-frames go back and forth; of the first, Matroska has no decoding stamps."""
    shown = [0.16, 0.08, 0.04, 0.12, 0.32, 0.24]
    decoded = [None, None, 0.0, 0.04, 0.08, 0.12]
    stamps = [Stamp(PICTURES, *pair, 0.04) for pair in zip(decoded, shown, strict=True)]
    clock = set_clock(stamps, 0, 10)
    assert clock.jumps == []
    assert set(clock.offsets) == {0.0}


def test_packets_without_stamps_belong_to_the_piece_around_them():
    stamps = [*recording(0, 1), Stamp(PICTURES, None, None, 0.0), *recording(5000, 1)]
    clock = set_clock(stamps, 0, 10)
    assert clock.offsets[75] == clock.offsets[0] == 0.0


def test_no_packets():
    assert set_clock([], None, 10).offsets == []
