"""A LoRA of the embedded model: its names, what it changes, and which captions it learns from."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.files.lora import convert, parameter_shapes
from framepack_transitions.models.files.lora_file import read_lora_file
from framepack_transitions.nodes.example_files import SHIPPED
from framepack_transitions.tiny.bundle import WEIGHTS, fixed_seed, load_tiny
from framepack_transitions.tiny.config import TEXT, VISION
from framepack_transitions.tiny.networks.codec import TinyCodec
from framepack_transitions.tiny.train.__main__ import lora_recipe_of, parser
from framepack_transitions.tiny.train.data.batches import Batch, Batches
from framepack_transitions.tiny.train.data.choices import Choices, scene_change
from framepack_transitions.tiny.train.data.places import places
from framepack_transitions.tiny.train.data.specs import specs
from framepack_transitions.tiny.train.data.store import ClipStore, make_store
from framepack_transitions.tiny.train.learning.errors import (
    PREDICTIONS,
    SIGMAS,
    RecycledBatches,
    measure_errors,
    with_errors,
)
from framepack_transitions.tiny.train.learning.lora import LoraFactors, linear_layers
from framepack_transitions.tiny.train.learning.trio import Trio
from framepack_transitions.tiny.train.lora import (
    FILE,
    LoraRecipe,
    base_trio,
    is_lora_of,
    lora_batches,
    train_lora,
    train_stage_lora,
)
from framepack_transitions.tiny.train.mix import Mix
from framepack_transitions.tiny.train.recipe import CPU, Recipe
from framepack_transitions.tiny.train.run import run_stages
from framepack_transitions.tiny.train.state import Run

DEVICE = torch.device("cpu")
SMALL_DIT = FramePackConfig(
    num_attention_heads=2,
    attention_head_dim=16,
    rope_axes_dim=(4, 6, 6),
    num_layers=1,
    num_single_layers=1,
    num_refiner_layers=1,
    text_embed_dim=TEXT.width,
    pooled_projection_dim=TEXT.pooled,
    image_proj_dim=VISION.width,
)
SMALL: Recipe = replace(CPU, dit=SMALL_DIT, clips=6, codec_clips=6, codec_steps=2, steps=0, batch=2)
SHORT = LoraRecipe(steps=2, batch=2, rank=4)
SHIPPED_LORA = SHIPPED / "framepack_transitions_tiny_lora.safetensors"


@pytest.fixture(scope="module")
def store() -> ClipStore:
    with fixed_seed(3):
        codec = TinyCodec().eval()
    return make_store(codec, specs(12, Mix(window_5=0.0), 0), DEVICE, progress=False)


@pytest.fixture
def trio() -> Trio:
    with fixed_seed(1):
        return Trio(SMALL, DEVICE).eval()


def quiet(**facts: object) -> None:
    """Takes a line of the log."""


def test_names_are_musubi_tuners_for_every_linear_layer_of_the_blocks(trio: Trio) -> None:
    tensors = LoraFactors(trio.dit, 4, 0).tensors()
    modules = {key.split(".")[0] for key in tensors}
    double = [f"attn_{name}" for name in ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj")]
    double += ["attn_to_out_0", "attn_to_add_out"]
    double += [f"{ff}_net_{layer}" for ff in ("ff", "ff_context") for layer in ("0_proj", "2")]
    single = ["attn_to_q", "attn_to_k", "attn_to_v", "proj_mlp", "proj_out"]
    assert modules == {
        *(f"lora_unet_transformer_blocks_0_{name}" for name in double),
        *(f"lora_unet_single_transformer_blocks_0_{name}" for name in single),
    }
    assert len(tensors) == 3 * len(modules)


def test_new_factors_change_nothing_and_the_blocks_end_leaves_nothing(trio: Trio) -> None:
    factors = LoraFactors(trio.dit, 4, 0)
    name, layer = next(iter(linear_layers(trio.dit)))
    x = torch.randn(3, layer.in_features)
    before = layer(x)
    with factors.acting_on(trio.dit):
        assert torch.equal(layer(x), before)
        torch.nn.init.ones_(factors.up[factors.names.index(name)])
        assert not torch.equal(layer(x), before)
    assert torch.equal(layer(x), before)


def test_what_is_trained_is_what_the_packs_loader_adds(store: ClipStore, trio: Trio) -> None:
    """The weight of every layer becomes W + alpha / rank up down, of the file's own numbers."""
    batches = lora_batches(store, SHORT, "f1")
    frozen = {name: value.clone() for name, value in trio.state_dict().items()}
    tensors = train_lora(trio, batches, SHORT, device=DEVICE, log=quiet, progress=False)
    assert all(torch.equal(value, frozen[name]) for name, value in trio.state_dict().items())
    assert any(value.any() for name, value in tensors.items() if "lora_up" in name)
    shapes = parameter_shapes(FramePackDiT(SMALL_DIT))
    lora = convert(tensors, shapes)
    assert not lora.unmatched and lora.matched == len(tensors)
    added = {name: value for change in lora.changes for name, value in change.differences(shapes).items()}
    key = "lora_unet_transformer_blocks_0_attn_to_q"
    expected = tensors[f"{key}.lora_up.weight"].double() @ tensors[f"{key}.lora_down.weight"].double()
    torch.testing.assert_close(
        added["transformer_blocks.0.attn.to_q.weight"].double(), expected, rtol=1e-5, atol=1e-7
    )


def test_a_training_is_the_same_every_time(store: ClipStore, trio: Trio) -> None:
    one, other = (
        train_lora(trio, lora_batches(store, SHORT, "f1"), SHORT, device=DEVICE, log=quiet, progress=False)
        for _ in range(2)
    )
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def shares(batches: Batches, steps: int = 60) -> dict[str, float]:
    """How frequent the kinds of examples are among those drawn."""
    pool = batches._pools[9, False]
    found: Counter[str] = Counter()
    for step in range(steps):
        choices = pool.chooser.draw(np.random.default_rng([7, step]), 20, text_only=False)
        for clip, place in zip(choices.clip, choices.place):
            found[scene_change(batches.store.specs[clip], pool.table.places[place])] += 1
    return {kind: count / (20 * steps) for kind, count in found.items()}


def test_the_share_of_real_switches_is_what_was_asked_for(store: ClipStore) -> None:
    assert shares(lora_batches(store, LoraRecipe(real=0.45), "f1"))["real"] == pytest.approx(0.45, abs=0.04)


def test_without_a_share_every_section_is_as_frequent_as_any_other(store: ClipStore) -> None:
    listed = places("f1", 9, has_image=True)
    kinds = Counter(scene_change(spec, place) for spec in store.specs for place in listed)
    natural = {kind: count / sum(kinds.values()) for kind, count in kinds.items()}
    got = shares(lora_batches(store, LoraRecipe(real=None), "f1"))
    assert all(got[kind] == pytest.approx(natural[kind], abs=0.04) for kind in natural)


def test_one_caption_a_clip_says_the_new_scene_in_every_section(store: ClipStore) -> None:
    recipe = LoraRecipe(captions="clip", real=None)
    batches, plain = (
        lora_batches(store, recipe, "f1"),
        lora_batches(store, replace(recipe, captions="section"), "f1"),
    )
    for step in range(8):
        one, other = batches.of_step(step), plain.of_step(step)
        assert torch.equal(one.target, other.target), "only captions differ"
    clip = next(number for number, spec in enumerate(store.specs) if spec.event != "none" and spec.switch > 1)
    rows = store.text_rows[clip, :, 0]
    pool = batches._pools[9, False]
    import numpy as np

    count = len(pool.table.places)
    choices = Choices(
        clip=np.full(count, clip),
        place=np.arange(count),
        other_text=np.zeros(count, bool),
        phrasing=np.zeros(count, int),
    )
    tokens, _ = batches._texts(choices, pool.table)
    new = store.tokens[rows[store.specs[clip].switch, 0], : tokens.shape[1]].long()
    assert (tokens == new).all()


@pytest.mark.parametrize("changes", [{"captions": "none"}, {"errors": "some"}, {"real": 0.9}, {"real": -0.1}])
def test_a_recipe_that_cannot_be_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        LoraRecipe(**changes)


def test_an_error_is_what_is_predicted_less_what_is_true(store: ClipStore) -> None:
    """A velocity that is too high by 1 everywhere gives a picture that is too low by sigma everywhere."""

    def predicted(batch: Batch, x: torch.Tensor, sigma: torch.Tensor, guidance: torch.Tensor) -> torch.Tensor:
        assert (guidance == 10).all()
        return (x - batch.target) / sigma.view(-1, 1, 1, 1, 1) + 1

    errors = measure_errors(predicted, lora_batches(store, LoraRecipe(batch=20), "f1"), 3)
    assert errors.shape == (4 * 20 * 9, 16, 8, 8), f"as many batches as hold {PREDICTIONS} predictions"
    sigmas = -errors.flatten(1).mean(1)
    torch.testing.assert_close(errors, -sigmas.view(-1, 1, 1, 1).expand_as(errors), atol=1e-4, rtol=0)
    assert sigmas.min() > SIGMAS[0] - 1e-4 and sigmas.max() < SIGMAS[1] + 1e-4
    assert len(sigmas[::9].round(decimals=3).unique()) > 40, "every prediction has a sigma of its own"


def test_recycled_errors_lie_in_generated_frames_of_half_of_the_examples(store: ClipStore) -> None:
    clean, ones = lora_batches(store, LoraRecipe(batch=400), "f1").of_step(0), torch.ones(1, 16, 8, 8)
    batch = with_errors(clean, ones, torch.Generator().manual_seed(0))
    hit, generated, touched = 0, 0, torch.zeros(400, dtype=torch.bool)
    start = clean.past["clean_latents"][:, :, 0]
    for tier in ("clean_latents", "clean_latents_2x", "clean_latents_4x"):
        before, added = clean.past[tier], batch.past[tier] - clean.past[tier]
        torch.testing.assert_close(added, added.round(), atol=1e-3, rtol=0)
        spoiled = added.round().bool().all((1, 3, 4))
        assert torch.equal(spoiled, added.round().bool().any(4).any(3).any(1)), "whole frames"
        given = (before == start[:, :, None]).all((1, 3, 4)) | (before == 0).all((1, 3, 4))
        assert not (spoiled & given).any(), "a start frame and nothing have no errors"
        hit, generated = hit + int(spoiled.sum()), generated + int((~given).sum())
        touched |= spoiled.any(1)
    assert hit / generated == pytest.approx(0.25, abs=0.03), "half of the frames of half of the examples"
    remembering = sum(clean.generated[tier].sum(1) for tier in clean.generated) > 8
    assert touched[remembering].float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert torch.equal(batch.target, clean.target) and torch.equal(batch.tokens, clean.tokens)


def test_recycled_batches_are_the_same_every_time(store: ClipStore) -> None:
    source, errors = lora_batches(store, SHORT, "f1"), torch.randn(5, 16, 8, 8)
    steps = [RecycledBatches(source, errors, 0).of_step(1).past["clean_latents_4x"] for _ in range(2)]
    assert torch.equal(*steps)


def test_the_stage_leaves_a_lora_of_the_runs_transformer(tmp_path: Path) -> None:
    run = Run(recipe=SMALL, folder=tmp_path, device=DEVICE, progress=False)
    run_stages(run, ("codec",))
    with pytest.raises(ValueError, match="--init"):
        train_stage_lora(run, SHORT)
    run_stages(run, ("latents", "dit"))
    train_stage_lora(run, replace(SHORT, errors="recycled"))
    tensors, facts = read_lora_file(tmp_path / FILE)
    assert not convert(tensors, parameter_shapes(FramePackDiT(SMALL_DIT))).unmatched
    assert facts["ss_network_module"] == "networks.lora_framepack" and facts["ss_network_dim"] == "4"


def test_the_command_line_says_how_it_is_trained() -> None:
    arguments = ["--stage", "lora", "--captions", "clip", "--switches", "natural", "--steps", "7"]
    recipe = lora_recipe_of(parser().parse_args([*arguments, "--errors", "recycled"]))
    assert recipe == LoraRecipe(captions="clip", real=None, errors="recycled", steps=7)
    assert lora_recipe_of(parser().parse_args(["--stage", "lora"])) == LoraRecipe()
    with pytest.raises(SystemExit):
        parser().parse_args(["--switches", "many"])


def test_the_lora_that_ships_is_for_the_weights_that_ship() -> None:
    run = Run(recipe=replace(CPU, clips=500), folder=Path("nowhere"), device=DEVICE, init=WEIGHTS)
    assert is_lora_of(SHIPPED_LORA, base_trio(run), LoraRecipe())
    tensors, _ = read_lora_file(SHIPPED_LORA)
    lora = convert(tensors, parameter_shapes(load_tiny().dit))
    assert not lora.unmatched and lora.matched == len(tensors)
    assert SHIPPED_LORA.stat().st_size < 2e6
