"""Filters on packed frames against analytic responses and other libraries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from framepack_transitions.samplers.context.filters import (
    add_noise,
    distances,
    frame_mean,
    gaussian,
    packed_mask,
    parts_of,
    resize,
    with_parts,
)
from framepack_transitions.samplers.context.history import Context
from framepack_transitions.samplers.context.indices import f1_indices, original_indices
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.functional import gaussian_blur


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def along_time(values: torch.Tensor, sigma: float) -> torch.Tensor:
    """A signal [T] through the Gaussian in time."""
    frames = values.view(1, 1, -1, 1, 1)
    return gaussian(
        frames, [0.0] * len(values), temporal=[sigma] * len(values), places=range(len(values))
    ).flatten()


@pytest.mark.parametrize("sigma", [0.8, 1.5, 3.0])
def test_a_gaussian_is_the_one_of_scipy(sigma):
    ndimage = pytest.importorskip("scipy.ndimage", reason="scipy ships with ComfyUI, not with this project")
    signal = normal(200).double()
    expected = torch.from_numpy(ndimage.gaussian_filter1d(signal.numpy(), sigma, truncate=8.0))
    inside = slice(int(8 * sigma) + 1, -int(8 * sigma) - 1)
    torch.testing.assert_close(along_time(signal, sigma)[inside], expected[inside])


@pytest.mark.parametrize("sigma", [0.8, 1.5, 3.0])
@pytest.mark.parametrize("frequency", [0.02, 0.05, 0.1, 0.2])
def test_a_gaussian_weakens_a_wave_by_the_transform_of_a_sampled_gaussian(sigma, frequency):
    """By Poisson's sum that is the Gaussian's own transform, repeated at every whole frequency."""
    wave = torch.cos(2 * torch.pi * frequency * torch.arange(200.0, dtype=torch.float64))
    transform = lambda f: np.exp(-2 * (np.pi * sigma * (f - np.arange(-5, 6))) ** 2).sum()  # noqa: E731
    response = transform(frequency) / transform(0)
    torch.testing.assert_close(along_time(wave, sigma)[40:-40], response * wave[40:-40], atol=1e-9, rtol=0)


def test_a_gaussian_in_space_is_the_one_of_torchvision_and_every_frame_has_its_own():
    frames, sigmas = normal(2, 3, 4, 40, 48), [0.0, 0.7, 1.5, 2.0]
    blurred = gaussian(frames, sigmas)
    assert torch.equal(blurred[:, :, 0], frames[:, :, 0])
    for index in (1, 2, 3):
        expected = gaussian_blur(frames[:, :, index], [33, 33], [sigmas[index]] * 2)
        torch.testing.assert_close(
            blurred[:, :, index, 16:-16, 16:-16], expected[..., 16:-16, 16:-16], atol=1e-5, rtol=1e-5
        )


@settings(max_examples=60, deadline=None)
@given(sigma=st.floats(0, 200), size=st.integers(1, 12), length=st.integers(1, 6))
def test_a_gaussian_never_shifts_a_frame_nor_changes_its_length(sigma, size, length):
    impulse = torch.zeros(1, 1, length, size, size)
    impulse[:, :, length // 2, size // 2, size // 2] = 1
    mask = torch.ones_like(impulse, dtype=torch.bool)
    spread = gaussian(impulse, [sigma] * length, temporal=[sigma] * length, places=range(length), mask=mask)
    assert spread.shape == impulse.shape and spread.isfinite().all()
    if size % 2 and length % 2:
        torch.testing.assert_close(spread, spread.flip(2, 3, 4))


def test_a_resize_is_pillows_antialiased_one_there_and_back():
    frames = normal(1, 2, 2, 24, 40)
    for factor in (0.25, 0.4, 0.625):
        small = (round(40 * factor), round(24 * factor))
        expected = [
            [
                np.asarray(
                    Image.fromarray(frames[0, channel, index].numpy())
                    .resize(small, Image.Resampling.BILINEAR)
                    .resize((40, 24), Image.Resampling.BILINEAR)
                )
                for index in range(2)
            ]
            for channel in range(2)
        ]
        torch.testing.assert_close(
            resize(frames, factor)[0], torch.from_numpy(np.array(expected)), atol=1e-5, rtol=1e-5
        )


def test_a_resize_by_half_is_triangle_weights_written_by_hand():
    row = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    down = [
        (3 * 1 + 3 * 2 + 4) / 7,
        (2 + 3 * 4 + 3 * 8 + 16) / 8,
        (8 + 3 * 16 + 3 * 32) / 7,
    ]
    a, b, c = down
    up = [a, 0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b, 0.75 * b + 0.25 * c, 0.25 * b + 0.75 * c, c]
    frames = torch.tensor(np.tile(row, (6, 1))).view(1, 1, 1, 6, 6)
    torch.testing.assert_close(resize(frames, 0.5)[0, 0, 0, 3], torch.tensor(up, dtype=torch.float64))


def test_nothing_leaks_into_or_out_of_what_is_not_packed():
    frames = torch.full((1, 3, 6, 12, 12), 2.5)
    frames[:, :, :2] = 0
    frames[:, :, 4, 3:7, 2:8] = 0
    mask = packed_mask(frames)
    for filtered in (
        gaussian(frames, [1.5] * 6, temporal=[2.0] * 6, places=range(6), mask=mask),
        resize(frames, 0.3, mask),
        add_noise(frames, 0.8, normal(1, 3, 6, 12, 12), mask),
    ):
        torch.testing.assert_close(filtered, frames)
        assert torch.equal(filtered == 0, frames == 0)


def test_noise_keeps_mean_and_deviation_and_full_noise_keeps_nothing_else():
    frames = 3 + 2 * normal(1, 2, 1, 64, 64)
    noised = add_noise(frames, 0.6, normal(1, 2, 1, 64, 64, seed=1))
    assert frame_mean(noised - frames).abs().max() < 0.1
    assert (noised.std(dim=(-2, -1)) / frames.std(dim=(-2, -1)) - 1).abs().max() < 0.05
    drowned = add_noise(frames, 1.0, normal(1, 2, 1, 64, 64, seed=1))
    correlation = np.corrcoef(frames.flatten().numpy(), drowned.flatten().numpy())[0, 1]
    assert abs(correlation) < 0.05
    torch.testing.assert_close(add_noise(frames, 0.0, frames), frames)


def test_distance_is_to_the_nearest_frame_of_the_window_on_either_side():
    forward, backward = f1_indices(9), original_indices(9, 2)
    assert distances(forward.clean, forward) == [20, 1]
    assert distances(forward.clean_2x, forward) == [3, 2]
    assert distances(forward.clean_4x, forward) == list(range(19, 3, -1))
    assert distances(backward.clean, backward) == [19, 1]
    assert distances(backward.clean_2x, backward) == [2, 3]
    assert distances(backward.clean_4x, backward) == list(range(4, 20))


def test_a_context_is_taken_apart_and_put_together_again():
    context = Context(
        indices=f1_indices(9),
        clean=normal(1, 2, 2, 4, 4),
        clean_2x=None,
        clean_4x=normal(1, 2, 16, 4, 4),
        image_embeds=normal(1, 3, 5),
    )
    parts = parts_of(context)
    assert list(parts) == ["start", "last", "4x"]
    assert parts["last"].indices == (19,) and torch.equal(parts["last"].frames, context.clean[:, :, 1:])
    changed = with_parts(context, {"last": 2 * parts["last"].frames})
    assert torch.equal(changed.clean[:, :, 0], context.clean[:, :, 0])
    assert torch.equal(changed.clean[:, :, 1], 2 * context.clean[:, :, 1])
    assert changed.clean_4x is context.clean_4x and changed.image_embeds is context.image_embeds
