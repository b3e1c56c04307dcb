"""The sampler against numbers recorded from upstream's own scripts (tests/fixtures/upstream)."""

from __future__ import annotations

import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.nodes.sampling.sampler import FramePackTransitionsSampler
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.history import Context, History
from framepack_transitions.samplers.context.indices import Direction, SectionIndices
from framepack_transitions.samplers.context.plan import direction_of, plan_sections, section_count
from framepack_transitions.samplers.denoising.denoiser import SectionDenoiser
from framepack_transitions.samplers.denoising.drivers import PlainDriver, SectionTask
from framepack_transitions.samplers.denoising.solvers import SOLVERS
from framepack_transitions.samplers.guidance import Guidance
from framepack_transitions.samplers.progress import progress_reporting
from framepack_transitions.samplers.sigmas import flow_sigmas, flux_mu, flux_shift
from framepack_transitions.video.cross_fade import soft_append

pytestmark = pytest.mark.usefixtures("recorded_frequencies")

SCALE = 0.476986
RUNS = [
    "f1",
    "original",
    "f1_cfg",
    "f1_cfg_no_rescale",
    "original_padding_trick",
    "original_one_section",
    "f1_one_section_1_step",
    "f1_rounded",
    "original_rounded",
    "original_end_frame",
]


class Vision:
    def __init__(self, tokens: torch.Tensor) -> None:
        self.last_hidden_state = tokens


def conditioning(states: torch.Tensor, pooled: torch.Tensor, padding: int = 0) -> list:
    """A CONDITIONING, with `padding` masked tokens of noise behind the text."""
    options = {"pooled_output": pooled}
    if padding:
        options["attention_mask"] = torch.cat(
            [torch.ones(1, states.shape[1]), torch.zeros(1, padding)], dim=1
        )
        states = torch.cat([states, torch.randn(1, padding, states.shape[2])], dim=1)
    return [[states, options]]


def run(upstream, name: str, **overrides) -> tuple[torch.Tensor, dict]:
    """One recorded run through the node; latents come back in the model's scale."""
    fixture = upstream.load(f"sampler/{name}")
    settings, inputs = fixture.settings, fixture.inputs
    dit = upstream.fill(FramePackDiT(FramePackConfig(**fixture.config)))
    negative = conditioning(
        inputs.get("negative_context", inputs["context"]), inputs.get("negative_y", inputs["y"])
    )
    values = dict(
        model=PlainModel(dit, SCALE),
        positive=conditioning(inputs["context"], inputs["y"], padding=7),
        negative=negative,
        start_latent={"samples": inputs["start_latent"] / SCALE},
        layout=settings["layout"],
        seconds=settings["seconds"],
        latent_frames=0,
        window=settings["window"],
        steps=settings["steps"],
        distilled_guidance=settings["distilled_guidance"],
        cfg=settings["cfg"],
        guidance_rescale=settings["guidance_rescale"],
        shift=0.0,
        solver="unipc_bh1",
        denoise=1.0,
        upstream_rounding=settings["upstream_rounding"],
        seed=settings["seed"],
        clip_vision_output=Vision(inputs["image_embeds"]),
    )
    if "end_latent" in inputs:
        values["end_latent"] = {"samples": inputs["end_latent"] / SCALE}
    latent, trace = FramePackTransitionsSampler().sample(**{**values, **overrides})
    return latent["samples"] * SCALE, trace


@pytest.mark.parametrize("name", RUNS)
def test_whole_runs_equal_upstreams_latents(upstream, name):
    with torch.inference_mode():
        latents, trace = run(upstream, name)
    expected = upstream.load(f"sampler/{name}").expected["history"]
    assert latents.shape == expected.shape
    error = (latents - expected).abs().max() / expected.abs().max()
    assert error <= 1e-4, f"relative error {error:.2e}"
    assert len(trace["sections"]) == upstream.load(f"sampler/{name}").settings["section_count"]


@pytest.mark.parametrize("name", ["call", "call_initial_latent", "call_shift"])
def test_single_sections_equal_upstreams_sampling_call(upstream, name):
    """Video to video: the strength scales the sigmas and mixes the initial latent with the noise."""
    fixture = upstream.load(f"sampler/{name}")
    settings, inputs = fixture.settings, fixture.inputs
    dit = upstream.fill(FramePackDiT(FramePackConfig(**fixture.config)))
    places = {
        key: tuple(value.flatten().tolist()) for key, value in inputs.items() if key.endswith("_indices")
    }
    indices = SectionIndices(
        target=places["latent_indices"],
        clean=places["clean_latent_indices"],
        clean_2x=places["clean_latent_2x_indices"],
        clean_4x=places["clean_latent_4x_indices"],
        direction=Direction.FORWARD,
    )
    context = Context(
        indices=indices,
        clean=inputs["clean_latents"],
        clean_2x=inputs["clean_latents_2x"],
        clean_4x=inputs["clean_latents_4x"],
        image_embeds=inputs["image_embeds"],
    )
    text = TextConditioning(inputs["context"], inputs["y"])
    denoiser = SectionDenoiser(
        section=plan_sections("f1", 1, settings["window"])[0].with_prompt(
            Prompt(start=0.0, text="", conditioning=text)
        ),
        context=context,
        texts={"positive": text},
        guidance=Guidance(distilled=settings["distilled_guidance"]),
    )
    shape = fixture.expected["output"].shape
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(settings["seed"]))
    shift = settings["shift"] or flux_shift(shape[2] * shape[3] * shape[4] // 4)
    sigmas = flow_sigmas(settings["steps"], shift) * settings.get("strength", 1.0)
    initial = inputs.get("initial_latent", torch.zeros(shape))
    latents = PlainDriver(PlainModel(dit, SCALE)).run(
        SectionTask(
            denoiser=denoiser,
            noise=noise,
            initial=initial,
            sigmas=sigmas,
            solver="unipc_bh1",
            seed=0,
            on_step=lambda step, x0: None,
        )
    )
    expected = fixture.expected["output"]
    assert (latents - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_steps_of_the_first_section_equal_upstreams(upstream):
    seen = []
    with progress_reporting(lambda step, total, info: seen.append(info["x0"])):
        run(upstream, "f1")
    expected = upstream.load("sampler/f1").expected["denoised_of_section_0"]
    for step, recorded in enumerate(expected):
        assert (seen[step] - recorded).abs().max() <= 1e-4 * recorded.abs().max()


def test_rounding_is_a_visible_choice(upstream):
    plain, _ = run(upstream, "f1_rounded", upstream_rounding=False)
    expected = upstream.load("sampler/f1_rounded").expected["history"]
    assert (plain - expected).abs().max() > 1e-3


@pytest.mark.parametrize("case", ["bh1_1", "bh1_2", "bh1_3", "bh1_6", "bh1_25", "bh2_6", "bh2_25"])
def test_unipc_equals_upstreams_numbers(upstream, case):
    fixture = upstream.load(f"unipc/{case}_float64")
    settings = fixture.settings
    x = torch.from_numpy(upstream.normal(settings["normal"], settings["shape"])).double()

    def model(x, sigma):
        sigma = sigma.view(-1, 1, 1)
        return torch.tanh(x) * (1 - sigma) + 0.3 * torch.sin(3 * sigma) * x

    result = SOLVERS[f"unipc_{settings['variant']}"](model, x, fixture.expected["sigmas"].double())
    assert torch.allclose(result, fixture.expected["output"].double(), rtol=1e-9, atol=1e-9)


def test_schedules_equal_upstreams(upstream):
    for name in upstream.names("sigmas"):
        fixture = upstream.load(name)
        if "latent_tokens" in fixture.settings:
            assert flux_mu(fixture.settings["latent_tokens"]) == pytest.approx(
                fixture.settings["mu"], abs=1e-12
            )
        for key, expected in fixture.expected.items():
            steps = int(key.removeprefix("steps_"))
            assert torch.allclose(flow_sigmas(steps, fixture.settings["shift"]), expected, atol=1e-6)


def numbered(values: list[int]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, 1, -1, 1, 1)


@pytest.mark.parametrize("count", range(1, 9))
@pytest.mark.parametrize("window", [9, 5])
@pytest.mark.parametrize("layout", ["f1", "original"])
def test_indices_and_history_equal_upstreams_tables(upstream, layout, window, count):
    table = upstream.load(f"tables/{layout}_window_{window}_sections_{count}").settings
    history = History(direction_of(layout), numbered([-1]))
    sections = plan_sections(layout, count, window)
    assert len(sections) == len(table["sections"])
    for section, recorded in zip(sections, table["sections"]):
        assert list(section.indices.target) == recorded["latent_indices"]
        assert list(section.indices.clean) == recorded["clean_latent_indices"]
        assert list(section.indices.clean_2x) == recorded["clean_latent_2x_indices"]
        assert list(section.indices.clean_4x) == recorded["clean_latent_4x_indices"]
        context = history.context(section)
        for tier in ("", "_2x", "_4x"):
            assert (
                getattr(context, f"clean{tier}").flatten().int().tolist() == recorded[f"clean_latents{tier}"]
            )
        if layout == "original":
            assert section.padding == recorded["padding"]
        number = 100 * (section.index + 1)
        history.append(numbered([number + k for k in range(1, window + 1)]))
    assert history.video().flatten().int().tolist() == table["history"]


def test_section_counts_equal_upstreams(upstream):
    for seconds, window, expected in upstream.load("tables/section_counts").settings["rows"]:
        assert section_count(seconds, window) == expected


def test_soft_append_equals_upstreams(upstream):
    for name in upstream.names("tables"):
        if "soft_append" not in name:
            continue
        settings = upstream.load(name).settings
        result = soft_append(torch.tensor(settings["a"]), torch.tensor(settings["b"]), settings["overlap"])
        assert torch.allclose(result, torch.tensor(settings["output"]))
