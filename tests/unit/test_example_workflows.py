"""The example workflows: both formats agree, every name in them exists, and the tiny ones run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from framepack_transitions.headless.convert import NOTES, convert
from framepack_transitions.headless.folders import Folders, using
from framepack_transitions.headless.media import probe_video
from framepack_transitions.headless.progress import Bars
from framepack_transitions.headless.report import Record
from framepack_transitions.headless.runs import EXAMPLES, PACK, Job, local_nodes, run_here
from framepack_transitions.headless.specs import NodeSpec, specs_of
from framepack_transitions.headless.workflow import Setting, Workflow, parse_api, read_json
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
# Each sampler, and what makes it quick enough for a test, whatever the file says.
QUICK = {"FramePackSampler": {"steps": 2, "latent_frames": 1}, "FramePackOneFrameSampler": {"steps": 2}}


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
    assert names >= {"tiny_f1", "tiny_original", "framepack_f1", "framepack_original"}
    assert names >= {"tiny_one_frame", "framepack_one_frame"}
    assert TINY_FILES


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
def test_a_second_run_gives_the_same_result(path: Path) -> None:
    samplers = [node for node in read_json(path)["nodes"] if node["type"] in QUICK]
    assert samplers
    assert all("fixed" in node["widgets_values"] for node in samplers)


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
def test_every_image_comes_with_the_pack(path: Path) -> None:
    for node in load(path).values():
        if node.class_type == "LoadImage":
            assert (FOLDER / "input" / node.inputs["image"]).is_file(), node


@named(TINY_FILES)
def test_tiny_workflows_run_to_their_end(path: Path, tmp_path: Path) -> None:
    samplers = [node for node in load(path).values() if node.class_type in QUICK]
    settings = [
        Setting(node.id, name, str(value))
        for node in samplers
        for name, value in QUICK[node.class_type].items()
    ]
    record = Record(tmp_path)
    run_here(Job(path, Folders(FOLDER / "input", tmp_path), settings), record, Bars())
    assert record.videos or record.images
    one_section = {4 * node.inputs["window"] + 1 for node in samplers}
    assert {probe_video(tmp_path / video["path"]).frames for video in record.videos} <= one_section
    for saved in record.images:
        with Image.open(tmp_path / saved["path"]) as image:
            assert image.size == (64, 64)


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
