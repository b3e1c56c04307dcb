"""Which earlier scene a prompt returns to: by the texts that drew the scenes, as `recall` goes, or by pictures of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...nodes.evaluation.models import tiny_extractor
from ...samplers.timeline.change import text_feature
from ...samplers.timeline.recall import recalled_number
from ...tiny.bundle import TinyBundle
from ...tiny.world import BACKGROUNDS, COLOURS, SHAPES, Scene, Subject, prompt_of, random_scene, render
from ...tiny.world.tables import ACTIONS, PLACES, TIMES
from ..long.scenarios import make_long_episode, other_than
from ..transition.pictures import markdown

FIRST_SEED = 6 * 10**9
# In which one of these the two scenes of ALIKE differ, in turn.
DIFFERENCES = ("background", "night", "shape", "colour")
STORY, PLACES_ALONE, ALIKE = "story", "places", "two that differ in one thing"


@dataclass(frozen=True)
class Question:
    """Scenes that were drawn, each under its prompt, and a last prompt that returns to one of them.

    scenes: in their order; the last of them is what the prompt leaves.
    prompts: theirs, and the last one.
    meant: the scene that it means.
    """

    scenes: tuple[Scene, ...]
    prompts: tuple[str, ...]
    meant: Scene


def questions(kind: str, seeds: range) -> Iterator[Question]:
    """The questions of a kind: a long video's return to its first scene, or one of two scenes that are nearly the same."""
    for seed in seeds:
        if kind == ALIKE:
            yield _alike(seed)
        else:
            stretches = make_long_episode(kind, seed).stretches
            scenes = tuple(stretch.scene for stretch in stretches[:-1])
            yield Question(scenes, tuple(stretch.prompt for stretch in stretches), stretches[-1].scene)


def _alike(seed: int) -> Question:
    """Two scenes that differ in one thing, a third one, and a prompt for one of the two that leaves the subject's size out."""
    rng = np.random.default_rng([FIRST_SEED, seed])
    one, last = (random_scene(rng, empty=False, motion="still") for _ in range(2))
    ((subject, _),) = one.shown
    other = _changed(one, subject, DIFFERENCES[seed % len(DIFFERENCES)], rng)
    scenes = (one, other) if rng.integers(2) else (other, one)
    place, time = PLACES[one.background][0], TIMES[one.night][0]
    asked = f"a {subject.colour} {subject.shape} {ACTIONS['still'][0]} {place} {time}"
    return Question((*scenes, last), (*(prompt_of(scene) for scene in (*scenes, last)), asked), one)


def _changed(scene: Scene, subject: Subject, what: str, rng: np.random.Generator) -> Scene:
    if what == "night":
        return replace(scene, night=not scene.night)
    options: dict[str, Iterable[str]] = {
        "background": BACKGROUNDS,
        "shape": SHAPES,
        "colour": COLOURS,
    }
    now = getattr(scene if what == "background" else subject, what)
    value = other_than(options[what], now, rng)
    if what == "background":
        return replace(scene, background=value)
    return replace(scene, subject=replace(subject, **{what: value}))


def by_texts(bundle: TinyBundle) -> Callable[[Question], int]:
    """Chooses as the timeline does: the scene whose prompt is most like the last one."""

    def choose(question: Question) -> int:
        clip = bundle.clip
        return recalled_number(
            [
                text_feature(clip.encode_from_tokens_scheduled(clip.tokenize(text)))
                for text in question.prompts
            ]
        )

    return choose


def by_pictures() -> Callable[[Question], int]:
    """Chooses the scene whose picture is most like the last prompt, by the embedded world's own CLIP, the latest of equals."""
    extractor = tiny_extractor()

    def choose(question: Question) -> int:
        pictures = np.stack([render(scene, 32.0, 32.0) for scene in question.scenes[:-1]]) / 255
        seen, asked = (
            np.asarray(extractor.images(pictures)),
            np.asarray(extractor.texts([question.prompts[-1]])),
        )
        alike = (seen @ asked[0]) / np.linalg.norm(seen, axis=1)
        return int(len(alike) - 1 - np.argmax(alike[::-1]))

    return choose


def rows(bundle: TinyBundle, seeds: range) -> list[dict[str, Any]]:
    """One row a kind of question: how many of the questions are answered rightly by either."""
    choosers = {"texts": by_texts(bundle), "pictures": by_pictures()}
    return [_row(kind, list(questions(kind, seeds)), choosers) for kind in (STORY, PLACES_ALONE, ALIKE)]


def _row(
    kind: str, asked: Sequence[Question], choosers: Mapping[str, Callable[[Question], int]]
) -> dict[str, Any]:
    right = {
        name: sum(question.scenes[choose(question)] == question.meant for question in asked)
        for name, choose in choosers.items()
    }
    return {"scenes": kind, "of": len(asked[0].scenes) - 1, "n": len(asked), **right}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """How often the right scene is found, by texts and by pictures."""
    return markdown(
        [
            {
                "scene that returns": row["scenes"],
                "of how many": str(row["of"]),
                "found by texts": f"{row['texts']} of {row['n']}",
                "found by pictures": f"{row['pictures']} of {row['n']}",
            }
            for row in rows
        ]
    )
