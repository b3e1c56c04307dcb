"""What a finished section depends on: a change of any part alone has it sampled again, and an equal run takes it over."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.plan import Section, plan_sections
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.keeping import keys
from framepack_transitions.samplers.denoising.keeping import sections as kept_sections
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.guidance import Guidance
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.store import environment
from framepack_transitions.samplers.store.digest import NotKeyed, digest
from framepack_transitions.samplers.store.folder import RecordFolder
from framepack_transitions.samplers.store.models import WEIGHT_FILES, files_digest, model_parts
from framepack_transitions.samplers.techniques.base import Technique
from framepack_transitions.samplers.techniques.context.refresh import ContextRefresh
from framepack_transitions.samplers.techniques.guidance.contrastive import ContrastiveGuidance
from framepack_transitions.samplers.techniques.registry import TECHNIQUES
from framepack_transitions.samplers.techniques.schedule.step_cache import StepCache
from framepack_transitions.samplers.techniques.wiring import OPTION, with_technique
from framepack_transitions.samplers.timeline.assignment import assign_prompts

pytestmark = pytest.mark.usefixtures("no_gradients")

WINDOW = 3


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def text(seed: int, **options: Any) -> TextConditioning:
    return TextConditioning(normal(1, 5, 24, seed=seed), normal(1, 20, seed=seed + 1), **options)


def prompts(*, second: int = 20, first: TextConditioning | None = None, **options: Any) -> tuple[Prompt, ...]:
    return (
        Prompt(start=0.0, text="", conditioning=first or text(10)),
        Prompt(start=0.4, text="", conditioning=text(second), **options),
    )


@dataclass
class Case:
    """A run of two sections, with a switch before the second one that a technique acts on."""

    model: PlainModel
    inputs: SampleInputs = field(
        default_factory=lambda: SampleInputs(
            start=normal(1, 16, 1, 8, 8, seed=3),
            has_start=True,
            negative=text(1),
            image_embeds=normal(1, 4, 12, seed=4),
        )
    )
    settings: dict[str, Any] = field(default_factory=dict)
    prompts: tuple[Prompt, ...] = field(default_factory=prompts)
    layout: str = "f1"
    technique: Technique | None = field(default_factory=lambda: ContextRefresh(strength=0.6))
    objects: dict[str, Any] = field(default_factory=dict)
    solver: str = "unipc_bh1"
    sigmas: torch.Tensor | None = None

    def sections(self) -> list[Section]:
        past = self.inputs.past_latent_frames
        plan = plan_sections(self.layout, 2, WINDOW, past_latent_frames=past)
        return assign_prompts(plan, self.prompts, past_latent_frames=past)

    def sample(self, folder: RecordFolder) -> list[bool]:
        """Which sections were taken from the folder."""
        model = self.model
        if self.technique is not None:
            model = with_technique(model, self.technique, **self.objects)
        chosen = {"window": WINDOW, "steps": 1, "seed": 7, "layout": self.layout, **self.settings}
        with folder.job() as store:
            _, trace = sample_sections(
                PlainDriver(model),
                self.sections(),
                self.inputs,
                SampleSettings(**chosen),
                solver=self.solver,
                sigmas=self.sigmas,
                store=store,
            )
        return [section["reused"] for section in trace["sections"]]


@pytest.fixture(scope="module")
def dit(upstream) -> FramePackDiT:
    return upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG)))


@pytest.fixture
def case(dit) -> Case:
    return Case(PlainModel(dit, 0.5))


@pytest.fixture
def folder(tmp_path: Path, case: Case) -> RecordFolder:
    """The records of the run that changes are compared with."""
    kept = RecordFolder(tmp_path / "sections")
    assert case.sample(kept) == [False, False]
    return kept


def test_an_equal_run_takes_over_all_sections(case, folder, dit):
    assert case.sample(folder) == [True, True]
    assert Case(PlainModel(copy.deepcopy(dit), 0.5)).sample(folder) == [True, True]


ENVIRONMENT = {
    "source": lambda patch: patch.setattr(environment, "SOURCE", "other code"),
    "versions": lambda patch: patch.setattr(torch, "__version__", "0.0.1"),
    "device": lambda patch: patch.setattr(environment.platform, "machine", lambda: "another machine"),
    "precision": lambda patch: patch.setattr(torch, "get_float32_matmul_precision", lambda: "medium"),
    "attention": lambda patch: patch.setattr(torch.backends.cuda, "math_sdp_enabled", lambda: False),
    "threads": lambda patch: patch.setattr(torch, "get_num_threads", lambda: 63),
    "host options": lambda patch: patch.setitem(
        environment.sys.modules, "comfy.cli_args", SimpleNamespace(args=SimpleNamespace(fast={"fp16"}))
    ),
}


@pytest.mark.parametrize("part", ENVIRONMENT)
def test_another_environment_takes_over_nothing(case, folder, part, monkeypatch):
    ENVIRONMENT[part](monkeypatch)
    assert case.sample(folder) == [False, False]


def test_every_part_of_the_environment_is_tried():
    assert environment.environment(torch.device("cpu")).keys() == ENVIRONMENT.keys()


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found | {"host": "0.0.1"},
        lambda found: found | {"framepack-transitions": "9.9"},
        lambda found: found | {"sageattention": "1"},
    ],
)
def test_versions_count_one_by_one(case, folder, monkeypatch, change):
    found = environment.versions()
    monkeypatch.setattr(environment, "versions", lambda: change(found))
    assert case.sample(folder) == [False, False]


def test_a_changed_file_of_source_is_other_code(tmp_path, monkeypatch):
    for room in environment.ROOMS:
        (tmp_path / room).mkdir()
        (tmp_path / room / "module.py").write_text("x = 1\n")
    monkeypatch.setattr(environment, "PACK", tmp_path)
    before = environment.source_of(*environment.ROOMS)
    for room in environment.ROOMS:
        (tmp_path / room / "module.py").write_text("x = 2\n")
        assert environment.source_of(*environment.ROOMS) != before
        (tmp_path / room / "module.py").write_text("x = 1\n")
    assert environment.source_of(*environment.ROOMS) == before


def patched(case: Case) -> PlainModel:
    model = case.model.clone()
    name, weight = next(
        (name, part) for name, part in model.model.diffusion_model.named_parameters() if part.ndim == 2
    )
    model.add_patches({f"diffusion_model.{name}": torch.full_like(weight, 1e-3)})
    return model


def with_option(case: Case, **options: Any) -> PlainModel:
    model = case.model.clone()
    model.model_options["transformer_options"].update(options)
    return model


MODELS: dict[str, Callable[[Case], PlainModel]] = {
    "weights": patched,
    "compute": lambda case: PlainModel(case.model.model.diffusion_model, 0.5, compute_dtype=torch.float64),
    "scale": lambda case: PlainModel(case.model.model.diffusion_model, 0.25),
    "options": lambda case: with_option(case, framepack_upstream_rounding=True),
}


@pytest.mark.parametrize("part", MODELS)
def test_another_model_takes_over_nothing(case, folder, part):
    assert replace(case, model=MODELS[part](case)).sample(folder) == [False, False]


SETTINGS = {
    "steps": {"steps": 2},
    "shift": {"shift": 3.0},
    "guidance": {"guidance": Guidance(distilled=6.0)},
    "cfg": {"guidance": Guidance(cfg=2.0)},
    "rescale": {"guidance": Guidance(rescale=0.5)},
    "rounding": {"upstream_rounding": True},
    "seed": {"seed": 8},
    "seeds": {"seeds": (9,)},
    "start_embed_strength": {"start_embed_strength": 0.5},
    "measure_memory": {"measure_memory": True},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_another_setting_takes_over_nothing(case, folder, name):
    assert replace(case, settings=SETTINGS[name]).sample(folder) == [False, False]


def changed_inputs(case: Case, **changes: Any) -> Case:
    return replace(case, inputs=replace(case.inputs, **changes))


INPUTS: dict[str, Callable[[Case], Case]] = {
    "solver": lambda case: replace(case, solver="euler"),
    "sigmas": lambda case: replace(case, sigmas=torch.tensor([1.0, 0.5, 0.0])),
    "start": lambda case: changed_inputs(case, start=normal(1, 16, 1, 8, 8, seed=90)),
    "image tokens": lambda case: changed_inputs(case, image_embeds=normal(1, 4, 12, seed=91)),
    "no image tokens": lambda case: changed_inputs(case, image_embeds=None),
    "end image tokens": lambda case: changed_inputs(case, end_image_embeds=normal(1, 4, 12, seed=92)),
    "negative": lambda case: changed_inputs(case, negative=text(2)),
    "a past video": lambda case: changed_inputs(case, past_video=normal(1, 16, 5, 8, 8, seed=93)),
    "another layout": lambda case: replace(case, layout="original"),
    "the first prompt": lambda case: replace(case, prompts=prompts(first=text(30))),
    "its mask": lambda case: replace(
        case, prompts=prompts(first=text(10, mask=torch.tensor([[True] * 4 + [False]])))
    ),
    "its guidance": lambda case: replace(case, prompts=prompts(first=text(10, guidance=3.0))),
    "its options": lambda case: replace(case, prompts=prompts(first=text(10, options={"strength": 0.5}))),
}


@pytest.mark.parametrize("name", INPUTS)
def test_another_input_takes_over_nothing(case, folder, name):
    assert INPUTS[name](case).sample(folder) == [False, False]


SECOND: dict[str, Callable[[Case], Case]] = {
    "the second prompt": lambda case: replace(case, prompts=prompts(second=21)),
    "its change": lambda case: replace(case, prompts=prompts(change=0.5)),
    "its keyframe": lambda case: replace(case, prompts=prompts(start_latent=normal(1, 16, 1, 8, 8, seed=94))),
    "its image tokens": lambda case: replace(case, prompts=prompts(image_embeds=normal(1, 4, 12, seed=95))),
    "its vision strength": lambda case: replace(case, prompts=prompts(vision_strength=0.5)),
    "its blend": lambda case: replace(case, prompts=prompts(blend=1)),
    "its cut": lambda case: replace(case, prompts=prompts(cut=True)),
    "its section's seed": lambda case: replace(case, settings={"section_seeds": {1: 5}}),
    "no technique": lambda case: replace(case, technique=None),
    "another technique": lambda case: replace(case, technique=ContrastiveGuidance(omega=0.2)),
    "its settings": lambda case: replace(case, technique=ContextRefresh(strength=0.7)),
    "two of them": lambda case: replace(case, model=with_technique(case.model, case.technique)),
}


@pytest.mark.parametrize("name", SECOND)
def test_a_change_in_the_second_section_takes_over_the_first(case, folder, name):
    assert SECOND[name](case).sample(folder) == [True, False]


def test_a_step_cache_counts_in_sections_that_it_leaves_as_they_are(case, folder):
    """What it records there decides on later ones: see RunCache."""
    caching = replace(case, model=with_technique(case.model, StepCache(correction="recorded", dense=2)))
    assert StepCache(dense=2).amount(case.sections()[1]) == 0
    assert caching.sample(folder) == [False, False]
    assert caching.sample(folder) == [True, True]
    idle = replace(case, model=with_technique(case.model, StepCache(threshold=0)))
    assert idle.sample(folder) == [True, True]


def test_what_is_attached_for_a_technique_counts_by_its_content(case, folder):
    def refusing(seed: int) -> Case:
        unwanted = [[normal(1, 5, 24, seed=seed), {"pooled_output": normal(1, 20, seed=seed)}]]
        contrastive = ContrastiveGuidance(refusal=0.5)
        return replace(case, technique=contrastive, objects={"concept": unwanted})

    assert refusing(1).sample(folder) == [True, False]
    assert refusing(1).sample(folder) == [True, True]
    assert refusing(2).sample(folder) == [True, False]


def test_the_section_before_counts_by_what_it_has_left(case, folder, monkeypatch):
    first = max(folder.entries(), key=lambda entry: -entry.path.stat().st_ctime_ns)
    first.path.unlink()
    run = PlainDriver.run

    def other(driver: PlainDriver, task: Any) -> torch.Tensor:
        latents = run(driver, task)
        return latents + 1e-3 if task.denoiser.section.index == 0 else latents

    monkeypatch.setattr(PlainDriver, "run", other)
    assert case.sample(folder) == [False, False]


def test_a_vae_of_a_technique_counts_by_its_weights(dit):
    from framepack_transitions.tiny.bundle import load_tiny

    bundle = load_tiny()
    before = digest(bundle.vae)
    assert digest(load_tiny().vae) == before != digest(bundle.clip_vision)
    with torch.no_grad():
        next(bundle.vae.codec.parameters()).mul_(1.01)
    assert digest(bundle.vae) != before


def test_no_technique_reads_what_keys_leave_out_of_a_section(case):
    """Keys hold the place of a section where techniques act, but not how long its shot is."""
    known = set(keys.place_part(case.sections()[1])) - {"shot"}
    # In the key by themselves: texts and anchor, indices, the layout that they show, and the memory that is recalled.
    elsewhere = {"indices", "prompt", "previous", "anchor", "blend_from", "recalls"}
    assert {each.name for each in fields(Section)} - elsewhere - known == {"shot"}
    root = Path(kept_sections.__file__).parents[2] / "techniques"
    readers = [path.name for path in root.rglob("*.py") if ".shot" in path.read_text(encoding="utf-8")]
    assert not readers, "put what these read into place_part"


def test_a_technique_of_others_is_not_kept():
    class Foreign(Technique):
        pass

    driver = SimpleNamespace(attachments={})
    with pytest.raises(NotKeyed, match="class .*Foreign"):
        digest(keys.technique_part(driver, Foreign()))
    for entry in TECHNIQUES:
        digest(keys.technique_part(driver, entry.technique()))


# A MODEL of ComfyUI, as far as keys look at it


class Base(SimpleNamespace):
    """Stands for the host's BaseModel, under the name of a class that is known."""

    __module__, __qualname__ = "torch", "Tensor"


def host_model(dit: FramePackDiT, **attributes: Any) -> Any:
    base = Base(
        diffusion_model=dit,
        manual_cast_dtype=None,
        model_config=SimpleNamespace(optimizations={"fp8": False}),
        process_latent_in=lambda latent: latent * 0.5,
    )
    values = {
        "model": base,
        "load_device": torch.device("cpu"),
        "model_options": {"transformer_options": {OPTION: [1]}},
        "attachments": {WEIGHT_FILES: "a digest"},
        "patches": {},
        "wrappers": {"outer_sample": {}},
    }
    return SimpleNamespace(**{**values, **attributes})


def key(model: Any) -> str:
    return digest(model_parts(model, without=OPTION))


def test_a_host_model_counts_by_its_files_patches_and_options(dit, tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(bytes(100))
    patch = [(1.0, ("diff", (torch.ones(2),)), 1.0, None, None)]
    weaker = [(0.5, *patch[0][1:])]
    other = [(1.0, ("diff", (torch.zeros(2),)), 1.0, None, None)]
    models = [
        host_model(dit),
        host_model(dit, attachments={WEIGHT_FILES: files_digest([file])}),
        host_model(dit, patches={"weight": patch}),
        host_model(dit, patches={"weight": weaker}),
        host_model(dit, patches={"weight": other}),
        host_model(dit, patches={"bias": patch}),
        host_model(dit, model_options={"disable_cfg1_optimization": True}),
    ]
    assert len({key(model) for model in models}) == len(models)
    again = host_model(dit, patches={"weight": copy.deepcopy(patch)}, patches_uuid=object())
    assert key(again) == key(models[2]), "random ids do not count"


@pytest.mark.parametrize(
    "attributes",
    [
        {"wrappers": {"outer_sample": {"pack": [lambda executor: executor()]}}},
        {"object_patches": {"diffusion_model": object()}},
        {"injections": {"pack": [object()]}},
        {"model_options": {"sampler_cfg_function": lambda args: args}},
        {"patches": {"weight": [(1.0, ("diff", ()), 1.0, None, lambda weight: weight)]}},
        {"attachments": {}},
    ],
)
def test_a_host_model_with_code_or_weights_that_are_not_known_has_no_key(dit, attributes):
    with pytest.raises(NotKeyed):
        key(host_model(dit, **attributes))
