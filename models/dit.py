"""The FramePack transformer (FramePack: arXiv 2504.12626; HunyuanVideo: arXiv 2412.03603) in plain torch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import torch
from einops import rearrange
from torch import Tensor, nn

from .attention.joint import AttentionFunction, Segments, TextAttention, bool_mask, key_mask, sdpa_attention
from .attention.options import with_options
from .attention.probe import AttentionProbe
from .caching.step_cache import run_cached
from .config import FramePackConfig
from .inputs import check_conditions, check_window
from .kept_work import KeptWork, kept_work, once
from .layers import operations as ops
from .layers.blocks import DoubleBlock, LastBlock, Modulation, SingleBlock, normalise
from .layers.embedders import ContextEmbedder, ImageProjection, PatchEmbedder, TextEmbedder, TimeTextEmbedder
from .layers.operations import Layers
from .layers.rope import PLAIN_ROTATION, head_thetas, identity_rope
from .packing import (
    Tier,
    concatenate_places,
    embed,
    embed_places,
    keep_image,
    keep_tokens,
    pack_frames,
    present_tiers,
    split_segments,
)
from .patches import Around, call_double, call_single, run_patched, tell_block, wrappable


class FramePackDiT(nn.Module):
    """Predicts the flow of a noisy window from the text, the start image and a packed past.

    Parameters are named as in diffusers' HunyuanVideoFramepackTransformer3DModel. Weights are stored as
    `dtype` and computed with in the dtype of x; the last projection is float32 throughout. `operations` makes
    the layers (see layers/operations.py), `attention` is called by every block (see attention/joint.py).
    """

    def __init__(
        self,
        config: FramePackConfig,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        operations: Any = ops.default,
        attention: AttentionFunction = sdpa_attention,
    ) -> None:
        super().__init__()
        self.config = config
        # Read by nodes for other models, under the names that these have in ComfyUI.
        self.in_channels, self.out_channels = config.in_channels, config.out_channels
        self.dtype = dtype or torch.get_default_dtype()
        self.attention = attention
        # How text tokens attend to each other, before they join the sequence; a host may have another way.
        self.text_attention: TextAttention = sdpa_attention
        # How blocks rotate queries and keys; a host may have a quicker way.
        self.rotation = PLAIN_ROTATION
        # What a host calls around every forward (see patches.wrappable); None for nothing.
        self.around: Around | None = None

        layers = Layers(operations, self.dtype, device)
        dim, heads, hidden = config.inner_dim, config.num_attention_heads, config.mlp_dim

        # embedders
        self.x_embedder = PatchEmbedder(config.in_channels, dim, layers)
        self.clean_x_embedder = (
            ContextEmbedder(config.in_channels, dim, layers) if config.has_clean_x_embedder else None
        )
        self.context_embedder = TextEmbedder(
            text_dim=config.text_embed_dim,
            dim=dim,
            heads=heads,
            depth=config.num_refiner_layers,
            layers=layers,
        )
        self.image_projection = (
            ImageProjection(config.image_proj_dim, dim, layers) if config.has_image_proj else None
        )
        self.time_text_embed = TimeTextEmbedder(
            dim, config.pooled_projection_dim, config.guidance_embeds, layers
        )

        # blocks
        self.transformer_blocks = nn.ModuleList(
            DoubleBlock(dim=dim, heads=heads, hidden=hidden, index=index, layers=layers)
            for index in range(config.num_layers)
        )
        last = config.num_single_layers - 1
        self.single_transformer_blocks = nn.ModuleList(
            (LastBlock if index == last else SingleBlock)(
                dim=dim, heads=heads, hidden=hidden, index=index, layers=layers
            )
            for index in range(config.num_single_layers)
        )

        # output
        patch = config.patch_size_t * config.patch_size**2
        self.norm_out = Modulation(dim, 2, layers)
        self.proj_out = Layers(operations, torch.float32, device).linear(dim, patch * config.out_channels)

    @wrappable
    def forward(
        self,
        x: Tensor,
        timestep: Tensor,
        context: Tensor,
        attention_mask: Tensor | None = None,
        y: Tensor | None = None,
        guidance: Tensor | None = None,
        image_embeds: Tensor | None = None,
        latent_indices: Tensor | None = None,
        clean_latents: Tensor | None = None,
        clean_latent_indices: Tensor | None = None,
        clean_latents_2x: Tensor | None = None,
        clean_latent_2x_indices: Tensor | None = None,
        clean_latents_4x: Tensor | None = None,
        clean_latent_4x_indices: Tensor | None = None,
        transformer_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """The flow [B, C, T, H, W] in float32 of a noisy window x [B, C, T, H, W].

        timestep [B] is sigma * 1000, guidance [B] the distilled scale * 1000; context [B, L, text_dim] with
        attention_mask [B, L] (None: every token is real), y [B, pooled_dim], image_embeds [B, N, image_dim].
        Indices are int64, [frames] or [B, frames]; without latent_indices the window counts from 0. The first
        of clean_latents is the start frame. Any tier and the image may be None. Other keywords are ignored:
        hosts add arguments. Raises ValueError, from shapes alone, for inputs that do not fit.
        """
        # Other nodes' attention may leave something there.
        transformer_options = {**(transformer_options or {})}
        if latent_indices is None and x.ndim == 5:
            latent_indices = torch.arange(x.shape[2], device=x.device)
        tiers = present_tiers(
            ("clean_latents_4x", 4, clean_latents_4x, clean_latent_4x_indices, ("4x",)),
            ("clean_latents_2x", 2, clean_latents_2x, clean_latent_2x_indices, ("2x",)),
            ("clean_latents", 1, clean_latents, clean_latent_indices, ("start", "last")),
            ("x", 1, x, latent_indices, ("noisy",)),
        )
        check_window(self.config, x, tiers)
        check_conditions(
            self.config, x.shape[0], timestep=timestep, context=context, attention_mask=attention_mask, y=y,
            guidance=guidance, image_embeds=image_embeds,
        )  # fmt: skip
        if transformer_options.get("framepack_upstream_rounding"):
            # Upstream feeds times and scales as bfloat16: 10000 becomes 9984.
            timestep, guidance = timestep.bfloat16(), None if guidance is None else guidance.bfloat16()

        # tokens
        kept = transformer_options.get("framepack_tokens") or {}
        work = kept_work(transformer_options)
        img, pe, lengths = self.pack(x, tiers, kept, thetas=self.thetas(x, transformer_options), work=work)
        txt, mask, counts = self.condition(
            x.dtype, timestep=timestep, context=context, attention_mask=attention_mask,
            image_embeds=keep_image(image_embeds, kept.get("image")), transformer_options=transformer_options,
            work=work,
        )  # fmt: skip
        pooled = once(work, Tensor.to, cast(Tensor, y), x.dtype)  # checked above
        vec = self.time_text_embed(timestep, pooled, guidance, work)
        segments = Segments.of({**lengths, **counts})
        pe = torch.cat((pe, identity_rope(txt.shape[1], like=pe)), dim=1)
        pe = self.rotation.prepare(pe, x.dtype)
        mask = key_mask(mask, segments)

        # blocks, and back to latents
        img = run_cached(
            self, transformer_options, img=img, txt=txt, vec=vec, pe=pe, mask=mask, segments=segments
        )
        return self.unpack(img, vec, x)

    def thetas(self, x: Tensor, transformer_options: Mapping[str, Any]) -> Tensor | None:
        """The base of every head's rotation along time [heads], where a policy wants them to differ."""
        policy = transformer_options.get("framepack_attention")
        if policy is None or policy.rope_jitter is None:
            return None
        return head_thetas(
            self.config.rope_theta, policy.rope_jitter, self.config.num_attention_heads, x.device
        )

    def pack(
        self,
        x: Tensor,
        tiers: list[Tier],
        kept: Mapping[str, Tensor],
        *,
        thetas: Tensor | None = None,
        work: KeptWork | None = None,
    ) -> tuple[Tensor, Tensor, dict[str, int]]:
        """Tokens [B, L, D] of past and window, rotations [1 or B, L, D / 2, 2] and the segments' lengths.

        `kept` has the indices int64 [B or 1, K] of the only tokens of a segment to be packed; the others do not exist.
        With `thetas` [heads] rotations are [1 or B, L, heads, D / 2, 2].
        """
        height, width = (-(-size // self.config.patch_size) for size in x.shape[3:])
        tokens: dict[str, Tensor] = {}
        places: dict[str, Tensor] = {}
        for tier in (pack_frames(tier, kept) for tier in tiers):
            if tier is None:
                continue
            # The window's own tokens are new in every step.
            past = None if tier.argument == "x" else work
            embedded = once(past, embed, tier.latents, tier.kernel, self.projection(tier), x.dtype)
            indices = tier.known_indices().to(x.device)
            rotations = once(work, self.places, indices, tier.ratio, (height, width), thetas)
            for name, place in split_segments(tier, height * width):
                tokens[name] = keep_tokens(embedded[:, place], kept.get(name))
                places[name] = keep_tokens(rotations[:, place], kept.get(name))
        lengths = {name: part.shape[1] for name, part in tokens.items()}
        return torch.cat(list(tokens.values()), dim=1), concatenate_places(list(places.values())), lengths

    def places(self, indices: Tensor, ratio: int, grid: tuple[int, int], thetas: Tensor | None) -> Tensor:
        """Rotations of the tokens of a tier (see packing.embed_places) in frames of `grid` tokens, rows and columns."""
        return embed_places(
            indices, ratio, height=grid[0], width=grid[1], axes_dim=self.config.rope_axes_dim,
            theta=self.config.rope_theta, thetas=thetas,
        )  # fmt: skip

    def projection(self, tier: Tier) -> nn.Module:
        """The convolution that embeds a tier."""
        if tier.argument == "x" or self.clean_x_embedder is None:
            return self.x_embedder
        return self.clean_x_embedder.projection(tier.ratio)

    def condition(
        self,
        dtype: torch.dtype,
        *,
        timestep: Tensor,
        context: Tensor,
        attention_mask: Tensor | None,
        image_embeds: Tensor | None,
        transformer_options: Mapping[str, Any],
        work: KeptWork | None,
    ) -> tuple[Tensor, Tensor | None, dict[str, int]]:
        """Image tokens then text tokens [B, L, D], the mask of the text [B, L] and the segments' lengths."""
        mask = None if attention_mask is None else once(work, bool_mask, attention_mask, context.device)
        attend = partial(self.text_attention, transformer_options=transformer_options)
        text = once(work, Tensor.to, context, dtype)
        txt = self.context_embedder(text, timestep, mask, attend=attend, work=work)
        if image_embeds is None or self.image_projection is None:
            return txt, mask, {"text": txt.shape[1]}
        image = once(work, self.image_projection, once(work, Tensor.to, image_embeds, dtype))
        return torch.cat((image, txt), dim=1), mask, {"image": image.shape[1], "text": txt.shape[1]}

    def run_blocks(
        self,
        *,
        img: Tensor,
        txt: Tensor,
        vec: Tensor,
        pe: Tensor,
        mask: Tensor | None,
        segments: Segments,
        transformer_options: Mapping[str, Any],
    ) -> Tensor:
        """All blocks over the joint sequence -> tokens of the noisy window [B, L_noisy, D]."""
        patches = transformer_options.get("patches_replace", {}).get("dit", {})
        probe: AttentionProbe | None = transformer_options.get("framepack_probe")
        sums = None if probe is None else probe.start(segments, img.shape[0], img.device)
        attention = with_options(self.attention, transformer_options, segments, sums)
        fixed = {"segments": segments, "attention": attention, "rotate": self.rotation.apply}
        # The same ones for all blocks: other nodes' attention may leave something there for the next.
        options = {**transformer_options}
        shared = {"vec": vec, "pe": pe, "attention_mask": mask, "transformer_options": options}

        for index, block in enumerate(self.transformer_blocks):
            patch = patches.get(("double_block", index))
            tell_block(options, "double", index, self.config.num_layers)
            out = run_patched(partial(call_double, block, fixed), {"img": img, "txt": txt, **shared}, patch)
            img, txt = out["img"], out["txt"]

        # Only the window's tokens leave the last block; a patch may count on seeing all of them.
        img, noisy, window_only = torch.cat((img, txt), dim=1), segments.span("noisy"), False
        for index, block in enumerate(self.single_transformer_blocks):
            patch = patches.get(("single_block", index))
            window_only = index == self.config.num_single_layers - 1 and patch is None
            tell_block(options, "single", index, self.config.num_single_layers)
            original = partial(call_single, block, {**fixed, "rows": noisy if window_only else None})
            img = run_patched(original, {"img": img, **shared}, patch)["img"]
        if probe is not None and sums is not None:
            probe.finish(sums, segments, transformer_options.get("cond_or_uncond"))
        return img if window_only else img[:, noisy]

    def unpack(self, img: Tensor, vec: Tensor, x: Tensor) -> Tensor:
        """Tokens of the window [B, L, D] to float32 latents of the size of x, cropped of any padding."""
        height, width = (-(-size // self.config.patch_size) for size in x.shape[3:])
        scale, shift = self.norm_out(vec)
        img = self.proj_out(normalise(self.norm_out.norm, img, scale, shift).float())
        latents: Tensor = rearrange(
            img, "b (t h w) (c ph pw) -> b c t (h ph) (w pw)", h=height, w=width, ph=self.config.patch_size,
            pw=self.config.patch_size,
        )  # fmt: skip
        return latents[..., : x.shape[3], : x.shape[4]]
