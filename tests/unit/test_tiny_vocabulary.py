"""Which words the embedded model knows, and where those that it does not know are named."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import framepack_transitions
import numpy as np
import pytest
from framepack_transitions import NODE_CLASS_MAPPINGS
from framepack_transitions.nodes.evaluation.models import load_models
from framepack_transitions.tiny.bundle import load_tiny
from framepack_transitions.tiny.vocabulary import known_words, unknown_words, warn_of_unknown_words
from framepack_transitions.tiny.world import (
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    prompt_of,
    random_scene,
    with_second,
)

ROOT = Path(framepack_transitions.__file__).resolve().parent


def drawn_words(prompts: int = 4000) -> set[str]:
    """The words of many prompts of the world."""
    rng = np.random.default_rng(0)
    texts = [prompt_of(random_scene(rng), rng) for _ in range(prompts)]
    pairs = (with_second(rng, random_scene(rng, empty=False)) for _ in range(prompts // 4))
    texts += [prompt_of(pair, rng) for pair in pairs]
    return {word for text in texts for word in re.findall("[a-z]+", text.lower())}


def test_what_is_known_is_what_the_world_says() -> None:
    assert known_words() == drawn_words()


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("A large red circle stands still in the sky by day.", []),
        ("an empty beach at night", ["beach"]),
        ("a Dog and a cat, a dog", ["dog", "cat"]),
        ("a (red:1.2) circle", []),
        ("夜の街", ["夜の街"]),
        ("", []),
    ],
)
def test_unknown_words_come_once_and_in_order(text: str, unknown: list[str]) -> None:
    assert unknown_words(text) == unknown


@pytest.fixture(autouse=True)
def nothing_warned_of() -> None:
    warn_of_unknown_words.cache_clear()


def test_a_prompt_with_unknown_words_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    clip = load_tiny().clip
    with caplog.at_level(logging.WARNING):
        clip.tokenize("a beach by day")
        clip.tokenize("a beach by day")
        clip.tokenize("an empty city by day")
    (message,) = caplog.messages
    assert "'beach'" in message and "'a beach by day'" in message
    assert all(word in message for word in (*BACKGROUNDS, *SHAPES, *COLOURS))


@pytest.mark.parametrize(("features", "warned"), [("tiny", True), ("pixel", False)])
def test_scores_by_the_embedded_clip_are_warned_of(
    features: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        load_models(features).warn_of_unknown_words(["an empty beach by day"])
    assert ("'beach'" in caplog.text) is warned


@pytest.mark.parametrize(
    "path", sorted((ROOT / "example_workflows" / "api").glob("tiny_*.json")), ids=lambda p: p.stem
)
def test_examples_use_known_words(path: Path) -> None:
    prompts = [
        value
        for node in json.loads(path.read_text(encoding="utf-8")).values()
        for name, value in node["inputs"].items()
        if name in ("text", "prompt", "state") and isinstance(value, str)
    ]
    assert prompts and not [
        word for text in prompts for word in unknown_words(re.sub(r"\[\S+s(:| keep)", "", text))
    ]


@pytest.mark.parametrize(
    "page", ["web/docs/FramePackTinyLoader.md", "web/docs/FramePackTinyLoader/ja.md", "tooltip"]
)
def test_people_find_what_it_can_show(page: str) -> None:
    node = NODE_CLASS_MAPPINGS["FramePackTinyLoader"]
    text = node.DESCRIPTION if page == "tooltip" else (ROOT / page).read_text(encoding="utf-8")
    assert [word for word in (*BACKGROUNDS, *SHAPES, *COLOURS) if word not in text] == []
