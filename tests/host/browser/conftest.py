"""ComfyUI's editor in a real browser, for what its HTTP interface cannot say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

COMFYUI = os.environ.get("COMFYUI_PATH")
NEEDS_BROWSER = "needs a browser: node, playwright-core in a folder browser beside COMFYUI_PATH, and chromium"


class Browser:
    """ComfyUI's editor in a real browser, driven by playwright-core."""

    def __init__(self, url: str, modules: Path, chromium: str) -> None:
        self.url, self.modules, self.chromium = url, modules, chromium

    def run(self, graph: dict, **options: Any) -> dict:
        """What `run_all` gives for one workflow."""
        (seen,) = self.run_all([graph], **options)
        return seen

    def run_all(
        self,
        graphs: Sequence[dict],
        *,
        probe: str = "",
        before: str = "",
        watch: str = "",
        until: str = "",
        runs: tuple[str, ...] = ("",),
        nodes2: bool = False,
        screenshots: Path | None = None,
        seconds: float = 240,
        settle: float = 1.5,
    ) -> list[dict]:
        """Loads workflows in the editor's format, one after another, and presses Run; gives what scripts return for each.

        probe, before, watch: bodies of JavaScript functions with `app` and `graph`, called after the last run, before the
        first, and every fifth of a second during runs and until the page has settled; the results, plain data, are under
        `result`, `before` and `watched`.
        until: the body of a function that says whether the page shows all that a run has made; without it a run is over when
        the server says so.
        runs: for each run, a script that is called before it.
        nodes2: whether the editor draws nodes with its newer renderer, where it has one.
        screenshots: a folder for a picture of each workflow in the end, named by its number.
        seconds: the longest that the page waits for the end of a run.
        settle: how long the page gets after it, in seconds.
        """
        request = {
            "graphs": graphs,
            "searches": [],
            "probe": probe,
            "before": before,
            "watch": watch,
            "until": until,
            "runs": runs,
            "nodes2": nodes2,
            "screenshots": None if screenshots is None else str(screenshots),
            "seconds": seconds,
            "settle": settle,
        }
        longest = ((seconds + settle) * len(runs) + 60) * len(graphs) + 180
        return self._drive(request, longest)["visits"]

    def search(self, texts: Sequence[str]) -> list[list[str]]:
        """For each text the nodes that the editor's search box lists, by the names that are shown."""
        return self._drive({"graphs": [], "searches": texts, "nodes2": False}, 180 + 10 * len(texts))["found"]

    def _drive(self, request: dict, seconds: float) -> dict:
        done = subprocess.run(
            ["node", str(Path(__file__).parent / "drive.cjs")],
            input=json.dumps({"url": self.url, "browser": self.chromium, **request}),
            capture_output=True,
            text=True,
            env={**os.environ, "NODE_PATH": str(self.modules)},
            timeout=seconds,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"the browser failed:\n{done.stderr[-3000:]}")
        return json.loads(done.stdout)

    @cached_property
    def has_nodes2(self) -> bool:
        """Whether the editor offers its newer renderer to users; early forms are hidden and draw no nodes."""
        setting = "app.ui.settings.settingsParamLookup['Comfy.VueNodes.Enabled']"
        nothing = {"nodes": [], "links": [], "version": 0.4}
        return self.run(nothing, probe=f"return {setting}?.type === 'boolean'", runs=())["result"]


@pytest.fixture(scope="session")
def chromium():
    """Where playwright's modules lie, and the browser; the test is skipped where there is none."""
    modules = Path(COMFYUI).resolve().parent / "browser" / "node_modules"
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if shutil.which("node") is None or browser is None or not (modules / "playwright-core").is_dir():
        pytest.skip(NEEDS_BROWSER)
    return modules, browser


@pytest.fixture(scope="session")
def browser(chromium, server):
    """A browser on the server."""
    return Browser(server.url, *chromium)


@pytest.fixture(scope="session", params=[False, True], ids=["canvas", "nodes2"])
def nodes2(request, browser):
    """Each of the editor's renderers: the canvas, and Nodes 2.0 where users have it."""
    if request.param and not browser.has_nodes2:
        pytest.skip("this version of the editor does not offer Nodes 2.0")
    return request.param
