"""Decoded video of earlier runs: what is decoded again after a stop or a change, and that the file is the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from framepack_transitions.headless.files.folders import Folders, using
from framepack_transitions.headless.host.conditioning import CLIPTextEncode
from framepack_transitions.nodes.loading.tiny_loader import FramePackTinyLoader
from framepack_transitions.nodes.sampling.sampler import FramePackTransitionsSampler
from framepack_transitions.nodes.sampling.section_preview import SectionPreview
from framepack_transitions.nodes.video.decode import FramePackDecode
from framepack_transitions.samplers.progress import Interrupted, progress_reporting
from framepack_transitions.samplers.store.folder import RecordFolder
from framepack_transitions.tiny.wrappers import TinyVAE
from framepack_transitions.video import growing
from framepack_transitions.video.decode import Tiles
from framepack_transitions.video.decoded import KEY
from framepack_transitions.video.growing import DecodeSettings, GrowingVideo
from framepack_transitions.video.kept_segments import KeptSegments, kept_segments
from framepack_transitions.video.segments import Encoding, Segment, encode_segment

SETTINGS = DecodeSettings(window=3, overlap=3, tiles=Tiles(), encoding=Encoding.of(30, 4))
SECTIONS = [(0, 1), (1, 4), (4, 7), (7, 10), (10, 13)]
LATENTS = torch.randn(1, 16, 13, 2, 2, generator=torch.Generator().manual_seed(1))


class Decoder:
    """Frames [1, n, 16, 16, 3] that depend on all latents of a piece; notes the pieces."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, latents: torch.Tensor) -> torch.Tensor:
        self.calls.append(latents.shape[2])
        rows = latents.mean(dim=(1, 3, 4))[0].sigmoid()
        rows = torch.cat([rows[:1], rows[1:].repeat_interleave(4)]) * rows.mean()
        return rows.view(1, -1, 1, 1, 1).expand(1, -1, 16, 16, 3)


@pytest.fixture
def folder(tmp_path: Path) -> RecordFolder:
    return RecordFolder(tmp_path / "sections")


def grow(
    folder: RecordFolder | None,
    *,
    sections=SECTIONS,
    settings: DecodeSettings = SETTINGS,
    latents: torch.Tensor = LATENTS,
    vae: Any = "a VAE",
    show: bool = False,
    all_frames: bool = False,
) -> tuple[GrowingVideo, Decoder, list[torch.Tensor]]:
    decoder, last_frames = Decoder(), []
    with (folder or RecordFolder(Path("unused"))).job() as store:
        kept = None if folder is None else KeptSegments(store, vae, settings)
        video = GrowingVideo(decoder, latents, settings, kept, all_frames=all_frames)
        for start, stop in sections:
            settled = video.add(start, latents[:, :, start:stop])
            ends = {stretch.start + len(stretch.frames): stretch.frames[-1] for stretch in settled}
            last_frames += [frame for end, frame in ends.items() if end == 4 * latents.shape[2] - 3]
            if show:
                video.so_far()
    return video, decoder, last_frames


def files(video: GrowingVideo) -> list[tuple[tuple[int, int], Any]]:
    return [(segment.frames, segment.data) for segment in video.segments]


BACKWARD = [SECTIONS[0], *SECTIONS[:0:-1]]


@pytest.mark.parametrize("order", [SECTIONS, BACKWARD])
@pytest.mark.parametrize("show", [False, True])
def test_what_was_decoded_before_is_not_decoded_again(folder, order, show):
    plain, _, [last] = grow(None, sections=order)
    first, decoder, _ = grow(folder, sections=order, show=show)
    assert files(first) == files(plain) and len(decoder.calls) >= 4
    again, decoder, [last_again] = grow(folder, sections=order)
    assert decoder.calls == [] and files(again) == files(plain)
    assert torch.equal(last_again, last)


@pytest.mark.parametrize("order", [SECTIONS, BACKWARD])
@pytest.mark.parametrize("stopped_after", range(1, 5))
@pytest.mark.parametrize("show", [False, True])
def test_a_video_goes_on_where_it_was_stopped(folder, order, stopped_after, show):
    grow(folder, sections=order[:stopped_after])
    settled = len(folder.entries())
    video, decoder, _ = grow(folder, sections=order, show=show)
    assert files(video) == files(grow(None, sections=order)[0])
    if not show:
        # The piece before the first one that is missing is needed for its end, and on the other side for its beginning.
        assert len(decoder.calls) <= 4 - settled + 1
    frames = [frame for segment in video.so_far() for frame in range(*segment.frames)]
    assert frames == list(range(49))


def test_a_far_fade_is_taken_over_too(folder):
    far = replace(SETTINGS, window=2, overlap=5)
    plain, _, _ = grow(None, settings=far)
    grow(folder, settings=far, sections=SECTIONS[:3])
    video, _, _ = grow(folder, settings=far, show=True)
    assert files(video) == files(plain)
    again, decoder, _ = grow(folder, settings=far)
    assert decoder.calls == [] and files(again) == files(plain)


def test_a_late_change_of_the_latents_is_decoded_from_the_piece_before(folder):
    grow(folder)
    changed = LATENTS.clone()
    changed[:, :, 10:] += 1
    video, decoder, _ = grow(folder, latents=changed)
    assert files(video) == files(grow(None, latents=changed)[0])
    assert len(decoder.calls) == 2  # the changed piece, and the one that fades into it


def test_a_longer_video_decodes_its_end(folder):
    grow(folder)
    longer = torch.cat([LATENTS, LATENTS[:, :, :3] + 1], dim=2)
    video, decoder, _ = grow(folder, latents=longer, sections=[*SECTIONS, (13, 16)])
    assert files(video) == files(grow(None, latents=longer, sections=[*SECTIONS, (13, 16)])[0])
    assert len(decoder.calls) == 3  # the old end had nothing to fade into


@pytest.fixture
def encoded(monkeypatch) -> list[tuple[int, int]]:
    """The ranges of frames that were encoded."""
    ranges: list[tuple[int, int]] = []

    def noting(*given: Any, **named: Any) -> Segment:
        ranges.append((segment := encode_segment(*given, **named)).frames)
        return segment

    monkeypatch.setattr(growing, "encode_segment", noting)
    return ranges


@pytest.mark.parametrize("order", [SECTIONS, BACKWARD])
@pytest.mark.parametrize("first", [False, True])
def test_where_all_frames_are_wanted_encoding_alone_is_saved(folder, order, first, encoded):
    plain, whole, _ = grow(None, sections=order)
    grow(folder, sections=order, all_frames=first)
    encoded.clear()
    video, decoder, _ = grow(folder, sections=order, all_frames=True)
    assert encoded == [] and files(video) == files(plain)
    assert decoder.calls == whole.calls, "every piece is decoded, and none twice"


OTHERS = {
    "window": {"settings": replace(SETTINGS, window=4, overlap=4)},
    "overlap": {"settings": replace(SETTINGS, overlap=2)},
    "tiles": {"settings": replace(SETTINGS, tiles=Tiles(side=64))},
    "rate": {"settings": replace(SETTINGS, encoding=Encoding.of(24, 4))},
    "quality": {"settings": replace(SETTINGS, encoding=Encoding.of(30, 5))},
    "VAE": {"vae": "another VAE"},
    "latents": {"latents": LATENTS + 0.1},
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_part_decodes_everything(folder, name):
    grow(folder)
    before = {entry.key for entry in folder.entries()}
    _, decoder, _ = grow(folder, **OTHERS[name])
    assert len(decoder.calls) >= 3 and len(folder.entries()) >= len(before) + 3


def test_a_vae_that_is_not_known_is_decoded_as_always(folder):
    with folder.job() as store:
        assert kept_segments(store, Decoder(), SETTINGS) is None
        assert kept_segments(None, "a VAE", SETTINGS) is None


# With the nodes


@pytest.fixture(scope="module")
def tiny():
    return FramePackTinyLoader().load()


@pytest.fixture
def render(tiny, tmp_path, monkeypatch):
    """Samples with a growing video and decodes it; gives the file's bytes and how often the VAE was called."""
    spec = FramePackTransitionsSampler.INPUT_TYPES()["required"]
    (text,) = CLIPTextEncode().encode(clip=tiny[1], text="a red square")
    noise = torch.randn(1, 16, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    given = {name: kind[1]["default"] for name, kind in spec.items() if "default" in kind[1]}
    given |= {"model": tiny[0], "positive": text, "negative": text, "start_latent": {"samples": noise}}
    given |= {"latent_frames": 12, "window": 3, "steps": 1, "unique_id": "5", "vae": tiny[2]}
    widgets = {"window": 3, "overlap": 3, "tile_size": 0, "tile_frames": 0, "fps": 30.0}
    calls: list[None] = []
    own = TinyVAE.decode
    monkeypatch.setattr(TinyVAE, "decode", lambda vae, latents: calls.append(None) or own(vae, latents))

    def run(output: str = "video", crf: int = 8, **changes: Any) -> tuple[bytes, torch.Tensor, int]:
        calls.clear()
        decode = {**widgets, "crf": crf}
        prompt = {
            "7": {
                "class_type": "FramePackDecode",
                "inputs": {"samples": ["5", 0], "output": output, **decode},
            }
        }
        folders = Folders(tmp_path, tmp_path, records=tmp_path / "sections")
        with torch.inference_mode(), using(folders):
            sampled = FramePackTransitionsSampler().sample(**{**given, "prompt": prompt, **changes})
            latent = (sampled["result"] if isinstance(sampled, dict) else sampled)[0]
            done = FramePackDecode().decode(latent, tiny[2], **decode, output=output, filename_prefix="video")
        [shown] = done["ui"]["images"]
        return (tmp_path / shown["filename"]).read_bytes(), done["result"][0], len(calls)

    return run


def test_the_next_run_decodes_only_what_is_missing(render):
    whole, frames, decoded = render()
    again, frames_again, decoded_again = render()
    assert decoded >= 4 and decoded_again == 0
    assert again == whole and torch.equal(frames_again, frames)


def test_a_change_of_the_decode_alone_samples_nothing(render, tiny):
    calls: list[None] = []
    hook = tiny[0].model.diffusion_model.register_forward_hook(lambda *_: calls.append(None))
    try:
        render(crf=20)
        assert len(calls) == 4
        calls.clear()
        whole, frames, decoded = render(crf=30)
        assert not calls and decoded >= 4
    finally:
        hook.remove()
    again, frames_again, _ = render(crf=30, reuse_sections=False)
    assert again == whole and torch.equal(frames_again, frames)


def test_after_a_stop_the_file_is_that_of_a_run_that_was_never_stopped(render):
    def stop(step: int, total: int, info: Any) -> None:
        if step == 3:
            raise Interrupted

    whole, frames, _ = render(seed=1, reuse_sections=False)
    with progress_reporting(stop), pytest.raises(Interrupted):
        render(seed=1)
    resumed, frames_resumed, _ = render(seed=1)
    assert resumed == whole and torch.equal(frames_resumed, frames)


def test_a_stopped_decode_goes_on_without_the_preview_too(render, tmp_path):
    def stop(step: int, total: int, info: Any) -> None:
        if "x0" not in info and step == 3:  # a step of FramePack Decode
            raise Interrupted

    whole, frames, decoded = render(seed=2, vae=None, reuse_sections=False)
    assert decoded == 4
    with progress_reporting(stop), pytest.raises(Interrupted):
        render(seed=2, vae=None)
    resumed, frames_resumed, decoded = render(seed=2, vae=None)
    assert resumed == whole and torch.equal(frames_resumed, frames)
    assert decoded == 2  # the piece that is missing, and the one that fades into it


def test_a_sampler_that_keeps_nothing_has_nothing_kept_of_its_video(render, tmp_path):
    render(vae=None, reuse_sections=False)
    assert not (tmp_path / "sections").exists()


@pytest.mark.parametrize("vae", [{}, {"vae": None}], ids=["decoded by the sampler", "by the node"])
def test_all_frames_are_those_that_are_decoded_and_the_file_is_what_was_kept(render, encoded, vae):
    whole, frames, decoded = render(output="both", **vae, reuse_sections=False)
    assert frames.shape[0] == 49 and decoded >= 4
    render(output="video", **vae)
    encoded.clear()
    again, frames_again, decoded_again = render(output="both", **vae)
    assert encoded == [] and again == whole
    assert decoded_again == decoded and torch.equal(frames_again, frames)


def test_what_was_decoded_to_frames_is_not_decoded_again_for_a_file(render):
    whole, frames, _ = render(output="both")
    again, last_frame, decoded = render(output="video")
    assert decoded == 0 and again == whole and torch.equal(last_frame, frames[-1:])


def test_frames_that_the_sampler_has_decoded_are_handed_on_as_they_are(tiny, render, monkeypatch):
    """As the node's own output: they lie in memory once."""
    handed: list[torch.Tensor] = []
    finish = SectionPreview.finish
    monkeypatch.setattr(
        SectionPreview,
        "finish",
        lambda preview, latent: (finish(preview, latent), handed.append(latent[KEY].images))[0],
    )
    _, frames, _ = render(output="both")
    assert frames.data_ptr() == handed[0].data_ptr()
