"""FramePack Sampler as a user meets it: what it makes of its inputs, and what it says about wrong ones."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.nodes.sampling.sampler import FramePackTransitionsSampler
from framepack_transitions.samplers.conditioning import Prompt
from framepack_transitions.samplers.context.anchors import image_embeds_of
from framepack_transitions.samplers.context.history import History
from framepack_transitions.samplers.context.indices import Direction
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.guidance import Guidance
from framepack_transitions.samplers.progress import Interrupted, progress_reporting
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.timeline.timeline import Timeline, TimelineEntry

SPEC = FramePackTransitionsSampler.INPUT_TYPES()


def conditioning(seed: int = 0, **overrides) -> list:
    generator = torch.Generator().manual_seed(seed)
    states, pooled = torch.randn(1, 5, 24, generator=generator), torch.randn(1, 20, generator=generator)
    return [[states, {"pooled_output": pooled, **overrides}]]


def latent(*shape: int, seed: int = 1) -> dict:
    return {"samples": torch.randn(*shape, generator=torch.Generator().manual_seed(seed))}


def vision(width: int = 12, seed: int = 2, batch: int = 1):
    return SimpleNamespace(
        last_hidden_state=torch.randn(batch, 4, width, generator=torch.Generator().manual_seed(seed))
    )


@pytest.fixture
def sample(upstream):
    model = PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)
    widgets = {name: spec[1]["default"] for name, spec in SPEC["required"].items() if "default" in spec[1]}
    defaults = {
        **widgets,
        "model": model,
        "positive": conditioning(),
        "negative": conditioning(9),
        "start_latent": latent(1, 16, 1, 8, 8),
        "seconds": 0.4,
        "window": 3,
        "steps": 2,
        "seed": 3,
    }

    def run(**overrides):
        with torch.inference_mode():
            value, trace = FramePackTransitionsSampler().sample(**{**defaults, **overrides})
        return value["samples"], trace

    return run


def test_the_interface_in_python_has_the_nodes_defaults():
    widgets = {
        name: spec[1]["default"]
        for inputs in SPEC.values()
        for name, spec in inputs.items()
        if len(spec) > 1 and "default" in spec[1]
    }
    settings, guidance = vars(SampleSettings()), vars(Guidance())
    names = settings.keys() & widgets.keys() - {"section_seeds"}  # a text there, a table here
    assert {"layout", "window", "steps", "shift", "denoise", "seed", "recent_frames"} <= names
    assert {name: settings[name] for name in names} == {name: widgets[name] for name in names}
    for name, widget in (
        ("cfg", "cfg"),
        ("distilled", "distilled_guidance"),
        ("rescale", "guidance_rescale"),
    ):
        assert guidance[name] == widgets[widget]


class TestVideos:
    @pytest.mark.parametrize("layout", ["f1", "original"])
    def test_the_start_image_is_the_first_latent_and_comes_back_unscaled(self, sample, layout):
        start = latent(1, 16, 1, 8, 8)
        video, _ = sample(layout=layout, start_latent=start, seconds=0.8)
        assert video.shape == (1, 16, 7, 8, 8)
        assert torch.allclose(video[:, :, :1], start["samples"], atol=1e-6)

    def test_padding_moves_the_start_frame_away_in_the_original_layout(self, sample):
        usual, trace = sample(layout="original", seconds=0.8)
        same, _ = sample(layout="original", seconds=0.8, padding=-1.0)
        far, moved = sample(layout="original", seconds=0.8, padding=3.0)
        assert torch.equal(usual, same) and not torch.equal(usual, far)
        places = [[s["indices"]["target"][0] for s in one["sections"]] for one in (trace, moved)]
        assert places == [[4, 1], [10, 1]]

    def test_the_same_seed_gives_the_same_video_and_another_seed_another(self, sample):
        assert torch.equal(sample()[0], sample()[0])
        assert not torch.equal(sample()[0], sample(seed=4)[0])

    def test_latent_frames_set_the_length_instead_of_seconds(self, sample):
        video, _ = sample(latent_frames=4)
        assert video.shape[2] == 1 + 6 and torch.equal(video, sample(seconds=0.8)[0])

    @pytest.mark.parametrize("layout", ["f1", "original"])
    def test_an_empty_latent_means_text_to_video_of_its_size(self, sample, layout):
        video, trace = sample(layout=layout, start_latent={"samples": torch.zeros(1, 16, 7, 6, 10)})
        assert video.shape == (1, 16, 3, 6, 10) and trace["sections"][0]["frames"] == [0, 9]

    def test_odd_sizes_are_kept(self, sample):
        start = latent(1, 16, 1, 7, 9)
        video, _ = sample(start_latent=start)
        assert video.shape == (1, 16, 4, 7, 9)
        assert torch.allclose(video[:, :, :1], start["samples"], atol=1e-6)

    def test_a_latent_without_time_counts_as_one_frame(self, sample):
        timeless, timed = (sample(start_latent=latent(1, 16, *time, 8, 8))[0] for time in ((), (1,)))
        assert timeless.shape == (1, 16, 4, 8, 8) and torch.equal(timeless, timed)

    def test_batches_equal_their_rows_run_alone_on_the_same_noise(self, sample, monkeypatch):
        noise, start, tokens = (
            torch.randn(2, 16, 3, 8, 8),
            latent(2, 16, 1, 8, 8)["samples"],
            vision(batch=2).last_hidden_state,
        )
        monkeypatch.setattr(torch, "randn", lambda shape, **_: noise)
        both, _ = sample(
            start_latent={"samples": start}, clip_vision_output=SimpleNamespace(last_hidden_state=tokens)
        )
        monkeypatch.setattr(torch, "randn", lambda shape, **_: noise[1:])
        alone, _ = sample(
            start_latent={"samples": start[1:]},
            clip_vision_output=SimpleNamespace(last_hidden_state=tokens[1:]),
        )
        assert torch.allclose(both[1:], alone, atol=1e-4)

    def test_the_end_frame_changes_the_original_video(self, sample):
        changed, _ = sample(layout="original", end_latent=latent(1, 16, 1, 8, 8, seed=8))
        assert not torch.allclose(changed, sample(layout="original")[0], atol=1e-3)

    def test_lower_denoise_stays_nearer_to_the_initial_video(self, sample):
        initial = latent(1, 16, 4, 8, 8, seed=5)
        distance = [
            (sample(initial_latent=initial, denoise=d)[0][:, :, 1:] - initial["samples"][:, :, 1:])
            .abs()
            .mean()
            for d in (0.1, 0.5, 0.9)
        ]
        assert distance[0] < distance[1] < distance[2]

    def test_a_hosts_schedule_replaces_steps_and_shift(self, sample):
        sigmas = torch.tensor([1.0, 0.6, 0.3, 0.0])
        _, trace = sample(sigmas=sigmas)
        assert trace["sections"][0]["sigmas"] == pytest.approx(sigmas.tolist())

    def test_a_hosts_schedule_that_starts_low_is_the_strength_against_an_initial_video(self, sample):
        initial, sigmas = latent(1, 16, 4, 8, 8, seed=5), torch.tensor([0.3, 0.1, 0.0])
        video, trace = sample(initial_latent=initial, sigmas=sigmas)
        assert (video - sample(sigmas=torch.tensor([1.0, 0.1, 0.0]))[0]).abs().max() > 0.1
        assert trace["settings"]["steps"] == 2 and trace["settings"]["solver"] == "unipc_bh1"


class TestTimelines:
    def timeline(self, *starts: float) -> Timeline:
        return Timeline(
            tuple(
                TimelineEntry(
                    start=start, prompt=f"at {start:g}", conditioning=conditioning(int(10 * start) + 20)
                )
                for start in starts
            )
        )

    def test_a_switch_changes_the_sections_after_it_only(self, sample):
        plain, _ = sample(seconds=1.2)
        switched, trace = sample(seconds=1.2, timeline=self.timeline(0.8))
        assert [section["prompt"] for section in trace["sections"]] == ["", "", "at 0.8"]
        assert torch.equal(switched[:, :, :7], plain[:, :, :7]) and not torch.equal(
            switched[:, :, 7:], plain[:, :, 7:]
        )

    def test_an_entry_at_zero_replaces_the_positive_prompt(self, sample):
        _, trace = sample(timeline=self.timeline(0.0))
        assert trace["sections"][0]["prompt"] == "at 0" and trace["sections"][0]["since_switch"] is None

    def test_the_trace_keeps_what_can_be_seen_afterwards(self, sample):
        entry = TimelineEntry(
            start=0.4, prompt="the man disappears", conditioning=conditioning(30), state="an empty room"
        )
        _, trace = sample(seconds=0.8, timeline=Timeline((entry,)))
        assert [section["state"] for section in trace["sections"]] == ["", "an empty room"]


def test_the_trace_is_plain_data(sample):
    _, trace = sample(seconds=0.8, clip_vision_output=vision())
    assert json.loads(json.dumps(trace)) == trace
    assert trace["schema"] == "framepack-transitions/trace/1" and trace["latent_frames"] == 7
    section = trace["sections"][1]
    assert (
        section["indices"]["target"] == [20, 21, 22]
        and section["latents"] == [4, 7]
        and section["frames"] == [13, 25]
    )
    assert len(section["sigmas"]) == 3 and len(section["guidance"]) == 2 and section["evaluations"] == 2


@pytest.mark.parametrize(("layout", "weights"), [("f1", [0.25, 0.75]), ("original", [0.75, 0.25])])
def test_vision_tokens_move_from_start_to_end_along_the_video(layout, weights):
    inputs = SampleInputs(
        start=torch.zeros(1),
        has_start=True,
        negative=None,
        image_embeds=torch.zeros(1),
        end_image_embeds=torch.ones(1),
    )
    prompt = Prompt(start=0.0, text="")
    sections = [section.with_prompt(prompt) for section in plan_sections(layout, 2, 9)]
    assert [
        image_embeds_of(section, inputs, SampleSettings()).item() for section in sections
    ] == pytest.approx(weights)


def test_tokens_that_replaced_the_start_images_keep_the_entrys_strength():
    inputs = SampleInputs(
        start=torch.zeros(1, 16, 1, 4, 4), has_start=True, negative=None, image_embeds=torch.ones(1, 2, 3)
    )
    history = History(Direction.FORWARD, inputs.start)
    history.replace_anchor(inputs.start, torch.full((1, 2, 3), 4.0))
    section = plan_sections("f1", 1, 9)[0].with_prompt(Prompt(start=0.0, text="", vision_strength=0.5))
    settings = SampleSettings(start_embed_strength=0.5)
    assert (image_embeds_of(section, inputs, settings, history) == 1).all()
    history.take_anchor(inputs.start)
    assert (image_embeds_of(section, inputs, settings, history) == 0.25).all()


def test_progress_is_reported_per_step_and_can_interrupt(sample):
    seen = []

    def stop(step, total, info):
        seen.append((step, total))
        if step == 3:
            raise Interrupted

    with progress_reporting(stop), pytest.raises(Interrupted):
        sample(seconds=0.8)
    assert seen == [(1, 4), (2, 4), (3, 4)]
    assert torch.isfinite(sample()[0]).all()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            {"start_latent": latent(1, 4, 8, 8)},
            r"start_latent has shape \(1, 4, 1, 8, 8\), expected \[batch, 16",
        ),
        ({"start_latent": latent(1, 16, 3, 8, 8)}, "start_latent holds 3 latent frames, expected one image"),
        ({"start_latent": {"samples": torch.full((1, 16, 1, 8, 8), float("nan"))}}, "start_latent holds NaN"),
        (
            {"end_latent": latent(1, 16, 1, 8, 10), "layout": "original"},
            "end_latent is 80x64 pixels but start_latent is 64x64",
        ),
        ({"end_latent": latent(1, 16, 1, 8, 8)}, "choose layout original"),
        (
            {"initial_latent": latent(1, 16, 4, 8, 8)},
            "initial_latent is connected but the schedule starts from pure noise",
        ),
        ({"denoise": 0.5}, "starts at 0.5 instead of 1 without an initial_latent"),
        ({"sigmas": torch.tensor([0.5, 0.2, 0.0])}, "starts at 0.5 instead of 1 without an initial_latent"),
        (
            {"initial_latent": latent(1, 16, 4, 8, 8), "denoise": 0.5, "sigmas": torch.tensor([0.5, 0.0])},
            "beside a SIGMAS input",
        ),
        ({"positive": [[torch.randn(1, 5, 24), {}]]}, "positive has no pooled_output"),
        (
            {"positive": [[torch.randn(1, 5, 30), {"pooled_output": torch.randn(1, 20)}]]},
            "positive text is 30 wide, this model expects 24",
        ),
        ({"clip_vision_output": vision(16)}, "clip_vision_output is 16 wide, this model expects 12"),
        ({"seconds": -1.0}, "seconds is -1"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"steps": 0}, "steps is 0"),
        ({"window": 70}, "window is 70"),
        ({"cfg": float("inf")}, "cfg is inf"),
        ({"denoise": 0.0}, "denoise is 0"),
        ({"shift": -1.0}, "shift is -1"),
        ({"layout": "f2"}, "layout is 'f2'"),
        ({"sigmas": torch.tensor([1.0, 0.5])}, "sigmas"),
        ({"sampler": object()}, "cannot run outside ComfyUI"),
        ({"past_latent": {"samples": torch.zeros(1, 16, 3, 8, 8)}}, "past_latent is an empty latent"),
        ({"past_latent": latent(1, 16, 3, 8, 10)}, "past_latent is 80x64 pixels but start_latent is 64x64"),
        ({"embed_interpolation": "cubic"}, "choose one of linear, weighted_average"),
        ({"start_embed_strength": 1.5}, "start_embed_strength is 1.5"),
    ],
)
def test_wrong_inputs_get_one_clear_sentence(sample, overrides, words):
    with pytest.raises(ValueError, match=words) as error:
        sample(**overrides)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")
