"""The questions that trained weights are asked, each of some episodes at a time; answers go into a tally."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....samplers.techniques.base import Technique
from ... import world
from ...detector import PairDetection, agrees, detect, detect_pair, jump, matches
from .episodes import EVENTS, FIRST_SEED, Episode, episodes_of, starts
from .sampling import Frames, Generator, Past
from .tally import Tally

Trials = Mapping[str, tuple[Technique, ...]]

LAST_FRAMES = 8
END_DISTANCE = 2.0  # px between where a subject is at the end and where the end image shows it
SURVIVED = 3  # sections
CLIPS_IN = 4  # times fewer clips than episodes: each has 21 frames


class Examiner:
    """Asks a generator's model; every question takes the episodes number `first` and the following ones."""

    def __init__(self, generator: Generator, tally: Tally, trials: Trials) -> None:
        self.generator, self.tally, self.trials = generator, tally, trials
        self.settings = generator.settings
        self.forward = self.settings.layout == "f1"

    def episodes(
        self, event: str | Sequence[str], first: int, count: int, *, pair: bool = False
    ) -> list[Episode]:
        """Episodes for these settings."""
        settings = self.settings
        return episodes_of(event, first, count, window=settings.window, pair=pair, scale=settings.scale)

    # Questions

    def survival(self, first: int, count: int) -> None:
        """Whether the scene is still right at the end of each of three sections when nothing is asked to change."""
        part = self.episodes("none", first, count)
        order = range(SURVIVED) if self.forward else range(SURVIVED)[::-1]
        latents = self._sections(part, [[e.prompts[s] for e in part] for s in order], start=starts(part))
        for section in range(SURVIVED):
            frames = self._window(part, latents, section)[:, -LAST_FRAMES:]
            self.tally.add(f"survival section_{section + 1}", [shows(f, e.old) for f, e in zip(frames, part)])

    def text_alone(self, first: int, count: int) -> None:
        """Whether the new scene is right when only the text says it."""
        part = self.episodes(EVENTS, first, count)
        frames = self._from_text([e.seed for e in part], [e.prompts[1] for e in part])
        self._count("zero", part, [shows(f[-LAST_FRAMES:], e.new) for f, e in zip(frames, part)])

    def history_shows(self, first: int, count: int) -> None:
        """Whether the new scene is right when a section of that scene is remembered."""
        part = self.episodes(EVENTS, first, count)
        videos = np.stack([e.after[: 1 + 4 * self.settings.window] for e in part])
        past = Past(latents=self.generator.encoded(videos)[:, :, 1:], sections=1)
        latents = self._sections(part, [[e.prompts[2] for e in part]], start=videos[:, 0], past=past)
        frames = self._far_end(self._decoded(latents, past))
        self._count("new", part, [shows(f, e.new) for f, e in zip(frames, part)])

    def switches(self, first: int, count: int) -> None:
        """What becomes of a switch, in episodes that are right before it."""
        part = self.episodes(EVENTS, first, count)
        past, valid = self._right_past(part)
        for name, frames in self._after(part, past, [e.prompts[1] for e in part]):
            ends = self._far_end(frames)
            kept = [(f, e) for f, e, ok in zip(ends, part, valid) if ok]
            right = [e for _, e in kept]
            self._count(name, right, [shows(f, e.new) for f, e in kept])
            self._count(f"{name} stayed", right, [shows(f, e.old) for f, e in kept])

    def shams(self, first: int, count: int) -> None:
        """What it costs when the same prompt is entered anew, in scenes that are right before it."""
        part = self.episodes("none", first, count)
        past, valid = self._right_past(part)
        kept, jumps = {}, {}
        for name, frames in self._after(part, past, [e.prompts[0] for e in part]):
            kept[name] = [shows(f, e.old) for f, e, ok in zip(self._far_end(frames), part, valid) if ok]
            jumps[name] = [
                self._jump(f, p) for f, p, ok in zip(frames, self._decoded(past.latents), valid) if ok
            ]
            self.tally.add(f"sham {name}", kept[name])
        lost = zip(kept["plain"], kept.get("remedy", kept["plain"]))
        self.tally.add("sham lost", [before and not after for before, after in lost])
        both = np.isfinite(list(jumps.values())).all(0)
        for name, values in jumps.items():
            self.tally.measure(f"sham jump {name}", np.array(values)[both].tolist())

    def pair_text(self, first: int, count: int) -> None:
        """Whether each of two subjects is drawn as it is named, when only the text says so."""
        part = self.episodes("none", first, count, pair=True)
        for found, e in zip(self._pairs_from_text(part, 0), part):
            for subject, _ in e.old.shown:
                self.tally.add("pair named", [mostly(found.finds(subject))])
            self.tally.add("pair both", [mostly(found.agrees(e.old))])

    def pair_leaves(self, first: int, count: int) -> None:
        """Whether one of two subjects is gone and the other as it was, where the text names only that one and no history is shown."""
        part = self.episodes("disappear", first, count, pair=True)
        for found, e in zip(self._pairs_from_text(part, 1), part):
            self._count_pair("pair zero", found, e)

    def pair_switch(self, first: int, count: int) -> None:
        """The same with a history of both, by trial."""
        part = self.episodes("disappear", first, count, pair=True)
        past = self._past(part)
        before = [detect_pair(f[-LAST_FRAMES:]) for f in self._decoded(past.latents)]
        valid = [mostly(found.agrees(e.old)) for found, e in zip(before, part)]
        for name, frames in self._after(part, past, [e.prompts[1] for e in part]):
            for f, e, ok in zip(self._far_end(frames), part, valid):
                if ok:
                    self._count_pair(f"pair {name}", detect_pair(f), e)

    def end_image(self, first: int, count: int) -> None:
        """Whether the video ends where the end image says, within END_DISTANCE."""
        part = self.episodes("none", first, count)
        ends = np.stack([e.after[4 * self.settings.window] for e in part])
        latents = self._sections(part, [[e.prompts[0] for e in part]], start=starts(part), end=ends)
        for frames, wanted in zip(self._window(part, latents, 0), ends):
            made, asked = detect(frames[-1:]), detect(wanted[None])
            near = np.hypot(made.x - asked.x, made.y - asked.y)[0] <= END_DISTANCE
            self.tally.add("end", [bool(near and made.present[0] and made.colour[0] == asked.colour[0])])

    def codec(self, first: int, count: int) -> None:
        """Whether the detector reads frames of clips with a cut rightly through the codec; a few clips are enough."""
        for seed in range(FIRST_SEED + first, FIRST_SEED + first + max(count // CLIPS_IN, 1)):
            for pair in (False, True):
                clip = world.make_clip(seed, 21, "cut", 9, pair=pair, scale=self.settings.scale)
                frames = self.generator.decoded(self.generator.encoded(clip.frames[None]))[0]
                for (start, scene), end in zip(clip.scenes, (9, 21)):
                    seen = frames[start:end]
                    right = detect_pair(seen).agrees(scene) if pair else agrees(detect(seen), scene)
                    self.tally.add("codec pair" if pair else "codec", right)

    # Generating and counting

    def _sections(self, part: Sequence[Episode], prompts: Sequence[Sequence[str]], **given: Any) -> Tensor:
        return self.generator.sections([e.seed for e in part], prompts, **given)

    def _from_text(self, seeds: Sequence[int], prompts: Sequence[str]) -> Frames:
        return self.generator.decoded(self.generator.sections(seeds, [prompts]))

    def _pairs_from_text(self, part: Sequence[Episode], section: int) -> list[PairDetection]:
        frames = self._from_text([e.seed for e in part], [e.prompts[section] for e in part])
        return [detect_pair(f[-LAST_FRAMES:]) for f in frames]

    def _past(self, part: Sequence[Episode]) -> Past:
        """A section of the old scene; backward the last of three, so that the start frame is not next to the one that follows."""
        made = self._sections(
            part, [[e.prompts[0] for e in part]], start=starts(part), to_come=0 if self.forward else 2
        )
        return Past(latents=made, sections=1)

    def _right_past(self, part: Sequence[Episode]) -> tuple[Past, list[bool]]:
        past = self._past(part)
        frames = self._decoded(past.latents)[:, -LAST_FRAMES:]
        return past, [shows(f, e.old) for f, e in zip(frames, part)]

    def _after(self, part: Sequence[Episode], past: Past, prompts: Sequence[str]) -> list[tuple[str, Frames]]:
        """The frames of the section that is generated next, by trial."""
        made = []
        for name, remedies in self.trials.items():
            latents = self._sections(
                part,
                [prompts],
                start=starts(part),
                past=past,
                to_come=0 if self.forward else 1,
                remedies=remedies,
            )
            made.append((name, self._decoded(latents, past)))
        return made

    def _decoded(self, latents: Tensor, past: Past | None = None) -> Frames:
        """Frames of a window; forward behind its past, which the codec looks back at."""
        before = past.latents if past is not None and self.forward else latents[:, :, :1]
        return self.generator.window_frames(before, latents)

    def _window(self, part: Sequence[Episode], latents: Tensor, section: int) -> Frames:
        """Frames of one window of a whole video's latents."""
        window = self.settings.window
        whole = torch.cat([self.generator.encoded(starts(part)[:, None]), latents], dim=2)
        first = 1 + window * section
        return self.generator.window_frames(whole[:, :, :first], whole[:, :, first : first + window])

    def _far_end(self, frames: Frames) -> Frames:
        """The frames of a window that are farthest from what is remembered, but for those where the codec misses its past."""
        return frames[:, -LAST_FRAMES:] if self.forward else frames[:, LAST_FRAMES : 2 * LAST_FRAMES]

    def _jump(self, frames: Frames, past: Frames) -> float:
        """The subject's jump between a window and what it remembers, in px."""
        in_time = [past, frames] if self.forward else [frames, past]
        return jump(detect(np.concatenate(in_time)), len(in_time[0]))

    def _count(self, name: str, part: Sequence[Episode], answers: Sequence[bool]) -> None:
        """Count answers in all and by event."""
        self.tally.add(name, answers)
        for episode, answer in zip(part, answers):
            self.tally.add(f"{name} {episode.event}", [answer])

    def _count_pair(self, name: str, found: PairDetection, episode: Episode) -> None:
        """Count whether the subject that leaves is gone, and whether the other one and the place are as they were."""
        leaving = episode.leaving
        staying = [subject for subject, _ in episode.new.shown]
        if leaving is not None:
            self.tally.add(f"{name} gone", [not mostly(found.finds(leaving))])
        for subject in staying:
            self.tally.add(f"{name} other", [mostly(found.finds(subject))])
        self.tally.add(f"{name} right", [mostly(found.agrees(episode.new))])


def shows(frames: Frames, scene: world.Scene) -> bool:
    """Whether most of frames [T,H,W,3] show a scene with one subject at most: place, time and subject."""
    return matches(detect(frames), scene)


def mostly(seen: np.ndarray) -> bool:
    """Whether something is so in more than half of the frames, bool [T]."""
    return bool(seen.mean() > 0.5)
