"""The study of step caches, on the embedded model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ....benchmarks.caching import study
from ....benchmarks.caching.arms import HOST, OWN, UNCACHED
from ....benchmarks.caching.host import host_model
from ....benchmarks.caching.measuring import CachedEpisode
from ....benchmarks.transition.running.results import COMPRESSED, EPISODES, ResultFile, save_compressed
from ....benchmarks.transition.running.sampling import EpisodeSampler
from ....models.plain import PlainModel
from ....tiny.bundle import load_tiny
from ....tiny.threads import one_thread
from ...running.progress import ProgressBars
from ...running.report import Record
from ...workflows.errors import WorkflowError

TABLE = "table.md"


def run_cache_study(
    out: Path, seeds: int, comfyui: Path | None, *, record: Record, bars: ProgressBars
) -> dict[str, Any]:
    """Measures the pack's step cache in its modes on the embedded model, or beside the caches of the ComfyUI in a folder.

    It goes on where an earlier run into the same folder was stopped. Raises WorkflowError for a wrong number of seeds and for a
    ComfyUI that cannot be used.
    """
    if seeds < 1:
        raise WorkflowError(f"Seeds is {seeds}; give at least 1 (8 for a quick look, 32 or more to quote).")
    bundle = load_tiny()
    arms = (UNCACHED, *OWN) if comfyui is None else (UNCACHED, OWN[0], *HOST)
    model = PlainModel(bundle.dit, bundle.latent_scale) if comfyui is None else _host_model(comfyui)
    total, done = len(arms) * len(study.CASES) * seeds, 0

    def on_episodes(more: int) -> None:
        nonlocal done
        done += more
        bars.update("bench", "Step caches", done, total)

    sampler, kept = EpisodeSampler(bundle, study.SETTINGS), ResultFile.open(out, CachedEpisode.from_line)
    record.kept += [out / EPISODES, out / COMPRESSED]
    with one_thread():
        found = study.run(sampler, model, arms, seeds=seeds, kept=kept, on_episodes=on_episodes)
    bars.close("bench")
    rows = study.rows(found)
    save_compressed(out, found)
    (out / TABLE).write_text(study.table(rows), encoding="utf-8")
    print(study.table(rows))
    return {"bench": "cache", "seeds": seeds, "table": TABLE, "rows": rows}


def _host_model(comfyui: Path) -> Any:
    try:
        return host_model(comfyui)
    except (FileNotFoundError, ImportError) as error:
        raise WorkflowError(f"--comfyui cannot be used: {error}") from error
