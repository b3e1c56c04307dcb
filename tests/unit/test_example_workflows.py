"""The example workflows: both formats agree, every name in them exists, and the tiny ones run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from framepack_transitions.headless.files.folders import Folders, using
from framepack_transitions.headless.files.media import probe_video, read_video
from framepack_transitions.headless.running.progress import ProgressBars
from framepack_transitions.headless.running.report import Record
from framepack_transitions.headless.running.runs import EXAMPLES, PACK, Job, LocalRunner, local_nodes, run_job
from framepack_transitions.headless.workflows.convert import NOTES, convert
from framepack_transitions.headless.workflows.specs import NodeSpec, specs_of
from framepack_transitions.headless.workflows.workflow import Node, Setting, Workflow, parse_api, read_json
from framepack_transitions.tiny.detector import detect, matches
from framepack_transitions.tiny.world import Scene, Subject
from PIL import Image

FOLDER = PACK / EXAMPLES
UI_FILES = sorted(FOLDER.glob("*.json"))
API_FILES = sorted((FOLDER / "api").glob("*.json"))
TINY_FILES = [path for path in API_FILES if "tiny" in path.name]

# ComfyUI's own nodes that only run there, as its /object_info describes them.
HOST_ONLY: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]] = {
    "DualCLIPLoader": (
        {
            "clip_name1": ("COMBO", {"options": ["clip_l.safetensors"]}),
            "clip_name2": ("COMBO", {"options": ["llava_llama3_fp16.safetensors"]}),
            "type": (["sdxl", "sd3", "flux", "hunyuan_video", "hidream", "hunyuan_image"],),
        },
        {"device": (["default", "cpu"],)},
        ("CLIP",),
    ),
    "VAELoader": ({"vae_name": (["hunyuan_video_vae_bf16.safetensors"],)}, {}, ("VAE",)),
    "CLIPVisionLoader": ({"clip_name": (["sigclip_vision_patch14_384.safetensors"],)}, {}, ("CLIP_VISION",)),
    "ImageScale": (
        {
            "image": ("IMAGE",),
            "upscale_method": (["nearest-exact", "bilinear", "area", "bicubic", "lanczos"],),
            "width": ("INT", {"min": 0, "max": 16384}),
            "height": ("INT", {"min": 0, "max": 16384}),
            "crop": (["disabled", "center"],),
        },
        {},
        ("IMAGE",),
    ),
}
SAMPLERS = ("FramePackTransitionsSampler", "FramePackOneFrameSampler")
LOADERS = {"LoadImage": "image", "LoadVideo": "file", "FramePackLoraLoader": "lora_name"}
# What users of the pack come for, each with the 13B model and with the embedded one.
SUBJECTS = (
    "f1",
    "end_frame",
    "timeline",
    "transition",
    "forget_one",
    "one_frame",
    "two_references",
    "extend",
    "cut",
    "keep",
    "ab",
    "training",
)
CORE, OWN = (
    ("comfy-core", "0.3.64"),
    ("framepack-transitions", "0.2.0"),
)  # the pack's id and the first version with it


@pytest.fixture(scope="module")
def specs() -> Mapping[str, NodeSpec]:
    nodes = local_nodes()
    with using(Folders(FOLDER / "input", FOLDER)):
        known = specs_of(nodes, nodes)
    for name, (required, optional, outputs) in HOST_ONLY.items():
        declared = {"input": {"required": required, "optional": optional}, "output": outputs}
        known[name] = NodeSpec.from_server(name, declared)
    return known


def named(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


def load(path: Path) -> Workflow:
    return parse_api(read_json(path))


def contents(workflow: Workflow) -> dict[str, tuple[str, str, dict[str, Any]]]:
    return {node.id: (node.class_type, node.title, node.inputs) for node in workflow.values()}


def test_there_are_examples() -> None:
    names = {path.stem for path in UI_FILES}
    assert names >= {f"{model}_{subject}" for model in ("framepack", "tiny") for subject in SUBJECTS}
    assert "tiny_lora" in names, "alone: no LoRA for the 13B model comes with the pack"
    assert names <= {path.stem for path in API_FILES}


@named(UI_FILES)
def test_both_formats_hold_the_same_graph(path: Path, specs: Mapping[str, NodeSpec]) -> None:
    converted = convert(read_json(path), specs, "the example needs it")
    assert contents(converted) == contents(load(FOLDER / "api" / path.name))


@named(UI_FILES)
def test_the_editor_shows_a_thumbnail(path: Path) -> None:
    thumbnail = path.with_suffix(".jpg")
    with Image.open(thumbnail) as image:
        assert image.format == "JPEG"
        assert min(image.size) >= 300
    assert thumbnail.stat().st_size < 60_000


@named(UI_FILES)
def test_the_graph_is_tidy(path: Path) -> None:
    data = read_json(path)
    boxes = {node["id"]: _box(node) for node in data["nodes"]}
    groups = [_rectangle(group["bounding"]) for group in data["groups"]]
    for node in data["nodes"]:
        box = boxes[node["id"]]
        others = [key for key, other in boxes.items() if key != node["id"] and _overlap(box, other)]
        assert not others, f"node {node['id']} lies on {others}"
        inside = sum(_contains(group, box) for group in groups)
        assert inside == (0 if node["type"] in NOTES else 1), f"node {node['id']} lies in {inside} groups"
    assert any(node["type"] == "MarkdownNote" for node in data["nodes"]), "nothing says what to do first"


@named(UI_FILES)
def test_every_node_says_which_pack_it_comes_from(path: Path) -> None:
    for node in read_json(path)["nodes"]:
        if node["type"] not in NOTES:
            stated = node["properties"]["cnr_id"], node["properties"]["ver"]
            assert stated == (OWN if node["type"].startswith("FramePack") else CORE), node["title"]


@named([path for path in UI_FILES if path.stem.startswith("framepack_")])
def test_a_13b_example_says_what_each_card_needs(path: Path) -> None:
    note = next(node for node in read_json(path)["nodes"] if node["type"] == "MarkdownNote")
    assert all(f"| {size} GB |" in note["widgets_values"][0] for size in (24, 12, 8))


@named(UI_FILES)
def test_a_second_run_gives_the_same_result(path: Path) -> None:
    samplers = [node for node in read_json(path)["nodes"] if node["type"] in SAMPLERS]
    assert samplers
    assert all("fixed" in node["widgets_values"] for node in samplers)


@named(UI_FILES + API_FILES)
def test_no_name_is_given_twice(path: Path) -> None:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        assert len(set(names)) == len(names), names
        return dict(pairs)

    json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique)


@named(API_FILES)
def test_every_name_and_link_exists(path: Path, specs: Mapping[str, NodeSpec]) -> None:
    workflow = load(path)
    for node in workflow.values():
        assert node.class_type in specs, node
        spec = specs[node.class_type]
        assert node.inputs.keys() <= spec.inputs.keys(), node
        assert {item.name for item in spec.inputs.values() if item.required} <= node.inputs.keys(), node
        for name, link in node.links():
            outputs = specs[workflow[link.node].class_type].outputs
            assert spec.inputs[name].type in ("*", outputs[link.output]), f"{node}: {name}"


@named(API_FILES)
def test_every_choice_exists(path: Path, specs: Mapping[str, NodeSpec]) -> None:
    for node in load(path).values():
        for name, value in node.inputs.items():
            choices = specs[node.class_type].inputs[name].choices
            # Only ComfyUI knows the files in its model folders.
            if choices and node.class_type != "FramePackModelLoader":
                assert value in choices, f"{node}: {name}"


@named(API_FILES)
def test_every_file_that_is_loaded_comes_with_the_pack(path: Path) -> None:
    for node in load(path).values():
        if node.class_type in LOADERS:
            assert (FOLDER / "input" / node.inputs[LOADERS[node.class_type]]).is_file(), node


def quick(node: Node) -> dict[str, int]:
    """What makes a sampler quick enough for a test: with a timeline three sections, as the switch comes after two."""
    if node.class_type == "FramePackOneFrameSampler":
        return {"steps": 2}
    sections = 3 if "timeline" in node.inputs else 1
    return {"steps": 2, "latent_frames": sections * node.inputs["window"]}


@named(TINY_FILES)
def test_tiny_workflows_run_to_their_end(path: Path, tmp_path: Path) -> None:
    samplers = [node for node in load(path).values() if node.class_type in SAMPLERS]
    settings = [
        Setting(node.id, name, str(value)) for node in samplers for name, value in quick(node).items()
    ]
    record = Record(tmp_path)
    run_job(LocalRunner(), Job(path, Folders(FOLDER / "input", tmp_path), settings), record, ProgressBars())
    assert record.videos or record.images
    lengths = {4 * latents + 1 for node in samplers if (latents := quick(node).get("latent_frames"))}
    if "extend" in path.stem:
        lengths = {length + 72 for length in lengths}
    assert {probe_video(tmp_path / video["path"]).frames for video in record.videos} == lengths
    if not lengths:
        for saved in record.images:
            with Image.open(tmp_path / saved["path"]) as image:
                assert image.size == (64, 64)
    AFTER.get(path.stem, lambda record: None)(record)


def _switched(record: Record) -> None:
    for entry in record.traces:
        assert [section["since_switch"] for section in entry["trace"]["sections"]] == [None, None, 0]


def _cut(record: Record) -> None:
    sections = record.traces[0]["trace"]["sections"]
    assert [section["shot"] for section in sections] == [0, 0, 1]
    assert [section["cut"] for section in sections] == [False, False, True]


def _keeps(record: Record) -> None:
    _cut(record)
    sections = record.traces[0]["trace"]["sections"]
    assert [bool(section.get("concepts")) for section in sections] == [False, False, True]
    frames = read_video(record.out / record.videos[0]["path"])[0].numpy()
    # The first latent frame, of four frames, may carry a trace of the old shot. Colour and size are in the first prompt alone.
    new_shot = detect(frames[sections[2]["frames"][0] + 4 :])
    assert matches(new_shot, Scene("sea", False, Subject("circle", "red", "large")))


def _extended(record: Record) -> None:
    assert record.traces[0]["trace"]["given_latent_frames"] == 19


def _scored(record: Record) -> None:
    _switched(record)
    samplers = {
        entry["node"] for entry in record.traces
    }  # which say that the timeline was made for more sections
    texts = [entry["text"] for entry in record.texts if entry["node"] not in samplers]
    assert len(texts) == 3
    assert all("STF" in text for text in texts)
    assert sum("DF" in text for text in texts) == 2, "an object is looked for by two of the three"


def _forgets(record: Record) -> None:
    _switched(record)
    plain, treated = (entry["trace"]["sections"] for entry in record.traces)
    assert not any(section.get("concepts") for section in plain)
    assert [len(section.get("concepts") or ()) for section in treated] == [0, 0, 2], (
        "the words and the control"
    )
    texts = [entry["text"] for entry in record.texts if "STF" in entry["text"]]
    assert len(texts) == 2 and all("DF" in text and "identity" in text for text in texts)


def _compared(record: Record) -> None:
    _switched(record)
    plain, changed = (read_video(record.out / video["path"])[0] for video in record.videos)
    assert (plain - changed).abs().mean() > 0.01, "the LoRA acts"
    assert any(
        all(word in entry["text"] for word in ("plain", "LoRA", "STF", "DF")) for entry in record.texts
    )


# What a run of an example shows besides its length.
AFTER: dict[str, Callable[[Record], None]] = {
    "tiny_timeline": _switched,
    "tiny_transition": _switched,
    "tiny_cut": _cut,
    "tiny_keep": _keeps,
    "tiny_extend": _extended,
    "tiny_ab": _scored,
    "tiny_forget_one": _forgets,
    "tiny_lora": _compared,
}


def _rectangle(numbers: list[float]) -> tuple[float, float, float, float]:
    x, y, width, height = numbers
    return x, y, x + width, y + height


def _box(node: Mapping[str, Any], title: float = 30) -> tuple[float, float, float, float]:
    """Left, top, right, bottom; the title bar lies above the position that the file keeps."""
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - title, x + width, y + height


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _contains(outer: tuple[float, ...], inner: tuple[float, ...]) -> bool:
    return outer[0] <= inner[0] and outer[1] <= inner[1] and inner[2] <= outer[2] and inner[3] <= outer[3]
