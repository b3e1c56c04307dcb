"""A technique is registered in one place; what else it needs is missed here, with the file in which to add it."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import framepack_transitions
import pytest
import torch
from framepack_transitions.benchmarks.transition.arms import ARMS
from framepack_transitions.benchmarks.transition.studies.doses import DOSES
from framepack_transitions.nodes.techniques import NODES
from framepack_transitions.samplers import techniques as package
from framepack_transitions.samplers.conditioning import Prompt
from framepack_transitions.samplers.context.history import Context
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.denoising.denoiser import SectionDenoiser
from framepack_transitions.samplers.denoising.restarts import restart_steps
from framepack_transitions.samplers.guidance import Guidance
from framepack_transitions.samplers.sigmas import flow_sigmas
from framepack_transitions.samplers.techniques.base import Technique
from framepack_transitions.samplers.techniques.context.low_pass import LowPassGuidance
from framepack_transitions.samplers.techniques.guidance.contrastive import ContrastiveGuidance
from framepack_transitions.samplers.techniques.registry import TECHNIQUES, TechniqueEntry

ROOT = Path(framepack_transitions.__file__).resolve().parent
EVERY = pytest.mark.parametrize("entry", TECHNIQUES, ids=lambda entry: entry.name)
WITH_WINDOW = [entry for entry in TECHNIQUES if hasattr(entry.example, "t_end")]
# What makes the end of a window sharp, large enough to matter, and visible without a previous prompt.
SHARP = {LowPassGuidance: {"fade": 0.0, "history": 1.0}, ContrastiveGuidance: {"history": 0.0}}


def classes(above: type = Technique) -> Iterator[type]:
    """Every technique of the pack, in whichever file it stands."""
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(info.name)
    for found in above.__subclasses__():
        if found.__module__.startswith(package.__name__):
            yield found
        yield from classes(found)


def number_widgets() -> Iterator[tuple[type, str, dict]]:
    """The numbers that technique nodes ask for, but for those that are bounded by each other or by what a seed is."""
    for node in NODES:
        if technique := getattr(node, "TECHNIQUE", None):
            for name, (kind, *options) in node.INPUT_TYPES()["required"].items():
                if kind in ("FLOAT", "INT") and name not in ("t_start", "t_end", "seed"):
                    yield technique, name, options[0]


def node_of(entry: TechniqueEntry) -> type:
    found = [node for node in NODES if getattr(node, "TECHNIQUE", None) is entry.technique]
    assert len(found) == 1, f"nodes/techniques/__init__.py must list one node of {entry.title}"
    return found[0]


@pytest.mark.parametrize(("technique", "name", "widget"), list(number_widgets()))
def test_a_node_offers_the_very_numbers_that_its_technique_takes(technique, name, widget):
    for bound in (widget["min"], widget["max"]):
        assert getattr(technique(**{name: bound}), name) == bound
    beyond = [widget["min"] - widget.get("step", 1)]
    if name not in ("sections", "frames"):  # a video has as many as it has
        beyond.append(widget["max"] + widget.get("step", 1))
    for value in beyond:
        with pytest.raises(ValueError, match=f" is {value}"):
            technique(**{name: value})


def test_every_technique_is_registered_once():
    assert len({entry.name for entry in TECHNIQUES}) == len(TECHNIQUES)
    registered = [entry.technique for entry in TECHNIQUES]
    assert sorted(map(str, registered)) == sorted(map(str, classes())), "see samplers/techniques/registry.py"


@EVERY
def test_its_off_settings_are_its_own_fields_and_its_example_differs_from_them(entry):
    assert set(entry.off) <= {field.name for field in fields(entry.technique)}, (
        "samplers/techniques/registry.py"
    )
    assert replace(entry.example, **entry.off) != entry.example, (
        "samplers/techniques/registry.py: example is off"
    )


@EVERY
def test_it_has_a_node_with_its_title_and_help_pages(entry):
    node = node_of(entry)
    assert node.DISPLAY_NAME == f"FramePack {entry.title}", (
        f"DISPLAY_NAME of {node.__name__} in nodes/techniques"
    )
    for page in (f"web/docs/{node.__name__}.md", f"web/docs/{node.__name__}/ja.md"):
        assert (ROOT / page).is_file(), f"write {page}"


@EVERY
@pytest.mark.parametrize("language", ["en", "ja"])
def test_its_node_is_in_the_locales(entry, language):
    path = f"locales/{language}/nodeDefs.json"
    assert node_of(entry).__name__ in json.loads((ROOT / path).read_text(encoding="utf-8")), (
        f"add it to {path}"
    )


@EVERY
def test_it_has_a_row_in_the_documents(entry):
    page = (ROOT / "docs" / "TECHNIQUES.md").read_text(encoding="utf-8")
    link = f"| [{entry.title}](../web/docs/{node_of(entry).__name__}.md) |"
    assert link in page, f"docs/TECHNIQUES.md: its first table needs a row that begins with {link}"


@EVERY
def test_transition_bench_compares_it(entry):
    arms = [arm.name for arm in ARMS if any(type(used) is entry.technique for used in arm.techniques)]
    assert arms, f"benchmarks/transition/arms.py has no arm with {entry.title}"


@EVERY
def test_a_dose_of_it_is_measured_and_so_are_its_defaults_where_they_act(entry):
    where = "benchmarks/transition/studies/doses.py: DOSES has no dose of"
    alone = [used[0] for varied in DOSES for _, used in varied.steps if len(used) == 1]
    assert entry.technique in map(type, alone), f"{where} {entry.title}"
    default = entry.technique()
    if default == entry.example:
        assert default in alone, f"{where} {entry.title} as its node comes"


@pytest.mark.parametrize("entry", WITH_WINDOW, ids=lambda entry: entry.name)
def test_solvers_begin_anew_at_the_edge_of_its_window(entry):
    """20 steps lie at t 1, 0.95, ...: number 11, at 0.45, is the first one outside."""
    section = plan_sections("f1", 1, 9)[0].with_prompt(Prompt(start=0.0, text=""))
    section = replace(section, change=1.0, since_switch=0)
    generator = torch.Generator().manual_seed(0)
    clean, clean_2x, clean_4x = (torch.randn(1, 16, n, 8, 8, generator=generator) for n in (2, 2, 16))
    tokens = torch.randn(1, 4, 12, generator=generator)
    context = Context(
        indices=section.indices, clean=clean, clean_2x=clean_2x, clean_4x=clean_4x, image_embeds=tokens
    )
    technique = replace(entry.example, t_end=0.49, **SHARP.get(entry.technique, {}))
    denoiser = SectionDenoiser(
        section=section,
        context=context,
        texts={},
        guidance=Guidance(),
        shift=7.0,
        techniques=(technique,),
    )
    assert restart_steps(denoiser, flow_sigmas(20, 7.0)) == (11,), (
        f"samplers/denoising/restarts.py: settings_at does not see what {entry.title} changes"
    )
