"""The metrics by themselves: they need numpy and nothing of the pack, and torch only where a model is built."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import framepack_transitions
import pytest

METRICS = Path(framepack_transitions.__file__).resolve().parent / "metrics"
MODULES = (
    "definitions.stf",
    "definitions.latency",
    "definitions.ghosting",
    "definitions.disappearance",
    "definitions.dynamics",
    "definitions.inertia",
    "scoring.survival",
    "evaluate",
    "results",
    "switches",
    "features",
    "measuring.clip",
    "measuring.detectors",
    "measuring.flow",
    "measuring.perceptual",
    "reporting.report",
)
# A film of one number a frame: 30 frames of the old scene, then 30 of the new one.
SCORE_A_CLIP = """
import numpy as np
from {package}.metrics import Switch, score
from {package}.metrics.measuring.measurements import Measurements
from {package}.metrics.reporting.report import text_table

class Texts:
    name, logit_scale, resolution = "made up", 100.0, None
    def images(self, frames): return np.asarray(frames).mean((1, 2))[:, :2]
    def texts(self, texts): return np.array([[1.0, 0.0] if text == "day" else [0.0, 1.0] for text in texts])

new = np.arange(60) >= 30
level, pairs = np.full(60, 0.5), np.full(59, 0.1)
clip = Measurements(
    fps=30.0, size=(4, 4), extractor="made up", features=np.stack([~new, new], 1).astype(float), change=pairs,
    change_method="none", flow=pairs, flow_method="none", brightness=level, saturation=level, sharpness=level,
    noise=np.zeros(60), finite=np.ones(60, bool),
)
scores = score(clip, [Switch(30, 1.0, "day", "night")], extractor=Texts())
"""


def run(code: str, folder: Path | None = None) -> dict:
    """What a new Python prints as JSON; `folder` goes first on its path."""
    path = f"import sys; sys.path.insert(0, {str(folder)!r})\n" if folder else ""
    done = subprocess.run(
        [sys.executable, "-c", path + code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_and_scoring_loads_no_torch_and_nothing_of_the_pack() -> None:
    package = "framepack_transitions"
    imports = "\n".join(f"import {package}.metrics.{name}" for name in MODULES)
    report = run(
        f"import json, sys\n{imports}\n"
        + SCORE_A_CLIP.format(package=package)
        + textwrap.dedent(
            """
            text_table([scores])
            metrics = scores.switches[0].metrics
            print(json.dumps({"stf": metrics["stf"].value, "tl90": metrics["tl90"].value, "modules": list(sys.modules)}))
            """
        )
    )
    assert report["stf"] == pytest.approx(1)
    assert report["tl90"] == 0
    foreign = {"torch", "open_clip", "transformers", "av", "PIL", "matplotlib", "safetensors"}
    assert not foreign & {name.split(".")[0] for name in report["modules"]}
    of_the_pack = {name.split(".")[1] for name in report["modules"] if name.startswith(f"{package}.")}
    assert of_the_pack == {"metrics"}


def test_a_copy_of_the_folder_works_without_the_pack_and_without_torch(tmp_path: Path) -> None:
    shutil.copytree(METRICS, tmp_path / "somewhere" / "metrics")
    (tmp_path / "somewhere" / "__init__.py").write_text("")
    report = run(
        'import json, sys\nsys.modules["torch"] = None\nsys.modules["framepack_transitions"] = None\n'
        + SCORE_A_CLIP.format(package="somewhere")
        + 'print(json.dumps(scores.to_json()["switches"][0]["metrics"]["stf"]))',
        tmp_path,
    )
    assert report["value"] == pytest.approx(1) and report["valid"]


def test_an_extractor_asks_for_torch_only_when_it_is_used() -> None:
    code = textwrap.dedent(
        """
        import json, sys
        import numpy as np
        sys.modules["torch"] = None
        from framepack_transitions.metrics.features import PixelExtractor
        extractor = PixelExtractor()
        try:
            extractor.images(np.zeros((1, 8, 8, 3), np.float32))
        except ModuleNotFoundError as error:
            print(json.dumps({"missing": error.name}))
        """
    )
    assert run(code)["missing"].startswith("torch")
