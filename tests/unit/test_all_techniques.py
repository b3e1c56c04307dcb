"""What every technique promises, whichever it is: off is off, nothing breaks, bad values are told in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.nodes import NODE_CLASS_MAPPINGS
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.techniques.registry import TECHNIQUES
from framepack_transitions.samplers.timeline.assignment import assign_prompts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

WINDOW, SECTIONS, STEPS = 3, 2, 2
LAYOUTS = ("f1", "original")
TEXTS = {
    "blocks": ("", "double:0", "single:0-1", "double:0; single:1"),
    "points": ("", "0.9", "0.9, 0.3"),
    "magnitudes": ("", "1.2", "1.2, 0.9"),
}
NODES = {name: node for name, node in NODE_CLASS_MAPPINGS.items() if hasattr(node, "TECHNIQUE")}
# What leaves everything as it is, as each help page says it.
OFF = {
    name: entry.off
    for name, node in NODES.items()
    for entry in TECHNIQUES
    if entry.technique is node.TECHNIQUE
}


def widgets(node: type) -> dict[str, tuple[Any, dict[str, Any]]]:
    """What is typed or chosen in a node, by name."""
    inputs = node.INPUT_TYPES()
    every = {**inputs["required"], **inputs.get("optional", {})}
    return {
        name: (spec[0], spec[1])
        for name, spec in every.items()
        if isinstance(spec[0], list) or spec[0] in ("INT", "FLOAT", "STRING", "BOOLEAN")
    }


def defaults(node: type) -> dict[str, Any]:
    return {
        name: options.get("default", kind[0] if isinstance(kind, list) else None)
        for name, (kind, options) in widgets(node).items()
    }


def value_of(name: str, kind: Any, options: dict[str, Any]) -> st.SearchStrategy:
    """Any value of a widget; counts stay small, so that a test does."""
    if isinstance(kind, list):
        return st.sampled_from(kind)
    if kind == "BOOLEAN":
        return st.booleans()
    if kind == "STRING":
        return st.sampled_from(TEXTS[name])
    if kind == "INT":
        return st.integers(options["min"], min(options["max"], options["min"] + 3))
    return st.floats(options["min"], options["max"])


@st.composite
def settings_of(draw: st.DrawFn, node: type) -> dict[str, Any]:
    """Values for all widgets of a node, its window the right way up."""
    values = {name: draw(value_of(name, *spec)) for name, spec in widgets(node).items()}
    if "t_start" in values:
        values["t_end"], values["t_start"] = sorted((values["t_end"], values["t_start"]))
        if values["t_end"] == values["t_start"]:
            values["t_end"], values["t_start"] = 0.0, 1.0
    return values


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def text(seed: int) -> TextConditioning:
    return TextConditioning(normal(1, 5, 24, seed=seed), normal(1, 20, seed=seed + 1))


def objects(node: type) -> dict[str, Any]:
    """What other nodes could connect without loading a model."""
    concept = text(11)
    some = {
        "MASK": torch.tensor([[[1.0, 0.0], [0.3, 0.6]]]),
        "CONDITIONING": [[concept.states, {"pooled_output": concept.pooled}]],
    }
    optional = node.INPUT_TYPES().get("optional", {})
    return {
        name: some[kind] for name, (kind, _) in optional.items() if isinstance(kind, str) and kind in some
    }


def wire(model: PlainModel, name: str, values: dict[str, Any]) -> PlainModel:
    """The model with a technique; a node that is not told where to act acts everywhere."""
    if "apply_to" not in widgets(NODES[name]):
        values = {key: value for key, value in values.items() if key != "apply_to"}
    return NODES[name]().apply(model, **objects(NODES[name]), **values)[0]


@pytest.fixture(scope="module")
def model(upstream) -> PlainModel:
    return PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)


def sample(model: PlainModel, layout: str = "f1", switch: bool = True) -> torch.Tensor:
    prompts = [
        Prompt(start=0.0, text="old", conditioning=text(1), change=0.0),
        Prompt(start=0.4, text="new", conditioning=text(3), change=0.8),
    ]
    inputs = SampleInputs(
        start=normal(1, 16, 1, 8, 8, seed=5),
        has_start=True,
        negative=text(7),
        image_embeds=normal(1, 4, 12, seed=9),
    )
    with torch.inference_mode():
        return sample_sections(
            PlainDriver(model),
            assign_prompts(plan_sections(layout, SECTIONS, WINDOW), prompts[: 1 + switch]),
            inputs,
            SampleSettings(layout=layout, window=WINDOW, steps=STEPS, seed=7),
        )[0]


@pytest.fixture(scope="module")
def plain(model) -> dict[tuple[str, bool], torch.Tensor]:
    return {(layout, switch): sample(model, layout, switch) for layout in LAYOUTS for switch in (False, True)}


def test_every_technique_has_a_node_and_a_way_to_be_off():
    assert len(NODES) == len(TECHNIQUES)
    assert set(OFF) == set(NODES)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NODES)
def test_off_is_bit_identical(model, plain, name, layout):
    off = wire(model, name, {**defaults(NODES[name]), **OFF[name], "apply_to": "all"})
    assert torch.equal(sample(off, layout), plain[layout, True])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_of_them_off_at_once_are_bit_identical(model, plain, layout):
    for name, node in NODES.items():
        model = wire(model, name, {**defaults(node), **OFF[name], "apply_to": "all"})
    assert torch.equal(sample(model, layout), plain[layout, True])


@pytest.mark.parametrize("apply_to", ["transition", "later_prompts"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_of_them_wait_for_a_switch(model, plain, layout, apply_to):
    for name, node in NODES.items():
        model = wire(model, name, {**defaults(node), "apply_to": apply_to})
    assert torch.equal(sample(model, layout, switch=False), plain[layout, False])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_of_them_leave_what_was_made_before_the_switch(model, plain, layout):
    for name, node in NODES.items():
        model = wire(model, name, defaults(node))
    latents, untreated = sample(model, layout), plain[layout, True]
    before = slice(0, 1 + WINDOW) if layout == "f1" else slice(1 + WINDOW, None)
    assert torch.equal(latents[:, :, before], untreated[:, :, before])
    assert latents.shape == untreated.shape and latents.isfinite().all()
    assert not torch.equal(latents, untreated)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_no_settings_and_no_order_break_a_video(model, plain, data):
    """Either a technique says in a sentence what is wrong, or a video comes out."""
    layout = data.draw(st.sampled_from(LAYOUTS), "layout")
    try:
        for name in data.draw(st.permutations(sorted(NODES)), "order"):
            model = wire(model, name, data.draw(settings_of(NODES[name]), name))
        latents = sample(model, layout)
    except ValueError as error:
        assert is_sentence(str(error)), error
        return
    assert latents.shape == plain[layout, True].shape and latents.isfinite().all()


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
@pytest.mark.parametrize("name", NODES)
def test_no_settings_of_one_alone_break_a_video(model, plain, name, data):
    try:
        latents = sample(wire(model, name, data.draw(settings_of(NODES[name]), name)))
    except ValueError as error:
        assert is_sentence(str(error)), error
        return
    assert latents.shape == plain["f1", True].shape and latents.isfinite().all()


def is_sentence(words: str) -> bool:
    return words.endswith(".") and "\n" not in words and len(words) < 300


def bad_values() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, node in NODES.items():
        for widget, (kind, options) in widgets(node).items():
            if kind == "FLOAT":
                bad = [float("nan"), float("inf"), *([-1.0] if options["min"] >= 0 else [])]
            elif kind == "INT" and widget != "seed":
                bad = [options["min"] - 1]
            else:
                bad = ["no such choice"] if isinstance(kind, list) or widget in TEXTS else []
            yield from ((name, {widget: value}) for value in bad)
        if "t_start" in widgets(node):
            yield name, {"t_start": 0.2, "t_end": 0.7}


@pytest.mark.parametrize(
    ("name", "bad"), [pytest.param(*case, id=f"{case[0]} {case[1]}") for case in bad_values()]
)
def test_bad_values_are_refused_in_a_sentence(model, name, bad):
    with pytest.raises(ValueError, match=".") as refused:
        wire(model, name, {**defaults(NODES[name]), **bad})
    assert is_sentence(str(refused.value)), refused.value
