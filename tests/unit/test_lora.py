"""LoRA files of every name style and kind change exactly the weights they are meant for, or say that they do not."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from framepack_transitions.headless.files import folders
from framepack_transitions.headless.running.runs import local_nodes
from framepack_transitions.headless.workflows.executor import execute, prepare
from framepack_transitions.headless.workflows.workflow import Link, Node
from framepack_transitions.models.attention.blocks import block_set
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.files.lora import (
    Lora,
    convert,
    parameter_shapes,
    rounds,
)
from framepack_transitions.models.files.lora_file import LoraError, read_lora_file
from framepack_transitions.models.files.one_frame import ATTACHMENT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.nodes.loading.lora import FramePackLoraLoader
from safetensors.torch import save_file
from torch import Tensor

Tensors = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]

D, MLP = 64, 256  # of the small transformer
DOUBLE, SINGLE = "double_blocks.0", "single_blocks.1"
QKV = {f"transformer_blocks.0.attn.to_{name}": slice(i * D, (i + 1) * D) for i, name in enumerate("qkv")}
LINEAR1 = {
    f"single_transformer_blocks.1.attn.to_{name}": slice(i * D, (i + 1) * D) for i, name in enumerate("qkv")
}
LINEAR1 |= {"single_transformer_blocks.1.proj_mlp": slice(3 * D, 3 * D + MLP)}


@pytest.fixture(scope="module")
def dit(dit_cases: ModuleType) -> FramePackDiT:
    return dit_cases.make_dit().requires_grad_(False)


@pytest.fixture(scope="module")
def shapes(dit: FramePackDiT) -> Shapes:
    return parameter_shapes(dit)


@pytest.fixture(scope="module")
def factors(lora_cases: ModuleType, dit: FramePackDiT) -> dict[str, tuple[Tensor, Tensor]]:
    return lora_cases.make_factors(lora_cases.original_layers(dit.config))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def differences(lora: Lora, shapes: Shapes) -> dict[str, np.ndarray]:
    """What all changes together add to each parameter."""
    total: dict[str, np.ndarray] = {}
    for change in lora.changes:
        for name, value in change.differences(shapes).items():
            total[name] = total.get(name, 0) + value.numpy()
    return total


def assert_rows(lora: Lora, shapes: Shapes, expected: np.ndarray, targets: dict[str, slice]) -> None:
    found = differences(lora, shapes)
    assert set(found) == {f"{module}.weight" for module in targets}
    for module, rows in targets.items():
        np.testing.assert_allclose(found[f"{module}.weight"], expected[rows], rtol=1e-4, atol=1e-4)


# Names


@pytest.mark.parametrize(
    "style", ["kohya", "transformer", "diffusion_model", "i2v", "comfyui", "comfyui_bare", "peft"]
)
def test_fused_layers_are_split_whatever_the_names(
    lora_cases: ModuleType, factors: dict, shapes: Shapes, style: str
) -> None:
    written = lora_cases.ORIGINAL_STYLES[style]
    for layer, targets in ((f"{DOUBLE}.img_attn_qkv", QKV), (f"{SINGLE}.linear1", LINEAR1)):
        down, up = factors[layer]
        lora = convert(written.write({layer: (down, up)}, alpha=1.0), shapes)
        expected = up.numpy() @ down.numpy() * (1 / 4 if written.alpha else 1)
        assert_rows(lora, shapes, expected, targets)


@pytest.mark.parametrize("style", ["musubi", "diffusers", "bare", "onetrainer", "lycoris", "old_diffusers"])
def test_names_of_our_own_modules_are_known_in_every_spelling(
    lora_cases: ModuleType, shapes: Shapes, style: str
) -> None:
    layers = {
        name.removesuffix(".weight"): shape for name, shape in shapes.items() if name.endswith(".weight")
    }
    layers = {name: shape for name, shape in layers.items() if len(shape) > 1}
    lora = convert(lora_cases.DIFFUSERS_STYLES[style].write(lora_cases.make_factors(layers)), shapes)
    assert not lora.unmatched
    assert [change.module for change in lora.changes] == list(layers)


def test_the_halves_of_the_last_modulation_change_places(factors: dict, shapes: Shapes) -> None:
    down, up = factors["final_layer.adaLN_modulation.1"]
    file = {
        "final_layer.adaLN_modulation.1.lora_A.weight": down,
        "final_layer.adaLN_modulation.1.lora_B.weight": up,
    }
    expected = np.concatenate([up.numpy()[D:], up.numpy()[:D]]) @ down.numpy()
    assert_rows(convert(file, shapes), shapes, expected, {"norm_out.linear": slice(None)})


def test_several_styles_in_one_file_add_up(lora_cases: ModuleType, factors: dict, shapes: Shapes) -> None:
    layer, own = f"{DOUBLE}.img_attn_qkv", "transformer_blocks.0.attn.to_k"
    fused, single = factors[layer], (normal(2, D), normal(D, 2, seed=1))
    file = lora_cases.ORIGINAL_STYLES["kohya"].write({layer: fused})
    file |= lora_cases.DIFFUSERS_STYLES["diffusers"].write({own: single})
    lora = convert(file, shapes)
    expected = (fused[1] @ fused[0]).numpy()
    expected[QKV[own]] += (single[1] @ single[0]).numpy()
    assert_rows(lora, shapes, expected, QKV)
    assert [len(changed) for changed in rounds(lora.changes)] == [3, 1]
    assert lora.styles == {"lora_unet_, HunyuanVideo names": 2, "transformer., diffusers names": 2}


@pytest.mark.parametrize("style", ["kohya", "diffusion_model", "i2v", "comfyui"])
def test_a_whole_file_for_the_published_model_matches_key_by_key(lora_cases: ModuleType, style: str) -> None:
    config = FramePackConfig()
    shapes = parameter_shapes(FramePackDiT(config, device="meta"))
    layers = lora_cases.original_layers(config)
    file = lora_cases.ORIGINAL_STYLES[style].write(lora_cases.make_factors(layers, rank=16, device="meta"))
    lora = convert(file, shapes)
    assert lora.matched == len(file) == 2 * len(layers)
    assert not lora.unmatched
    changed = {f"{change.module}.weight": change.parts["up"].shape[0] for change in lora.changes}
    assert changed == {name: shapes[name][0] for name in changed}
    # Everything that HunyuanVideo has too, and that is a matrix or a patch.
    new = ("image_projection.", "clean_x_embedder.")
    assert set(changed) == {
        name for name, shape in shapes.items() if len(shape) > 1 and not name.startswith(new)
    }


@pytest.mark.parametrize("style", ["musubi", "diffusers"])
def test_so_does_one_that_names_every_matrix_of_the_published_model(
    lora_cases: ModuleType, style: str
) -> None:
    shapes = parameter_shapes(FramePackDiT(FramePackConfig(), device="meta"))
    layers = {name.removesuffix(".weight"): shape for name, shape in shapes.items() if len(shape) > 1}
    file = lora_cases.DIFFUSERS_STYLES[style].write(lora_cases.make_factors(layers, rank=16, device="meta"))
    lora = convert(file, shapes)
    assert lora.matched == len(file) and not lora.unmatched
    assert [change.module for change in lora.changes] == list(layers)


# For few steps


def test_a_few_step_lora_of_the_published_size_matches_key_by_key(lora_cases: ModuleType) -> None:
    config = FramePackConfig()
    file = lora_cases.extracted(config, 32, device="meta")
    # hyvideo_FastVideo_LoRA-fp8.safetensors is listed with 174 MB.
    assert round(sum(value.nbytes for value in file.values()) / 1e6) == 174
    lora = convert(file, parameter_shapes(FramePackDiT(config, device="meta")))
    assert lora.matched == len(file) and not lora.unmatched


def test_a_few_step_lora_adds_matrices_biases_and_norms_at_their_value(
    tmp_path: Path, lora_cases: ModuleType, model: PlainModel, shapes: Shapes
) -> None:
    file = lora_cases.extracted(model.model.diffusion_model.config, 4)
    numbers = {key.removeprefix("diffusion_model."): value.double().numpy() for key, value in file.items()}
    (tmp_path / "in").mkdir()
    save_file(file, tmp_path / "in" / "style.safetensors")
    patched, report = apply(tmp_path, model, 0.5)
    assert f"{len(file)} of {len(file)} keys matched" in report

    before = state(model)
    added = {name: (value - before[name]).double().numpy() for name, value in state(patched).items()}
    # Nothing changes but what HunyuanVideo has too, and of the input's patches the bias alone.
    new = ("image_projection.", "clean_x_embedder.", "x_embedder.proj.weight")
    assert {name for name, value in added.items() if not value.any()} == {
        name for name in added if name.startswith(new)
    }

    def matrix(layer: str) -> np.ndarray:
        return numbers[f"{layer}.lora_up.weight"] @ numbers[f"{layer}.lora_down.weight"]

    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    for layer, targets in ((f"{DOUBLE}.img_attn.qkv", QKV), (f"{SINGLE}.linear1", LINEAR1)):
        for module, rows in targets.items():
            close(added[f"{module}.weight"], 0.5 * matrix(layer)[rows])
            close(added[f"{module}.bias"], 0.5 * numbers[f"{layer}.diff_b"][rows])
    # HunyuanVideo has shift before scale there.
    last = "final_layer.adaLN_modulation.1"
    close(added["norm_out.linear.weight"], 0.5 * np.roll(matrix(last), D, axis=0))
    close(added["norm_out.linear.bias"], 0.5 * np.roll(numbers[f"{last}.diff_b"], D))
    for there, here in (
        (f"{DOUBLE}.img_attn.norm.query_norm", "transformer_blocks.0.attn.norm_q"),
        (f"{DOUBLE}.txt_attn.norm.key_norm", "transformer_blocks.0.attn.norm_added_k"),
        (f"{SINGLE}.norm.key_norm", "single_transformer_blocks.1.attn.norm_k"),
        (
            "txt_in.individual_token_refiner.blocks.0.norm2",
            "context_embedder.token_refiner.refiner_blocks.0.norm2",
        ),
    ):
        close(added[f"{here}.weight"], 0.5 * numbers[f"{there}.diff"])


# Kinds


@pytest.mark.parametrize("alpha", [None, 2.0])
def test_alpha_over_rank_is_the_scale_and_without_alpha_it_is_one(
    shapes: Shapes, alpha: float | None
) -> None:
    down, up = normal(8, D), normal(D, 8, seed=1)
    file = {
        "lora_unet_double_blocks_0_img_attn_proj.lora_down.weight": down.half(),
        "lora_unet_double_blocks_0_img_attn_proj.lora_up.weight": up.half(),
    }
    file |= {} if alpha is None else {"lora_unet_double_blocks_0_img_attn_proj.alpha": torch.tensor([alpha])}
    expected = up.half().float().numpy() @ down.half().float().numpy() * (1 if alpha is None else alpha / 8)
    assert_rows(convert(file, shapes), shapes, expected, {"transformer_blocks.0.attn.to_out.0": slice(None)})


LAYERS = [
    (f"{DOUBLE}.img_attn_qkv", QKV),
    (f"{SINGLE}.linear1", LINEAR1),
    (f"{DOUBLE}.txt_attn_proj", {"transformer_blocks.0.attn.to_add_out": slice(0, D)}),
]


@pytest.mark.parametrize(("layer", "targets"), LAYERS)
def test_loha_is_the_product_of_two_products(shapes: Shapes, layer: str, targets: dict[str, slice]) -> None:
    height = sum(rows.stop - rows.start for rows in targets.values())
    parts = {
        "w1_a": normal(height, 3),
        "w1_b": normal(3, D, seed=1),
        "w2_a": normal(height, 3, seed=2),
        "w2_b": normal(3, D, seed=3),
    }
    file = {f"diffusion_model.{layer}.hada_{name}": value for name, value in parts.items()}
    file[f"diffusion_model.{layer}.alpha"] = torch.tensor(6.0)
    w1_a, w1_b, w2_a, w2_b = (value.numpy() for value in parts.values())
    assert_rows(convert(file, shapes), shapes, (w1_a @ w1_b) * (w2_a @ w2_b) * 6 / 3, targets)


@pytest.mark.parametrize("left_whole", [True, False])
@pytest.mark.parametrize("right_whole", [True, False])
@pytest.mark.parametrize(("layer", "targets"), LAYERS)
def test_lokr_is_a_kronecker_product(
    shapes: Shapes, layer: str, targets: dict[str, slice], left_whole: bool, right_whole: bool
) -> None:
    height = sum(rows.stop - rows.start for rows in targets.values())
    left, right = (8, 4), (height // 8, D // 4)  # rows of the right factor do not end where those of q do
    parts, factors = {}, []
    for name, (rows, columns), whole in (("w1", left, left_whole), ("w2", right, right_whole)):
        a, b = normal(rows, 2, seed=len(name)), normal(2, columns, seed=7)
        factors.append((a @ b).numpy())
        parts |= {name: a @ b} if whole else {f"{name}_a": a, f"{name}_b": b}
    file = {f"lora_unet_{layer.replace('.', '_')}.lokr_{name}": value for name, value in parts.items()}
    file[f"lora_unet_{layer.replace('.', '_')}.alpha"] = torch.tensor(5.0)
    # alpha scales what is of lower rank; two whole factors are taken as they are.
    scale = 1 if left_whole and right_whole else 5 / 2
    assert_rows(convert(file, shapes), shapes, np.kron(*factors) * scale, targets)


def test_patches_of_the_input_can_be_changed_too(shapes: Shapes) -> None:
    left, right = normal(8, 4), normal(8, 4, 1, 2, 2, seed=1)
    file = {"img_in.proj.lokr_w1": left, "img_in.proj.lokr_w2": right}
    lora = convert(file, shapes)
    expected = torch.einsum("ab,cdtyx->acbdtyx", left, right).reshape(D, 16, 1, 2, 2).numpy()
    assert_rows(lora, shapes, expected, {"x_embedder.proj": slice(None)})
    assert set(lora.changes[0].parts) == {"diff"}


def test_whole_differences_and_biases_are_split_as_well(shapes: Shapes) -> None:
    name, whole, bias = f"transformer.{DOUBLE}.img_attn_qkv", normal(3 * D, D), normal(3 * D, seed=1)
    found = differences(convert({f"{name}.diff": whole, f"{name}.diff_b": bias}, shapes), shapes)
    for module, rows in QKV.items():
        np.testing.assert_array_equal(found[f"{module}.weight"], whole[rows].numpy())
        np.testing.assert_array_equal(found[f"{module}.bias"], bias[rows].numpy())


def test_a_bias_of_the_up_projection_is_scaled_like_its_weight(shapes: Shapes) -> None:
    name, bias = "transformer.transformer_blocks.0.attn.to_q", normal(D)
    file = {f"{name}.lora_A.weight": normal(4, D), f"{name}.lora_B.weight": normal(D, 4), f"{name}.lora_B.bias": bias,
            f"{name}.alpha": torch.tensor(1.0)}  # fmt: skip
    found = differences(convert(file, shapes), shapes)
    np.testing.assert_allclose(found["transformer_blocks.0.attn.to_q.bias"], bias.numpy() / 4)


def test_a_dora_goes_to_comfyui_whole_or_split_by_rows(shapes: Shapes) -> None:
    name, scale = f"transformer.{DOUBLE}.img_attn_qkv", normal(3 * D, 1)
    file = {f"{name}.lora_A.weight": normal(4, D), f"{name}.lora_B.weight": normal(3 * D, 4)}
    file |= {f"{name}.dora_scale": scale}
    lora = convert(file, shapes)
    assert torch.equal(torch.cat([change.parts["dora_scale"] for change in lora.changes]), scale)
    with pytest.raises(LoraError, match="DoRA, which needs ComfyUI"):
        differences(lora, shapes)
    with pytest.raises(LoraError, match="a DoRA that cannot be split"):
        convert({**file, f"{name}.dora_scale": normal(1, D)}, shapes)


@pytest.mark.parametrize("ending", ["", ".weight", ".default", ".default.weight"])
def test_magnitudes_that_peft_stores_make_it_a_dora(shapes: Shapes, ending: str) -> None:
    name, magnitudes = f"base_model.model.{DOUBLE}.img_attn_qkv", normal(3 * D).abs()
    file = {f"{name}.lora_A.weight": normal(4, D), f"{name}.lora_B.weight": normal(3 * D, 4)}
    lora = convert({**file, f"{name}.lora_magnitude_vector{ending}": magnitudes}, shapes)
    for change in lora.changes:
        assert torch.equal(change.parts["dora_scale"], magnitudes[QKV[change.module]].reshape(D, 1))
    with pytest.raises(LoraError, match="5 magnitudes of a DoRA, but the weight has 192 rows"):
        convert({**file, f"{name}.lora_magnitude_vector{ending}": normal(5)}, shapes)


@pytest.mark.parametrize(
    "part",
    [
        "lora_mid.weight",
        "scale_weight",
        "lora_down.scale_weight",
        "lora_down.bias",
        "hada_t1",
        "lokr_t2",
        "whatever",
    ],
)
def test_a_module_with_a_part_that_is_not_understood_is_left_out(shapes: Shapes, part: str) -> None:
    good = {
        f"{SINGLE}.linear2.lora_down.weight": normal(4, D + MLP),
        f"{SINGLE}.linear2.lora_up.weight": normal(D, 4),
    }
    bad = {
        f"{DOUBLE}.img_attn_proj.lora_down.weight": normal(4, D),
        f"{DOUBLE}.img_attn_proj.lora_up.weight": normal(D, 4),
    }
    extra = f"{DOUBLE}.img_attn_proj.{part}"
    lora = convert({**good, **bad, extra: normal(4, 4)}, shapes)
    assert [change.module for change in lora.changes] == ["single_transformer_blocks.1.proj_out"]
    assert set(lora.unmatched) == {*bad, extra}
    assert lora.unmatched[next(iter(bad))] == f"its part {extra} is not understood here"


def test_parts_of_two_kinds_or_two_adapters_are_not_chosen_from(shapes: Shapes) -> None:
    name = f"{DOUBLE}.img_attn_proj"
    file = {f"{name}.lora_down.weight": normal(4, D), f"{name}.lora_up.weight": normal(D, 4)}
    with pytest.raises(LoraError, match="belong to different kinds of change .what to do with diff"):
        convert({**file, f"{name}.diff": normal(D, D)}, shapes)
    with pytest.raises(LoraError, match="are the same part"):
        convert({**file, f"{name}.lora_A.other.weight": normal(4, D)}, shapes)


# Alpha in the metadata

RANK = 4
KOHYA, PEFT = ("lora_unet_transformer_blocks_0_attn_to_q", "lora_down", "lora_up"), (
    "transformer.transformer_blocks.0.attn.to_q", "lora_A", "lora_B",
)  # fmt: skip


def in_diffusers(**settings: Any) -> dict[str, str]:
    return {
        "lora_adapter_metadata": json.dumps({f"transformer.{key}": value for key, value in settings.items()})
    }


@pytest.mark.parametrize(("names", "metadata", "scale"), [
    (PEFT, {}, 1.0),
    (PEFT, in_diffusers(r=RANK, lora_alpha=1), 1 / RANK),
    (PEFT, in_diffusers(r=RANK, lora_alpha=8), 8 / RANK),
    (PEFT, in_diffusers(lora_alpha=8, use_rslora=True), 8 / 2),
    (PEFT, in_diffusers(lora_alpha=8, alpha_pattern={"attn.to_q": 2, "attn.to_k": 16}), 2 / RANK),
    (PEFT, {"lora_alpha": "1", "rank": "4"}, 1 / RANK),
    (KOHYA, {"ss_network_alpha": "1", "ss_network_dim": "4"}, 1 / RANK),
    (KOHYA, {"ss_network_alpha": "None"}, 1.0),
    # What musubi-tuner converts to these names has alpha multiplied in already, and keeps the entry.
    (PEFT, {"ss_network_alpha": "1"}, 1.0),
])  # fmt: skip
def test_an_alpha_that_only_the_metadata_states_is_used(
    tmp_path: Path, shapes: Shapes, names: tuple[str, str, str], metadata: dict[str, str], scale: float
) -> None:
    module, below, above = names
    down, up = normal(RANK, D), normal(D, RANK, seed=1)
    file = {f"{module}.{below}.weight": down, f"{module}.{above}.weight": up}
    save_file(file, tmp_path / "a.safetensors", metadata)
    target = {"transformer_blocks.0.attn.to_q": slice(None)}
    expected = up.numpy() @ down.numpy()
    assert_rows(
        convert(read_lora_file(tmp_path / "a.safetensors")[0], shapes), shapes, expected * scale, target
    )
    # A file that holds alphas of its own needs no metadata.
    save_file({**file, f"{module}.alpha": torch.tensor(3.0)}, tmp_path / "a.safetensors", metadata)
    assert_rows(
        convert(read_lora_file(tmp_path / "a.safetensors")[0], shapes), shapes, expected * 3 / RANK, target
    )


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000])
def test_metadata_that_is_no_json_object_is_an_error_of_the_file(tmp_path: Path, text: str) -> None:
    save_file({"a.lora_A.weight": normal(4, 4)}, tmp_path / "a.safetensors", {"lora_adapter_metadata": text})
    with pytest.raises(LoraError, match="a.safetensors: its lora_adapter_metadata is no"):
        read_lora_file(tmp_path / "a.safetensors")[0]


# Numbers that cannot be used


@pytest.mark.parametrize(("part", "value", "message"), [
    ("lora_A.weight", torch.ones(0, D), r"lora_A.weight is empty, of shape \[0, 64\]"),
    ("alpha", torch.ones(2), "alpha holds 2 numbers of torch.float32, expected one"),
    ("alpha", torch.ones(1, dtype=torch.complex64), "alpha holds 1 numbers of torch.complex64, expected one"),
    ("alpha", torch.tensor(float("nan")), "alpha holds numbers that are not finite"),
    ("lora_A.weight", torch.full((4, D), float("inf")), "lora_A.weight holds numbers that are not finite"),
    ("lora_A.weight", torch.full((4, D), 3e38), r"lora_A.weight holds numbers as large as 3e\+38"),
    ("lora_B.weight", torch.tensor(1.0), "lora_B.weight is a single number"),
    ("lora_B.weight", torch.ones(D, 4, dtype=torch.int8), "lora_B.weight is stored as torch.int8"),
    ("dora_scale", torch.tensor(1.0), "dora_scale is a single number"),
])  # fmt: skip
def test_degenerate_numbers_are_one_sentence_with_file_and_key(
    shapes: Shapes, part: str, value: Tensor, message: str
) -> None:
    name = f"{DOUBLE}.img_attn_proj"
    file = {f"{name}.lora_A.weight": normal(4, D), f"{name}.lora_B.weight": normal(D, 4)}
    with pytest.raises(LoraError, match=rf"odd.safetensors: {name}.{message}"):
        convert({**file, f"{name}.{part}": value}, shapes, name="odd.safetensors")


# Blocks


def test_only_the_chosen_blocks_are_changed(lora_cases: ModuleType, factors: dict, shapes: Shapes) -> None:
    file = lora_cases.ORIGINAL_STYLES["kohya"].write(factors)
    everything = convert(file, shapes)
    lora = convert(file, shapes, block_set("double:0; single:1"))
    blocks = {
        module.split(".attn")[0].split(".norm")[0] for module in (change.module for change in lora.changes)
    }
    assert all(block.startswith(("transformer_blocks.0", "single_transformer_blocks.1")) for block in blocks)
    assert lora.outside + len(lora.changes) == len(everything.changes)
    assert lora.matched == everything.matched == len(file)
    assert f"{lora.outside} modules lie outside the chosen blocks" in lora.describe()


def test_blocks_that_leave_nothing_are_an_error(
    lora_cases: ModuleType, factors: dict, shapes: Shapes
) -> None:
    layer = f"{SINGLE}.linear1"
    file = lora_cases.ORIGINAL_STYLES["kohya"].write({layer: factors[layer]})
    with pytest.raises(
        LoraError, match="style.safetensors: all 4 modules that it changes lie outside blocks"
    ):
        convert(file, shapes, block_set("double:0"), name="style.safetensors")


# Files that do not fit


def test_a_file_of_which_nothing_fits_is_an_error_with_its_first_keys(shapes: Shapes) -> None:
    file = {
        "lora_unet_blocks_0_cross_attn_k.lora_down.weight": normal(4, D),
        "lora_unet_blocks_0_cross_attn_k.lora_up.weight": normal(D, 4),
    }
    with pytest.raises(
        LoraError, match=r"wan\.safetensors: none of its 2 keys fits.*lora_unet_blocks_0_cross_attn_k"
    ):
        convert(file, shapes, name="wan.safetensors")
    with pytest.raises(LoraError, match="none of its 0 keys fits.*first keys are none"):
        convert({}, shapes)


@pytest.mark.parametrize(("file", "reason"), [
    ({"transformer_blocks.0.attn.to_q.weight": (D, D)}, "no part of a LoRA"),
    ({f"{DOUBLE}.img_attn_proj.lora_up.weight": (D, 4)}, "its other parts are missing"),
    ({f"{DOUBLE}.img_attn_proj.alpha": ()}, "its other parts are missing"),
    ({f"{DOUBLE}.img_attn_proj.lora_A.weight": (4, 32), f"{DOUBLE}.img_attn_proj.lora_B.weight": (32, 4)},
     r"a change of \[32, 32\], but the weight is \[64, 64\]"),
    ({f"{DOUBLE}.img_attn_proj.lora_A.weight": (4, D), f"{DOUBLE}.img_attn_proj.lora_B.weight": (D, 5)},
     "parts that do not fit each other"),
    ({f"{DOUBLE}.img_attn_proj.diff_b": (3,)}, "a change of the bias that is not"),
    ({f"{DOUBLE}.img_attn_q_norm.diff_b": (32,)}, "the model has none here"),
    ({"lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": (4, D)}, "the model has no such module"),
    ({"double_blocks.9.img_attn_proj.alpha": ()}, "the model has no such module"),
])  # fmt: skip
def test_what_is_left_out_is_reported_with_the_reason(shapes: Shapes, file: dict, reason: str) -> None:
    good = {
        f"{DOUBLE}.img_mlp.0.lora_A.weight": normal(4, D),
        f"{DOUBLE}.img_mlp.0.lora_B.weight": normal(MLP, 4),
    }
    bad = {key: torch.zeros(shape) for key, shape in file.items()}
    lora = convert({**good, **bad}, shapes)
    assert list(lora.unmatched) == list(bad)
    assert lora.matched == 2 and [change.module for change in lora.changes] == [
        "transformer_blocks.0.ff.net.0.proj"
    ]
    assert f"2 of {2 + len(bad)} keys matched, 1 modules changed" in lora.describe()
    with pytest.raises(LoraError, match=reason):
        convert(bad, shapes)


def test_long_lists_are_cut_short(shapes: Shapes) -> None:
    file = {
        f"{DOUBLE}.img_mlp.0.diff": normal(MLP, D),
        **{f"nothing.{i}.alpha": torch.ones(()) for i in range(30)},
    }
    report = convert(file, shapes).describe()
    assert "30 keys unmatched:" in report and report.endswith("  ...") and report.count("nothing.") == 10


def test_only_whole_safetensors_files_are_read(tmp_path: Path) -> None:
    for name, message in (
        ("a.pt", "a.pt is a PyTorch file, which can hold code"),
        ("b.safetensors", "not a whole safetensors file"),
    ):
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(LoraError, match=message):
            read_lora_file(tmp_path / name)[0]


# The node, outside ComfyUI


@pytest.fixture
def model(dit: FramePackDiT) -> PlainModel:
    return PlainModel(dit, 0.5)


@pytest.fixture
def write(tmp_path: Path, lora_cases: ModuleType, factors: dict) -> Callable[..., Path]:
    """Writes a LoRA for the small transformer to the input folder of a run."""

    def write_file(name: str = "style.safetensors", style: str = "kohya", **more: Tensor) -> Path:
        (tmp_path / "in").mkdir(exist_ok=True)
        save_file({**lora_cases.ORIGINAL_STYLES[style].write(factors, 0.5), **more}, tmp_path / "in" / name)
        return tmp_path / "in" / name

    return write_file


def apply(
    folder: Path, model: Any, strength: float = 1.0, name: str = "style.safetensors", blocks: str = ""
) -> Any:
    with folders.using(folders.Folders(folder / "in", folder / "out")), torch.inference_mode():
        return FramePackLoraLoader().apply(model, name, strength, blocks)


def state(model: PlainModel) -> Tensors:
    return {name: value.clone() for name, value in model.model.diffusion_model.state_dict().items()}


def test_the_node_adds_strength_times_the_difference_and_leaves_its_input_alone(
    tmp_path: Path, model: PlainModel, write: Callable, shapes: Shapes
) -> None:
    before, added = state(model), differences(convert(read_lora_file(write())[0], shapes), shapes)
    patched, report = apply(tmp_path, model, -0.5)
    after = state(patched)
    for name, value in before.items():
        torch.testing.assert_close(after[name], value - 0.5 * torch.as_tensor(added.get(name, 0.0)))
        assert torch.equal(model.model.diffusion_model.get_parameter(name), value)
    assert report.startswith("style.safetensors, strength -0.5: ")
    assert "lora_unet_, HunyuanVideo names" in report


def test_loras_add_up_along_a_chain(tmp_path: Path, model: PlainModel, write: Callable) -> None:
    write()
    write("other.safetensors", "transformer")
    one, _ = apply(tmp_path, model, 0.5)
    both, _ = apply(tmp_path, one, 0.25, "other.safetensors")
    other, _ = apply(tmp_path, model, 0.25, "other.safetensors")
    parts = [state(each) for each in (model, one, other, both)]
    for name in parts[0]:
        torch.testing.assert_close(parts[3][name], parts[1][name] + parts[2][name] - parts[0][name])


def test_the_indices_of_a_one_frame_lora_are_reported_and_kept(
    tmp_path: Path, model: PlainModel, write: Callable
) -> None:
    path = write()
    save_file(read_lora_file(path)[0], path, {"fp_1f_target_index": "5", "fp_1f_clean_indices": "0;10"})
    patched, report = apply(tmp_path, model)
    assert report.splitlines()[-1].startswith(
        "trained for one frame: target_index 5, control_index 0;10, no_post false"
    )
    assert patched.attachments[ATTACHMENT].controls == (0, 10) and not model.attachments


def test_strength_zero_gives_the_model_back_untouched(tmp_path: Path, model: PlainModel) -> None:
    same, report = apply(tmp_path, model, 0.0, "not even there.safetensors")
    assert same is model and "unchanged" in report


def test_a_file_that_matches_in_part_is_warned_about_once(
    tmp_path: Path, model: PlainModel, write: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    write()
    with caplog.at_level(logging.WARNING):
        apply(tmp_path, model)
        assert not caplog.records
        write(**{"lora_te1_x.alpha": torch.ones(()), "lora_te2_x.alpha": torch.ones(())})
        _, report = apply(tmp_path, model)
    assert [record.message for record in caplog.records] == [report]
    assert "2 keys unmatched:\n  lora_te1_x.alpha: the model has no such module" in report


def test_a_filter_of_blocks_holds_in_the_node(tmp_path: Path, model: PlainModel, write: Callable) -> None:
    write()
    patched, _ = apply(tmp_path, model, blocks="single:0")
    before, after = state(model), state(patched)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith("single_transformer_blocks.0.") for name in changed)
    with pytest.raises(ValueError, match="single block 7, but this model has 1 double and 2 single"):
        apply(tmp_path, model, blocks="single:7")


def test_wrong_models_files_and_places_are_refused(
    tmp_path: Path, model: PlainModel, write: Callable
) -> None:
    write()
    stranger = torch.nn.Linear(2, 2)
    stranger.dtype = torch.float32
    with pytest.raises(ValueError, match="model is a Linear, not a FramePack model"):
        apply(tmp_path, PlainModel(stranger, 1.0))
    with pytest.raises(ValueError, match="has no file 'absent.safetensors', it holds style.safetensors"):
        apply(tmp_path, model, name="absent.safetensors")
    with pytest.raises(ValueError, match="read from the input folder of a run"):
        FramePackLoraLoader().apply(model, "style.safetensors", 1.0, "")


def test_a_lora_for_the_tiny_model_changes_a_headless_run(tmp_path: Path, lora_cases: ModuleType) -> None:
    from framepack_transitions.tiny.config import DIT

    (tmp_path / "in").mkdir()
    factors = lora_cases.make_factors(lora_cases.original_layers(DIT))
    save_file(lora_cases.ORIGINAL_STYLES["i2v"].write(factors, 1.0), tmp_path / "in" / "tiny.safetensors")

    outputs: dict[str, Any] = {}

    class Seen:
        def started(self, node: Any) -> None: ...
        def progress(self, *_: Any) -> None: ...
        def finished(self, node: Any, found: Any, shown: Any, seconds: float) -> None:
            outputs[node.id] = found["LATENT"]["samples"] if "LATENT" in found else shown

    def sampler(model: str) -> dict[str, Any]:
        return {"model": Link(model, 0), "positive": Link("text", 0), "negative": Link("text", 0),
                "start_latent": Link("start", 0), "layout": "f1", "seconds": 0.4, "latent_frames": 0, "window": 3,
                "steps": 2, "distilled_guidance": 10.0, "cfg": 1.0, "guidance_rescale": 0.0, "shift": 0.0,
                "solver": "euler", "denoise": 1.0, "upstream_rounding": False, "seed": 1}  # fmt: skip

    steps = {
        "tiny": ("FramePackTinyLoader", {}),
        "text": ("CLIPTextEncode", {"text": "a red circle", "clip": Link("tiny", 1)}),
        "start": ("EmptyHunyuanLatentVideo", {"width": 64, "height": 64, "length": 1, "batch_size": 1}),
        "lora": ("FramePackLoraLoader", {"model": Link("tiny", 0), "lora_name": "tiny.safetensors",
                                         "strength": 0.5, "blocks": ""}),
        "report": ("PreviewAny", {"source": Link("lora", 1)}),
        "plain": ("FramePackTransitionsSampler", sampler("tiny")),
        "styled": ("FramePackTransitionsSampler", sampler("lora")),
        "see": ("PreviewAny", {"source": Link("plain", 1)}),
        "seen": ("PreviewAny", {"source": Link("styled", 1)}),
    }  # fmt: skip
    workflow = {name: Node(name, kind, name, inputs) for name, (kind, inputs) in steps.items()}
    nodes = local_nodes()
    with folders.using(folders.Folders(tmp_path / "in", tmp_path / "out")):
        execute(prepare(workflow, nodes), nodes, [Seen()])
    assert torch.isfinite(outputs["styled"]).all()
    assert (outputs["styled"] - outputs["plain"]).abs().max() > 0.01
    assert "keys matched" in outputs["report"]["text"][0]
