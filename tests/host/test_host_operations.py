"""ComfyUI's layer namespaces make the same transformer as the pack's own."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from framepack_transitions.models.host_rotation import host_rotation, rotation_matrices
from framepack_transitions.models.layers.rope import apply_rope

pytestmark = pytest.mark.host


@pytest.mark.parametrize("namespace", ["manual_cast", "disable_weight_init", "fp8_ops"])
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float8_e4m3fn])
def test_the_hosts_layers_give_our_layers_numbers(
    comfy: ModuleType, namespace: str, stored: torch.dtype, dit_cases: ModuleType
) -> None:
    if namespace == "disable_weight_init" and stored == torch.float8_e4m3fn:
        pytest.skip("the host uses it only where storage and compute dtype are the same")
    dit = dit_cases.make_dit(dtype=stored, operations=getattr(comfy.ops, namespace))
    ours = dit_cases.make_dit(dtype=stored)
    for model in (dit, ours):
        model.load_state_dict(dit_cases.make_dit().state_dict())
    inputs = dit_cases.make_inputs()
    inputs["x"] = inputs["x"] if stored == torch.float32 else inputs["x"].bfloat16()
    with torch.inference_mode():
        # fp8_ops may quantise the activations of a layer, too.
        assert dit_cases.relative_error(dit(**inputs), ours(**inputs)) <= (
            0.1 if namespace == "fp8_ops" else 1e-5
        )


def test_the_hosts_rotation_takes_our_table(comfy: ModuleType) -> None:
    """By its formula for the CPU: kernels for a GPU take the same arguments."""
    kitchen = pytest.importorskip("comfy_kitchen")
    generator = torch.Generator().manual_seed(0)
    x, angles = torch.randn(2, 9, 3, 16, generator=generator), torch.rand(1, 9, 8, generator=generator)
    pe = torch.stack((angles.cos(), angles.sin()), dim=-1)
    torch.testing.assert_close(
        kitchen.apply_rope1(x, rotation_matrices(pe)), apply_rope(x, pe), atol=1e-6, rtol=1e-6
    )
    assert host_rotation().prepare(pe, torch.bfloat16) is pe, "there is no kernel for a CPU"
