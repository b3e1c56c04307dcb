"""How far apart two prompts are: invariances of the feature, the scale, and encoders that are no use."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from framepack_transitions.samplers.timeline.change import (
    PARAPHRASES,
    SCENES,
    ChangeScale,
    change_scale,
    measured_remark,
    text_feature,
)
from framepack_transitions.samplers.timeline.syntaxes.table import parse


def words_of(text: str) -> set[str]:
    return set(text.replace(",", "").split())


VOCABULARY = sorted({word for pair in (*PARAPHRASES, *SCENES) for text in pair for word in words_of(text)})


def bag_of_words(text: str) -> tuple[torch.Tensor]:
    """An encoder that counts words: paraphrases share most of theirs, scenes few."""
    return (torch.tensor([float(word in words_of(text)) for word in VOCABULARY]),)


def conditioning(seed: int, tokens: int = 6, **options) -> list:
    generator = torch.Generator().manual_seed(seed)
    states, pooled = torch.randn(1, tokens, 8, generator=generator), torch.randn(1, 5, generator=generator)
    return [[states, {"pooled_output": pooled, **options}]]


def test_the_distance_is_that_of_centred_unit_vectors():
    """Against numpy, from the definition."""
    scale = change_scale(bag_of_words)
    texts = sorted({text for pair in (*PARAPHRASES, *SCENES) for text in pair})
    centre = np.mean([bag_of_words(text)[0].numpy() for text in texts], axis=0)

    def distance(one: str, other: str) -> float:
        a, b = (bag_of_words(text)[0].numpy() - centre for text in (one, other))
        return 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    assert scale.paraphrase == pytest.approx(np.mean([distance(*pair) for pair in PARAPHRASES]), abs=1e-5)
    assert scale.scene == pytest.approx(np.mean([distance(*pair) for pair in SCENES]), abs=1e-5)
    old, new = "a man sits in a park", "a red car by the sea"
    expected = (distance(old, new) - scale.paraphrase) / (scale.scene - scale.paraphrase)
    assert scale.change(bag_of_words(old), bag_of_words(new)) == pytest.approx(
        np.clip(expected, 0, 1), abs=1e-5
    )


@pytest.mark.parametrize(("pairs", "expected"), [(PARAPHRASES, 0.0), (SCENES, 1.0)])
def test_the_built_in_pairs_lie_around_the_ends_of_the_scale(pairs, expected):
    scale = change_scale(bag_of_words)
    found = [scale.change(*map(bag_of_words, pair)) for pair in pairs]
    assert np.mean(found) == pytest.approx(expected, abs=0.2)


def test_padding_does_not_count():
    states, options = conditioning(1)[0]
    noise = torch.randn(1, 4, 8, generator=torch.Generator().manual_seed(2))
    padded = torch.cat([states, noise], dim=1)
    mask = torch.tensor([[1] * 6 + [0] * 4])
    short, long = (
        text_feature([[states, options]]),
        text_feature([[padded, {**options, "attention_mask": mask}]]),
    )
    assert all(torch.allclose(one, other) for one, other in zip(short, long))


def test_a_text_without_pooled_vector_is_measured_by_its_states():
    states, options = conditioning(1)[0]
    assert len(text_feature([[states, {}]])) == 1 and len(text_feature([[states, options]])) == 2


@pytest.mark.parametrize("scene", [0.9, 0.1])
def test_the_same_text_is_no_change(scene):
    scale = ChangeScale(centre=(torch.zeros(8), torch.zeros(5)), paraphrase=0.3, scene=scene)
    same = text_feature(conditioning(1))
    assert scale.change(same, text_feature(conditioning(1))) == 0


def test_an_encoder_that_is_no_use_counts_every_switch_in_full():
    scale = ChangeScale(centre=(torch.zeros(8), torch.zeros(5)), paraphrase=0.3, scene=0.3)
    assert not scale.usable
    assert scale.change(text_feature(conditioning(1)), text_feature(conditioning(2))) == 1
    assert "counts in full" in measured_remark(parse("a [1s: b]"), [0.0, 1.0], scale)


def test_the_remark_says_what_was_measured_and_that_it_is_uncalibrated():
    scale = ChangeScale(centre=(torch.zeros(1),), paraphrase=0.25, scene=0.75)
    remark = measured_remark(parse("a [1s: b] [2s!: c]"), [0.0, 0.4, 1.0], scale)
    assert "0.40 at 1 s, 1.00 at 2 s (forced)" in remark and "uncalibrated" in remark
    assert "0.25 apart" in remark and "0.75" in remark
