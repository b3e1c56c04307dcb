"""Segments: each is decodable alone, and joining them in any order of making changes no frame."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from framepack_transitions.video.segments import Encoding, Segment, encode_segment, join_segments
from framepack_transitions.video.writing import VideoWriter

ENCODING = Encoding.of(30, 16)


def scene(start: int, stop: int) -> torch.Tensor:
    """A bright square that moves over a gradient, [T,64,64,3]: enough motion for B frames."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
    video = torch.stack([x, y, 1 - x], dim=-1).repeat(stop - start, 1, 1, 1) * 0.6
    for number in range(start, stop):
        left = number % 48
        video[number - start, 20:36, left : left + 16] = torch.tensor([1.0, 0.2, 0.1])
    return video


def segment(start: int, stop: int, encoding: Encoding = ENCODING) -> Segment:
    return encode_segment(scene(start, stop), encoding, start=start)


def frames_of(container) -> list[np.ndarray]:
    return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def file_frames(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return frames_of(container)


def alone(part: Segment) -> list[np.ndarray]:
    with part.opened() as container:
        return frames_of(container)


def test_a_segment_begins_with_a_key_frame_and_needs_no_other(tmp_path):
    part = segment(5, 45)
    assert part.frames == (5, 45)
    with part.opened() as container:
        packets = [(packet.pts, packet.is_keyframe) for packet in container.demux(video=0) if packet.size]
    assert packets[0][1]
    assert packets != sorted(packets), "the scene should be encoded with B frames"
    found = np.stack(alone(part)) / 255
    assert np.abs(found - scene(5, 45).numpy()).mean() < 0.02


def test_the_same_frames_become_the_same_bytes_whatever_lies_in_memory():
    # 304 pixels: nineteen macroblocks in a row, so vector code with room for sixteen goes beyond the end of the row.
    video = torch.rand(16, 32, 304, 3, generator=torch.Generator().manual_seed(0)) * 0.1
    video[:, :, ::2] += scene(0, 16)[:, 16:48].repeat(1, 1, 3, 1)[:, :, :152] * 0.9
    first = encode_segment(video, ENCODING).data
    for value in range(8):
        rubbish = [np.full(size, 31 * value, np.uint8) for size in (500, 5_000, 50_000, 500_000)]
        del rubbish
        assert encode_segment(video, ENCODING).data == first


def test_the_number_of_cores_does_not_change_the_bytes():
    tall = scene(0, 8).repeat(1, 4, 1, 1)
    settings = b" threads=1 lookahead_threads=1 "  # x264 writes its settings into the video
    assert settings in encode_segment(tall, ENCODING).data


@pytest.mark.parametrize("encoding", [ENCODING, Encoding.of(23.976, 0), Encoding.of(12.5, 40)])
def test_a_joined_file_holds_the_frames_of_its_segments_at_their_times(tmp_path, encoding):
    parts = [segment(*place, encoding) for place in ((0, 4), (4, 37), (37, 38), (38, 40), (40, 73))]
    join_segments(tmp_path / "a.mp4", parts)
    expected = [frame for part in parts for frame in alone(part)]
    assert np.array_equal(file_frames(tmp_path / "a.mp4"), expected)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        times = [frame.pts * stream.time_base for frame in container.decode(stream)]
        assert stream.average_rate == pytest.approx(encoding.fps, rel=1e-5) and stream.frames == 73
        # Older versions of PyAV count in 1/90000 s, in which not every time can be written.
        late = [abs(time - number / encoding.fps) for number, time in enumerate(times)]
        assert max(late) <= stream.time_base / 2


def test_prepending_gives_the_file_that_one_writer_writes_forward(tmp_path):
    borders = (0, 37, 73, 109)
    written = []
    with VideoWriter(tmp_path / "whole.mp4", 30, crf=16) as writer:
        for start, stop in pairwise(borders):
            written.append(writer.write(scene(start, stop)))
            assert written[-1].frames == (start, stop)
    parts: list[Segment] = []
    for part in reversed(written):
        parts = [part, *parts]
        path = tmp_path / f"{part.frames[0]}.mp4"
        join_segments(path, parts)
        assert np.array_equal(file_frames(path), [frame for one in parts for frame in alone(one)])
    assert np.array_equal(file_frames(tmp_path / "0.mp4"), file_frames(tmp_path / "whole.mp4"))


def test_a_writer_takes_segments_between_frames_that_it_encodes_itself(tmp_path):
    between = segment(37, 73)
    with VideoWriter(tmp_path / "mixed.mp4", 30, crf=16) as writer:
        before = writer.write(scene(0, 37))
        writer.append(between)
        after = writer.write(scene(73, 80))
    assert after.frames == (73, 80)
    expected = [frame for part in (before, between, after) for frame in alone(part)]
    assert np.array_equal(file_frames(tmp_path / "mixed.mp4"), expected)


def test_a_segment_may_lie_in_a_file(tmp_path):
    part = segment(0, 12)
    path = tmp_path / "part.mp4"
    path.write_bytes(part.data)
    join_segments(tmp_path / "a.mp4", [Segment(data=path, frames=(0, 12), encoding=ENCODING)])
    assert np.array_equal(file_frames(tmp_path / "a.mp4"), alone(part))


def test_a_joined_file_begins_with_its_index_and_keeps_what_is_said_of_it(tmp_path):
    join_segments(tmp_path / "a.mp4", [segment(0, 37)], {"prompt": {"1": "ü"}})
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.metadata["prompt"] == '{"1": "\\u00fc"}'


def test_a_frame_rate_is_kept_to_a_thousandth():
    assert Encoding.of(24000 / 1001, 16).fps == Fraction(23976, 1000)


@pytest.mark.parametrize("length", [10, 11, 12, 13])
def test_a_grown_file_lasts_as_long_as_all_its_frames_whatever_the_last_one_is(tmp_path, length):
    with VideoWriter(tmp_path / "a.mp4", 30, crf=16) as writer:
        writer.write(scene(0, 7))
        writer.write(scene(0, length))
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.duration * stream.time_base == Fraction(7 + length, 30)
