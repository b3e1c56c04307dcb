"""The sampler's preview: a video that grows while it is sampled, and that FramePack Decode takes over."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from framepack_transitions.headless.files.folders import Folders, using
from framepack_transitions.headless.host.conditioning import CLIPTextEncode
from framepack_transitions.nodes.loading.tiny_loader import FramePackTinyLoader
from framepack_transitions.nodes.sampling import section_preview
from framepack_transitions.nodes.sampling.sampler import FramePackTransitionsSampler
from framepack_transitions.nodes.video import growing_files
from framepack_transitions.nodes.video.decode import FramePackDecode
from framepack_transitions.samplers.progress import progress_reporting
from framepack_transitions.samplers.techniques.attention.kv_gate import SemanticKVGate
from framepack_transitions.samplers.techniques.wiring import with_technique
from framepack_transitions.samplers.timeline.timeline import Timeline, TimelineEntry
from framepack_transitions.tiny.bundle import load_tiny
from framepack_transitions.video.decoded import KEY
from framepack_transitions.video.segments import Encoding, encode_segment

DECODE = {
    "window": 3,
    "overlap": 3,
    "tile_size": 0,
    "tile_frames": 0,
    "output": "both",
    "fps": 24.0,
    "crf": 8,
}


class CountingVAE:
    """The tiny VAE, noting how many latent frames it decodes."""

    def __init__(self) -> None:
        self.vae, self.decoded = load_tiny().vae, 0

    def temporal_compression_decode(self) -> int:
        return 4

    def spacial_compression_decode(self) -> int:
        return 8

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        self.decoded += latents.shape[2]
        return self.vae.decode(latents)

    def decode_tiled(self, latents: torch.Tensor, **tiles: int | None) -> torch.Tensor:
        return self.decode(latents)


@pytest.fixture
def vae() -> CountingVAE:
    return CountingVAE()


@pytest.fixture(scope="module")
def tiny():
    return FramePackTinyLoader().load()


@pytest.fixture
def sample(tiny, tmp_path):
    spec = FramePackTransitionsSampler.INPUT_TYPES()["required"]
    (text,) = CLIPTextEncode().encode(clip=tiny[1], text="a red square")
    noise = torch.randn(1, 16, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    defaults = {name: kind[1]["default"] for name, kind in spec.items() if "default" in kind[1]}
    defaults |= {"model": tiny[0], "positive": text, "negative": text, "start_latent": {"samples": noise}}
    defaults |= {"latent_frames": 9, "window": 3, "steps": 1, "unique_id": "5"}

    def run(decode=DECODE, **changes):
        prompt = {"7": {"class_type": "FramePackDecode", "inputs": {"samples": ["5", 0], **decode}}}
        with torch.inference_mode(), using(Folders(tmp_path, tmp_path)):
            result = FramePackTransitionsSampler().sample(**{**defaults, "prompt": prompt, **changes})
        return result if isinstance(result, dict) else {"ui": {}, "result": result}

    return run


@pytest.fixture
def decode(tmp_path):
    def run(latent, vae, **changes):
        with torch.inference_mode(), using(Folders(tmp_path, tmp_path)):
            return FramePackDecode().decode(latent, vae, **{**DECODE, "filename_prefix": "video", **changes})

    return run


def frames_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def file(tmp_path: Path, shown: dict) -> Path:
    return tmp_path / shown["subfolder"] / shown["filename"]


def some(*shape: int) -> dict:
    return {"samples": torch.randn(*shape, generator=torch.Generator().manual_seed(7))}


STARTS = {
    "image": {},
    "batch": {"start_latent": some(2, 16, 1, 4, 4)},
    "text": {"start_latent": {"samples": torch.zeros(1, 16, 1, 4, 4)}},
    "video": {"past_latent": some(1, 16, 6, 4, 4)},
}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("layout", ["f1", "original"])
def test_the_latent_is_the_same_and_is_decoded_once_to_the_same_frames(
    sample, decode, vae, tmp_path, layout, start
):
    changes = {"layout": layout, **STARTS[start]}
    plain = sample(**changes)["result"][0]
    latent = sample(**changes, vae=vae)["result"][0]
    assert torch.equal(latent["samples"], plain["samples"]) and KEY not in plain
    expected = decode(plain, vae)
    before = vae.decoded
    found = decode(latent, vae)
    assert vae.decoded == before, "the preview has decoded everything"
    assert torch.equal(found["result"][0], expected["result"][0])
    for one, other in zip(found["ui"]["images"], expected["ui"]["images"], strict=True):
        written, again = frames_of(file(tmp_path, one)), frames_of(file(tmp_path, other))
        assert written.shape == again.shape
        assert np.abs(written.astype(int) - again).mean() < 1.0


def test_an_mp4_alone_needs_no_frames_in_memory_but_the_last(sample, decode, vae):
    latent = sample(decode={**DECODE, "output": "video"}, vae=vae)["result"][0]
    assert latent[KEY].images is None
    before = vae.decoded
    found = decode(latent, vae, output="video")["result"][0]
    assert vae.decoded == before
    assert torch.equal(found, decode(latent, vae, output="images")["result"][0][-1:])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"crf": 9}, "other settings"),
        ({"fps": 25.0}, "other settings"),
        ({"overlap": 2}, "other settings"),
        ({"tile_size": 64}, "other settings"),
    ],
)
def test_other_settings_decode_again_and_say_so(sample, decode, vae, caplog, changes, words):
    latent = sample(vae=vae)["result"][0]
    before = vae.decoded
    with caplog.at_level(logging.INFO):
        decode(latent, vae, **changes)
    assert vae.decoded > before and words in caplog.text


def test_another_vae_another_latent_and_all_images_wanted_decode_again(sample, decode, vae, caplog):
    latent = sample(decode={**DECODE, "output": "video"}, vae=vae)["result"][0]
    other = CountingVAE()
    changed = {**latent, "samples": latent["samples"] * 1.01}
    with caplog.at_level(logging.INFO):
        decode(latent, other, output="video")
        before = vae.decoded
        decode(changed, vae, output="video")
        decode(latent, vae, output="both")
    assert other.decoded > 0 and vae.decoded > before
    for words in ("another VAE", "a changed latent", "all images wanted"):
        assert f"the sampler's preview was made with {words}" in caplog.text


def test_without_a_decode_behind_it_the_preview_takes_its_defaults(sample, vae):
    result = sample(vae=vae, prompt=None)
    settings = result["result"][0][KEY].settings
    assert (settings.window, settings.overlap) == (3, 3)
    assert settings.encoding == Encoding.of(30, 16) and settings.tiles.side == 256


@pytest.mark.parametrize("layout", ["f1", "original"])
def test_each_section_adds_to_the_file_and_one_file_is_left(sample, vae, tmp_path, monkeypatch, layout):
    states: list[int] = []
    join = growing_files.join_segments

    def noting(path, segments):
        join(path, segments)
        states.append(len(frames_of(path)))

    monkeypatch.setattr(growing_files, "join_segments", noting)
    shown = sample(vae=vae, layout=layout)["ui"]
    assert states == sorted(set(states)) and len(states) == 3 and states[-1] == 37
    (entry,) = shown["images"]
    assert entry["type"] == "temp" and shown["animated"] == (True,)
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == [tmp_path / "previews" / entry["filename"]]
    assert len(frames_of(left[0])) == 37


def test_large_videos_are_not_written_again_for_every_section(tmp_path, monkeypatch):
    monkeypatch.setattr(growing_files, "ALWAYS_SHOWN", 0)
    part = encode_segment(torch.rand(8, 32, 32, 3), Encoding.of(30, 16))
    written = []
    monkeypatch.setattr(
        growing_files, "join_segments", lambda path, segments: written.append(path.write_bytes(b"x"))
    )
    with using(Folders(tmp_path, tmp_path)):
        files = growing_files.GrowingFiles("a", (32, 32))
        for count in range(1, 101):
            files.show(0, [part] * count)
    assert 20 < len(written) < 40, "each about a tenth larger than the one before"


@pytest.mark.parametrize("states", [0, 2])
def test_a_preview_that_finds_the_disk_full_ends_no_run(
    sample, vae, tmp_path, monkeypatch, caplog, states: int
) -> None:
    expected = sample(vae=vae)["result"][0]
    join, joined = growing_files.join_segments, []

    def full(path, segments):
        joined.append(path)
        if len(joined) > states:
            path.write_bytes(b"half of a video")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        join(path, segments)

    monkeypatch.setattr(growing_files, "join_segments", full)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    found = sample(vae=vae)
    assert torch.equal(found["result"][0]["samples"], expected["samples"])
    assert torch.equal(found["result"][0][KEY].images, expected[KEY].images)
    [said] = [record.getMessage() for record in caplog.records if "cannot be shown" in record.getMessage()]
    assert "No space left on device" in said and "the run goes on" in said
    assert len(joined) == 3, "it is tried again: there may be room by then"
    left = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    shown = [entry["filename"] for entry in found.get("ui", {}).get("images", ())]
    assert [path.name for path in left] == shown and len(shown) == min(states, 1)


def test_a_vae_of_another_kind_is_refused_before_anything_is_sampled(sample, vae):
    vae.spacial_compression_decode = lambda: 16
    steps = []
    with progress_reporting(lambda *values: steps.append(values)), pytest.raises(ValueError, match="16x16"):
        sample(vae=vae)
    assert not steps


def test_each_section_is_a_line_in_the_log_and_words_behind_the_bars(sample, tiny, caplog):
    (text,) = CLIPTextEncode().encode(clip=tiny[1], text="an empty room")
    timeline = Timeline((TimelineEntry(start=0.4, prompt="an empty room", conditioning=text, change=1.0),))
    model = with_technique(tiny[0], SemanticKVGate(sections=1))
    words = []
    with progress_reporting(lambda step, total, info: words.append(info)), caplog.at_level(logging.INFO):
        sample(timeline=timeline, model=model)
    lines = [record.getMessage() for record in caplog.records if "FramePack section" in record.getMessage()]
    assert [line.split(" · ")[0] for line in lines] == [f"FramePack section {n} of 3" for n in (1, 2, 3)]
    assert " · “an empty room” · Semantic KV Gate 1 · " in lines[1] and "Gate" not in lines[0] + lines[2]
    assert "left" in lines[0] and "left" not in lines[2]
    assert [info["section"] for info in words] == ["1/3", "2/3", "3/3"]
    assert words[1]["prompt"] == "an empty room" and words[1]["techniques"] == "Semantic KV Gate 1"


def test_settings_of_the_decode_behind_are_found_by_its_link():
    decode = {"class_type": "FramePackDecode", "inputs": {"samples": ["5", 0], "crf": 3, "fps": ["9", 0]}}
    other = {"class_type": "FramePackDecode", "inputs": {"samples": ["6", 0], "crf": 4}}
    found = section_preview.decode_behind({"1": other, "2": decode}, "5")
    assert found == decode["inputs"]
    assert section_preview.preview_settings(found, 9).encoding == Encoding.of(30, 3)
    assert section_preview.decode_behind({"1": other}, "5") == {}
    assert section_preview.preview_settings({"window": 3, "overlap": 9}, 9).overlap == 3
