"""`convert`: gives the nodes of a saved workflow the ids that they have now."""

from __future__ import annotations

import json
from pathlib import Path

from ..workflows.errors import WorkflowError
from ..workflows.renamed import SAMPLER, rename_old_nodes
from ..workflows.workflow import read_json


def run_convert(workflow: Path, out: Path | None) -> str:
    """Writes `workflow`, in either format, with new ids to `out` and returns a sentence about it.

    out: None is beside the workflow, as NAME.converted.json. Nothing but ids is changed, and nothing is written where
    none has to be. Raises WorkflowError when a file cannot be read or written, or `out` exists.
    """
    data = read_json(workflow)
    renamed = rename_old_nodes(data)
    if not renamed:
        return f"{workflow} holds no node of this pack with an old id: nothing was written."
    target = out or workflow.with_suffix(".converted.json")
    if target.exists():
        raise WorkflowError(f"{target} exists: name another file with --out, or remove it first.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise WorkflowError(f"{target} cannot be written: {error.strerror or error}.") from error
    count = "1 node is" if len(renamed) == 1 else f"{len(renamed)} nodes are"
    return f"{target}: {count} now {SAMPLER} (id in the workflow: {', '.join(renamed)})."
