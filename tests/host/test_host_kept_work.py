"""Work that is kept over a section's steps in ComfyUI: on a CPU, and only where weights stay the same."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from framepack_transitions.models.kept_work import KeptWork
from framepack_transitions.samplers.conditioning import TextConditioning

pytestmark = pytest.mark.host


def task(**options: Any) -> Any:
    text = TextConditioning(torch.zeros(1, 1, 1), torch.zeros(1, 1), options=options)
    return SimpleNamespace(upstream_rounding=False, denoiser=SimpleNamespace(texts={"positive": text}))


@pytest.mark.parametrize(
    ("options", "device", "kept"),
    [({}, "cpu", True), ({"hooks": object()}, "cpu", False), ({}, "cuda", False)],
)
def test_work_is_kept_where_it_stays_true(
    comfy: ModuleType, options: dict[str, Any], device: str, kept: bool
) -> None:
    from framepack_transitions.samplers.denoising.drivers.host import _section_options

    found = _section_options(task(**options), torch.device(device))
    assert isinstance(found.get("framepack_kept_work"), KeptWork) == kept
    assert "framepack_upstream_rounding" not in found
