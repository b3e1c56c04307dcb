"""Training examples of the transformer: a window of a clip, its past as the sampler shows it, and a text."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ....samplers.context.history import Context, History
from ....samplers.context.indices import Direction
from ....samplers.context.plan import plan_sections
from ...networks.text import token_ids
from ..recipe import Mix
from .clips import SECTIONS, ClipLatents, Texts

KINDS = ("real", "caption_noise", "after", "normal")
FIRST_SHARE = 0.15  # of the caption noise lies in first sections, where a prompt cannot switch


@dataclass(frozen=True)
class Choice:
    """One example: clip, target section, kind (one of KINDS) and the first section that its past shows."""

    clip: int
    section: int
    kind: str
    begin: int = 0


@dataclass(frozen=True, eq=False, kw_only=True)
class Batch:
    """Examples of one window length; images uint8 [B,64,64,3] is None for text to video.

    target [B,16,w,8,8], subject bool [B,w,8,8] where the target shows one, the context's tiers [B,16,n,8,8], tokens
    [B,L] with mask [B,L].
    """

    target: Tensor
    subject: Tensor
    context: Context
    images: Tensor | None
    tokens: Tensor
    mask: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        images = None if self.images is None else self.images.to(device)
        return Batch(
            target=self.target.to(device),
            subject=self.subject.to(device),
            context=self.context.to(device),
            images=images,
            tokens=self.tokens.to(device),
            mask=self.mask.to(device),
        )


class Batches:
    """Gives the batch of any step and replica of a run, the same one every time."""

    def __init__(self, data: ClipLatents, mix: Mix, batch: int, seed: int) -> None:
        self.data, self.mix, self.batch, self.seed = data, mix, batch, seed
        self.by_window = {
            window: [i for i, spec in enumerate(data.specs) if spec.window == window] for window in SECTIONS
        }
        self.switched = {
            window: [i for i in clips if data.specs[i].event != "none"]
            for window, clips in self.by_window.items()
        }

    def of_step(self, step: int, replica: int = 0) -> Batch:
        """The batch of a step. All replicas' batches are equally long: they would wait for the longest."""
        shared, rng = (
            np.random.default_rng(seed) for seed in ([self.seed, step], [self.seed, step, replica])
        )
        window = 5 if shared.random() < self.mix.window_5 else 9
        text_only = shared.random() < self.mix.text_to_video
        choices = [
            self.choose_text_only(rng, window) if text_only else self.choose(rng, window)
            for _ in range(self.batch)
        ]
        return self.assemble(choices, window, text_only, rng)

    def choose(self, rng: np.random.Generator, window: int) -> Choice:
        """An example with a start image."""
        mix, draw = self.mix, rng.random()
        if draw < mix.real:
            kind = "real"
        elif draw < mix.real + mix.caption_noise:
            kind = "caption_noise"
        elif draw < mix.real + mix.caption_noise + mix.after:
            kind = "after"
        else:
            kind = "normal"
        while True:
            pool = (self.switched if kind in ("real", "after") else self.by_window)[window]
            clip = pool[rng.integers(len(pool))]
            spec = self.data.specs[clip]
            last = SECTIONS[window]
            if kind == "real":
                return Choice(clip, spec.switch, kind)
            if kind == "after":
                if spec.switch + 1 < last:
                    return Choice(clip, int(rng.integers(spec.switch + 1, last)), kind)
            elif kind == "caption_noise":
                section = 0 if rng.random() < FIRST_SHARE else int(rng.integers(1, last))
                if spec.event == "none" or section != spec.switch:
                    return Choice(clip, section, kind)
            else:
                end = last if spec.event == "none" else spec.switch
                return Choice(clip, int(rng.integers(0, end)), kind)

    def choose_text_only(self, rng: np.random.Generator, window: int) -> Choice:
        """An example without image: a first section, or now and then a second one."""
        pool = self.by_window[window]
        clip = pool[rng.integers(len(pool))]
        spec, last = self.data.specs[clip], SECTIONS[window]
        section = int(rng.integers(0, last))
        continues = section > 0 and rng.random() < 0.25
        if continues and section == spec.switch and spec.event != "none":
            continues = False
        return Choice(clip, section, "normal", section - int(continues))

    def assemble(
        self, choices: list[Choice], window: int, text_only: bool, rng: np.random.Generator
    ) -> Batch:
        """Bring examples into the form that the model takes."""
        noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
        targets, subjects, contexts, texts = [], [], [], []
        for choice in choices:
            target, past, start = self.latents_of(choice, window, text_only)
            past = self.disturb(past, rng, noise)
            contexts.append(
                pack(start, past=past, window=window, section=choice.section, text_only=text_only)
            )
            targets.append(target)
            first = 1 + window * choice.section
            subjects.append(self.data.subjects[choice.clip, first : first + window])
            texts.append(self.text_of(choice, rng))
        images = None if text_only else self.data.first_frames[[choice.clip for choice in choices]]
        tokens, mask = tokenized(texts)
        return Batch(
            target=torch.stack(targets),
            subject=torch.stack(subjects),
            context=joined(contexts),
            images=images,
            tokens=tokens,
            mask=mask,
        )

    def latents_of(self, choice: Choice, window: int, text_only: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Target [16,w,8,8], past [16,n,8,8] without the start frame, and start [16,1,8,8]."""
        latents = self.data.latents[choice.clip].float()
        first = 1 + window * choice.section
        target, start = latents[:, first : first + window], latents[:, :1]
        past = latents[:, 1 + window * choice.begin : first]
        return target, past, torch.zeros_like(start) if text_only else start

    def disturb(self, past: Tensor, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        """Add noise to generated latents as the model's own mistakes would: it must not pass them on."""
        if rng.random() >= self.mix.history_noise:
            return past
        sigma = rng.random() * self.mix.history_noise_sigma
        return past + sigma * torch.randn(past.shape, generator=generator)

    def text_of(self, choice: Choice, rng: np.random.Generator) -> str:
        """The prompt of an example, empty now and then."""
        if rng.random() < self.mix.text_dropout:
            return ""
        texts: Texts = self.data.texts[choice.clip][choice.section]
        options = texts.new if choice.kind == "caption_noise" else texts.own
        return options[rng.integers(len(options))]


def pack(start: Tensor, *, past: Tensor, window: int, section: int, text_only: bool) -> Context:
    """What the sampler shows of a past [16,n,8,8] to an F1 section, in a batch of one."""
    history = History(Direction.FORWARD, start[None], keeps_start=not text_only)
    if past.shape[1]:
        history.append(past[None])
    return history.context(plan_sections("f1", section + 1, window, keeps_start=not text_only)[section])


def joined(contexts: list[Context]) -> Context:
    """Contexts of one layout as one batch."""
    clean, clean_2x, clean_4x = (
        torch.cat([getattr(context, name) for context in contexts])
        for name in ("clean", "clean_2x", "clean_4x")
    )
    return Context(indices=contexts[0].indices, clean=clean, clean_2x=clean_2x, clean_4x=clean_4x)


def tokenized(texts: list[str]) -> tuple[Tensor, Tensor]:
    """Token ids [B,L] padded with 0 and what is real [B,L] bool."""
    ids = [token_ids(text) for text in texts]
    longest = max(map(len, ids))
    tokens = torch.tensor([row + [0] * (longest - len(row)) for row in ids])
    mask = torch.tensor([[True] * len(row) + [False] * (longest - len(row)) for row in ids])
    return tokens, mask


def counted(batches: Batches, steps: int, window: int = 9) -> Counter[str]:
    """How often each kind is chosen, for a look at the mix."""
    rng = np.random.default_rng(0)
    return Counter(batches.choose(rng, window).kind for _ in range(steps))
