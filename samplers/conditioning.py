"""Check what comes in from other nodes and bring it into the form that the sampler uses.

Everything here raises ValueError with one sentence: what came, what was expected, what to do.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..models.config import FramePackConfig
from .conditioning_extras import expect_followable, guidance_of, whole_mask
from .events import AUTO


@dataclass(frozen=True, eq=False)
class TextConditioning:
    """The encoded text of one prompt.

    states: of its tokens, [B, L, text_dim].
    pooled: one vector for the whole text, [B, pooled_dim].
    mask: bool [B, L], True where a token counts; None when all do.
    options: what other nodes attached to the CONDITIONING (hooks), which the host's driver passes on.
    guidance: the distilled guidance that FluxGuidance chose for it; None for the sampler's.
    """

    states: Tensor
    pooled: Tensor
    mask: Tensor | None = None
    options: dict[str, Any] = field(default_factory=dict)
    guidance: float | None = field(default=None, kw_only=True)

    def says_the_same(self, other: TextConditioning) -> bool:
        """Whether the model is told the same by both, bit for bit; the distilled guidance is no part of that."""
        pairs = ((self.states, other.states), (self.pooled, other.pooled), (self.mask, other.mask))
        attached = self.options.keys() == other.options.keys()
        attached = attached and all(value is other.options[key] for key, value in self.options.items())
        return attached and all(_equal(one, two) for one, two in pairs)


@dataclass(frozen=True, eq=False, kw_only=True)
class Prompt:
    """A prompt with its tensors checked, as a timeline's entry says.

    start: the second from which it holds.
    text: what was written; empty where only the conditioning is known.
    conditioning: the encoded text; None where sections are only planned.
    change: how much of the scene changes when it takes over, from 0 to 1.
    state: what can be seen afterwards, for evaluators; empty where the text says it.
    cut: whether a new shot begins with it, which remembers nothing.
    recall: whether that shot goes on from what an earlier prompt left instead (see timeline.recall).
    keep: the encoded words for what that shot keeps of the one before it (see denoising.cuts); None for nothing.
    blend: the number of sections over which the text moves from the prompt before to this one.
    landing: whether it takes over at the nearest section border, or a section begins on its own frame: border or frame.
    event: what happens when it takes over, for techniques that distinguish it; auto leaves it to them.
    start_latent: the start frame [B, 16, 1, H, W] from here on, in the model's scale, zeros for no image; None for the
        one before.
    image_embeds: the image tokens [B, N, D] from here on; None for those before.
    vision_strength: what the image tokens are multiplied by while the prompt holds.
    section_seed: the seed of the first section of the prompt; None leaves it the run's.
    """

    start: float
    text: str
    conditioning: TextConditioning | None = None
    change: float = 1.0
    state: str = ""
    cut: bool = False
    recall: bool = False
    keep: TextConditioning | None = None
    blend: int = 0
    landing: str = "border"
    event: str = AUTO
    start_latent: Tensor | None = None
    image_embeds: Tensor | None = None
    vision_strength: float = 1.0
    section_seed: int | None = None

    def says_the_same(self, other: Prompt) -> bool:
        """Whether the model is told the same by both; where a text is not encoded, only a prompt says what itself says."""
        if self.conditioning is None or other.conditioning is None:
            return self is other
        return self.conditioning.says_the_same(other.conditioning)


@dataclass(frozen=True, eq=False)
class Anchor:
    """The start frame and image tokens that a section sees in place of the run's own.

    start: the start frame [B, 16, 1, H, W]; None for no image, as after a cut. Read only with `start_from`.
    image_embeds: the image tokens [B, N, D]; None for none, as after a cut. Read only with `vision_from`.
    start_from: the second of the timeline's entry that set the start frame; None where the run's own holds.
    vision_from: the second of the timeline's entry that set the image tokens; None where the run's own hold.
    """

    start: Tensor | None = None
    image_embeds: Tensor | None = None
    start_from: float | None = None
    vision_from: float | None = None

    def after(self, prompt: Prompt) -> Anchor:
        """The anchor once a prompt has taken over: the same object unless the prompt cuts or has an image."""
        anchor = self
        if prompt.cut or prompt.start_latent is not None:
            anchor = replace(anchor, start=prompt.start_latent, start_from=prompt.start)
        if prompt.cut or prompt.image_embeds is not None:
            anchor = replace(anchor, image_embeds=prompt.image_embeds, vision_from=prompt.start)
        return anchor

    def describe(self) -> dict[str, Any]:
        """The anchor as plain data for the trace."""
        empty = self.start is None or not torch.count_nonzero(self.start)
        nothing = self.start_from is not None and empty
        return {"start": self.start_from, "vision": self.vision_from, "from_nothing": nothing}


def text_conditioning(conditioning: Any, name: str, config: FramePackConfig, batch: int) -> TextConditioning:
    """Read a ComfyUI CONDITIONING; crop the text to its real length and repeat it to the batch."""
    if not conditioning:
        raise ValueError(f"{name} is empty; connect a CLIPTextEncode node.")
    if len(conditioning) > 1:
        raise ValueError(
            f"{name} holds {len(conditioning)} combined conditionings, FramePack reads one; "
            "encode one prompt, or put several on a timeline."
        )
    states, options = conditioning[0][0], dict(conditioning[0][1])
    expect_followable(options, name)
    pooled, mask = options.pop("pooled_output", None), options.pop("attention_mask", None)
    guidance = guidance_of(options, name)
    _check_text(states, pooled, name, config)
    if mask is not None:
        states, mask = _crop(states, whole_mask(mask, states, name))
    return TextConditioning(
        states=_repeat(states, batch, name),
        pooled=_repeat(pooled, batch, name),
        mask=None if mask is None else _repeat(mask, batch, name),
        guidance=guidance,
        options=options,
    )


def _check_text(states: Tensor, pooled: Tensor | None, name: str, config: FramePackConfig) -> None:
    """Raises ValueError for text of another encoder, or without its pooled vector."""
    if pooled is None:
        raise ValueError(
            f"{name} has no pooled_output; encode it with DualCLIPLoader (type hunyuan_video), "
            "which gives the CLIP-L pooled vector that FramePack needs."
        )
    remedy = "DualCLIPLoader with type hunyuan_video"
    _expect_width(states, config.text_embed_dim, f"{name} text", remedy)
    _expect_width(pooled, config.pooled_projection_dim, f"{name} pooled_output", remedy)
    expect_finite(states, name)
    expect_finite(pooled, f"{name} pooled_output")


def encoded_text(prompt: Prompt) -> TextConditioning:
    """The conditioning of a prompt that is sampled. Raises ValueError where it was only planned."""
    if prompt.conditioning is None:
        raise ValueError(
            f"the prompt {prompt.text!r} at {prompt.start:g} s has no conditioning; encode it before sampling."
        )
    return prompt.conditioning


def blend_texts(old: TextConditioning, new: TextConditioning, weight: float) -> TextConditioning:
    """`weight` of a new text and the rest of an old one: states, where the shorter is padded with zeros, and pooled.

    A token counts where either text has one. Options are the new text's. The weights 0 and 1 give the texts themselves.
    Source: tukisuwa/ComfyUI-FramePackWrapper_PlusOne, `nodes_F1.py`.
    """
    if weight in (0.0, 1.0):
        return new if weight else old
    length = max(old.states.shape[1], new.states.shape[1])
    masks = [_padded(_mask_of(text), length) for text in (old, new)]
    states = torch.lerp(_padded(old.states, length), _padded(new.states, length).to(old.states), weight)
    mask = masks[0] | masks[1].to(masks[0].device)
    pooled = torch.lerp(old.pooled, new.pooled.to(old.pooled), weight)
    return TextConditioning(states, pooled, None if mask.all() else mask, new.options, guidance=new.guidance)


def joined_texts(*texts: TextConditioning) -> TextConditioning:
    """Texts behind one another: the tokens of all, and the pooled vector, options and guidance of the last."""
    last = texts[-1]
    states = torch.cat([text.states.to(last.states) for text in texts], dim=1)
    mask = None
    if any(text.mask is not None for text in texts):
        mask = torch.cat([_mask_of(text).to(states.device) for text in texts], dim=1)
    return TextConditioning(states, last.pooled, mask, last.options, guidance=last.guidance)


def _mask_of(text: TextConditioning) -> Tensor:
    return torch.ones(text.states.shape[:2], dtype=torch.bool) if text.mask is None else text.mask


def _padded(tensor: Tensor, length: int) -> Tensor:
    """[B, L, ...] with zeros behind, up to `length`."""
    missing = tensor.new_zeros(tensor.shape[0], length - tensor.shape[1], *tensor.shape[2:])
    return torch.cat([tensor, missing], dim=1)


def vision_tokens(output: Any, name: str, config: FramePackConfig, batch: int) -> Tensor | None:
    """Image tokens [B, N, image_proj_dim] of a CLIP_VISION_OUTPUT, None where nothing is connected."""
    if output is None:
        return None
    if not config.has_image_proj:
        raise ValueError(
            f"{name} is connected, but this model was built without image tokens; disconnect it."
        )
    tokens = getattr(output, "last_hidden_state", None)
    if tokens is None:
        raise ValueError(
            f"{name} is a {type(output).__name__} without last_hidden_state; connect CLIPVisionEncode."
        )
    _expect_width(tokens, config.image_proj_dim, name, "CLIPVisionLoader with sigclip_vision_patch14_384")
    expect_finite(tokens, name)
    return _repeat(tokens, batch, name)


def latent_samples(latent: Any, name: str, channels: int, like: Tensor | None = None) -> Tensor:
    """Samples [B, channels, T, H, W] in float32 of a LATENT; [B, channels, H, W] counts as one frame.

    `like` gives the batch and size that the samples must have (a batch of 1 is repeated).
    """
    samples = latent.get("samples") if isinstance(latent, dict) else None
    if not isinstance(samples, Tensor) or samples.is_nested:
        raise ValueError(
            f"{name} is a {type(latent).__name__} without one tensor of samples, not an image's LATENT; connect "
            "a VAE Encode node."
        )
    if latent.get("noise_mask") is not None:
        raise ValueError(
            f"{name} carries a noise mask, which FramePack cannot follow; remove Set Latent Noise Mask."
        )
    samples = samples.to(torch.float32)
    if samples.ndim == 4:
        samples = samples.unsqueeze(2)
    if samples.ndim != 5 or samples.shape[1] != channels or 0 in samples.shape:
        raise ValueError(
            f"{name} has shape {tuple(samples.shape)}, expected [batch, {channels}, frames, height/8, "
            "width/8]; encode the image with the VAE that belongs to this model."
        )
    expect_finite(samples, name)
    if like is None:
        return samples
    if samples.shape[-2:] != like.shape[-2:]:
        raise ValueError(
            f"{name} is {_pixels(samples)} pixels but start_latent is {_pixels(like)}; "
            "resize both images to the same size."
        )
    return _repeat(samples, like.shape[0], name)


def expect_finite(tensor: Tensor, name: str) -> None:
    """Raise when a tensor holds NaN or infinity: one bad value would spoil the whole video."""
    if not torch.isfinite(tensor).all():
        raise ValueError(
            f"{name} holds NaN or infinite values; check the node that made it (a VAE in float16 "
            "overflows on some images: run it in bfloat16 or float32)."
        )


def _expect_width(tensor: Tensor, width: int, name: str, remedy: str) -> None:
    if tensor.shape[-1] != width:
        raise ValueError(f"{name} is {tensor.shape[-1]} wide, this model expects {width}; use {remedy}.")


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other or (one is not None and other is not None and torch.equal(one, other))


def _crop(states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
    """Drop columns that are padding in every row, and the mask with them where no padding is left."""
    columns = mask.any(dim=0)
    if not columns.any():
        return states[:, :1], None
    mask = mask[:, columns]
    return states[:, columns], (None if mask.all() else mask)


def _repeat(tensor: Tensor, batch: int, name: str) -> Tensor:
    if tensor.shape[0] == batch:
        return tensor
    if tensor.shape[0] != 1:
        remedy = "give 1 or as many (Latent Batch joins latents)" if batch > 1 else "give 1"
        raise ValueError(
            f"{name} has a batch of {tensor.shape[0]}, start_latent one of {batch}; {remedy}. VAE Encode makes one latent "
            "of several images, as the frames of one video."
        )
    return tensor.expand(batch, *tensor.shape[1:])


def _pixels(samples: Tensor) -> str:
    return f"{8 * samples.shape[-1]}x{8 * samples.shape[-2]}"
