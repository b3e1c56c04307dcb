"""Contrastive guidance: its arithmetic against numpy, its cost, and that off is off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.nodes.techniques.guidance.contrastive import FramePackContrastiveGuidance
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.history import Context
from framepack_transitions.samplers.context.plan import Section, plan_sections
from framepack_transitions.samplers.denoising.denoiser import SectionDenoiser
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.guidance import Guidance
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.techniques.base import NEGATIVE, POSITIVE, Prediction, Step
from framepack_transitions.samplers.techniques.guidance.contrastive import ContrastiveGuidance, unshared
from framepack_transitions.samplers.techniques.presets import PRESETS
from framepack_transitions.samplers.techniques.wiring import with_technique
from framepack_transitions.samplers.timeline.assignment import assign_prompts
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("no_gradients")

WINDOW = 3
EARLY, LATE = Step(0.9, 0.8), Step(0.3, 0.2)
OLD = Prediction("previous")
NO_PAST = Prediction("positive", "anchor")
NEW_ALONE, OLD_ALONE = Prediction("positive", "none"), Prediction("previous", "none")


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def text(seed: int, batch: int = 1) -> TextConditioning:
    return TextConditioning(normal(batch, 5, 24, seed=seed), normal(batch, 20, seed=seed + 1))


def switched(change: float = 1.0) -> Section:
    prompts = [Prompt(start=0.0, text="old", change=0.0), Prompt(start=0.4, text="new", change=change)]
    return assign_prompts(plan_sections("f1", 2, WINDOW), prompts)[1]


def predicted() -> dict[Prediction, torch.Tensor]:
    wanted = (POSITIVE, NEGATIVE, OLD, NO_PAST, Prediction("key"), NEW_ALONE, OLD_ALONE)
    return {p: normal(2, 16, 3, 4, 4, seed=seed) for seed, p in enumerate(wanted)}


def by_hand(technique: ContrastiveGuidance, x: np.ndarray, found: dict, change: float) -> np.ndarray:
    """The formula in velocities, at sigma 0.9 from a point x, as the docstring gives it."""
    sigma = 0.9
    v = {p: (x - f.double().numpy()) / sigma for p, f in found.items()}
    new, old = (v[NEW_ALONE], v[OLD_ALONE]) if technique.past == "none" else (v[POSITIVE], v[OLD])
    guided = v[POSITIVE] + change * technique.omega * (new - old)
    guided = guided + change * (technique.history - 1) * (v[POSITIVE] - v[NO_PAST])
    if technique.concept:
        d, e = v[Prediction("key")] - v[NEGATIVE], v[POSITIVE] - v[NEGATIVE]
        for i in range(len(d)):
            along = max(0.0, float(np.vdot(d[i], e[i]))) / float(np.vdot(e[i], e[i]))
            guided[i] -= change * technique.refusal * (d[i] - along * e[i])
    return x - sigma * guided


@pytest.mark.parametrize("change", [1.0, 0.4])
@pytest.mark.parametrize(
    "technique",
    [
        ContrastiveGuidance(omega=1.2),
        ContrastiveGuidance(omega=0.7, past="none"),
        ContrastiveGuidance(omega=0.0, history=0.3),
        ContrastiveGuidance(omega=0.5, history=0.6, refusal=0.8, concept="key"),
    ],
)
def test_predictions_are_combined_as_the_formula_says(technique, change):
    found, x = predicted(), normal(2, 16, 3, 4, 4, seed=20).double().numpy()
    combined = technique.combine(switched(change), EARLY, found[POSITIVE], found)
    assert np.allclose(combined.numpy(), by_hand(technique, x, found, change), atol=1e-5)


def test_refusal_leaves_what_the_new_prompt_asks_for():
    wanted, other = normal(2, 8, seed=1), normal(2, 8, seed=2)
    assert torch.allclose(unshared(2 * wanted, wanted), torch.zeros(2, 8), atol=1e-5)
    assert torch.equal(unshared(-wanted, wanted), -wanted), "what points the other way is refused in full"
    kept = unshared(other, wanted)
    assert ((kept * wanted).sum(1) <= 1e-4).all()
    # However small the differences are, the part along what is wanted is the same share of them.
    torch.testing.assert_close(unshared(other / 1000, wanted / 1000), kept / 1000, rtol=1e-4, atol=1e-7)


def test_only_what_is_on_is_predicted_and_only_inside_the_window():
    section = switched()
    assert ContrastiveGuidance().predictions(section, EARLY) == (OLD,)
    assert ContrastiveGuidance(history=0.5).predictions(section, EARLY) == (OLD, NO_PAST)
    assert ContrastiveGuidance(past="none").predictions(section, EARLY) == (NEW_ALONE, OLD_ALONE)
    refusing = ContrastiveGuidance(omega=0, refusal=1.0, concept="key")
    assert refusing.predictions(section, EARLY) == (Prediction("key"), NEGATIVE)
    assert refusing.predictions(section, LATE) == ()
    assert ContrastiveGuidance(omega=0).predictions(section, EARLY) == ()
    assert ContrastiveGuidance(omega=0, refusal=1.0).predictions(section, EARLY) == (), (
        "no concept, no refusal"
    )
    section = plan_sections("f1", 1, WINDOW)[0].with_prompt(Prompt(start=0.0, text=""))
    assert ContrastiveGuidance(apply_to="all").predictions(section, EARLY) == ()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"omega": -1.0}, "omega is -1.0; give a value from 0 to 10"),
        ({"history": float("nan")}, "history is nan"),
        ({"without": "full"}, "without is 'full'; choose one of anchor, none"),
        ({"past": "some"}, "past is 'some'; choose one of full, anchor, none"),
        ({"t_start": 0.2, "t_end": 0.5}, "window runs from t 0.2 to 0.5"),
    ],
)
def test_values_that_cannot_work_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        ContrastiveGuidance(**values)


# In the sampler


@pytest.fixture(scope="module")
def model(upstream) -> PlainModel:
    return PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)


def sample(
    model,
    *techniques,
    switch: bool = True,
    cfg: float = 1.0,
    batch: int = 1,
    steps: int = 2,
    says: int = 3,
    **objects,
):
    """A video of two sections; the prompt of the second is the one with the seed `says`, 1 for that of the first."""
    for technique in techniques:
        model = with_technique(model, technique, **objects)
    prompts = [
        Prompt(start=0.0, text="old", conditioning=text(1, batch), change=0.0),
        Prompt(start=0.4, text="new", conditioning=text(says, batch)),
    ]
    start, image = normal(batch, 16, 1, 8, 8, seed=5), normal(batch, 4, 12, seed=9)
    inputs = SampleInputs(start=start, has_start=True, negative=text(7, batch), image_embeds=image)
    return sample_sections(
        PlainDriver(model),
        assign_prompts(plan_sections("f1", 2, WINDOW), prompts[: 1 + switch]),
        inputs,
        SampleSettings(window=WINDOW, steps=steps, seed=7, guidance=Guidance(distilled=10.0, cfg=cfg)),
    )


@pytest.mark.parametrize(
    ("technique", "switch"),
    [
        (ContrastiveGuidance(omega=0.0, apply_to="all"), True),
        (ContrastiveGuidance(history=0.5), False),
    ],
)
def test_off_and_without_a_switch_nothing_changes(model, technique, switch):
    assert torch.equal(sample(model, technique, switch=switch)[0], sample(model, switch=switch)[0])


@pytest.mark.parametrize("past", ["full", "anchor", "none"])
def test_a_prompt_that_says_the_same_as_the_one_before_is_left_alone_bit_for_bit(model, past):
    """Four of twelve steps would ask for more, and the solver would begin anew behind them."""
    technique = ContrastiveGuidance(past=past, t_end=0.7)
    plain, _ = sample(model, steps=12, says=1)
    treated, trace = sample(model, technique, steps=12, says=1)
    assert torch.equal(treated, plain)
    assert [section["evaluations"] for section in trace["sections"]] == [12, 12]
    assert trace["sections"][1]["since_switch"] == 0, "it is a switch, and other techniques act"


def test_the_direction_without_the_past_costs_half_as_much_again_in_a_quarter_of_the_steps(model):
    _, trace = sample(model, *PRESETS["clean"], steps=12)
    assert [section["evaluations"] for section in trace["sections"]] == [12, 18]
    names = trace["sections"][1]["predictions"]
    assert names == 3 * [["positive", "positive/none", "previous/none"]] + 9 * [["positive"]]


def packed_past(context: Context) -> torch.Tensor:
    assert context.clean is not None and context.clean_2x is not None and context.clean_4x is not None
    tokens = [] if context.image_embeds is None else [context.image_embeds]
    return torch.cat(
        [part.flatten() for part in (context.clean, context.clean_2x, context.clean_4x, *tokens)]
    )


def test_its_predictions_really_are_those_without_a_past(model, monkeypatch):
    """The packed past that the two branches are given is all zeros; the guided one keeps its own."""
    seen = []
    call = SectionDenoiser.__call__

    def spied(self, x, sigma, evaluate, *rest, **more):
        def recorded(branches, *at):
            sums = [float(packed_past(branch.context).abs().sum()) for branch in branches]
            seen.append([(branch.text, total > 0) for branch, total in zip(branches, sums)])
            return evaluate(branches, *at)

        return call(self, x, sigma, recorded, *rest, **more)

    monkeypatch.setattr(SectionDenoiser, "__call__", spied)
    sample(model, ContrastiveGuidance(past="none", t_end=0.6))
    expected = [("positive", True), ("positive", False), ("previous", False)]
    assert seen[2:] == [expected, expected[:1]]


def test_it_costs_what_it_says_and_shares_the_negative_prediction(model):
    concept = [[text(11).states, {"pooled_output": text(11).pooled}]]
    whole = {"t_end": 0.0}
    _, plain = sample(model)
    _, away = sample(model, ContrastiveGuidance(**whole))
    _, refusing = sample(model, ContrastiveGuidance(omega=0, refusal=1.0, **whole), concept=concept)
    _, guided = sample(model, ContrastiveGuidance(omega=0, refusal=1.0, **whole), cfg=2.0, concept=concept)
    calls = [trace["sections"][1]["evaluations"] for trace in (plain, away, refusing, guided)]
    assert calls == [2, 4, 6, 6]


@settings(max_examples=12, deadline=None)
@given(
    st.floats(0, 10),
    st.floats(0, 10),
    st.sampled_from(["anchor", "none"]),
    st.floats(0, 10),
    st.floats(0, 0.9),
)
def test_no_setting_breaks_the_latents_or_touches_what_is_older_than_the_switch(
    model, omega, history, without, refusal, t_end
):
    technique = ContrastiveGuidance(
        omega=omega, history=history, without=without, refusal=refusal, t_end=t_end
    )
    concept = [[text(11, 2).states, {"pooled_output": text(11, 2).pooled}]]
    with torch.inference_mode():
        latents, _ = sample(model, technique, batch=2, concept=concept)
        plain, _ = sample(model, batch=2)
    assert latents.shape == plain.shape and latents.isfinite().all()
    assert torch.equal(latents[:, :, : 1 + WINDOW], plain[:, :, : 1 + WINDOW])


def test_the_node_asks_for_a_concept_where_one_is_refused(model):
    node = FramePackContrastiveGuidance()
    values = {
        name: (spec[0][0] if isinstance(spec[0], list) else spec[1]["default"])
        for name, spec in node.INPUT_TYPES()["required"].items()
        if name != "model"
    }
    with pytest.raises(ValueError, match="refusal is 1, but no concept is connected"):
        node.apply(model, **{**values, "refusal": 1.0})
    with pytest.raises(ValueError, match="or an empty one"):
        node.apply(model, concept=[], **{**values, "refusal": 1.0})
    concept = [[text(11).states, {}]]
    (wired,) = node.apply(model, concept=concept, **{**values, "refusal": 1.0, "without": "anchor"})
    technique = wired.model_options["transformer_options"]["framepack_techniques"][0]
    assert technique == replace(ContrastiveGuidance(refusal=1.0), concept=technique.concept)
    assert wired.attachments[technique.concept] is concept
