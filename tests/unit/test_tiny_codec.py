"""The embedded codec: its shapes, what may see what, and that pieces give what the whole gives."""

from __future__ import annotations

import pytest
import torch
from framepack_transitions.tiny.config import TinyCodecConfig
from framepack_transitions.tiny.networks import tiling
from framepack_transitions.tiny.networks.codec import (
    TinyCodec,
    fold,
    frames_of_latents,
    latents_of_frames,
    unfold,
)
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def codec() -> TinyCodec:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(5)
        return TinyCodec().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def small() -> TinyCodec:
    """A codec of the same structure with little to compute and a small field of view."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(6)
        config = TinyCodecConfig(widths=(6, 8), blocks=(1, 1))
        return TinyCodec(config).eval().requires_grad_(False)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("frames", "latents"), [(1, 1), (4, 1), (5, 2), (8, 2), (9, 3), (33, 9), (109, 28)])
def test_the_first_frame_stands_alone_and_four_share_a_latent(frames: int, latents: int) -> None:
    assert latents_of_frames(frames) == latents
    assert latents_of_frames(frames_of_latents(latents)) == latents
    assert frames_of_latents(latents) <= frames < frames_of_latents(latents + 1)


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 8, 8), (5, 16, 24), (9, 24, 16)])
def test_shapes_go_there_and_back(codec: TinyCodec, frames: int, height: int, width: int) -> None:
    video = noise(2, 3, frames, height, width)
    latents = codec.encode(video)
    assert latents.shape == (2, 16, latents_of_frames(frames), height // 8, width // 8)
    assert codec.decode(latents).shape == video.shape
    close(codec.encode(video[1:]), latents[1:])
    close(codec.decode(latents[1:]), codec.decode(latents)[1:])


def test_encoding_is_deterministic(codec: TinyCodec) -> None:
    video = noise(1, 3, 5, 16, 16)
    assert torch.equal(codec.encode(video), codec.encode(video))


def test_folding_is_undone_by_unfolding() -> None:
    x = noise(2, 3, 4, 6, 8)
    assert fold(x, 2, 2).shape == (2, 24, 2, 3, 4)
    assert torch.equal(unfold(fold(x, 2, 2), 2, 2), x)


@pytest.mark.parametrize("known", [1, 2, 4])
def test_latents_do_not_see_later_frames(codec: TinyCodec, known: int) -> None:
    video, other = noise(1, 3, 21, 16, 16), noise(1, 3, 21, 16, 16, seed=1)
    frames = frames_of_latents(known)
    other[:, :, :frames] = video[:, :, :frames]
    a, b = codec.encode(video), codec.encode(other)
    close(a[:, :, :known], b[:, :, :known])
    assert (a[:, :, known] - b[:, :, known]).abs().max() > 1e-3
    close(codec.encode(video[:, :, :frames]), a[:, :, :known])


@pytest.mark.parametrize("known", [1, 2, 4])
def test_frames_do_not_see_later_latents(codec: TinyCodec, known: int) -> None:
    latents, other = noise(1, 16, 6, 2, 2), noise(1, 16, 6, 2, 2, seed=1)
    other[:, :, :known] = latents[:, :, :known]
    frames = frames_of_latents(known)
    a, b = codec.decode(latents), codec.decode(other)
    close(a[:, :, :frames], b[:, :, :frames])
    assert (a[:, :, frames] - b[:, :, frames]).abs().max() > 1e-3


def test_the_codec_sees_no_further_than_it_says(codec: TinyCodec) -> None:
    length, side = codec.past_latents + 2, 2 * codec.reach_latents + 3
    latents = noise(1, 16, length, 1, side)
    other = latents.clone()
    other[:, :, 0] += 1
    last = slice(frames_of_latents(length - 1), None)
    close(codec.decode(latents)[:, :, last], codec.decode(other)[:, :, last])

    row, changed = latents[:, :, :1], latents[:, :, :1].clone()
    changed[..., 0] += 1
    difference = (codec.decode(row) - codec.decode(changed)).abs().amax((0, 1, 2, 3))
    assert difference[8 * (codec.reach_latents + 1) :].max() < 1e-6
    assert difference[:8].max() > 1e-3


@settings(max_examples=25, deadline=None)
@given(
    latents=st.tuples(st.integers(1, 9), st.integers(1, 7), st.integers(1, 14)),
    tile=st.tuples(*(st.one_of(st.none(), st.integers(1, 6)) for _ in range(3))),
)
def test_pieces_give_what_the_whole_gives(
    small: TinyCodec, latents: tuple[int, int, int], tile: tuple[int | None, ...]
) -> None:
    z = noise(1, 16, *latents)
    close(tiling.decode_tiled(small, z, tile), small.decode(z))
    video = noise(1, 3, frames_of_latents(latents[0]), 8 * latents[1], 8 * latents[2])
    close(tiling.encode_tiled(small, video, tile), small.encode(video))


def test_pieces_of_the_real_codec_give_what_the_whole_gives(codec: TinyCodec) -> None:
    z = noise(1, 16, 9, 2, 19)
    close(tiling.decode_tiled(codec, z, (1, None, 1)), codec.decode(z))
    video = noise(1, 3, 33, 8, 152)
    close(tiling.encode_tiled(codec, video, (1, 1, 1)), codec.encode(video))


def test_gradients_reach_every_weight() -> None:
    codec = TinyCodec(TinyCodecConfig(widths=(4, 4)))
    codec.decode(codec.encode(noise(1, 3, 9, 16, 16))).square().mean().backward()
    assert not [name for name, weight in codec.named_parameters() if weight.grad is None]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 5, 16, 20), "20x16"),
        ((1, 3, 6, 16, 16), "but got 6: cut the video to 5"),
        ((1, 5, 5, 16, 16), r"\[1, 5, 5, 16, 16\]"),
        ((3, 5, 16, 16), r"\[3, 5, 16, 16\]"),
    ],
)
def test_frames_that_do_not_fit_are_refused_with_their_shape(
    codec: TinyCodec, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        codec.encode(torch.zeros(shape))
    if len(shape) == 5:
        with pytest.raises(ValueError, match=message):
            tiling.encode_tiled(codec, torch.zeros(shape), (None, None, None))


@pytest.mark.parametrize("shape", [(1, 4, 2, 2, 2), (1, 16, 2, 2)])
def test_latents_of_another_model_are_refused(codec: TinyCodec, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\[B,16,T,H,W\]"):
        codec.decode(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"\[B,16,T,H,W\]"):
        tiling.decode_tiled(codec, torch.zeros(shape), (None, None, None))
