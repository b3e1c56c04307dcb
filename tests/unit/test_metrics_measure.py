"""The one pass over a video: its curves against plain numpy, bounded memory, broken frames and refusals."""

from __future__ import annotations

import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from framepack_transitions.metrics.features import PixelExtractor
from framepack_transitions.metrics.measuring.chunks import CHUNK
from framepack_transitions.metrics.measuring.detectors import CallableDetector, Detections
from framepack_transitions.metrics.measuring.flow import LARGE
from framepack_transitions.metrics.measuring.image_statistics import noise
from framepack_transitions.metrics.measuring.measure import measure
from framepack_transitions.metrics.measuring.perceptual import Lpips
from framepack_transitions.metrics.measuring.thumbnails import THUMBNAILS
from PIL import Image

FPS = 30


def video(frames: int, height: int = 64, width: int = 80, seed: int = 0) -> np.ndarray:
    """Soft colours that move by a pixel a frame, float32 [T,H,W,3]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    fields = []
    for fx, fy, phase in rng.uniform(0.05, 0.2, (3, 3)):
        along = x[None] - np.arange(frames)[:, None, None]
        fields.append(0.5 + 0.4 * np.sin(fx * along + fy * y + 9 * phase))
    return np.stack(fields, -1).astype(np.float32)


def panned(frames: int, height: int = 64, width: int = 80) -> np.ndarray:
    """A texture that goes around by a pixel a frame, float32 [T,H,W,3]."""
    spectrum = np.fft.rfft2(np.random.default_rng(0).standard_normal((3, height, width)))
    spectrum *= np.exp(-8 * (np.fft.fftfreq(height)[:, None] ** 2 + np.fft.rfftfreq(width) ** 2) * 4)
    picture = np.fft.irfft2(spectrum, (height, width)).transpose(1, 2, 0)
    picture = ((picture - picture.min()) / np.ptp(picture)).astype(np.float32)
    return np.stack([np.roll(picture, number, axis=1) for number in range(frames)])


class Recorder:
    """An extractor that remembers what it was shown: mean colours as features."""

    name, logit_scale, resolution = "recorder", 1.0, None

    def __init__(self):
        self.batches = []

    def images(self, frames):
        self.batches.append(len(frames))
        return np.asarray(frames, np.float32).mean((1, 2))

    def texts(self, texts):
        return None


def run(frames, extractor=None, **options):
    return measure(frames, extractor or PixelExtractor(), **{"fps": FPS, "flow": "off", **options})


# What is measured


def test_brightness_and_saturation_are_those_of_the_pixels():
    frames = video(20)
    found = run(frames)
    luma = frames @ np.array([0.2126, 0.7152, 0.0722])
    assert found.brightness == pytest.approx(luma.mean((1, 2)), abs=1e-5)
    assert found.saturation == pytest.approx((frames.max(-1) - frames.min(-1)).mean((1, 2)), abs=1e-5)
    assert (found.size, found.fps, len(found), found.extractor) == ((64, 80), FPS, 20, "pixel")


@pytest.mark.parametrize("size", [(608, 640), (480, 832)])
def test_looks_of_large_frames_are_those_of_the_pixels(size):
    frames = video(3, *size)
    found = run(frames)
    assert found.brightness == pytest.approx((frames @ [0.2126, 0.7152, 0.0722]).mean((1, 2)), abs=2e-3)
    # Making pictures smaller takes colour from details.
    assert found.saturation == pytest.approx((frames.max(-1) - frames.min(-1)).mean((1, 2)), rel=0.05)


def test_sharpness_is_the_root_mean_square_of_the_laplacian():
    frames = video(4)
    luma = np.pad(frames @ np.array([0.2126, 0.7152, 0.0722]), ((0, 0), (1, 1), (1, 1)), mode="edge")
    laplacian = (
        luma[:, 2:, 1:-1]
        + luma[:, :-2, 1:-1]
        + luma[:, 1:-1, 2:]
        + luma[:, 1:-1, :-2]
        - 4 * luma[:, 1:-1, 1:-1]
    )
    assert run(frames).sharpness == pytest.approx(np.sqrt((laplacian**2).mean((1, 2))), rel=1e-4)


@pytest.mark.parametrize("size", [(64, 64), (416, 960), (608, 640)])
@pytest.mark.parametrize("sigma", [0.01, 0.05, 0.2])
def test_noise_is_the_standard_deviation_of_what_was_added(size, sigma):
    rng = np.random.default_rng(0)
    clean = video(2, *size)
    noisy = (clean + sigma * rng.standard_normal(clean.shape)).astype(np.float32)
    assert noise(torch.from_numpy(clean)).max() < 0.005
    assert noise(torch.from_numpy(noisy)) == pytest.approx([sigma] * 2, rel=0.15, abs=0.002)


def test_change_is_the_mean_difference_of_neighbouring_features():
    frames = video(20)
    found = run(frames)
    assert found.features == pytest.approx(PixelExtractor().images(frames), abs=1e-6)
    assert found.change == pytest.approx(np.abs(np.diff(found.features, axis=0)).mean(1), abs=1e-6)
    assert found.change_method == "mean absolute difference of pixel features"


@pytest.mark.parametrize("fps", [6, 8, 24, 30, 60])
def test_flow_counts_motion_at_eight_frames_a_second(fps):
    found = run(panned(41), fps=fps, flow="auto")
    pixels_in_an_eighth = fps / 8
    assert found.flow.shape == (40,) and found.flow_stride == max(round(fps / 8), 1)
    assert np.nanmedian(found.flow) == pytest.approx(pixels_in_an_eighth / 64 / LARGE, rel=0.2)
    assert not np.isnan(found.flow).any()


def test_flow_can_be_left_out_or_be_anything():
    frames = video(9)
    found = run(frames)
    assert np.isnan(found.flow).all() and found.flow.shape == (8,) and found.flow_method == "off"

    class Two:
        name, side = "two", 32

        def displacement(self, first, second):
            assert min(first.shape[-2:]) == 32
            return torch.full((len(first), 2, *first.shape[-2:]), 2.0)

    found = run(frames, flow=Two(), fps=8)
    assert found.flow == pytest.approx(np.full(8, 2 * np.sqrt(2) / (32 * 6 / 256)))
    with pytest.raises(ValueError, match="'raft'"):
        run(frames, flow="raft")


def test_detections_are_kept_by_concept():
    frames = video(20)

    def look(batch, concepts):
        assert batch.dtype == np.float32 and 0 <= batch.min() and batch.max() <= 1
        confidence = np.stack([batch.mean((1, 2))[:, 0], np.full(len(batch), 0.25)], 1)
        return Detections(confidence, np.tile([0.1, 0.2, 0.3, 0.4], (len(batch), 2, 1)))

    found = run(frames, detector=CallableDetector(look), concepts=["red", "dog"])
    assert found.detections["red"] == pytest.approx(frames.mean((1, 2))[:, 0], abs=1e-6)
    assert found.detections["dog"] == pytest.approx(np.full(20, 0.25))
    assert found.boxes["dog"].shape == (20, 4) and found.boxes["dog"][7] == pytest.approx(
        [0.1, 0.2, 0.3, 0.4]
    )
    assert run(frames).detections == {}


def test_a_perceptual_distance_takes_the_place_of_features():
    frames = video(40)
    perceptual = SimpleNamespace(
        name="mean", distance=lambda first, second: (first - second).abs().mean((1, 2, 3)).numpy()
    )
    found = run([frames[:5], frames[5:6], frames[6:]], perceptual=perceptual)
    assert found.change == pytest.approx(np.abs(np.diff(frames, axis=0)).mean((1, 2, 3)), abs=1e-6)
    assert found.change_method == "mean"


# How frames come


def test_it_does_not_matter_how_frames_come():
    frames = video(34)
    whole = run(frames, flow="auto")
    for given in (
        [frames],
        (frame[None] for frame in frames),
        [frames[:7], frames[7:7], frames[7:30], frames[30:]],
        torch.from_numpy(frames),
        [torch.from_numpy(frames[:20]), frames[20:].astype(np.float64)],
    ):
        found = run(given, flow="auto")
        assert found.features == pytest.approx(whole.features, abs=1e-6)
        assert found.flow == pytest.approx(whole.flow, abs=1e-3)
        assert sorted(found.thumbnails) == sorted(whole.thumbnails)


def test_bytes_are_frames_too():
    frames = (video(20) * 255).round().astype(np.uint8)
    by_bytes, by_floats = run(frames), run(frames.astype(np.float32) / 255)
    for name in ("features", "brightness", "saturation", "sharpness", "noise", "change"):
        assert getattr(by_bytes, name) == pytest.approx(getattr(by_floats, name), abs=1e-3)


def test_single_frames_are_gathered_for_the_extractor():
    extractor = Recorder()
    run((frame[None] for frame in video(2 * CHUNK + 3)), extractor)
    assert extractor.batches == [CHUNK, CHUNK, 3]


def test_memory_does_not_grow_with_the_video():
    alive, most, shared = weakref.WeakSet(), 0, video(8, 16, 16)

    def frames(count):
        nonlocal most
        for number in range(count):
            frame = shared[number % 8 : number % 8 + 1].copy().view(Tracked)
            alive.add(frame)
            most = max(most, len(alive))
            yield frame

    found = run(frames(2000), PixelExtractor(side=4), flow="auto")
    expected = PixelExtractor(side=4).images(shared)
    assert len(found) == 2000
    assert found.features == pytest.approx(np.tile(expected, (250, 1)), abs=1e-6)
    assert most <= 3 * CHUNK
    assert THUMBNAILS / 2 <= len(found.thumbnails) <= THUMBNAILS


class Tracked(np.ndarray):
    """An array that can be watched, and counted once."""

    __hash__ = object.__hash__

    def __eq__(self, other):
        return self is other


def test_thumbnails_are_the_frames_themselves_evenly_spaced():
    frames = video(200)
    thumbnails = run(frames).thumbnails
    assert sorted(thumbnails) == list(range(0, 200, 4))
    for number, picture in thumbnails.items():
        assert picture.dtype == np.uint8
        assert np.abs(picture - frames[number] * 255).max() <= 0.51
    large = run(video(2, 400, 800)).thumbnails[1]
    assert Image.fromarray(large).size == (384, 192)


def test_progress_is_told():
    told = []
    run(video(40), progress=told.append)
    assert told == [16, 32, 40]


# What may be wrong


def test_broken_frames_are_left_out_and_said(caplog):
    frames = video(30)
    frames[7, 3, 4, 1], frames[12:14], frames[20, 0, 0, 0] = np.nan, np.inf, -np.inf
    broken = [7, 12, 13, 20]

    def look(batch, concepts):
        assert np.isfinite(batch).all()
        return np.full((len(batch), 1), 0.5)

    found = run(frames, flow="auto", detector=CallableDetector(look), concepts=["x"])
    assert np.flatnonzero(~found.finite).tolist() == broken
    assert "[7, 12, 13]" in caplog.text and "[20]" in caplog.text
    for name in ("brightness", "saturation", "sharpness", "noise"):
        assert np.flatnonzero(np.isnan(getattr(found, name))).tolist() == broken
    assert np.flatnonzero(np.isnan(found.features).all(1)).tolist() == broken
    assert np.flatnonzero(np.isnan(found.features).any(1)).tolist() == broken
    assert np.flatnonzero(np.isnan(found.detections["x"])).tolist() == broken
    assert np.flatnonzero(np.isnan(found.change)).tolist() == [6, 7, 11, 12, 13, 19, 20]
    # Flow looks at every fourth frame: the stretches that begin or end with frame 12 or 20 are unknown.
    assert np.flatnonzero(np.isnan(found.flow)).tolist() == list(range(8, 24))
    good = run(video(30))
    assert found.features[found.finite] == pytest.approx(good.features[found.finite], abs=1e-6)


def test_broken_frames_have_no_perceptual_distance():
    frames = video(40)
    frames[[15, 16, 30]] = np.nan
    perceptual = SimpleNamespace(
        name="mean", distance=lambda first, second: (first - second).abs().mean((1, 2, 3)).numpy()
    )
    found = run(frames, perceptual=perceptual)
    assert np.flatnonzero(np.isnan(found.change)).tolist() == [14, 15, 16, 29, 30]


def test_a_video_of_broken_frames_is_measured_as_such():
    found = run(np.full((5, 16, 16, 3), np.nan, np.float32), flow="auto")
    assert not found.finite.any() and np.isnan(found.features).all() and np.isnan(found.flow).all()


def test_one_frame_has_no_neighbours():
    found = run(video(1), flow="auto")
    assert len(found) == 1 and found.change.shape == found.flow.shape == (0,)


def test_frames_of_two_sizes_are_refused_with_both():
    with pytest.raises(ValueError, match="frame 20 is 80x64 px, the frames before are 96x48"):
        run([video(20, 48, 96), video(3, 64, 80)])


def test_no_frames_values_beyond_one_and_impossible_rates_are_refused():
    with pytest.raises(ValueError, match="no frames"):
        run([])
    with pytest.raises(ValueError, match="uint8"):
        run(video(3) * 255)
    for fps in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match="frames per second"):
            run(video(3), fps=fps)


# LPIPS


def test_lpips_needs_its_library_or_a_file(tmp_path):
    try:
        import lpips  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(ModuleNotFoundError, match="pip install lpips"):
            Lpips(tmp_path / "lpips.safetensors")
    else:
        with pytest.raises(FileNotFoundError, match="needs a .safetensors file"):
            Lpips(tmp_path / "lpips.pth")


def test_lpips_is_the_librarys(tmp_path):
    lpips = pytest.importorskip("lpips", reason="the library lpips is missing")
    from safetensors.torch import save_model

    model = lpips.LPIPS(net="alex", pretrained=False, pnet_rand=True, verbose=False).eval()
    save_model(model, str(tmp_path / "lpips.safetensors"))
    ours = Lpips(tmp_path / "lpips.safetensors")
    images = torch.from_numpy(video(5)).movedim(-1, 1)
    with torch.no_grad():
        expected = model(2 * images[:-1] - 1, 2 * images[1:] - 1).flatten().numpy()
    assert ours.distance(images[:-1], images[1:]) == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ValueError, match="32 px"):
        ours.distance(images[..., :16], images[..., :16])
