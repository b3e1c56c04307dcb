"""The nodes can be found by what people search for, and show a first user little."""

from __future__ import annotations

from typing import Any

import pytest
from framepack_transitions.headless.running.runs import PACK
from framepack_transitions.nodes import NODE_CLASS_MAPPINGS, NODES
from framepack_transitions.nodes.types import Node
from PIL import Image

WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN")
SEARCHES = {
    "prompt schedule": "FramePackPromptTimeline",
    "prompt change": "FramePackPromptTimeline",
    "hunyuan": "FramePackTransitionsSampler",
    "long video": "FramePackTransitionsSampler",
    "image to video": "FramePackTransitionsSampler",
    "transition": "FramePackTransitionPreset",
    "scene change": "FramePackTransitionPreset",
    "lora": "FramePackLoraLoader",
    "save video": "FramePackDecode",
    "kisekaeichi": "FramePackOneFrameSampler",
}


def widgets(node: type[Node]) -> dict[str, dict[str, Any]]:
    """The options of a node's widgets by name."""
    declared = node.INPUT_TYPES()
    inputs = {**declared["required"], **declared.get("optional", {})}
    return {
        name: entry[1] for name, entry in inputs.items() if isinstance(entry[0], list) or entry[0] in WIDGETS
    }


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_a_node_has_search_words_of_its_own(node: type[Node]) -> None:
    words = node.SEARCH_ALIASES
    assert words and len(set(words)) == len(words)
    assert all(word == word.lower().strip() for word in words)


@pytest.mark.parametrize("search", SEARCHES)
def test_a_search_leads_to_the_node_for_it(search: str) -> None:
    assert any(search in word for word in NODE_CLASS_MAPPINGS[SEARCHES[search]].SEARCH_ALIASES)


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_what_is_folded_away_has_a_default_and_something_stays(node: type[Node]) -> None:
    found = widgets(node)
    advanced = {name for name, options in found.items() if options.get("advanced")}
    for name in advanced:
        options = found[name]
        assert "default" in options, f"{name} must work untouched"
    assert not found or advanced != set(found), "nothing is left to set"


def test_the_sampler_shows_what_a_first_user_sets() -> None:
    found = widgets(NODE_CLASS_MAPPINGS["FramePackTransitionsSampler"])
    shown = [name for name, options in found.items() if not options.get("advanced")]
    assert shown == ["layout", "seconds", "steps", "distilled_guidance", "cfg", "seed"]


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_what_few_need_is_folded_away_wherever_it_is(node: type[Node]) -> None:
    found = widgets(node)
    few = {
        "window",
        "distractors",
        "kept",
        "penalty",
        "lpips",
        "t_start",
        "t_end",
        "apply_to",
        "blend",
        "landing",
    }
    assert [name for name in few & found.keys() if not found[name].get("advanced")] == []


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_a_help_page_begins_with_a_picture_of_the_node(node: type[Node]) -> None:
    """ComfyUI looks for pictures from `web/docs`, whatever the page's language and folder."""
    docs, name = PACK / "web" / "docs", node.__name__
    pages = {f"{name}.md": f"images/{name}.webp", f"{name}/ja.md": f"images/ja/{name}.webp"}
    for page, picture in pages.items():
        assert f"]({picture})" in (docs / page).read_text(encoding="utf-8").splitlines()[2]
        with Image.open(docs / picture) as image:
            assert image.width >= 320 and (docs / picture).stat().st_size < 40_000
