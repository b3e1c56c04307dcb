"""What a host puts around a forward and its blocks.

Blocks are as ComfyUI's model patches see them: a dict of arguments in, a dict of streams out. A patch of patches_replace["dit"] is called as patch(args, {"original_block": block}) in place of the block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import Any, TypeVar, cast

from torch import Tensor, nn

Streams = dict[str, Tensor]
Block = Callable[[dict[str, Any]], Streams]
Patch = Callable[[dict[str, Any], dict[str, Any]], Streams]
Around = Callable[..., Tensor]
Forward = TypeVar("Forward", bound=Callable[..., Tensor])


def wrappable(forward: Forward) -> Forward:
    """A module's forward; where the module has an `around`, that is called as around(module, forward, *args, **kwargs)."""

    @wraps(forward)
    def call(module: Any, *args: Any, **kwargs: Any) -> Tensor:
        if module.around is None:
            return forward(module, *args, **kwargs)
        output: Tensor = module.around(module, partial(forward, module), *args, **kwargs)
        return output

    return cast(Forward, call)


def tell_block(options: dict[str, Any], kind: str, index: int, total: int) -> None:
    """Writes into a forward's options which block runs: its kind ("double" or "single"), number, and how many there are.

    They stand under the names by which ComfyUI's own models tell it, and other nodes' attention knows blocks apart.
    """
    # One by one: torch 2.4's compiler gives up on `update`.
    options["block_type"], options["block_index"], options["total_blocks"] = kind, index, total


def run_patched(original: Block, args: dict[str, Any], patch: Patch | None) -> Streams:
    """A block, or the patch that replaces it and may call it."""
    return original(args) if patch is None else patch(args, {"original_block": original})


def call_double(block: nn.Module, fixed: Mapping[str, Any], args: Mapping[str, Any]) -> Streams:
    """A DoubleBlock on {"img", "txt", "vec", "pe", "attention_mask", "transformer_options"} -> {"img", "txt"}.

    `fixed` has the block's arguments that a patch does not see.
    """
    img, txt = block(img=args["img"], txt=args["txt"], **fixed, **common(args))
    return {"img": img, "txt": txt}


def call_single(block: nn.Module, fixed: Mapping[str, Any], args: Mapping[str, Any]) -> Streams:
    """A SingleBlock on {"img", "vec", "pe", "attention_mask", "transformer_options"} -> {"img"}; see call_double."""
    return {"img": block(x=args["img"], **fixed, **common(args))}


def common(args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of both kinds of block that a patch may have changed."""
    return {
        "vec": args["vec"],
        "pe": args["pe"],
        "mask": args["attention_mask"],
        "transformer_options": args["transformer_options"],
    }
