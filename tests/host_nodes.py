"""Every core node that takes a MODEL and gives one back, before FramePack Sampler: what it does to a short video.

`outcomes` wires each of them; docs/HOSTS.md has the table of what came out (see test_host_model_nodes.py).
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import torch
from safetensors.torch import save_file

CHANGES, GUIDED, SAME = "works", "works where cfg is not 1", "same video"
REFUSED, NOT_TRIED = "refused", "not tried"

# Inputs at which a node does something, or that need not be of the tiny model.
SETTINGS: dict[str, dict[str, Any]] = {
    "ChromaRadianceOptions": {"nerf_tile_size": 16},
    "ContextWindowsManual": {"context_length": 5, "context_overlap": 1, "dim": 2},
    "EasyCache": {"reuse_threshold": 1.0},
    "FreSca": {"freq_cutoff": 2},
    "LTXVContextWindows": {"context_length": 33, "context_overlap": 8},
    "LatentApplyOperationCFG": {"operation": lambda latent: latent * 0.9},
    "LazyCache": {"reuse_threshold": 3.0, "start_percent": 0.0},
    "LoraLoader": {"clip": None},
    "LoraLoaderBypass": {"clip": None},
    "ModelComputeDtype": {"dtype": "bf16"},
    "PatchModelAddDownscale": {"downscale_factor": 2.0},
    "SkipLayerGuidanceDiT": {"double_layers": "0", "single_layers": "", "start_percent": 0.0},
    "SkipLayerGuidanceDiTSimple": {"double_layers": "0", "single_layers": "", "start_percent": 0.0},
    "SkipLayerGuidanceSD3": {"layers": "0", "start_percent": 0.0},
    "UNetCrossAttentionMultiply": {"q": 1.5},
    "UNetSelfAttentionMultiply": {"q": 1.5},
    "UNetTemporalAttentionMultiply": {"self_structural": 1.5},
    "WanContextWindowsManual": {"context_length": 17, "context_overlap": 4},
}
STEPS = {"EasyCache": 12, "LazyCache": 12}
# Why the same video is right where the sampler says nothing of it.
WHY_SAME = {
    "ModelAttentionBackend": "another kernel for the same attention",
    "MultiGPU_WorkUnits": "one device in this test",
    "SelectModelDevice": "one device in this test",
    "UNetCrossAttentionMultiply": "scales weights that only UNets have",
    "UNetSelfAttentionMultiply": "scales weights that only UNets have",
    "UNetTemporalAttentionMultiply": "scales weights that only UNets have",
    "wanBlockSwap": "the node itself does nothing",
}


@dataclass(frozen=True)
class Outcome:
    """What became of a video: one of the words above, and the reason or the sentence that the user reads."""

    kind: str
    words: str = ""


# What is not run here.
ELSEWHERE = {
    "SUPIRApply": Outcome(NOT_TRIED, "takes the parts of SUPIR"),
    # Compiling for a CPU takes minutes; with a stand-in for the compiler test_host_sampling.py holds it.
    "TorchCompileModel": Outcome(SAME, "the same model, compiled"),
    "TripoSplatSamplingPreview": Outcome(NOT_TRIED, "takes the VAE of TripoSplat"),
    "WanInfiniteTalkToVideo": Outcome(NOT_TRIED, "takes the parts of InfiniteTalk"),
}


class NotTriedError(Exception):
    """A node cannot be wired here; the message says what it takes."""


def text_of(kind: Any) -> str:
    """The name of an input's or output's type, which hosts write in several ways; COMBO for a list of choices."""
    return "COMBO" if isinstance(kind, (list, tuple)) else str(getattr(kind, "value", kind))


def model_nodes() -> dict[str, type]:
    """The core nodes with a MODEL among their inputs and outputs, by id."""
    import nodes

    asyncio.run(nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False))
    return {
        name: cls
        for name, cls in sorted(nodes.NODE_CLASS_MAPPINGS.items())
        if "MODEL" in map(text_of, cls.RETURN_TYPES)
        and "MODEL" in (text_of(kind) for _, kind, _ in required(cls))
    }


def required(cls: type) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Name, type and options of every input that a node must have."""
    for name, spec in cls.INPUT_TYPES().get("required", {}).items():
        yield name, spec[0], spec[1] if len(spec) > 1 else {}


class Bench:
    """The tiny model with everything that a node may ask for."""

    def __init__(self, tiny: Any, folder: Path) -> None:
        self.tiny = tiny
        self.plain: dict[tuple[float, int], torch.Tensor] = {}
        self.other = smaller_model(tiny)
        self.lora = _lora(tiny.model.model.diffusion_model)
        save_file(self.lora, folder / "style.safetensors")
        # What torch.load reads of a hypernetwork without any layer.
        torch.save({"activation_func": "linear"}, folder / "empty.pt")

    def value(self, kind: Any, options: dict[str, Any], name: str) -> Any:
        """A value for an input: an object of the tiny model, the default, or the least that is allowed."""
        tiny, kind = self.tiny, text_of(kind) if not isinstance(kind, (list, tuple)) else kind
        objects = {
            "CLIP": tiny.clip,
            "CLIP_VISION_OUTPUT": tiny.clip_vision.encode_image(tiny.image, crop=False),
            "CONDITIONING": tiny.encode("an empty city at night"),
            "IMAGE": tiny.image,
            "LATENT": {"samples": tiny.vae.encode(tiny.image)},
            "LORA_MODEL": self.lora,
            "MASK": torch.ones(1, 64, 64),
            "MODEL_PATCH": MagicMock(),
            "VAE": tiny.vae,
        }
        if name in {"lora_name", "hypernetwork_name"}:
            return {"lora_name": "style.safetensors", "hypernetwork_name": "empty.pt"}[name]
        if isinstance(kind, str) and kind in objects:
            return objects[kind]
        if isinstance(kind, (list, tuple)) or kind == "COMBO":
            choices = kind if isinstance(kind, (list, tuple)) else options["options"]
            return options.get("default", choices[0])
        simple = {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False}
        if kind not in simple:
            raise NotTriedError(f"takes {kind}, which comes with another model")
        return options.get("default", options.get("min", simple[kind]))

    def inputs(self, name: str, cls: type) -> dict[str, Any]:
        """The inputs of a node: merges get two models and blend them by half."""
        chosen = SETTINGS.get(name, {})
        models = iter((self.tiny.model, self.other))
        values: dict[str, Any] = {}
        for key, kind, options in required(cls):
            if key in chosen:
                values[key] = chosen[key]
            elif text_of(kind) == "MODEL":
                values[key] = next(models)
            elif name.startswith("ModelMerge") and text_of(kind) == "FLOAT":
                values[key] = 0.5
            else:
                values[key] = self.value(kind, options, key)
        return values

    def patched(self, name: str, cls: type) -> Any:
        """The MODEL that a node makes of the tiny one."""
        inputs = self.inputs(name, cls)
        try:
            with torch.inference_mode():
                outputs = run_node(cls, inputs)
        except (AttributeError, TypeError, ValueError) as error:
            if any(isinstance(value, MagicMock) for value in inputs.values()):
                raise NotTriedError("takes a MODEL_PATCH, which comes with another model") from error
            raise
        return outputs[list(map(text_of, cls.RETURN_TYPES)).index("MODEL")]

    def outcome(self, name: str, cls: type) -> Outcome:
        """What a node does to a video of one section, with and without real guidance."""
        if name in ELSEWHERE:
            return ELSEWHERE[name]
        try:
            model = self.patched(name, cls)
            differences = [self.difference(model, cfg, STEPS.get(name, 2)) for cfg in (1.0, 3.0)]
        except NotTriedError as error:
            return Outcome(NOT_TRIED, str(error))
        except (AttributeError, RuntimeError, TypeError, ValueError) as error:
            return Outcome(REFUSED, str(error))
        (plain, notices), (guided, _) = differences
        if plain > 1e-4:
            return Outcome(CHANGES)
        return (
            Outcome(GUIDED) if guided > 1e-4 else Outcome(SAME, " ".join(notices) or WHY_SAME.get(name, ""))
        )

    def difference(self, model: Any, cfg: float, steps: int) -> tuple[float, list[str]]:
        """The largest difference of a video to that of the plain model, and what the sampler said."""
        run = {"cfg": cfg, "steps": steps, "seconds": 1.2, "timeline": None}
        if (cfg, steps) not in self.plain:
            self.plain[cfg, steps] = self.tiny.run(self.tiny.model, **run)[0]
        latents, trace = self.tiny.run(model, **run)
        if not torch.isfinite(latents).all():
            raise AssertionError("the video is not finite")
        return float((latents - self.plain[cfg, steps]).abs().max()), trace["notices"]


def smaller_model(tiny: Any) -> Any:
    """The tiny model with all weights smaller."""
    model, *_ = tiny.call("FramePackTinyLoader")
    with torch.inference_mode():
        for parameter in model.model.diffusion_model.parameters():
            parameter.mul_(0.9)
    return model


def run_node(cls: Any, inputs: dict[str, Any]) -> tuple[Any, ...]:
    """The outputs of a node, whichever of the host's interfaces it is written for."""
    if hasattr(cls, "define_schema"):
        outputs = cls.execute(**inputs)
    else:
        node = cls()
        outputs = getattr(node, node.FUNCTION)(**inputs)
    if inspect.isawaitable(outputs):
        outputs = asyncio.run(outputs)
    return outputs if isinstance(outputs, tuple) else outputs.args


def _lora(dit: Any) -> dict[str, torch.Tensor]:
    """A LoRA on two layers of a transformer."""
    generator, lora = torch.Generator().manual_seed(0), {}
    for target in ("transformer_blocks.0.attn.to_q", "single_transformer_blocks.1.proj_mlp"):
        rows, columns = dit.get_parameter(f"{target}.weight").shape
        lora[f"transformer.{target}.lora_A.weight"] = torch.randn(4, columns, generator=generator)
        lora[f"transformer.{target}.lora_B.weight"] = torch.randn(rows, 4, generator=generator) * 0.2
    return lora


def outcomes(tiny: Any, folder: Path) -> dict[str, Outcome]:
    """What every core node with a MODEL does, by its id."""
    bench = Bench(tiny, folder)
    return {name: bench.outcome(name, cls) for name, cls in model_nodes().items()}
