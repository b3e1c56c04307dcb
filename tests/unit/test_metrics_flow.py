"""Flow degree against textures that are moved by a known distance, and against the embedded world's truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from framepack_transitions.metrics.measuring.flow import Raft, degree, flow_degree
from framepack_transitions.metrics.measuring.flow.lucas_kanade import LucasKanade
from framepack_transitions.tiny import world
from safetensors.torch import save_file

SIZES = [(64, 64), (144, 256), (480, 832), (640, 608)]
LARGE = 6 / 256  # of the short side: what VBench counts as 1


def texture(size: tuple[int, int], grain: float, shift: tuple[float, float] = (0, 0), seed: int = 0):
    """Smooth noise float32 [1,H,W,3], moved by (x, y) px through its spectrum, cut out of a larger one."""
    height, width = size
    margin = int(0.3 * min(size))
    tall, wide = height + 2 * margin, width + 2 * margin
    spectrum = np.fft.rfft2(np.random.default_rng(seed).standard_normal((3, tall, wide)))
    y, x = np.fft.fftfreq(tall)[:, None], np.fft.rfftfreq(wide)
    spectrum *= np.exp(-2 * (np.pi * grain * min(size)) ** 2 * (x**2 + y**2))
    still = np.fft.irfft2(spectrum, (tall, wide))
    moved = np.fft.irfft2(spectrum * np.exp(-2j * np.pi * (x * shift[0] + y * shift[1])), (tall, wide))
    picture = ((moved - still.min()) / np.ptp(still)).clip(0, 1)
    return picture[:, margin : margin + height, margin : margin + width].transpose(1, 2, 0)[None].astype("f4")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("share", [0.01, LARGE, 0.05, 0.1, 0.17])
@pytest.mark.parametrize("grain", [0.01, 0.03])
def test_a_moved_texture_has_the_degree_of_its_distance(size, share, grain):
    distance = share * min(size)
    moved = texture(size, grain, (0.8 * distance, -0.6 * distance))
    assert flow_degree(texture(size, grain), moved) == pytest.approx(share / LARGE, rel=0.15)


@pytest.mark.parametrize("size", SIZES)
def test_what_stands_still_has_degree_zero(size):
    rng = np.random.default_rng(0)
    picture = texture(size, 0.02)
    grainy = [(picture + 0.02 * rng.standard_normal(picture.shape)).astype("f4") for _ in range(2)]
    assert flow_degree(picture, picture) == 0
    assert flow_degree(*grainy) < 0.05
    assert flow_degree(np.full_like(picture, 0.2), np.full_like(picture, 0.9)) == 0


@pytest.mark.parametrize("size", SIZES)
def test_growing_darker_is_no_motion(size):
    picture = texture(size, 0.02)
    assert flow_degree(picture, 0.7 * picture) < 0.05
    assert flow_degree(picture, (picture * 0.8).astype("f4") + 0.2) < 0.05


@pytest.mark.parametrize("motion", ["sideways", "left", "down"])
@pytest.mark.parametrize("seed", range(4))
def test_a_moving_subject_counts_before_a_still_background(motion, seed):
    clip = world.make_clip(seed, 40, motion=motion, empty=False)
    distances = np.linalg.norm(clip.positions[4:] - clip.positions[:-4], axis=1)
    degrees = flow_degree(clip.frames[:-4:3], clip.frames[4::3])
    expected = distances[::3] / world.SIZE / LARGE
    assert np.median(degrees / expected) == pytest.approx(1, abs=0.15)


def test_the_direction_is_that_of_the_motion():
    size = (96, 128)
    pair = [torch.from_numpy(texture(size, 0.03, (x, 0))).movedim(-1, 1) for x in (0, 5)]
    flow = LucasKanade().displacement(*pair)[0, :, 20:-20, 20:-20]
    assert flow[0].median() == pytest.approx(5, abs=0.3) and flow[1].median() == pytest.approx(0, abs=0.3)


def test_the_degree_is_the_mean_of_the_longest_twentieth():
    lengths = np.random.default_rng(0).uniform(0, 9, (2, 40, 50))
    angles = np.random.default_rng(1).uniform(0, 2 * np.pi, lengths.shape)
    flow = torch.from_numpy(np.stack([lengths * np.cos(angles), lengths * np.sin(angles)], 1))
    longest = np.sort(lengths.reshape(2, -1), axis=1)[:, -100:]
    assert degree(flow) == pytest.approx(longest.mean(1) / (40 * 6 / 256), rel=1e-5)


def test_frames_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match=r"\[1, 64, 64, 3\] and \[1, 48, 64, 3\]"):
        flow_degree(np.zeros((1, 64, 64, 3), "f4"), np.zeros((1, 48, 64, 3), "f4"))


# RAFT


@pytest.fixture(scope="module")
def model():
    from torchvision.models.optical_flow import raft_small

    torch.manual_seed(0)
    return raft_small().eval()


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    file = tmp_path_factory.mktemp("raft") / "raft.safetensors"
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, file)
    return file


def test_raft_is_torchvisions_with_the_weights_of_the_file(model, file):
    pair = [torch.from_numpy(texture((128, 160), 0.02, (x, 0))).movedim(-1, 1) for x in (0, 4)]
    with torch.no_grad():
        expected = model(*(2 * image - 1 for image in pair))[-1]
    assert torch.allclose(Raft(file).displacement(*pair), expected, atol=1e-4)


def test_raft_gives_flow_in_px_at_the_size_of_its_pictures(model, file):
    pair = [torch.from_numpy(texture((70, 101), 0.02, (x, 0))).movedim(-1, 1) for x in (0, 4)]
    large = [
        torch.nn.functional.interpolate(image, (128, 128), mode="bilinear", antialias=True) for image in pair
    ]
    with torch.no_grad():
        found = model(*(2 * image - 1 for image in large))[-1]
    expected = torch.nn.functional.interpolate(found, (70, 101), mode="bilinear", antialias=True)
    expected[:, 0] *= 101 / 128
    expected[:, 1] *= 70 / 128
    assert torch.allclose(Raft(file).displacement(*pair), expected, atol=1e-4)


def test_raft_refuses_other_files(file, tmp_path):
    with pytest.raises(FileNotFoundError, match="needs a .safetensors file"):
        Raft(tmp_path / "raft.pth")
    with pytest.raises(ValueError, match="does not hold RAFT large"):
        Raft(file, "large")
    with pytest.raises(ValueError, match="no variant"):
        Raft(file, "medium")
