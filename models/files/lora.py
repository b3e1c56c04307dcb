"""LoRA, LoHa and LoKr files of every name style, as changes to the transformer's own weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from ..attention.blocks import Blocks
from .lora_file import LoraError, by_module, refuse_degenerate
from .lora_names import Shapes, Source, Target, source_table, split_prefix
from .lora_products import Tensors, dense, extra_parts, kind_of, scale_of, size_of

HOST_NAMES = {"down": "lora_down.weight", "up": "lora_up.weight"}

# Parts whose rows are those of the weight or bias. LoKr has none: a row of its product is no row of a factor.
BY_ROWS = {"up", "hada_w1_a", "hada_w2_a", "diff", "diff_b", "dora_scale"}


@dataclass(frozen=True, eq=False)
class Change:
    """What a module of a file does to a module of the transformer.

    module: the transformer's module, by diffusers' name.
    parts: the tensors that make the change, such as up, down and alpha.
    """

    module: str
    parts: Tensors

    def host_tensors(self) -> dict[str, Tensor]:
        """The parts under the keys that ComfyUI's own LoRA reader knows."""
        return {f"{self.module}.{HOST_NAMES.get(part, part)}": value for part, value in self.parts.items()}

    def differences(self, shapes: Shapes) -> dict[str, Tensor]:
        """What is added to each parameter at strength 1, float32; raises LoraError for a DoRA, which only scales."""
        if "dora_scale" in self.parts:
            raise LoraError(f"{self.module} is changed by a DoRA, which needs ComfyUI; run with --server.")
        weight, bias = f"{self.module}.weight", f"{self.module}.bias"
        changed = {weight: dense(self.parts).reshape(shapes[weight])} if kind_of(self.parts) else {}
        return {**changed, bias: self.parts["diff_b"].float()} if "diff_b" in self.parts else changed


@dataclass(frozen=True, eq=False)
class Lora:
    """A file as seen from one transformer.

    changes: what it does to the transformer's modules.
    styles: how many of its keys stand for something here, by name style.
    unmatched: the other keys, each with the reason.
    outside: how many modules it changes outside the chosen blocks, which are left out.
    """

    changes: list[Change]
    styles: Counter[str]
    unmatched: dict[str, str]
    outside: int

    @property
    def matched(self) -> int:
        """How many keys stand for something that the transformer has."""
        return sum(self.styles.values())

    @property
    def keys(self) -> int:
        return self.matched + len(self.unmatched)

    def describe(self) -> str:
        """Matched keys by name style, and the first of the unmatched with the reason."""
        lines = [f"{self.matched} of {self.keys} keys matched, {len(self.changes)} modules changed"]
        lines += [f"  {count} keys: {style}" for style, count in self.styles.most_common()]
        if self.outside:
            lines.append(f"{self.outside} modules lie outside the chosen blocks and are left out")
        if self.unmatched:
            lines.append(f"{len(self.unmatched)} keys unmatched:")
            lines += [f"  {key}: {reason}" for key, reason in list(self.unmatched.items())[:10]]
            lines += ["  ..."] * (len(self.unmatched) > 10)
        return "\n".join(lines)


def rounds(changes: Iterable[Change]) -> list[dict[str, Change]]:
    """The changes by module; a module that a file changes twice appears again in the next round."""
    found: list[dict[str, Change]] = []
    for change in changes:
        free = next((changed for changed in found if change.module not in changed), None)
        if free is None:
            found.append(free := {})
        free[change.module] = change
    return found


def parameter_shapes(transformer: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter by name; of a quantised weight the shape of what it stands for."""
    shapes = {name: tuple(parameter.shape) for name, parameter in transformer.named_parameters()}
    layers: Iterable[tuple[str, Any]] = transformer.named_modules()
    packed = ((name, layer) for name, layer in layers if getattr(layer, "packing", None))
    return {**shapes, **{f"{name}.weight": (layer.out_features, layer.in_features) for name, layer in packed}}


def convert(tensors: Tensors, shapes: Shapes, blocks: Blocks = None, *, name: str = "the LoRA") -> Lora:
    """The tensors of a file as changes to a transformer with parameters of these shapes.

    With `blocks` only changes inside these blocks are kept. Raises LoraError, with `name` for the file, where
    nothing is left to apply.
    """
    table = source_table(shapes)
    changes: list[Change] = []
    styles: Counter[str] = Counter()
    outside = 0
    modules, unmatched = by_module(tensors)
    for module, keys in modules.items():
        prefix, plain = split_prefix(module)
        source, parts = table.get(plain), {part: tensors[key] for part, key in keys.items()}
        if source is None:
            unmatched.update(dict.fromkeys(keys.values(), "the model has no such module"))
            continue
        refuse_degenerate(name, keys, tensors)
        if reason := mismatch(parts, source, shapes):
            unmatched.update(dict.fromkeys(keys.values(), reason))
            continue
        chosen = [target for target in source.targets if blocks is None or target.block in blocks]
        styles[f"{prefix or 'no prefix'}, {source.family} names"] += len(keys)
        outside += len(source.targets) - len(chosen)
        changes += changes_of(parts, source, chosen)
    lora = Lora(changes, styles, unmatched, outside)
    refuse_nothing(lora, name)
    return lora


def refuse_nothing(lora: Lora, name: str) -> None:
    """Raises LoraError where a file changes nothing."""
    if not lora.matched:
        first = "; ".join(f"{key} ({reason})" for key, reason in list(lora.unmatched.items())[:3]) or "none"
        raise LoraError(
            f"{name}: none of its {lora.keys} keys fits this model, so it is a LoRA for another one, or none; "
            f"the first keys are {first}."
        )
    if not lora.changes:
        raise LoraError(f"{name}: all {lora.outside} modules that it changes lie outside blocks: widen it.")


def mismatch(parts: Tensors, source: Source, shapes: Shapes) -> str | None:
    """Why the parts of a module cannot be applied, or None where they can."""
    kind, rows = kind_of(parts), source.shape[0]
    if kind is None and "diff_b" not in parts:
        return "its other parts are missing"
    if extra := sorted(extra_parts(parts)):
        return f"its parts belong to different kinds of change (what to do with {', '.join(extra)}?)"
    if kind is not None:
        size = size_of(parts)
        expected = (rows, prod(source.shape[1:]))
        if size != expected:
            found = "parts that do not fit each other" if size is None else f"a change of {list(size)}"
            return f"{found}, but the weight is {list(expected)}"
    biased = [parts[part] for part in ("diff_b", "up_bias") if part in parts]
    if any(tuple(bias.shape) != (rows,) for bias in biased):
        return f"a change of the bias that is not [{rows}]"
    if biased and any(f"{target.module}.bias" not in shapes for target in source.targets):
        return "a change of the bias, but the model has none here"
    return dora_mismatch(parts, source)


def dora_mismatch(parts: Tensors, source: Source) -> str | None:
    """Why a DoRA's magnitudes do not fit the weight, or None where they do, or where there are none."""
    rows, columns = source.shape[0], prod(source.shape[1:])
    if "magnitude" in parts and parts["magnitude"].numel() != rows:
        return f"{parts['magnitude'].numel()} magnitudes of a DoRA, but the weight has {rows} rows"
    if "dora_scale" in parts and tuple(parts["dora_scale"].shape[:1]) != (rows,):
        if not source.is_whole:
            return "a DoRA that cannot be split over several modules"
        if parts["dora_scale"].shape[:2] != (1, columns):
            return f"a DoRA scale of {list(parts['dora_scale'].shape)}, but the weight is {[rows, columns]}"
    split = not source.is_whole or any(value.ndim > 2 for value in parts.values())
    if split and kind_of(parts) == "lokr" and parts.keys() & {"dora_scale", "magnitude"}:
        return "a DoRA that cannot be split over several modules, or of a convolution's LoKr"
    return None


def changes_of(parts: Tensors, source: Source, chosen: Iterable[Target]) -> list[Change]:
    """The parts of one module of a file, split over those of its targets that are chosen."""
    parts = dict(parts)
    if "up_bias" in parts:
        parts["diff_b"] = parts.pop("up_bias") * scale_of(parts)
    scale = parts.pop("magnitude").flatten() if "magnitude" in parts else parts.get("dora_scale")
    if scale is not None:
        # One number a row, in as many dimensions as the weight has, as the host multiplies it.
        by_row = scale.shape[0] == source.shape[0] == scale.numel()
        parts["dora_scale"] = scale.reshape(-1, *(1 for _ in source.shape[1:])) if by_row else scale
    # Of a convolution's Kronecker factors the host would take the product along the wrong axes.
    is_matrix = all(value.ndim <= 2 for value in parts.values())
    if kind_of(parts) == "lokr" and not (source.is_whole and is_matrix):
        parts = made_dense(parts)
    if "diff" in parts:
        parts["diff"] = parts["diff"].reshape(source.shape)
    return [Change(target.module, split(parts, source, target)) for target in chosen]


def split(parts: Tensors, source: Source, target: Target) -> dict[str, Tensor]:
    """What of the parts concerns one target: its rows, and all of what has no rows."""
    rowed = {part for part in BY_ROWS & parts.keys() if parts[part].shape[0] == source.shape[0]}
    return {part: take_rows(value, target.rows) if part in rowed else value for part, value in parts.items()}


def take_rows(value: Tensor, rows: tuple[slice, ...]) -> Tensor:
    """The rows of a weight's difference that belong to one module."""
    return value[rows[0]] if len(rows) == 1 else torch.cat([value[part] for part in rows])


def made_dense(parts: Tensors) -> dict[str, Tensor]:
    """The same change with the weight's difference written out, in the precision of the file."""
    stored = next(value.dtype for part, value in parts.items() if part.startswith("lokr_"))
    others = {part: value for part, value in parts.items() if part == "diff_b"}
    return {"diff": dense(parts).to(stored if stored.itemsize > 1 else torch.bfloat16), **others}
