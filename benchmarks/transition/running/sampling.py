"""Samples episodes with the embedded model: once up to the switch, and from there for every arm."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....models.plain import PlainModel
from ....samplers.conditioning import Prompt, TextConditioning, encoded_text
from ....samplers.context.indices import Direction
from ....samplers.context.plan import FPS, PlannedSection, Section, direction_of, plan_sections
from ....samplers.denoising.drivers import Driver, PlainDriver
from ....samplers.denoising.sections import sample_sections
from ....samplers.guidance import Guidance
from ....samplers.observer import SectionObserver
from ....samplers.settings import SampleInputs, SampleSettings
from ....samplers.techniques.wiring import with_technique
from ....samplers.timeline.assignment import assign_prompts, frame_borders
from ....tiny.bundle import TinyBundle
from ..arms import EXEMPLAR, PLAIN, Arm, LoraFile, SwitchConditions
from ..episodes import Episode, as_generated
from .decoding import frames_at_switch, shared_frames
from .exemplars import Exemplars
from .loras import with_lora
from .objects import objects_for
from .states import SampledVideos, StartState

NO_TEXTS: Mapping[str, TextConditioning] = {}


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """How episodes are sampled.

    window: latent frames of a section.
    steps: solver steps of a section.
    solver: name of the solver.
    distilled_guidance: the guidance scale that the model takes as an input.
    before: sections before the switch.
    after: sections after it; techniques act in the first of them.
    bfloat16: whether the model computes in bfloat16, which takes half the time on a CPU with AVX-512; some verdicts then
        depend on the processor.
    layout: f1, or original, in which the switch is met going backward: the sections after it are sampled first, and techniques
        act in the one before it.
    """

    window: int = 9
    steps: int = 12
    solver: str = "unipc_bh1"
    distilled_guidance: float = 10.0
    before: int = 2
    after: int = 2
    bfloat16: bool = False
    layout: str = "f1"

    @property
    def forward(self) -> bool:
        """Whether what is before the switch is sampled first."""
        return direction_of(self.layout) is Direction.FORWARD

    @property
    def shared(self) -> int:
        """Sections that are sampled until the switch is met, in which no technique acts that waits for one."""
        return self.before if self.forward else self.after

    @property
    def treated(self) -> int:
        """Sections that are sampled from there on."""
        return self.before + self.after - self.shared

    @property
    def section_frames(self) -> int:
        """Frames of a section."""
        return 4 * self.window

    @property
    def switch_frame(self) -> int:
        """The first frame after the switch."""
        return 1 + self.before * self.section_frames

    def describe(self) -> dict[str, Any]:
        """As plain data, for a report."""
        return {"section_frames": self.section_frames, **asdict(self)}


class EpisodeSampler:
    """Samples batches of episodes with the embedded model."""

    def __init__(self, bundle: TinyBundle, settings: BenchSettings) -> None:
        self.bundle = bundle
        self.settings = settings
        self._model = PlainModel(bundle.dit, bundle.latent_scale)
        self._with_loras: dict[LoraFile, PlainModel] = {}
        self._exemplars = Exemplars(bundle)

    def fingerprint(self) -> str:
        """A digest of weights and settings: results of another one cannot be mixed with these."""
        settings = asdict(self.settings)
        if self.settings.layout == "f1":  # as results were named when there was no other one
            del settings["layout"]
        digest = hashlib.sha256(repr(sorted(settings.items())).encode())
        if self._model.load_device.type != "cpu":  # where numbers are rounded otherwise
            digest.update(self._model.load_device.type.encode())
        for name, module in self.bundle.modules().items():
            for key, value in module.state_dict().items():
                digest.update(f"{name}.{key}".encode())
                digest.update(value.detach().cpu().contiguous().float().numpy().tobytes())
        return digest.hexdigest()

    @torch.inference_mode()
    def sample_past(self, episodes: Sequence[Episode]) -> StartState:
        """Sample a batch of episodes of one case until the switch is met, without techniques."""
        settings = self.settings
        images = images_of([episode.image for episode in episodes])
        driver = self._driver(PLAIN, images)
        inputs = self._inputs(driver, images)
        sampling = self._sampling([episode.noise_seed for episode in episodes])
        sections = self._sections(episodes)
        latents, _ = self._sample(driver, sections[: settings.shared], inputs, sampling)
        return StartState(
            images=images,
            sections=sections[settings.shared :],
            inputs=replace(inputs, earlier_sections=latents[:, :, 1:]),
            sampling=sampling,
            words={
                name: self._texts(
                    [getattr(as_generated(episode, settings.forward), name) for episode in episodes]
                )
                for name in ("concept", "absent")
            },
            frames=shared_frames(self.bundle.vae, driver.to_vae(latents), settings.forward),
        )

    @torch.inference_mode()
    def sample_whole(
        self, episodes: Sequence[Episode], driver: Driver, observer: SectionObserver | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """All frames of a batch of episodes [B,T,64,64,3] in 0..1, on a driver's model with its techniques, and the trace."""
        inputs = self._inputs(driver, images_of([episode.image for episode in episodes]))
        sections = self._sections(episodes)
        sampling = self._sampling([episode.noise_seed for episode in episodes])
        latents, trace = self._sample(driver, sections, inputs, sampling, observer=observer)
        frames: np.ndarray = self.bundle.vae.decode(driver.to_vae(latents)).numpy()
        return frames, trace

    @torch.inference_mode()
    def with_conditions(
        self, episodes: Sequence[Episode], start: StartState, conditions: SwitchConditions
    ) -> StartState:
        """The start state with another prompt, another anchor or no history, as the conditions say.

        `start` must hold the history that the conditions ask for; with "zero" it is left out.
        """
        images = images_of(self._anchors(episodes, conditions.anchor))
        driver, shown = self._driver(PLAIN, images), None
        inputs = self._inputs(driver, images)
        asked = Prompt(
            start=self.settings.switch_frame / FPS,
            text=conditions.prompt,
            conditioning=self._texts([episode.prompts[conditions.prompt == "new"] for episode in episodes]),
        )
        planned: Sequence[PlannedSection] = start.sections
        if conditions.history == "zero":
            planned = plan_sections("f1", self.settings.after, self.settings.window)
        else:
            inputs = replace(inputs, earlier_sections=start.inputs.earlier_sections)
        if conditions.history == EXEMPLAR:
            shown, count = start.inputs.earlier_sections, self.settings.before * self.settings.window
            found = self._exemplars.latents(episodes, count)
            inputs = replace(inputs, earlier_sections=driver.to_model(found))
        met = start.sections[0].previous or start.sections[0].prompt
        sections = [
            section.with_prompt(asked, previous=met, change=1.0, since_switch=number)
            for number, section in enumerate(planned)
        ]
        return replace(start, images=images, sections=sections, inputs=inputs, shown=shown)

    def _anchors(self, episodes: Sequence[Episode], anchor: str) -> list[np.ndarray]:
        """The pictures [64,64,3] that the model is to remember as its start."""
        if anchor == EXEMPLAR:
            return self._exemplars.pictures(episodes)
        return [episode.image if anchor == "kept" else episode.image_after for episode in episodes]

    @torch.inference_mode()
    def sample_after_switch(self, start: StartState, arm: Arm) -> SampledVideos:
        """Sample what is left from the switch on, in the order of generation, with the techniques of an arm."""
        first = start.sections[0]
        texts = {
            "old": encoded_text(first.previous or first.prompt),
            "words": start.words[arm.looks_for],
        }
        driver = self._driver(arm, start.images, texts)
        latents, trace = self._sample(driver, start.sections, start.inputs, start.sampling)
        sections, batch = trace["sections"], latents.shape[0]
        after = self.settings.after * self.settings.window
        shared, frames = frames_at_switch(
            self.bundle.vae, driver.to_vae(start.as_shown(latents)), after, self.settings.forward
        )
        return SampledVideos(
            frames,
            sum(section["evaluations"] for section in sections),
            sum(section["seconds"] for section in sections) / batch,
            shared,
        )

    def _sampling(self, noise_seeds: Sequence[int]) -> SampleSettings:
        return SampleSettings(
            layout=self.settings.layout,
            window=self.settings.window,
            steps=self.settings.steps,
            guidance=Guidance(distilled=self.settings.distilled_guidance),
            seeds=tuple(noise_seeds),
        )

    def _sample(
        self,
        driver: Driver,
        sections: Sequence[Section],
        inputs: SampleInputs,
        sampling: SampleSettings,
        *,
        observer: SectionObserver | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        with torch.autocast(driver.device.type, dtype=torch.bfloat16, enabled=self.settings.bfloat16):
            return sample_sections(
                driver, sections, inputs, sampling, solver=self.settings.solver, observer=observer
            )

    def _inputs(self, driver: Driver, images: Tensor) -> SampleInputs:
        """Start latents and image tokens of images [B,64,64,3]."""
        return SampleInputs(
            start=driver.to_model(self.bundle.vae.encode(images[:, None])),
            has_start=True,
            negative=self._texts([""] * len(images)),
            image_embeds=self.bundle.clip_vision.encode_image(images, crop=False).last_hidden_state,
        )

    def _driver(
        self, arm: Arm, images: Tensor, texts: Mapping[str, TextConditioning] = NO_TEXTS
    ) -> PlainDriver:
        """The model with an arm's LoRA and techniques, each with what its node can be given (see objects_for)."""
        model = self._model if arm.lora is None else self._with_lora(arm.lora)
        for technique in arm.techniques:
            objects = objects_for(technique, self.bundle, images, texts)
            model = with_technique(model, technique, **objects)
        return PlainDriver(model)

    def _with_lora(self, lora: LoraFile) -> PlainModel:
        """The model with a LoRA, which is read once."""
        if lora not in self._with_loras:
            self._with_loras[lora] = with_lora(self._model, lora.path)
        return self._with_loras[lora]

    def _sections(self, episodes: Sequence[Episode]) -> list[Section]:
        """All sections with their prompts; one case makes one timeline, whatever its episodes say."""
        settings, prompts = self.settings, self._prompts(episodes)
        count, borders = settings.before + settings.after, frame_borders(prompts)
        return assign_prompts(
            plan_sections(settings.layout, count, settings.window, borders=borders), prompts
        )

    def _prompts(self, episodes: Sequence[Episode]) -> list[Prompt]:
        """The prompts of their timeline."""
        old, new = (self._texts([episode.prompts[part] for episode in episodes]) for part in (0, 1))
        prompts = [Prompt(start=0.0, text="old", conditioning=old, change=0.0)]
        if episodes[0].switches:
            prompts.append(Prompt(start=self.settings.switch_frame / FPS, text="new", conditioning=new))
        return prompts

    def _texts(self, texts: Sequence[str]) -> TextConditioning:
        """Texts as one batch; shorter ones are padded and masked."""
        encoded = [
            self.bundle.clip.encode_from_tokens(self.bundle.clip.tokenize(text), return_dict=True)
            for text in texts
        ]
        longest = max(item["cond"].shape[1] for item in encoded)
        states = torch.cat([_padded(item["cond"], longest) for item in encoded])
        mask = torch.cat([_padded(item["attention_mask"], longest) for item in encoded]).bool()
        return TextConditioning(
            states, torch.cat([item["pooled_output"] for item in encoded]), None if mask.all() else mask
        )


def images_of(pictures: Sequence[np.ndarray]) -> Tensor:
    """Pictures uint8 [64,64,3] as one batch in 0..1."""
    return torch.from_numpy(np.stack(pictures)).float() / 255


def _padded(tensor: Tensor, length: int) -> Tensor:
    """[1,L,...] with zeros behind, up to `length`."""
    padding: list[Any] = [0, 0] * (tensor.ndim - 2) + [0, length - tensor.shape[1]]
    return torch.nn.functional.pad(tensor, padding)
