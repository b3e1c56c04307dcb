"""The ids of the nodes: none that another FramePack pack uses, and workflows saved with an older one still open."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from framepack_transitions.headless.cli import main
from framepack_transitions.headless.files.folders import Folders
from framepack_transitions.headless.running.runs import EXAMPLES, PACK, LocalRunner
from framepack_transitions.headless.workflows.convert import load_workflow
from framepack_transitions.headless.workflows.errors import WorkflowError
from framepack_transitions.headless.workflows.renamed import OLD_SAMPLER, SAMPLER, rename_old_nodes
from framepack_transitions.headless.workflows.workflow import parse_api, read_json
from framepack_transitions.nodes import NODE_CLASS_MAPPINGS

# The node ids of ComfyUI packs for FramePack, read from their files. FramePack-Studio, -eichi and musubi-tuner are
# programs of their own and have none.
OTHER_PACKS = {
    "kijai/ComfyUI-FramePackWrapper a7c4b70": """DownloadAndLoadFramePackModel FramePackSampler
        FramePackTorchCompileSettings FramePackFindNearestBucket LoadFramePackModel FramePackLoraSelect
        FramePackSingleFrameSampler""",
    "tukisuwa/ComfyUI-FramePackWrapper_PlusOne 291517e": """DownloadAndLoadFramePackModel FramePackSampler
        FramePackTorchCompileSettings FramePackFindNearestBucket LoadFramePackModel FramePackLoraSelect
        FramePackSampler_F1 FramePackTimestampedTextEncode FramePackSingleFrameSampler ReferenceLatentList
        ReferenceEmbedsList ReferenceMaskList FramePackSingleFrameResizeSampler""",
    "gamtruliar/ComfyUI-FramePackWrapper 88d37ca and maybe-dog/ComfyUI-FramePackWrapper 05f26b5": """
        DownloadAndLoadFramePackModel FramePackSampler CreateKeyframes CreatePositiveKeyframes
        FramePackTorchCompileSettings FramePackFindNearestBucket LoadFramePackModel TimestampPromptParser
        FramePackCascadeSampler FramePackLoraSelect""",
    "a fork of the wrapper with a VAE loader": "FramePackVAELoader",
    "CY-CHENYUE/ComfyUI-FramePack-HY 30131f4": """FramePackBucketResize_HY CreateKeyframes_HY
        LoadFramePackDiffusersPipeline_HY FramePackDiffusersSampler_HY""",
    "dorpxam/ComfyUI-FramePack-F1-T2V 8d563da": """FramePackF1T2VSampler FramePackF1T2VUserSettings
        FramePackF1T2VSamplerSettings FramePackF1T2VTextEncode FramePackF1T2VLoraStack""",
}
KIJAI_SAMPLER = {
    "class_type": OLD_SAMPLER,
    "inputs": {"model": ["1", 0], "steps": 30, "latent_window_size": 9, "total_second_length": 5.0},
}


def with_old_id(name: str) -> dict[str, Any]:
    """An example as an earlier version of the pack saved it."""
    text = (PACK / EXAMPLES / name).read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(text.replace(SAMPLER, OLD_SAMPLER))
    return data


def without_widget_slots(data: dict[str, Any]) -> dict[str, Any]:
    """The same as an editor of before 2025 saved it: no slots for widgets."""
    for node in data["nodes"]:
        node["inputs"] = [slot for slot in node.get("inputs", ()) if "widget" not in slot]
    return data


@pytest.mark.parametrize("pack", OTHER_PACKS)
def test_no_node_has_an_id_of_another_framepack_pack(pack: str) -> None:
    assert not set(OTHER_PACKS[pack].split()) & NODE_CLASS_MAPPINGS.keys()


@pytest.mark.parametrize(
    "name", ["api/tiny_ab.json", "tiny_ab.json", "api/framepack_f1.json", "framepack_f1.json"]
)
def test_nodes_saved_with_the_old_id_get_the_new_one(name: str) -> None:
    data, samplers = with_old_id(name), 2 if "ab" in name else 1
    assert len(rename_old_nodes(data)) == samplers
    assert data == read_json(PACK / EXAMPLES / name)
    assert rename_old_nodes(data) == []


def test_files_of_older_editors_are_known_by_the_trace_output() -> None:
    data = without_widget_slots(with_old_id("tiny_f1.json"))
    assert len(rename_old_nodes(data)) == 1 and OLD_SAMPLER not in json.dumps(data)


def test_nodes_inside_subgraphs_and_wrapped_prompts_are_found() -> None:
    inner = with_old_id("tiny_f1.json")["nodes"]
    data = {"nodes": [], "definitions": {"subgraphs": [{"id": "x", "nodes": inner}]}}
    assert len(rename_old_nodes(data)) == 1
    assert len(rename_old_nodes({"prompt": with_old_id("api/tiny_f1.json"), "client_id": "c"})) == 1


def test_samplers_of_other_packs_keep_their_id() -> None:
    api = {"2": copy.deepcopy(KIJAI_SAMPLER)}
    slots = [
        {"name": "model", "type": "FramePackMODEL"},
        {"name": "image_embeds", "type": "CLIP_VISION_OUTPUT"},
    ]
    editor = {"nodes": [{"id": 2, "type": OLD_SAMPLER, "inputs": slots, "outputs": [{"type": "LATENT"}]}]}
    for data in (api, editor):
        before = copy.deepcopy(data)
        assert rename_old_nodes(data) == [] and data == before


@pytest.mark.parametrize("name", ["api/tiny_f1.json", "tiny_f1.json"])
def test_an_old_workflow_loads_for_a_run(name: str, tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    old.write_text(json.dumps(with_old_id(name)), encoding="utf-8")
    workflow, _ = LocalRunner().load(old, Folders(tmp_path, tmp_path))
    shipped = parse_api(read_json(PACK / EXAMPLES / "api" / "tiny_f1.json"))
    assert {node.class_type for node in workflow.values()} == {node.class_type for node in shipped.values()}


def test_the_sampler_of_another_pack_is_named_as_such(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = tmp_path / "kijai.json"
    foreign.write_text(json.dumps({"2": KIJAI_SAMPLER}), encoding="utf-8")
    assert main(["run", str(foreign), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "kijai" in error and "PlusOne" in error and "MIGRATION" in error


def test_a_server_that_has_the_other_packs_sampler_gets_theirs_as_it_is(tmp_path: Path) -> None:
    foreign = tmp_path / "kijai.json"
    foreign.write_text(json.dumps({"2": KIJAI_SAMPLER}), encoding="utf-8")
    wanted: set[str] = set()
    with pytest.raises(WorkflowError):
        load_workflow(foreign, lambda names: wanted.update(names) or {}, "hint")
    assert wanted == {OLD_SAMPLER}


def test_convert_writes_a_mended_copy_and_leaves_the_old_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old.json", tmp_path / "old.converted.json"
    text = json.dumps(with_old_id("tiny_ab.json"))
    old.write_text(text, encoding="utf-8")
    assert main(["convert", str(old)]) == 0
    assert read_json(new) == read_json(PACK / EXAMPLES / "tiny_ab.json") and old.read_text() == text
    assert "2 nodes are now FramePackTransitionsSampler" in capsys.readouterr().out
    assert main(["convert", str(old)]) == 1, "an existing file is never overwritten"
    assert "exists" in capsys.readouterr().err


def test_convert_says_when_there_is_nothing_to_mend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "new.json"
    assert main(["convert", str(PACK / EXAMPLES / "tiny_f1.json"), "--out", str(target)]) == 0
    assert "nothing was written" in capsys.readouterr().out and not target.exists()
