"""A video that goes on: through the node as a user meets it, and in parts equal to one long run."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.nodes.sampling.sampler import FramePackTransitionsSampler
from framepack_transitions.samplers.context.history import History
from framepack_transitions.samplers.context.indices import Direction
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.timeline.timeline import Timeline, TimelineEntry

WINDOW = 3
SPEC = FramePackTransitionsSampler.INPUT_TYPES()
EMPTY = {"samples": torch.zeros(1, 16, 1, 8, 8)}


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def conditioning(seed: int) -> list:
    return [[normal(1, 5, 24, seed=seed), {"pooled_output": normal(1, 20, seed=seed + 1)}]]


def latent(frames: int, seed: int) -> dict:
    return {"samples": normal(1, 16, frames, 8, 8, seed=seed)}


def switch(seconds: float) -> Timeline:
    return Timeline((TimelineEntry(start=seconds, prompt="new", conditioning=conditioning(50)),))


@pytest.fixture
def sample(upstream):
    # A scale of one half is exact, so that equal latents stay equal through the VAE's scale.
    model = PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)
    widgets = {name: spec[1]["default"] for name, spec in SPEC["required"].items() if "default" in spec[1]}
    defaults = {
        **widgets,
        "model": model,
        "positive": conditioning(1),
        "negative": conditioning(9),
        "start_latent": latent(1, 3),
        "clip_vision_output": SimpleNamespace(last_hidden_state=normal(1, 4, 12, seed=4)),
        "window": WINDOW,
        "steps": 2,
        "seed": 3,
    }

    def run(sections: int, **overrides):
        with torch.inference_mode():
            given = {**defaults, "latent_frames": sections * WINDOW, **overrides}
            value, trace = FramePackTransitionsSampler().sample(**given)
        return value["samples"], trace

    return run


@pytest.mark.parametrize(("first", "then"), [(1, 2), (2, 1), (8, 1)])
def test_f1_goes_on_as_one_long_run_would_have(sample, first, then):
    whole, _ = sample(first + then, timeline=switch(first * 4 * WINDOW / 30))
    beginning, _ = sample(first)
    extended, trace = sample(then, past_latent={"samples": beginning}, timeline=switch(0.0))
    assert torch.equal(beginning, whole[:, :, : beginning.shape[2]])
    assert torch.equal(extended, whole)
    assert trace["given_latent_frames"] == 1 + first * WINDOW
    assert trace["latent_frames"] == 1 + (first + then) * WINDOW
    assert [s["index"] for s in trace["sections"]] == list(range(first, first + then))


@pytest.mark.parametrize("layout", ["f1", "original"])
def test_the_result_is_the_video_and_what_follows(sample, layout):
    past = latent(6, seed=20)
    video, trace = sample(2, layout=layout, past_latent=past)
    assert video.shape == (1, 16, 6 + 2 * WINDOW, 8, 8)
    assert torch.equal(video[:, :, :6], past["samples"])
    frames = sorted(tuple(section["frames"]) for section in trace["sections"])
    assert frames == [(21, 33), (33, 45)] and frames[-1][1] == 4 * video.shape[2] - 3


@pytest.mark.parametrize("layout", ["f1", "original"])
def test_times_count_from_where_the_video_ends(sample, layout):
    _, trace = sample(3, layout=layout, past_latent=latent(30, seed=20), timeline=switch(4 * WINDOW / 30))
    prompts = [s["prompt"] for s in sorted(trace["sections"], key=lambda section: section["frames"])]
    assert prompts == ["", "new", "new"]


def test_f1_sees_the_last_frames_of_the_video(sample):
    past, other = latent(25, seed=20), latent(25, seed=20)
    other["samples"][:, :, :6] += 1  # out of reach: 19 frames are remembered
    seen = [sample(1, past_latent=given)[0][:, :, 25:] for given in (past, other)]
    assert torch.equal(*seen)
    other["samples"][:, :, 6] += 1
    assert not torch.equal(seen[0], sample(1, past_latent=other)[0][:, :, 25:])


def test_f1_fills_a_short_video_up_with_nothing():
    start, given = torch.full((1, 16, 1, 2, 2), 100.0), torch.arange(1.0, 5).view(1, 1, 4, 1, 1)
    history = History(Direction.FORWARD, start, past_video=given.expand(1, 16, 4, 2, 2))
    context = history.context(plan_sections("f1", 1, 3, past_latent_frames=4)[0])
    shown = [part[0, 0, :, 0, 0].tolist() for part in (context.clean, context.clean_2x, context.clean_4x)]
    assert shown == [[100, 4], [2, 3], [0] * 15 + [1]]


def test_the_original_layout_starts_from_the_start_frame_alone(sample):
    past = latent(7, seed=20)
    end = {"end_clip_vision_output": SimpleNamespace(last_hidden_state=normal(1, 4, 12, seed=5))}
    extended, _ = sample(2, layout="original", past_latent=past, **end)
    fresh, _ = sample(2, layout="original", **end)
    assert torch.equal(extended[:, :, 7:], fresh[:, :, 1:])


@pytest.mark.parametrize("layout", ["f1", "original"])
def test_an_empty_start_takes_the_last_frame_of_the_video(sample, layout):
    past = latent(5, seed=20)
    last = {"samples": past["samples"][:, :, -1:]}
    empty, _ = sample(1, layout=layout, past_latent=past, start_latent=EMPTY)
    assert torch.equal(empty, sample(1, layout=layout, past_latent=past, start_latent=last)[0])
    assert not torch.equal(empty, sample(1, layout=layout, past_latent=past)[0])


def test_a_cut_forgets_the_video(sample):
    cut = Timeline(
        (
            TimelineEntry(
                start=4 * WINDOW / 30,
                prompt="",
                conditioning=conditioning(50),
                cut=True,
                start_latent=latent(1, 60),
            ),
        )
    )
    videos = [sample(2, past_latent=latent(7, seed), timeline=cut)[0] for seed in (20, 21)]
    assert torch.equal(*(video[:, :, -WINDOW:] for video in videos))
    assert not torch.equal(*(video[:, :, 7 : 7 + WINDOW] for video in videos))


def test_the_end_image_can_lie_behind_the_new_part(sample):
    past = latent(5, seed=20)
    videos = [
        sample(1, layout="original", past_latent=past, end_latent=end)[0] for end in (None, latent(1, 70))
    ]
    assert not torch.equal(*videos)


def test_video_to_video_is_aligned_with_the_whole_result(sample):
    past, initial = latent(4, seed=20), latent(4 + WINDOW, seed=21)
    moved = {"samples": initial["samples"].clone()}
    moved["samples"][:, :, :4] += 1  # the given part is not made anew
    videos = [sample(1, past_latent=past, initial_latent=i, denoise=0.5)[0] for i in (initial, moved)]
    assert torch.equal(*videos)


@pytest.mark.parametrize(("frames", "index"), [(1, 0), (2, 1), (4, 1), (5, 2), (31, 10)])
def test_f1_counts_on_from_the_sections_that_would_have_made_the_video(frames, index):
    section = plan_sections("f1", 2, WINDOW, past_latent_frames=frames)[0]
    assert section.index == index and section.latents == (frames, frames + WINDOW)
