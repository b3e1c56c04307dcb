"""Train a small CLIP in open_clip's own format on the world's frames and captions, for the evaluators."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from .. import world
from ..bundle import fixed_seed
from ..networks.codec import TinyCodec
from ..precision import autocast
from .clock import Stopwatch, paced
from .codec import noise_like
from .data.store import to_input
from .learning.optim import warm_cosine

logger = logging.getLogger(__name__)

NAME = "tiny-clip"
# open_clip's defaults, so that whoever loads the model need not say them.
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
CONFIG: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": world.SIZE, "layers": 3, "width": 96, "head_width": 24, "patch_size": 16},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 48, "heads": 4, "layers": 2},
    "custom_text": False,
}
BATCH = 96
RATE = 2e-3
NEAR = 1 / 3  # of a batch resembles the scene before in all but one property
PAIRS = 1 / 4  # of what does not shows two subjects
BLEMISH = 0.5  # times the latents' spread: the most noise that decoded frames have


def write_config(folder: Path) -> Path:
    """Write the model's config where open_clip.add_model_config finds it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{NAME}.json"
    file.write_text(json.dumps(CONFIG, indent=2) + "\n", encoding="utf-8")
    return file


def build(folder: Path) -> Any:
    """The untrained model, a module of open_clip, which says nothing about its types."""
    import open_clip  # takes seconds

    open_clip.add_model_config(write_config(folder))
    return open_clip.create_model(NAME)


def still(rng: np.random.Generator, **fixed: Any) -> tuple[np.ndarray, world.Scene]:
    """One frame uint8 [64,64,3] and its scene, of which `fixed` is given (see world.make_clip)."""
    clip = world.make_clip(int(rng.integers(2 * 10**8, 4 * 10**8)), 1, **fixed)
    return clip.frames[0], clip.scenes[0][1]


def all_but_one(rng: np.random.Generator, scene: world.Scene) -> dict[str, Any]:
    """A scene with a subject as `fixed`, one of its properties, most often the shape, left to chance."""
    subject = scene.subject
    if subject is None:
        raise ValueError(f"{scene} has no subject: give one with a subject.")
    fixed = {
        "background": scene.background,
        "night": scene.night,
        "motion": scene.motion,
        "shape": subject.shape,
        "colour": subject.colour,
        "size": subject.size,
    }
    del fixed[rng.choice(("shape", "shape", "colour", "background", "night"))]
    return fixed


def batch_of(step: int, seed: int, count: int, scale: int = 1) -> tuple[Tensor, list[str]]:
    """Frames uint8 [B,64 scale,64 scale,3] and captions of different scenes: equal ones would be false opposites.

    A share NEAR resembles the one before in all but one property, which is what the model must learn to see.
    """
    rng = np.random.default_rng([seed, step, 7])
    frames: list[np.ndarray] = []
    captions: list[str] = []
    seen: set[Any] = set()
    scene: world.Scene | None = None
    while len(frames) < count:
        fixed: dict[str, Any] = {}
        if scene is not None and scene.subject is not None and scene.second is None and rng.random() < NEAR:
            fixed = all_but_one(rng, scene)
        elif rng.random() < PAIRS:
            fixed = {"pair": True}
        frame, scene = still(rng, **fixed, scale=scale)
        looks = [(subject.shape, subject.colour) for subject, _ in scene.shown]
        key = (scene.background, scene.night, *looks)
        if key not in seen:
            seen.add(key)
            frames.append(frame)
            captions.append(world.prompt_of(scene, rng))
    return torch.from_numpy(np.stack(frames)), captions


def normalized(images: Tensor) -> Tensor:
    """Frames -1..1 [B,3,64,64] as the model's preprocessing leaves them."""
    mean, std = (images.new_tensor(v)[:, None, None] for v in (MEAN, STD))
    return ((images + 1) / 2 - mean) / std


def through_codec(codec: TinyCodec, images: Tensor, seed: int) -> Tensor:
    """Frames -1..1 [B,3,1,64,64] as the codec gives them back with noise: CLIP should not be sure of what is drawn badly."""
    latents, generator = codec.encode(images), torch.Generator().manual_seed(seed)
    noise = noise_like(latents, 1 / float(codec.latent_scale), generator, BLEMISH)
    return codec.decode(latents + noise).clamp(-1, 1)


def train_clip(
    codec: TinyCodec,
    *,
    folder: Path,
    steps: int,
    seed: int,
    device: torch.device,
    log: Callable[..., None],
    progress: bool = True,
    batch: int = BATCH,
    scale: int = 1,
    init: Path | None = None,
    watch: Stopwatch | None = None,
) -> Any:
    """Contrastive training on frames, raw or through the codec with some noise, as generated ones are; gives the model.

    It begins from the weight file `init` where one is given.
    """
    import open_clip

    with fixed_seed(seed + 2):
        model: Any = build(folder).to(device).train()
    if init is not None:
        model.load_state_dict({name: value.float() for name, value in load_file(init).items()})
    tokenizer = open_clip.get_tokenizer(NAME)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.02)
    bar = tqdm(paced(steps, watch or Stopwatch()), total=steps, desc="clip", disable=not progress)
    for step, done in bar:
        frames, captions = batch_of(step, seed, batch, scale)
        images = to_input(frames[:, None]).to(device)
        with autocast(device):
            if step % 2:
                with torch.no_grad():
                    images = through_codec(codec, images, seed * 10**8 + step)
            images = normalized(F.interpolate(images[:, :, 0].float(), size=world.SIZE, mode="area"))
            image = model.encode_image(images, normalize=True)
            text = model.encode_text(tokenizer(captions).to(device), normalize=True)
        logits = model.logit_scale.exp() * image.float() @ text.float().T
        target = torch.arange(len(logits), device=device)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        for group in optimizer.param_groups:
            group["lr"] = RATE * warm_cosine(step, done)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(100))
        if step % 50 == 0:
            right = (logits.argmax(1) == target).float().mean().item()
            log(stage="clip", step=step, loss=round(loss.item(), 4), retrieval=round(right, 3))
            bar.set_postfix(loss=f"{loss.item():.3f}", retrieval=f"{right:.2f}")
    return model.eval()


def save_clip(model: torch.nn.Module, file: Path, metadata: dict[str, str]) -> None:
    """Write the weights as open_clip's checkpoint loader takes them, in half precision."""
    tensors = {name: value.detach().cpu().half().contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, file, {"format": "pt", **metadata})


def load_clip(folder: Path) -> tuple[Any, Callable[[Any], Tensor], Callable[[list[str]], Tensor]]:
    """Model, image preprocessing and tokenizer from `folder`, by open_clip's own loader, without network."""
    import open_clip

    open_clip.add_model_config(folder / f"{NAME}.json")
    weights = str(folder / "clip.safetensors")
    model, _, preprocess = open_clip.create_model_and_transforms(NAME, pretrained=weights)
    return model.eval(), preprocess, open_clip.get_tokenizer(NAME)


@torch.no_grad()
def retrieval(folder: Path) -> dict[str, float]:
    """How often a frame finds its own caption: of 50 scenes, and of the 10 without a subject (place and time)."""
    from PIL import Image

    model, preprocess, tokenizer = load_clip(folder)
    places = [world.Scene(background, night) for background in world.BACKGROUNDS for night in (False, True)]
    subjects = [
        world.Subject(shape, colour, "large")
        for shape in list(world.SHAPES)[:2]
        for colour in ("red", "white")
    ]
    scenes = [replace(place, subject=subject) for place in places for subject in [None, *subjects]]

    def share(chosen: list[world.Scene]) -> float:
        images = torch.stack([preprocess(Image.fromarray(world.render(scene))) for scene in chosen])
        image = model.encode_image(images, normalize=True)
        text = model.encode_text(tokenizer([world.prompt_of(scene) for scene in chosen]), normalize=True)
        return float(((image @ text.T).argmax(1) == torch.arange(len(chosen))).float().mean())

    return {"scenes": share(scenes), "places": share(places)}
