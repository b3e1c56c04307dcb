"""The rules of the source that no single module can check: who imports whom, what may run, how long things are."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path
from statistics import median

import framepack_transitions
import pytest

ROOT = Path(framepack_transitions.__file__).resolve().parent
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)

# A folder, and the folders it may import from. What is not listed here holds no code of the package.
MAY_IMPORT: dict[str, set[str]] = {
    "metrics": set(),
    "models": set(),
    "samplers": {"models"},
    "video": {"samplers", "models"},
    "tiny": {"samplers", "models"},
    "training": {"samplers", "models"},
    "nodes": {"metrics", "tiny", "training", "video", "samplers", "models"},
    "benchmarks": {"nodes", "metrics", "tiny", "training", "video", "samplers", "models"},
    "headless": {"benchmarks", "nodes", "metrics", "tiny", "training", "video", "samplers", "models"},
    "__init__.py": {"nodes"},
    "__main__.py": {"headless"},
}
# A folder with more files than this wants subfolders, and a longer file wants to be two.
MOST_FILES, MOST_LINES = 12, 300
# More arguments than this are given by name, and half of all functions are no longer than this.
MOST_PLACES, MEDIAN_LINES = 4, 8
# Functions whose arguments others give by their place.
PLACES_OF_OTHERS = {
    "FramePackDiT.forward",  # ComfyUI
    "TinyVAE.encode_tiled",  # ComfyUI's VAE
    "TinyVAE.decode_tiled",
}
HOST_MODULES = {
    "comfy",
    "comfy_api",
    "comfy_execution",
    "comfy_extras",
    "comfyui_version",
    "execution",
    "folder_paths",
    "latent_preview",
    "node_helpers",
    "nodes",
    "server",
}
# These touch the host at their top: they are themselves imported only inside functions, or by one another.
HOST_FILES = {
    "models/host.py",
    "models/host_quantised.py",
    "samplers/denoising/drivers/host.py",
    "samplers/denoising/drivers/host_step.py",
}
NETWORK_MODULES = {
    "aiohttp",
    "dask",
    "distributed",
    "ftplib",
    "http",
    "httpx",
    "huggingface_hub",
    "requests",
    "smtplib",
    "socket",
    "urllib.request",
    "urllib3",
    "websocket",
    "websockets",
}
NETWORK_FILES = {
    *(f"headless/running/{name}.py" for name in ("client", "http", "server")),
    "headless/spreading/cluster.py",
}
UNSAFE_MODULES = {"cloudpickle", "ctypes", "dill", "joblib", "marshal", "pickle", "shelve"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.load"}
TALKATIVE = ("headless/", "benchmarks/")


def _sources() -> list[str]:
    files = [ROOT / name for name in MAY_IMPORT if name.endswith(".py")]
    for folder in MAY_IMPORT:
        files += sorted((ROOT / folder).rglob("*.py")) if (ROOT / folder).is_dir() else []
    return [file.relative_to(ROOT).as_posix() for file in files if file.is_file()]


SOURCES = _sources()


@cache
def _tree(source: str) -> ast.Module:
    return ast.parse((ROOT / source).read_text(encoding="utf-8"), filename=source)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _nodes(tree: ast.AST, *, at_import: bool) -> Iterator[ast.AST]:
    """Every node below `tree`; with `at_import` only what runs when the module is imported."""
    for child in ast.iter_child_nodes(tree):
        if at_import and (isinstance(child, FUNCTIONS) or _is_type_checking(child)):
            continue
        yield child
        yield from _nodes(child, at_import=at_import)


@cache
def _imports(source: str, *, at_import: bool = False) -> list[tuple[int, str, int]]:
    """(level, dotted name, line) of every import; a relative one has level 1 and its path from the root."""
    found = []
    package = list(Path(source).parent.parts)
    for node in _nodes(_tree(source), at_import=at_import):
        if isinstance(node, ast.Import):
            found += [(0, alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found += [(0, f"{node.module}.{alias.name}", node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - (node.level - 1)] + ([node.module] if node.module else [])
            found += [(1, ".".join([*base, alias.name]), node.lineno) for alias in node.names]
    return found


def _matches(name: str, modules: set[str]) -> bool:
    return any(name == module or name.startswith(module + ".") for module in modules)


def _calls(source: str) -> Iterator[tuple[str, int]]:
    for node in _nodes(_tree(source), at_import=False):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node.lineno


@pytest.mark.parametrize("source", SOURCES)
def test_a_room_imports_only_from_those_below_it(source: str) -> None:
    room = source.split("/", maxsplit=1)[0]
    wrong = [
        f"line {line}: {name}"
        for level, name, line in _imports(source)
        if level and name.split(".")[0] not in MAY_IMPORT[room] | {room}
    ]
    assert not wrong


MODULES = {source.removesuffix(".py").replace("/", ".").removesuffix(".__init__") for source in SOURCES}
FOLDERS = sorted({str(Path(source).parent) for source in SOURCES} - {"."})


def _imported_modules(source: str) -> set[str]:
    """The package's own modules that a file names in its imports, wherever these stand in it."""
    named = {name for level, name, _ in _imports(source) if level}
    return {name if name in MODULES else name.rpartition(".")[0] for name in named}


def _boxes(folder: str) -> dict[str, set[str]]:
    """The files and subfolders of a folder by name, each with those beside it that it imports from."""
    boxes: dict[str, set[str]] = {}
    depth, prefix = folder.count("/") + 1, folder.replace("/", ".") + "."
    for source in (source for source in SOURCES if source.startswith(f"{folder}/")):
        box = source.removesuffix(".py").split("/")[depth]
        beside = {name.split(".")[depth] for name in _imported_modules(source) if name.startswith(prefix)}
        boxes.setdefault(box, set()).update(beside - {box})
    return boxes


@pytest.mark.parametrize("folder", FOLDERS)
def test_files_and_subfolders_of_a_folder_import_in_one_direction(folder: str) -> None:
    boxes = _boxes(folder)
    while free := [name for name, below in boxes.items() if not below & set(boxes)]:
        boxes = {name: below for name, below in boxes.items() if name not in free}
    assert not boxes, f"these import each other in a circle: {boxes}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_can_be_taken_in_at_a_glance(folder: str) -> None:
    files = [source for source in SOURCES if str(Path(source).parent) == folder]
    assert len(files) <= MOST_FILES, "group the files by idea, in subfolders"


@pytest.mark.parametrize("source", SOURCES)
def test_a_file_can_be_read_at_one_sitting(source: str) -> None:
    lines = (ROOT / source).read_text(encoding="utf-8").count("\n")
    assert lines <= MOST_LINES, "give each of its ideas a file"


def _definitions(tree: ast.AST, owner: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Every function and class with its name, methods as Class.method."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield owner + child.name, child
        inner = f"{child.name}." if isinstance(child, ast.ClassDef) else owner
        yield from _definitions(child, inner)


def test_half_of_the_functions_hold_a_few_lines() -> None:
    lengths = [
        node.end_lineno - node.lineno + 1
        for source in SOURCES
        for _, node in _definitions(_tree(source))
        if isinstance(node, FUNCTIONS)
    ]
    assert median(lengths) <= MEDIAN_LINES


def _places(node: ast.AST) -> int:
    """How many arguments can be given by their place: to a function, or to a dataclass."""
    if isinstance(node, ast.ClassDef):
        makers = [ast.unparse(decorator) for decorator in node.decorator_list]
        dataclass = [text for text in makers if text.startswith("dataclass") and "kw_only=True" not in text]
        fields = [field for field in node.body if isinstance(field, ast.AnnAssign)]
        fields = list(takewhile(lambda field: ast.unparse(field.annotation) != "KW_ONLY", fields))
        by_place = [
            field
            for field in fields
            if "ClassVar" not in ast.unparse(field.annotation)
            and not re.search("kw_only=True|init=False", ast.unparse(field.value) if field.value else "")
        ]
        return len(by_place) if dataclass else 0
    arguments = [argument.arg for argument in node.args.posonlyargs + node.args.args]
    return len(arguments) - (arguments[:1] in (["self"], ["cls"]))


def _node_methods(tree: ast.Module) -> set[str]:
    """Class.method of the methods that ComfyUI calls, by keyword: a node's FUNCTION."""
    return {
        f"{node.name}.{ast.literal_eval(assigned.value)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for assigned in node.body
        if isinstance(assigned, ast.Assign) and ast.unparse(assigned.targets[0]) == "FUNCTION"
    }


@pytest.mark.parametrize("source", SOURCES)
def test_many_arguments_are_given_by_name(source: str) -> None:
    tree = _tree(source)
    excused = PLACES_OF_OTHERS | _node_methods(tree)
    wrong = [
        f"line {node.lineno}: {name} takes {_places(node)} arguments by their place"
        for name, node in _definitions(tree)
        if _places(node) > MOST_PLACES and name not in excused
    ]
    assert not wrong, "put a * before those that are not obvious, or kw_only=True"


@pytest.mark.parametrize("source", SOURCES)
def test_inside_the_package_imports_are_relative(source: str) -> None:
    wrong = [
        f"line {line}: {name}"
        for level, name, line in _imports(source)
        if not level and name.split(".")[0] == "framepack_transitions"
    ]
    assert not wrong, "ComfyUI loads the pack under a name of its own"


@pytest.mark.parametrize("source", [source for source in SOURCES if source not in HOST_FILES])
def test_the_host_is_imported_only_when_it_is_used(source: str) -> None:
    wrong = [
        f"line {line}: {name}"
        for level, name, line in _imports(source, at_import=True)
        if (not level and _matches(name, HOST_MODULES))
        or (level and _matches(name, {file[:-3].replace("/", ".") for file in HOST_FILES}))
    ]
    assert not wrong, "the pack must load without ComfyUI"


@pytest.mark.parametrize("source", [source for source in SOURCES if source not in NETWORK_FILES])
def test_the_network_is_reached_only_by_the_client(source: str) -> None:
    wrong = [
        f"line {line}: {name}"
        for level, name, line in _imports(source)
        if not level and _matches(name, NETWORK_MODULES)
    ]
    assert not wrong


@pytest.mark.parametrize("source", SOURCES)
def test_nothing_can_run_foreign_code(source: str) -> None:
    modules = UNSAFE_MODULES if source.startswith("benchmarks/") else UNSAFE_MODULES | {"subprocess"}
    wrong = [
        f"line {line}: import {name}"
        for level, name, line in _imports(source)
        if not level and _matches(name, modules)
    ]
    wrong += [f"line {line}: {name}()" for name, line in _calls(source) if name in UNSAFE_CALLS]
    assert not wrong


@pytest.mark.parametrize("source", [source for source in SOURCES if not source.startswith(TALKATIVE)])
def test_only_the_command_line_prints(source: str) -> None:
    wrong = [f"line {line}" for name, line in _calls(source) if name == "print"]
    assert not wrong, "use logging.getLogger(__name__)"


@pytest.mark.parametrize("source", SOURCES)
def test_errors_are_neither_swallowed_whole_nor_asserted(source: str) -> None:
    nodes = list(_nodes(_tree(source), at_import=False))
    wrong = [
        f"line {node.lineno}: bare except"
        for node in nodes
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    wrong += [f"line {node.lineno}: assert" for node in nodes if isinstance(node, ast.Assert)]
    assert not wrong


@pytest.mark.parametrize("source", SOURCES)
def test_annotations_are_lazy(source: str) -> None:
    text = (ROOT / source).read_text(encoding="utf-8")
    defines = re.search(r"^\s*(def|class) |^\w+: ", text, re.MULTILINE)
    assert not defines or "from __future__ import annotations" in text


def test_every_folder_of_code_is_a_package_that_gets_installed() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 cannot read pyproject.toml by itself")
    folders = {Path(source).parent for source in SOURCES}
    assert not [folder for folder in folders if not (ROOT / folder / "__init__.py").is_file()]
    names = {".".join(["framepack_transitions", *folder.parts]) for folder in folders}
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(settings["tool"]["setuptools"]["packages"]) == names, "list the folder in pyproject.toml"


@pytest.mark.skipif(not (ROOT / ".git").exists() or not shutil.which("git"), reason="no checkout of git's")
def test_new_weights_of_the_miniature_are_not_ignored() -> None:
    """Git leaves out models, but for these: it would not say that it does."""
    ignored = {
        file: subprocess.run(["git", "check-ignore", "--quiet", file], cwd=ROOT, check=False).returncode == 0
        for file in ("tiny/weights/new.safetensors", "new.safetensors")
    }
    assert list(ignored.values()) == [False, True], "except tiny/ from .gitignore's *.safetensors"
