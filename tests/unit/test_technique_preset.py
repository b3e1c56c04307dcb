"""Presets: each can be wired and sampled with, in any company, and its help pages name all of them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from math import exp
from pathlib import Path
from typing import Any

import framepack_transitions
import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.nodes import NODE_CLASS_MAPPINGS
from framepack_transitions.nodes.techniques.preset import FramePackTransitionPreset
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.history import Context
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.techniques.attention.attention_scaling import AttentionScaling
from framepack_transitions.samplers.techniques.attention.kv_gate import SemanticKVGate
from framepack_transitions.samplers.techniques.base import Step, Technique
from framepack_transitions.samplers.techniques.chain import attention_at, context_of
from framepack_transitions.samplers.techniques.context.blur import ContextBlur
from framepack_transitions.samplers.techniques.context.refresh import ContextRefresh
from framepack_transitions.samplers.techniques.guidance.adaptive_cfg import AdaptiveCFG
from framepack_transitions.samplers.techniques.guidance.contrastive import ContrastiveGuidance
from framepack_transitions.samplers.techniques.presets import PRESETS, preset_techniques
from framepack_transitions.samplers.techniques.wiring import techniques_of, with_technique
from framepack_transitions.samplers.timeline.assignment import assign_prompts

ROOT = Path(framepack_transitions.__file__).resolve().parent
PUBLISHED = tuple(name for name in PRESETS if name.startswith("alignvid"))
OWN = tuple(name for name in PRESETS if name not in PUBLISHED)
WINDOW = 3


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def text(seed: int) -> TextConditioning:
    return TextConditioning(normal(1, 5, 24, seed=seed), normal(1, 20, seed=seed + 1))


@pytest.fixture(scope="module")
def model(upstream) -> PlainModel:
    return PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)


@pytest.fixture(scope="module")
def large(upstream) -> PlainModel:
    """As small, with as many blocks as the 13B models have."""
    config = {**upstream.CONFIG, "num_layers": 20, "num_single_layers": 40}
    return PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**config))), 0.5)


def wired(model: PlainModel, preset: str, sections: int = 0, **objects) -> PlainModel:
    return FramePackTransitionPreset().apply(model, preset=preset, sections=sections, **objects)[0]


def sample(model: PlainModel, layout: str = "f1", switch: bool = True) -> torch.Tensor:
    prompts = [
        Prompt(start=0.0, text="old", conditioning=text(1), change=0.0),
        Prompt(start=0.4, text="new", conditioning=text(3), change=1.0),
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
            assign_prompts(plan_sections(layout, 2, WINDOW), prompts[: 1 + switch]),
            inputs,
            SampleSettings(layout=layout, window=WINDOW, steps=2, seed=7),
        )[0]


@pytest.mark.parametrize("layout", ["f1", "original"])
@pytest.mark.parametrize("preset", OWN)
def test_a_preset_changes_what_comes_after_a_switch_and_nothing_else(model, preset, layout):
    treated, plain = sample(wired(model, preset), layout), sample(model, layout)
    assert treated.shape == plain.shape and treated.isfinite().all()
    before = slice(0, 1 + WINDOW) if layout == "f1" else slice(1 + WINDOW, None)
    assert torch.equal(treated[:, :, before], plain[:, :, before])
    assert not torch.equal(treated, plain)
    assert torch.equal(
        sample(wired(model, preset), layout, switch=False), sample(model, layout, switch=False)
    )


@pytest.mark.parametrize("preset", PUBLISHED)
def test_published_blocks_are_refused_by_a_model_that_lacks_them(model, large, preset):
    with pytest.raises(ValueError, match=f"preset {preset} does not fit this model: .* 2 single blocks"):
        wired(model, preset)
    assert sample(wired(large, preset)).isfinite().all()


@pytest.mark.parametrize("preset", PRESETS)
def test_it_is_the_same_as_wiring_its_techniques_one_by_one(large, preset):
    by_hand = large
    for technique in PRESETS[preset]:
        by_hand = with_technique(by_hand, technique)
    assert techniques_of(wired(large, preset).model_options) == techniques_of(by_hand.model_options)


@pytest.mark.parametrize("preset", PRESETS)
def test_sections_hold_all_of_it_longer(preset):
    longer = preset_techniques(preset, 3)
    assert [technique.sections for technique in longer] == [3] * len(PRESETS[preset])
    assert longer == tuple(replace(technique, sections=3) for technique in PRESETS[preset])
    assert preset_techniques(preset) == PRESETS[preset]
    assert [technique.section_decay for technique in preset_techniques(preset, 3, 0.6)] == [0.6] * len(longer)


def test_the_founding_preset_is_made_of_the_founding_forms():
    section = plan_sections("f1", 1, 9)[0].with_prompt(Prompt(start=0.0, text=""), since_switch=0)
    _, blur, gate, _ = PRESETS["founding"]
    for change, biases in ((0.3, None), (0.31, dict.fromkeys(("4x", "2x", "start", "last"), -2.0))):
        policy = attention_at([gate], replace(section, change=change), Step(0.5, 0.5))
        assert (policy and policy.describe()["bias"]) == biases
    tiers = (torch.ones(1, 16, frames, 4, 4) for frames in (2, 2, 16))
    past = Context(indices=section.indices, **dict(zip(("clean", "clean_2x", "clean_4x"), tiers)))
    faded, smooth = (
        context_of([used], replace(section, change=1.0), past, {}) for used in (blur, ContextBlur())
    )
    torch.testing.assert_close(smooth.clean, past.clean)
    torch.testing.assert_close(faded.clean[0, 0, :, 0, 0], torch.tensor([exp(-1.9), 1.0]))


def test_it_can_be_chained_with_itself_and_other_techniques(model):
    after = wired(with_technique(model, AttentionScaling()), "balanced")
    before = with_technique(wired(model, "balanced"), AttentionScaling())
    torch.testing.assert_close(sample(after), sample(before), rtol=1e-4, atol=1e-4)
    twice = wired(wired(model, "mild"), "balanced")
    assert sample(twice).isfinite().all()
    assert not techniques_of(model.model_options), "the model that was connected stays as it was"


def test_what_makes_vision_tokens_is_attached_where_it_is_read(model):
    vae, vision = object(), object()
    cut = wired(model, "cut", vae=vae, clip_vision=vision)
    refresh = techniques_of(cut.model_options)[-1]
    assert cut.attachments[refresh.vae] is vae and cut.attachments[refresh.clip_vision] is vision
    assert not wired(model, "mild", vae=vae, clip_vision=vision).attachments


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": "none"}, "preset is 'none'; choose one of mild"),
        ({"name": "mild", "sections": -1}, "sections is -1; give 0"),
    ],
)
def test_values_that_cannot_work_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        preset_techniques(**values)


PAGES = pytest.mark.parametrize(("language", "page"), [("en", ""), ("ja", "/ja")])


def read_page(page: str) -> str:
    return (ROOT / "web" / "docs" / f"FramePackTransitionPreset{page}.md").read_text(encoding="utf-8")


def titles(language: str) -> dict[type, str]:
    """What the interface calls each technique's node, without the pack's name."""
    names = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
    return {
        node.TECHNIQUE: names[node_id]["display_name"].removeprefix("FramePack ")
        for node_id, node in NODE_CLASS_MAPPINGS.items()
        if hasattr(node, "TECHNIQUE")
    }


@PAGES
def test_help_pages_name_every_preset_and_what_it_holds(language, page):
    for preset, techniques in PRESETS.items():
        lines = read_page(page).splitlines()
        (row,) = [line for line in lines if f"`{preset}`" in "".join(line.split("|")[1:2])]
        held = {technique for technique, name in titles(language).items() if name in row}
        assert held == {type(technique) for technique in techniques}, preset


def quoted(text: str, technique: Technique) -> dict[str, Any]:
    """The settings that a text quotes as `name` value, each read as the technique's own kind of value."""
    found = re.findall(r"`(\w+)` ([^\s;]*[^\s;,])", text)
    return {name: type(getattr(technique, name))(value) for name, value in found}


@PAGES
@pytest.mark.parametrize("preset", PRESETS)
def test_help_pages_quote_every_value_that_a_preset_sets(language, page, preset):
    (line,) = [line for line in read_page(page).splitlines() if line.startswith(f"- `{preset}`: ")]
    parts = line.partition(": ")[2].split("; ")
    assert len(parts) == len(PRESETS[preset])
    for part, technique in zip(parts, PRESETS[preset]):
        assert part.startswith(f"{titles(language)[type(technique)]} `")
        values = quoted(part, technique)
        assert replace(type(technique)(), **values) == technique, (
            f"web/docs/FramePackTransitionPreset{page}.md"
        )


# How the documents put the settings of a preset: phrase, technique, setting, and the value unless the phrase quotes it.
PHRASES = (
    (r"Contrastive Guidance, omega ([\d.]+)", ContrastiveGuidance, "omega", float),
    (r"Adaptive CFG, real ([\d.]+)", AdaptiveCFG, "base", float),
    (r"KV gate, gamma ([\d.]+)", SemanticKVGate, "gamma", float),
    (r"Context Refresh at ([\d.]+)", ContextRefresh, "strength", float),
    (r"(from nothing)", ContextRefresh, "sees", {"from nothing": "none"}.get),
    (r"(as new anchor)", ContextRefresh, "anchor", {"as new anchor": "replaced"}.get),
    (r"(history emptied)", ContextRefresh, "history", {"history emptied": "emptied"}.get),
)


@pytest.mark.parametrize("preset", ["mild", "balanced", "strong", "cut"])
def test_the_table_of_measurements_quotes_the_presets_as_they_are(preset):
    lines = (ROOT / "docs" / "TECHNIQUES.md").read_text(encoding="utf-8").splitlines()
    (row,) = [line.split("|")[2] for line in lines if re.match(rf"\| `?{preset}`? \|", line)]
    settings: dict[type, dict[str, Any]] = {}
    for phrase, technique, setting, read in PHRASES:
        if found := re.search(phrase, row):
            settings.setdefault(technique, {})[setting] = read(found[1])
    expected = {type(technique): technique for technique in PRESETS[preset]}
    assert {kind: kind(**values) for kind, values in settings.items()} == expected, "docs/TECHNIQUES.md"
