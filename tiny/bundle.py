"""The embedded model, whole: its parts, their weights, or random ones where none are shipped."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ..models.config import FramePackConfig
from ..models.dit import FramePackDiT
from ..models.files.checkpoint import CheckpointError
from ..models.files.loading import read_checkpoint, save_dit
from .config import DIT
from .networks.codec import TinyCodec
from .networks.dit import TinyDiT
from .networks.text import TinyText
from .networks.vision import TinyVisionTower
from .wrappers import TinyClip, TinyVAE, TinyVision

logger = logging.getLogger(__name__)

WEIGHTS = Path(__file__).parent / "weights"
SEED = 20250503
PARTS = ("dit", "codec", "text", "vision")
# The two layouts have a transformer each and share everything else.
DIT_FILES = {"f1": "dit.safetensors", "original": "dit_original.safetensors"}


@dataclass(frozen=True, kw_only=True)
class TinyBundle:
    """The embedded model; latents times `latent_scale` are what `dit` works on.

    `rgb_factors` [16][3] and `rgb_bias` [3] make a preview in -1..1 of scaled latents; None without training.
    """

    dit: FramePackDiT
    clip: TinyClip
    vae: TinyVAE
    clip_vision: TinyVision
    trained: bool

    @property
    def config(self) -> FramePackConfig:
        """The shape of `dit`."""
        return self.dit.config

    @property
    def latent_scale(self) -> float:
        """Factor from the VAE's latents to those of sampling."""
        return float(self.vae.codec.latent_scale)

    @property
    def rgb_factors(self) -> list[list[float]] | None:
        """What each latent channel adds to red, green and blue of a preview."""
        return self.vae.codec.rgb_factors.tolist() if self.trained else None

    @property
    def rgb_bias(self) -> list[float] | None:
        """Red, green and blue of a preview of zeros."""
        return self.vae.codec.rgb_bias.tolist() if self.trained else None

    def modules(self) -> dict[str, nn.Module]:
        """The networks by the name of their weight file."""
        parts = (self.dit, self.vae.codec, self.clip.encoder, self.clip_vision.tower)
        return dict(zip(PARTS, parts))


def load_tiny(
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    weights: Path = WEIGHTS,
    *,
    layout: str = "f1",
) -> TinyBundle:
    """Load the embedded model from `weights`, or build it with fixed random weights when none are there.

    `layout` is what the transformer was trained for, "f1" or "original"; the other parts are the same for both. `dtype` is the
    DiT's; the other parts are float32. Random weights are the same on every call, leave the
    global generators alone and are announced by a warning. Raises FileNotFoundError when only some weight
    files are there and CheckpointError when one does not fit.
    """
    files = weight_files(weights, layout)
    missing = [file.name for file in files.values() if not file.is_file()]
    trained = not missing
    if missing and len(missing) < len(files):
        raise FileNotFoundError(
            f"The embedded model in {weights} lacks {', '.join(missing)}: install the pack again, "
            "or remove the other weight files to run with random weights."
        )
    if not trained:
        logger.warning(
            "The embedded model has no trained weights in %s: its weights are random, "
            "so what it generates is noise.",
            weights,
        )
    with fixed_seed(SEED):
        codec, text, vision = TinyCodec(), TinyText(), TinyVisionTower()
        dit = _load_dit(files["dit"], dtype) if trained else TinyDiT(DIT, dtype=dtype)
    bundle = TinyBundle(
        dit=dit, clip=TinyClip(text), vae=TinyVAE(codec), clip_vision=TinyVision(vision), trained=trained
    )
    for part, module in bundle.modules().items():
        if trained and part != "dit":
            fill(module, files[part])
        module.to(device).eval().requires_grad_(False)
    return bundle


def weight_files(weights: Path, layout: str = "f1") -> dict[str, Path]:
    """The weight file of each of PARTS in a folder; raises ValueError for a layout that is none."""
    if layout not in DIT_FILES:
        raise ValueError(f"layout is {layout!r}; choose one of {', '.join(DIT_FILES)}.")
    files = {part: weights / f"{part}.safetensors" for part in PARTS}
    return files | {"dit": weights / DIT_FILES[layout]}


def _load_dit(file: Path, dtype: torch.dtype) -> TinyDiT:
    """The transformer of a weight file; raises CheckpointError where it is none."""
    checkpoint = read_checkpoint(file, dtype=dtype)
    dit = TinyDiT(checkpoint.config, dtype=checkpoint.dtype, device="meta")
    dit.load_state_dict(checkpoint.state_dict, assign=True)
    return dit


def save_tiny(
    bundle: TinyBundle,
    weights: Path = WEIGHTS,
    dtype: torch.dtype = torch.float16,
    metadata: Mapping[str, str] | None = None,
    *,
    layout: str = "f1",
) -> None:
    """Write the weight files that `load_tiny` reads for a layout; `metadata` says in each how they were made."""
    weights.mkdir(parents=True, exist_ok=True)
    files = weight_files(weights, layout)
    for part, module in bundle.modules().items():
        file, stored = files[part], copy.deepcopy(module).to("cpu", dtype)
        if isinstance(stored, FramePackDiT):
            save_dit(stored, file, metadata)
        else:
            save_file(stored.state_dict(), file, {**(metadata or {}), "format": "pt"})


def fill(module: nn.Module, file: Path) -> None:
    """Load a weight file into a module; raises CheckpointError, naming keys, when they do not fit."""
    try:
        state = load_file(file)
    except SafetensorError as error:
        raise CheckpointError(f"{file} cannot be read ({error}): install the pack again.") from error
    given, expected = (_shapes(part) for part in (state, module.state_dict()))
    wrong = sorted(name for name in given.keys() | expected.keys() if given.get(name) != expected.get(name))
    if wrong:
        raise CheckpointError(
            f"{file} does not fit {type(module).__name__}: {len(wrong)} weights are missing, unknown or of "
            f"another shape, first {', '.join(wrong[:3])}; install the pack again."
        )
    module.load_state_dict(state)


def _shapes(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}


@contextmanager
def fixed_seed(seed: int) -> Iterator[None]:
    """Make torch's CPU generator start at `seed` inside, and go on as if nothing had been outside."""
    # torch.manual_seed would also seed the generators of all accelerators, which are not restored.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
