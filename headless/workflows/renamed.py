"""Node ids that this pack has changed: workflows saved with the old id are read as if saved with the new one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

OLD_SAMPLER, SAMPLER = "FramePackSampler", "FramePackTransitionsSampler"
OWN_INPUTS = frozenset({"layout", "window"})  # the sampler of the other packs has neither
TRACE = "FRAMEPACK_TRACE"
UNKNOWN = {
    OLD_SAMPLER: "this is not the sampler of this pack but that of kijai's ComfyUI-FramePackWrapper or of "
    "ComfyUI-FramePackWrapper_PlusOne: install that one, or build the workflow anew as docs/MIGRATION.md says"
}


def rename_old_nodes(data: dict[str, Any]) -> list[str]:
    """Gives the nodes of a workflow file their new ids, in place, and returns the ids (numbers) of those renamed.

    data: a workflow in the API format or the editor's, with subgraphs. `FramePackSampler`, which two other packs
    use as well, is renamed only where the node has the inputs of this pack's sampler.
    """
    renamed = []
    for node_id, node, key in _nodes(data):
        if node.get(key) == OLD_SAMPLER and _is_own(node):
            node[key] = SAMPLER
            properties = node.get("properties")
            if isinstance(properties, dict) and properties.get("Node name for S&R") == OLD_SAMPLER:
                properties["Node name for S&R"] = SAMPLER
            renamed.append(node_id)
    return renamed


def unknown_class(class_type: str, hint: str) -> str:
    """What is wrong with a node whose class is not known where the workflow runs; `hint` says what to do."""
    return f"this class is not known here; {UNKNOWN.get(class_type, hint)}"


def _nodes(data: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Id, entry and the key of the class of every node, in either format; what is not a node is left out."""
    if isinstance(data.get("nodes"), list):
        for graph in (data, *((data.get("definitions") or {}).get("subgraphs") or ())):
            for node in graph.get("nodes") or ():
                if isinstance(node, dict):
                    yield str(node.get("id")), node, "type"
        return
    wrapped = data.get("prompt")
    entries = wrapped if isinstance(wrapped, Mapping) and "class_type" not in wrapped else data
    for node_id, node in entries.items():
        if isinstance(node, dict):
            yield node_id, node, "class_type"


def _is_own(node: Mapping[str, Any]) -> bool:
    """Whether this FramePackSampler is the one of this pack, by its inputs.

    Older versions of the editor save no slot for a widget: there the trace among the outputs decides.
    """
    inputs = node.get("inputs") or ()
    names = inputs if isinstance(inputs, Mapping) else [slot.get("name") for slot in inputs]
    outputs = node.get("outputs") or ()
    return OWN_INPUTS.issubset(names) or any(slot.get("type") == TRACE for slot in outputs)
