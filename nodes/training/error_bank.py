"""FramePack Error Bank: the node around training.errors.bank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...samplers.denoising.drivers import driver_for
from ...samplers.guidance import Guidance
from ...training.dataset import load_dataset
from ...training.errors.bank import measure_errors
from ...training.errors.recycling import save_bank
from .. import widgets
from ..files.reading import shortened
from ..types import ROOT
from .folders import FOLDER, dataset_folder

FILE = "error_bank.safetensors"
MOST = 4096


class FramePackErrorBank:
    DISPLAY_NAME = "FramePack Error Bank"
    SEARCH_ALIASES = ("error recycling", "stable video infinity", "svi", "drift", "train", "lora")
    DESCRIPTION = (
        "Lets the model predict training examples once each and keeps its errors in a file, from which dataset recycle adds to "
        "what copies of the examples remember."
    )
    CATEGORY = f"{ROOT}/Training"
    FUNCTION = "measure"
    OUTPUT_NODE = True
    RETURN_TYPES = ("STRING", "STRING")
    RETURN_NAMES = ("bank", "report")
    OUTPUT_TOOLTIPS = (
        "The file with the errors, error_bank.safetensors in the folder.",
        "How many errors there are, and how large they are.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": (
                    "MODEL",
                    {
                        "tooltip": "The FramePack model whose errors are wanted, with the LoRAs that it will be used with. Techniques before it are not used."
                    },
                ),
                "folder": (
                    "STRING",
                    {
                        **FOLDER,
                        "tooltip": "The folder of the examples below ComfyUI's output folder; connect the output of FramePack Training Example to measure after it.",
                    },
                ),
                "count": (
                    "INT",
                    {
                        "default": 64,
                        "min": 1,
                        "max": MOST,
                        "tooltip": "Predictions, each one call of the model. More give more different errors and a larger file.",
                    },
                ),
                "distilled_guidance": (
                    "FLOAT",
                    {
                        **widgets.DISTILLED_GUIDANCE,
                        "tooltip": "As in the sampler: another value makes errors that sampling does not make.",
                    },
                ),
                "seed": (
                    "INT",
                    {**widgets.SEED, "tooltip": "Which examples, noise levels and noises are drawn."},
                ),
            }
        }

    def measure(
        self, model: Any, folder: str, count: int, distilled_guidance: float, seed: int
    ) -> tuple[str, str]:
        root = _folder(folder)
        bank = measure_errors(
            driver_for(model),
            load_dataset(root),
            root,
            count,
            seed=seed,
            guidance=Guidance(distilled=distilled_guidance),
        )
        file = root / FILE
        save_bank(file, bank)
        size = float(bank.errors.square().mean().sqrt())
        report = (
            f"{file}: {len(bank.errors)} errors of single latent frames, root mean square {size:.3f}, at sigmas from "
            f"{float(bank.sigmas.min()):.2f} to {float(bank.sigmas.max()):.2f}."
        )
        return str(file), report


def _folder(text: str) -> Path:
    """The folder by its name below the output folder, or by the whole path that FramePack Training Example gives."""
    if Path(text).is_absolute():
        inside = Path(text).resolve()
        root = dataset_folder("x").parent
        if not inside.is_relative_to(root):
            raise ValueError(
                f"folder {shortened(text)!r} lies outside the output folder {root}; name one inside it."
            )
        return inside
    return dataset_folder(text)
