"""The house rules that can be read from the source: what may import what, what a pure room may touch, what never occurs."""
from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "edgelr"
TOP = 11
FLOORS = {
    "vocabulary": 1, "errors": 1,
    "factorize": 2, "ranks": 2, "graph": 2,
    "quantization": 3, "user_code": 3,  # finds a function that the user named; models and data both do
    "models": 4, "data": 4, "training": 4,
    "export": 5,
    "devices": 6,
    "latency": 7,
    "report": 8,
    "pipeline": 9,
    "cli": 10, "api": 10,  # the same calls, from the shell and from Python
    "__init__": TOP, "__main__": TOP,
}  # fmt: skip
OUTSIDE = {
    "os", "pathlib", "shutil", "tempfile", "glob", "io", "fileinput", "mmap", "sqlite3",  # files
    "subprocess", "multiprocessing", "socket", "ssl", "http", "urllib", "ctypes", "signal",  # devices
    "time", "datetime", "timeit",  # clocks
    "pickle", "shelve", "safetensors", "onnx", "onnxruntime", "onnx_ir", "ai_edge_litert",
}  # fmt: skip
HEAVY = ("onnx", "onnxruntime", "ai_edge_litert", "onnx_ir", "tensorflow", "jinja2", "rich")
UNSAFE = re.compile(
    r"weights_only\s*=\s*False|allow_pickle\s*=\s*True|\b(?:c?pickle|cloudpickle|dill|joblib)\.(?:loads?|Unpickler)\b|from\s+pickle\s+import"
)
MAX_LINES = 400


def module_name(file: Path, package: Path = PACKAGE) -> str:
    parts = ("edgelr", *file.relative_to(package).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports(source: str, module: str, is_package: bool = False) -> Iterator[str]:
    """Absolute names of all that a source imports, wherever the statement stands; ``from a import b`` gives ``a.b``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                parts = module.split(".")
                base = parts[: len(parts) - node.level + is_package]
                prefix = ".".join([*base, *([node.module] if node.module else [])])
            else:
                prefix = node.module or ""
            yield from (f"{prefix}.{alias.name}" for alias in node.names)


def ours(name: str) -> str | None:
    """The room that an imported name lives in; None for other people's packages."""
    if name != "edgelr" and not name.startswith("edgelr."):
        return None
    first = room(name)
    return first if first in FLOORS else "__init__"


def floor_faults(source: str, module: str, is_package: bool = False) -> list[str]:
    """Imports that go sideways or up."""
    here = room(module)
    if here not in FLOORS:
        return [f"{module}: room {here} stands on no floor"]
    faults = []
    for name in imports(source, module, is_package):
        there = ours(name)
        if there is None or there == here:
            continue
        if FLOORS.get(there, TOP) >= FLOORS[here]:
            faults.append(f"{module} (floor {FLOORS[here]}) imports {name} (floor {FLOORS.get(there, TOP)})")
    return faults


def purity_faults(source: str, module: str) -> list[str]:
    """Where a room of floor 2 touches files, devices or clocks."""
    if FLOORS.get(room(module)) != 2:
        return []
    faults = [f"{module} imports {name}" for name in imports(source, module) if name.split(".")[0] in OUTSIDE]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in {"open", "torch.save", "torch.load", "numpy.load", "np.load", "np.save", "print", "input"}:
                faults.append(f"{module} calls {called}()")
    return faults


def unsafe_faults(source: str, module: str) -> list[str]:
    return [f"{module}: {m.group()}" for m in UNSAFE.finditer(source)]


def length_faults(source: str, module: str) -> list[str]:
    lines = len(source.splitlines())
    return [f"{module}: {lines} lines"] if lines > MAX_LINES else []


def circle(edges: Mapping[str, set[str]]) -> list[str]:
    """One circle of modules as a path that ends where it began; empty when there is none."""
    done: set[str] = set()

    def walk(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for after in sorted(edges.get(node, ())):
            if found := walk(after, [*path, node]):
                return found
        done.add(node)
        return []

    for start in sorted(edges):
        if found := walk(start, []):
            return found
    return []


def module_edges(sources: Mapping[str, tuple[str, bool]]) -> dict[str, set[str]]:
    """Which module imports which, for sources given as ``{module: (source, is a package's __init__)}``."""
    edges = {}
    for module, (source, is_package) in sources.items():
        seen = set()
        for name in imports(source, module, is_package):
            known = name if name in sources else name.rpartition(".")[0]
            if known in sources and known != module:
                seen.add(known)
        edges[module] = seen
    return edges


FILES = sorted(PACKAGE.rglob("*.py"))
SOURCES = {module_name(f): (f.read_text("utf-8"), f.name == "__init__.py") for f in FILES}


def test_rooms_import_only_from_lower_floors() -> None:
    assert FILES
    assert [fault for m, (s, package) in SOURCES.items() for fault in floor_faults(s, m, package)] == []


def test_no_module_is_part_of_a_circle() -> None:
    assert circle(module_edges(SOURCES)) == []


def test_floor_two_touches_no_files_devices_or_clocks() -> None:
    assert [fault for m, (s, _) in SOURCES.items() for fault in purity_faults(s, m)] == []


def test_nothing_unpickles() -> None:
    assert [fault for m, (s, _) in SOURCES.items() for fault in unsafe_faults(s, m)] == []


def test_no_file_is_longer_than_400_lines() -> None:
    assert [fault for m, (s, _) in SOURCES.items() for fault in length_faults(s, m)] == []


def loaded_by(statement: str) -> list[str]:
    code = f"import sys; {statement}; print(*sorted({{m.split('.')[0] for m in sys.modules}} & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    return done.stdout.split()


def test_importing_edgelr_loads_no_exporter_and_no_renderer() -> None:
    assert loaded_by("import edgelr") == []


# The checks themselves are checked: each must catch a made-up fault, and pass its honest neighbour.


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("edgelr.graph.ops", "from edgelr.export import write"),
        ("edgelr.graph.ops", "from ..ranks import beam"),
        ("edgelr.graph.ops", "import edgelr.quantization.grid"),
        ("edgelr.graph.ops", "def f():\n    from edgelr import cli"),
        ("edgelr.ranks.beam", "from edgelr import compress"),
        ("edgelr.vocabulary", "from .report import page"),
        ("edgelr.pipeline", "import edgelr"),
        ("edgelr.attic.old", "x = 1"),
    ],
)
def test_the_floor_check_catches(module: str, source: str) -> None:
    assert floor_faults(source, module)


@pytest.mark.parametrize(
    ("module", "source", "package"),
    [
        ("edgelr.export.tflite", "from edgelr.graph import Graph\nfrom ..vocabulary import Grid\nfrom . import ops\nimport torch", False),
        ("edgelr.export", "from .tflite import write\nfrom ..errors import GateError", True),
        ("edgelr", "from .pipeline import compress\nfrom edgelr.vocabulary import Plan", True),
    ],
)
def test_the_floor_check_lets_pass(module: str, source: str, package: bool) -> None:
    assert floor_faults(source, module, package) == []


@pytest.mark.parametrize("source", ["import os", "from pathlib import Path", "def f():\n    import time", "open('x')", "torch.save(a, b)"])
def test_the_purity_check_catches(source: str) -> None:
    assert purity_faults(source, "edgelr.ranks.beam")
    assert not purity_faults(source, "edgelr.devices.host")


@pytest.mark.parametrize(
    "source", ["torch.load(f, weights_only = False)", "pickle.load(f)", "pickle.loads(b)", "np.load(f, allow_pickle=True)"]
)
def test_the_unpickling_check_catches(source: str) -> None:
    assert unsafe_faults(source, "edgelr.models.weights")
    assert not unsafe_faults("torch.load(f, weights_only=True)", "edgelr.models.weights")


def test_the_length_check_catches() -> None:
    assert length_faults("x = 1\n" * 401, "edgelr.cli.compress")
    assert not length_faults("x = 1\n" * 400, "edgelr.cli.compress")


def test_the_circle_check_catches() -> None:
    sources = {
        "edgelr.graph.a": ("from .b import x", False),
        "edgelr.graph.b": ("def f():\n    from edgelr.graph import c", False),
        "edgelr.graph.c": ("import edgelr.graph.a", False),
    }
    assert circle(module_edges(sources)) == ["edgelr.graph.a", "edgelr.graph.b", "edgelr.graph.c", "edgelr.graph.a"]
    assert circle(module_edges({**sources, "edgelr.graph.c": ("import torch", False)})) == []


def test_the_import_check_catches() -> None:
    assert loaded_by("import edgelr, jinja2") == ["jinja2"]
