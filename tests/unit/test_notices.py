"""What nodes say about inputs that they leave out or take otherwise than one might expect."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from framepack_transitions.headless.files.folders import Folders, using
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.files.variants import LAYOUT_KEY, trained_layout
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.nodes.sampling.sampler import FramePackTransitionsSampler
from framepack_transitions.nodes.timeline.entry import FramePackTimelineEntry
from framepack_transitions.nodes.timeline.prompt_timeline import FramePackPromptTimeline
from framepack_transitions.nodes.video.resolution import FramePackResolution
from framepack_transitions.nodes.workflow.encoding import kept_frames
from framepack_transitions.samplers.timeline.timeline import Timeline, TimelineEntry, VideoLength
from framepack_transitions.video.timing import video_timing
from PIL import Image

SPEC = FramePackTransitionsSampler.INPUT_TYPES()
SAMPLER = "9"
Graph = dict[str, dict[str, Any]]


def conditioning(seed: int = 0) -> list:
    generator = torch.Generator().manual_seed(seed)
    states, pooled = torch.randn(1, 5, 24, generator=generator), torch.randn(1, 20, generator=generator)
    return [[states, {"pooled_output": pooled}]]


def latent(frames: int = 1, height: int = 8, width: int = 8) -> dict[str, torch.Tensor]:
    return {
        "samples": torch.randn(1, 16, frames, height, width, generator=torch.Generator().manual_seed(frames))
    }


def write_clip(path: Path, frames: int, fps: Fraction | int = 30, times: list[int] | None = None) -> str:
    """A video of 64x64 pixels; `times` are the frames' times in 600ths of a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        if times:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 600)
        for number in range(frames):
            picture = np.full((64, 64, 3), 4 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times:
                frame.pts, frame.time_base = times[number], Fraction(1, 600)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.name


def write_picture(path: Path, frames: int = 1) -> str:
    pictures = [Image.new("RGB", (64, 64), (20 * number, 0, 0)) for number in range(frames)]
    pictures[0].save(path, **({"save_all": True, "append_images": pictures[1:]} if frames > 1 else {}))
    return path.name


def step(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def encoded(input_name: str, images: dict[str, Any], **others: dict[str, Any]) -> Graph:
    """A workflow whose sampler gets the node `images` through VAE Encode at one input."""
    sampler = step("FramePackTransitionsSampler", **{input_name: ["2", 0]})
    return {"1": images, "2": step("VAEEncode", pixels=["1", 0]), SAMPLER: sampler, **others}


@pytest.fixture
def folder(tmp_path: Path):
    """The input folder of a run outside ComfyUI."""
    with using(Folders(tmp_path, tmp_path / "output")):
        yield tmp_path


@pytest.fixture
def notices(upstream, caplog):
    """The sentences that a short run shows in the node, after a check that log and trace say the same."""
    dit = upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG)))
    widgets = {name: spec[1]["default"] for name, spec in SPEC["required"].items() if "default" in spec[1]}

    def run(layout_of_model: str | None = None, **overrides: Any) -> list[str]:
        model = PlainModel(dit, 0.5)
        model.attachments[LAYOUT_KEY] = layout_of_model
        given = {
            "model": model,
            "positive": conditioning(),
            "negative": conditioning(9),
            "start_latent": latent(),
            "seconds": 0.8,
            "window": 3,
            "steps": 1,
        }
        caplog.clear()
        with torch.inference_mode(), caplog.at_level(logging.WARNING):
            answer = FramePackTransitionsSampler().sample(**{**widgets, **given, **overrides})
        shown = answer["ui"]["text"] if isinstance(answer, dict) else []
        _, trace = answer["result"] if isinstance(answer, dict) else answer
        own = [record.getMessage() for record in caplog.records if not record.name.startswith("libav")]
        assert trace["notices"] == shown == own
        return shown

    return run


class TestPrompts:
    def timeline(self, *starts: float, length: VideoLength | None = None) -> Timeline:
        entries = tuple(
            TimelineEntry(start=start, prompt=f"at {start:g}", conditioning=conditioning(20))
            for start in starts
        )
        return Timeline(entries, length)

    def test_a_switch_within_the_video_is_no_matter(self, notices):
        assert notices(timeline=self.timeline(0.4)) == []

    def test_a_switch_beyond_the_end_is_named(self, notices):
        (said,) = notices(timeline=self.timeline(0.4, 5.0))
        assert said.startswith("'at 5' (5 s) is never used: it starts after the video's end at 0.83 s")

    def test_a_switch_that_the_timelines_node_has_named_is_not_named_again(self, notices):
        class Clip:
            def tokenize(self, text):
                return text

            def encode_from_tokens_scheduled(self, text):
                return conditioning(20)

        answer = FramePackPromptTimeline().build(Clip(), "a [5s: b]", "brackets", 0.8, 3)
        (timeline, *_), shown = answer["result"], answer["ui"]["text"]
        assert len(shown) == 1 and "'b' (5 s) is never used" in shown[0]
        assert notices(timeline=timeline) == []
        (added,) = FramePackTimelineEntry().add(conditioning(), 6.0, "c", 1.0, timeline=timeline)
        (said,) = notices(timeline=added)
        assert said.startswith("'c' (6 s) is never used")
        shorter = notices(timeline=timeline, seconds=0.4)
        assert len(shorter) == 2 and shorter[1].startswith("'b' (5 s) is never used")

    def test_seconds_count_from_the_end_of_a_past_video(self, notices):
        assert notices(timeline=self.timeline(0.4), past_latent=latent(5)) == []
        (said,) = notices(timeline=self.timeline(0.9), past_latent=latent(5))
        assert "the video's end at 0.83 s" in said

    def test_many_unused_prompts_take_four_sentences(self, notices):
        said = notices(timeline=self.timeline(*range(1, 30)))
        assert len(said) == 4 and said[3] == "26 more prompts are never used."

    def test_the_length_that_the_timeline_was_made_for(self, notices):
        same = VideoLength(sections=2, window=3)
        assert notices(timeline=self.timeline(0.4, length=same)) == []
        (said,) = notices(timeline=self.timeline(0.4, length=VideoLength(sections=4, window=9)))
        assert "made for 4 sections of 9 latent frames (4.8 s)" in said
        assert "the sampler makes 2 sections of 3 latent frames (0.8 s)" in said

    def test_an_entry_behind_a_text_keeps_the_texts_length(self):
        length = VideoLength(sections=2, window=3)
        (timeline,) = FramePackTimelineEntry().add(
            conditioning(), 0.6, "new", 1.0, timeline=self.timeline(0.4, length=length)
        )
        assert timeline.length == length and len(timeline.entries) == 2


class TestLayouts:
    @pytest.mark.parametrize("layout", ["f1", "original"])
    def test_the_models_own_layout_is_no_matter(self, notices, layout):
        assert notices(layout_of_model=layout, layout=layout) == notices(layout=layout) == []

    def test_the_other_models_layout_is_said(self, notices):
        (said,) = notices(layout_of_model="f1", layout="original")
        assert "an F1 model" in said and "set layout to f1" in said
        (said,) = notices(layout_of_model="original", layout="f1")
        assert "no F1 model" in said and "set layout to original" in said

    @pytest.mark.parametrize(
        ("name", "layout"),
        [
            ("FramePack_F1_I2V_HY_20250503_fp8_e4m3fn.safetensors", "f1"),
            ("FramePack_F1_I2V_HY_20250503/diffusion_pytorch_model-00001-of-00003.safetensors", "f1"),
            ("framepackf1.safetensors", "f1"),
            ("FramePackI2V_HY_fp8_e4m3fn.safetensors", "original"),
            ("hunyuan/FramePackI2V_HY_bf16.safetensors", "original"),
            ("framepack_f16.safetensors", None),
            ("my_merge.safetensors", None),
        ],
    )
    def test_a_files_name_says_which_model_it_is(self, name, layout):
        assert trained_layout(name, {}) == layout

    def test_a_files_title_says_it_where_the_name_does_not(self):
        assert trained_layout("merge.safetensors", {"modelspec.title": "FramePack F1 I2V"}) == "f1"
        assert trained_layout("FramePackI2V_HY.safetensors", {"title": "F1"}) == "original"


class TestPictures:
    def test_one_picture_is_no_matter(self, notices, folder):
        graph = encoded("start_latent", step("LoadImage", image=write_picture(folder / "one.png")))
        assert notices(prompt=graph, unique_id=SAMPLER) == []

    def test_of_two_pictures_one_is_used(self, notices, folder):
        write_picture(folder / "one.png")
        graph = encoded(
            "start_latent",
            step("ImageBatch", image1=["3", 0], image2=["4", 0]),
            **{"3": step("LoadImage", image="one.png"), "4": step("LoadImage", image="one.png")},
        )
        (said,) = notices(prompt=graph, unique_id=SAMPLER)
        assert said.startswith("start_latent: VAE Encode takes 2 images") and "keeps only the first" in said

    @pytest.mark.parametrize(
        ("images", "count"),
        [
            (step("RepeatImageBatch", image=["3", 0], amount=3), 3),
            (step("ImageScale", image=["3", 0]), None),
            (step("ImageFromBatch", image=["4", 0], batch_index=1, length=2), 2),
            (step("ImageFromBatch", image=["4", 0], batch_index=2, length=9), None),
            (step("ImageInvert", image=["4", 0]), 3),
            (step("SomeOtherNode", image=["4", 0]), None),
        ],
    )
    def test_nodes_that_change_how_many_there_are(self, notices, folder, images, count):
        write_picture(folder / "one.png"), write_picture(folder / "three.gif", frames=3)
        graph = encoded(
            "start_latent",
            images,
            **{"3": step("LoadImage", image="one.png"), "4": step("LoadImage", image="three.gif")},
        )
        said = notices(prompt=graph, unique_id=SAMPLER)
        assert said == [] if count is None else f"takes {count} images" in said[0]

    @pytest.mark.parametrize(
        ("crop", "width", "said"), [("center", 12, 1), ("center", 8, 0), ("none", 12, 0)]
    )
    def test_a_cropped_picture_that_is_not_square(self, notices, crop, width, said):
        graph = {
            "1": step("CLIPVisionEncode", crop=crop),
            SAMPLER: step("FramePackTransitionsSampler", clip_vision_output=["1", 0]),
        }
        found = notices(prompt=graph, unique_id=SAMPLER, start_latent=latent(width=width))
        assert len(found) == said and all("set crop to none" in sentence for sentence in found)

    def test_a_keyframe_that_is_cropped_or_made_of_several_pictures(self, folder):
        write_picture(folder / "three.gif", frames=3)
        graph = {
            "1": step("LoadImage", image="three.gif"),
            "2": step("VAEEncode", pixels=["1", 0]),
            "3": step("CLIPVisionEncode", crop="center"),
            "4": step("FramePackTimelineEntry", start_latent=["2", 0], clip_vision_output=["3", 0]),
        }
        answer = FramePackTimelineEntry().add(
            conditioning(),
            1.0,
            "new",
            1.0,
            start_latent=latent(width=12),
            prompt_graph=graph,
            unique_id="4",
        )
        several, cropped = answer["ui"]["text"]
        assert several.startswith("start_latent: VAE Encode takes 3") and "crop to none" in cropped


class TestVideos:
    def past(self, notices, frames: int, images: dict[str, Any], **others: dict[str, Any]) -> list[str]:
        past = latent(1 + (frames - 1) // 4)
        return notices(prompt=encoded("past_latent", images, **others), unique_id=SAMPLER, past_latent=past)

    def loaded(self, notices, name: str, frames: int) -> list[str]:
        return self.past(
            notices,
            frames,
            step("GetVideoComponents", video=["3", 0]),
            **{"3": step("LoadVideo", file=name)},
        )

    def test_a_video_of_the_right_rate_and_length_is_no_matter(self, notices, folder):
        assert self.loaded(notices, write_clip(folder / "a.mp4", 37), 37) == []
        assert self.loaded(notices, write_clip(folder / "b.mp4", 37, Fraction(30000, 1001)), 37) == []

    def test_frames_that_vae_encode_leaves_out(self, notices, folder):
        (said,) = self.loaded(notices, write_clip(folder / "a.mp4", 40), 40)
        assert said.startswith("past_latent: VAE Encode keeps 37 of 40 frames") and "the last 3" in said

    @pytest.mark.parametrize(("fps", "speed"), [(24, "1.25 times"), (60, "0.5 times")])
    def test_another_rate(self, notices, folder, fps, speed):
        (said,) = self.loaded(notices, write_clip(folder / "a.mp4", 37, fps), 37)
        assert f"a.mp4 has {fps} fps" in said and speed in said

    def test_a_variable_rate(self, notices, folder):
        times = [20 * min(number, 24) + 60 * max(number - 24, 0) for number in range(49)]
        (said,) = self.loaded(notices, write_clip(folder / "a.mp4", 49, 30, times), 49)
        assert "a.mp4 has a variable frame rate, 15 fps on average" in said

    @pytest.mark.parametrize(("force_rate", "said"), [(30, []), (0, ["24 fps"]), (16, ["16 fps"])])
    def test_the_rate_that_video_helper_suite_makes(self, notices, folder, force_rate, said):
        name = write_clip(folder / "a.mp4", 37, 24)
        found = self.past(notices, 37, step("VHS_LoadVideo", video=name, force_rate=force_rate))
        assert len(found) == len(said) and all(words in one for words, one in zip(said, found, strict=True))

    def test_a_file_that_is_gone_or_no_video_is_passed_over(self, notices, folder):
        (folder / "broken.mp4").write_bytes(b"nothing")
        assert self.loaded(notices, "broken.mp4", 37) == self.loaded(notices, "gone.mp4", 37) == []

    def test_resolution_says_what_vae_encode_will_leave_out(self):
        graph = {"1": step("FramePackResolution"), "2": step("VAEEncode", pixels=["1", 0])}
        images = torch.zeros(6, 64, 64, 3)
        answer = FramePackResolution().resize(images, 240, "crop", "black", prompt=graph, unique_id="1")
        (said,) = answer["ui"]["text"]
        assert "keeps 5 of 6 frames" in said and len(answer["result"][0]) == 6
        for count, prompt in ((5, graph), (1, graph), (6, {"1": graph["1"]}), (6, None)):
            healthy = FramePackResolution().resize(
                images[:count], 240, "crop", "black", prompt=prompt, unique_id="1"
            )
            assert isinstance(healthy, tuple)


def test_the_frames_that_are_kept_make_whole_latents():
    said = {count: kept_frames(count) for count in (1, 2, 4, 5, 6, 8, 9, 40)}
    assert said[1] is said[5] is said[9] is None
    assert all("keeps only the first" in said[count] for count in (2, 4))
    assert "keeps 5 of 6 frames" in said[6] and "keeps 5 of 8 frames" in said[8]
    assert "keeps 37 of 40 frames" in said[40]


def test_timing_is_read_from_the_files_own_times(tmp_path):
    write_clip(tmp_path / "a.mp4", 25, 24)
    timing = video_timing(tmp_path / "a.mp4")
    assert (timing.frames, timing.constant) == (25, True) and timing.fps == pytest.approx(24)
    assert video_timing(tmp_path / "none.mp4") is None
