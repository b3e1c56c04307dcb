"""A video that grows while its latents are made: whatever their order, it ends as the one that is decoded whole."""

from __future__ import annotations

import io

import av
import pytest
import torch
from framepack_transitions.tiny.bundle import load_tiny
from framepack_transitions.video.decode import Tiles, decode_video, vae_decoder
from framepack_transitions.video.growing import DecodeSettings, GrowingVideo
from framepack_transitions.video.pieces import PieceJoiner, decode_pieces
from framepack_transitions.video.segments import Encoding, join_segments
from hypothesis import given
from hypothesis import strategies as st


def numbers(latents: torch.Tensor) -> torch.Tensor:
    """A decoder whose frames [1, n, 2, 2, 3] show, in red, the latent and, in green, the first one of the piece."""
    row = latents[0, 0, :, 0, 0]
    colours = torch.stack([row, row[:1].expand_as(row), 0 * row], dim=-1) / 100
    frames = torch.cat([colours[:1], colours[1:].repeat_interleave(4, dim=0)])
    return frames[None, :, None, None].expand(1, -1, 16, 16, 3)


class Counted:
    """A decoder that notes which latents it decodes."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def __call__(self, latents: torch.Tensor) -> torch.Tensor:
        row = latents[0, 0, :, 0, 0]
        self.calls.append((int(row[0]), int(row[-1]) + 1))
        return numbers(latents)


def numbered(count: int) -> torch.Tensor:
    return torch.arange(count, dtype=torch.float32).view(1, 1, -1, 1, 1).expand(1, 16, -1, 2, 2).clone()


def settings(window: int, overlap: int) -> DecodeSettings:
    return DecodeSettings(window=window, overlap=overlap, tiles=Tiles(), encoding=Encoding.of(30, 4))


def whole(latents: torch.Tensor, window: int, overlap: int) -> torch.Tensor:
    return torch.cat(list(decode_video(numbers, latents, decode_pieces(latents.shape[2], window, overlap))))


@given(st.integers(1, 8), st.data())
def test_pieces_in_any_order_are_joined_as_in_their_own(window, data):
    overlap = data.draw(st.integers(1, window))
    length = data.draw(st.integers(1, 40))
    latents, pieces = numbered(length), decode_pieces(length, window, overlap)
    joiner, found = PieceJoiner(pieces), {}
    for index in data.draw(st.permutations(range(len(pieces)))):
        for stretch in joiner.add(index, numbers(latents[:, :, pieces[index].start : pieces[index].stop])[0]):
            assert stretch.start not in found
            found[stretch.start] = stretch.frames
    assert not joiner.unsettled()
    ordered = [found[start] for start in sorted(found)]
    assert all(start == sum(map(len, ordered[:n])) or n == 0 for n, start in enumerate(sorted(found)))
    assert torch.equal(torch.cat(ordered), whole(latents, window, overlap))


def sections(offset: int, window: int, count: int, *, backward: bool) -> list[tuple[int, int]]:
    """What the sampler gives: the start image or past video, then the sections in the order of generation."""
    made = [(offset + window * n, offset + window * (n + 1)) for n in range(count)]
    made = made[::-1] if backward else made
    return [(0, offset), *made] if offset else made


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("offset", [0, 1, 5, 14])
@pytest.mark.parametrize(("window", "overlap"), [(4, 4), (4, 1), (3, 2), (9, 9)])
def test_every_state_shows_all_that_is_there_and_the_last_one_is_the_whole_video(
    backward, offset, window, overlap
):
    order = sections(offset, window, 3, backward=backward)
    latents = numbered(offset + 3 * window)
    growing, stretches = GrowingVideo(numbers, latents, settings(window, overlap)), []
    for number, (start, stop) in enumerate(order):
        stretches += growing.add(start, latents[:, :, start:stop])
        shown = growing.so_far()
        frames = [frame for segment in shown for frame in range(*segment.frames)]
        assert frames == sorted(set(frames)), "no frame is shown twice"
        # What lies before a video that is generated backward is shown once the sections have come down to it.
        made = order[int(backward and offset > 0) : number + 1]
        there = {latent for section in made for latent in range(*section)}
        last_frames = {4 * latent for latent in there}
        assert last_frames <= set(frames), "the last frame of every latent is shown"
    assert [segment.frames for segment in growing.so_far()] == [s.frames for s in growing.segments]
    stretches.sort(key=lambda stretch: stretch.start)
    assert torch.equal(torch.cat([stretch.frames for stretch in stretches]), whole(latents, window, overlap))
    ends = [segment.frames[1] for segment in growing.segments]
    assert [segment.frames[0] for segment in growing.segments] == [0, *ends[:-1]]
    assert ends[-1] == 4 * latents.shape[2] - 3


@pytest.mark.parametrize("backward", [False, True])
def test_every_piece_is_decoded_once(backward):
    latents, decoder = numbered(28), Counted()
    growing = GrowingVideo(decoder, latents, settings(9, 9))
    for start, stop in sections(1, 9, 3, backward=backward):
        growing.add(start, latents[:, :, start:stop])
    assert sorted(decoder.calls) == [(0, 10), (1, 19), (10, 28)]


def test_forward_from_a_start_image_showing_it_decodes_nothing_more():
    latents, decoder = numbered(28), Counted()
    growing = GrowingVideo(decoder, latents, settings(9, 9))
    growing.add(0, latents[:, :, :1])
    for start, stop in sections(0, 9, 3, backward=False):
        growing.add(start + 1, latents[:, :, start + 1 : stop + 1])
        growing.so_far()
    assert len(decoder.calls) == 3


@torch.inference_mode()
@pytest.mark.parametrize("backward", [False, True])
def test_the_growing_file_plays_at_each_state_and_its_settled_frames_stay(tmp_path, backward):
    vae = load_tiny().vae
    latents = vae.encode(torch.rand(109, 32, 32, 3))
    growing = GrowingVideo(vae_decoder(vae, Tiles()), latents, settings(9, 9))
    kept: dict[tuple[int, int], bytes] = {}
    for number, (start, stop) in enumerate(sections(1, 9, 3, backward=backward)):
        growing.add(start, latents[:, :, start:stop])
        states = growing.so_far()
        path = tmp_path / f"{number}.mp4"
        join_segments(path, states)
        with av.open(io.BytesIO(path.read_bytes())) as container:
            count = sum(1 for _ in container.decode(video=0))
        assert count == sum(stop - start for start, stop in (part.frames for part in states)) > 0
        for part in growing.segments:
            assert kept.setdefault(part.frames, part.data) == part.data
    assert count == 109
