"""The architecture: who may import what, and what starts fast."""

import ast
import functools
import subprocess
import sys
from collections.abc import Mapping, Set
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

import fastleuk

PACKAGE = Path(fastleuk.__file__).parent
FENCES = {
    "nvidia.dali": {
        "augment/appliers/exact", "augment/appliers/fused", "augment/appliers/compiled/in_dali",
        "augment/appliers/dali_names", "augment/dali/", "loading/dali/", "loading/images/dali",
        "loading/decode/dali", "bench/operators", "doctor/decoding",
    },
    "torchvision": {
        "augment/appliers/reference", "loading/torchvision", "loading/decode/torchvision",
        "loading/images/torchvision", "bench/contenders/chains",
    },
    "triton": {"augment/appliers/compiled/gpu"},
    "timm": {"models/backbone", "training/optimizer", "training/objective"},
    "typer": {"cli/"},
    "fastapi": {"serve/"},
    "onnx": {"export/"},
    "onnxruntime": {"export/"},
}  # fmt: skip
# Each room may import from itself and from those to its right.
ROOMS = [
    "cli", "doctor", "report", "serve", "explain", "protocols", "bench", "training", "export",
    "predict", "tracking", "evaluation", "models", "loading", "augment", "data", "config",
    "run_folder",
]  # fmt: skip
# The same within data: from what a configuration names down to what a file holds.
DATA = [
    "from_config", "load", "report", "pack", "decoded", "balance", "split", "dataset", "demo",
    "verify", "copies", "discover", "manifest_csv", "manifest_rows", "shards", "derived",
    "folders", "cnmc", "images", "labels", "tree", "left_out", "litter", "patterns",
    "manifest", "user_cache",
]  # fmt: skip


FILES = sorted(PACKAGE.rglob("*.py"))


def _module(file: Path) -> str:
    name = ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
    return name.removesuffix(".__init__")


@functools.cache
def _imports(file: Path) -> frozenset[str]:
    """Return the modules and ``module.name`` that a file imports, in functions too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


@functools.cache
def _import_graph() -> dict[str, frozenset[str]]:
    """Return what each module of the package imports of it."""
    known = {_module(file): file for file in FILES}
    graph = {}
    for name, file in known.items():
        modules = {i if i in known else i.rpartition(".")[0] for i in _imports(file)}
        graph[name] = frozenset(modules & known.keys()) - {name}
    graph["fastleuk"] = frozenset()  # the front door: imports nothing until it is called
    return graph


def _circles(graph: Mapping[str, Set[str]]) -> list[tuple[str, ...]]:
    """Return the strongly connected parts of more than one node, sorted."""
    names = sorted(graph)
    edges = [(names.index(a), names.index(b)) for a in names for b in graph[a]]
    ends = np.array(edges, dtype=int).reshape(-1, 2).T
    matrix = coo_array((np.ones(len(edges)), tuple(ends)), (len(names), len(names)))
    count, part = connected_components(matrix, directed=True, connection="strong")
    members = [[names[i] for i in np.flatnonzero(part == number)] for number in range(count)]
    return sorted(tuple(circle) for circle in members if len(circle) > 1)


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(PACKAGE).as_posix())
def test_imports_stay_inside_their_fence(file):
    room = file.relative_to(PACKAGE).with_suffix("").as_posix()
    for name in _imports(file):
        for package, allowed in FENCES.items():
            if name == package or name.startswith(f"{package}."):
                assert any(room.startswith(a) for a in allowed), f"{room} imports {name}"


def test_every_folder_is_a_room():
    assert {f.relative_to(PACKAGE).parts[0] for f in FILES if f.parent != PACKAGE} == set(ROOMS)


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(PACKAGE).as_posix())
def test_rooms_import_downwards_only(file):
    """What lies outside the rooms is below them all, but for the front doors."""
    room = file.relative_to(PACKAGE).with_suffix("").parts[0]
    if room in ("__init__", "__main__"):
        return
    allowed = ROOMS[ROOMS.index(room) :] if room in ROOMS else []
    for name in _imports(file):
        parts = name.split(".")
        if parts[0] == "fastleuk" and len(parts) > 1 and parts[1] in ROOMS:
            assert parts[1] in allowed, f"{room} imports {name}"


def test_files_of_data_import_downwards_only():
    there = {path.stem for path in (PACKAGE / "data").iterdir() if path.stem[0] != "_"}
    assert there == set(DATA)
    inside = "fastleuk.data."
    for name, imported in _import_graph().items():
        for other in imported:
            if name.startswith(inside) and other.startswith(inside):
                below, above = (DATA.index(module.split(".")[2]) for module in (other, name))
                assert below >= above, f"{name} imports {other}"


def test_no_modules_import_each_other_in_a_circle():
    assert _circles(_import_graph()) == []


@pytest.mark.parametrize("folder", sorted({file.parent for file in FILES}), ids=lambda f: f.name)
def test_what_lies_in_a_folder_has_an_order(folder):
    """Its modules and sub-folders, each as one, import each other in no circle."""
    inside = f"{_module(folder)}."
    graph: dict[str, set[str]] = {}
    for name, imported in _import_graph().items():
        if name.startswith(inside):
            child = name.removeprefix(inside).partition(".")[0]
            below = [other.removeprefix(inside) for other in imported if other.startswith(inside)]
            others = {other.partition(".")[0] for other in below}
            graph.setdefault(child, set()).update(others - {child})
    assert _circles(graph) == []


@pytest.mark.parametrize("code", ["import fastleuk", "import fastleuk.cli", "import fastleuk.data"])
def test_light_imports_bring_neither_torch_nor_dali(code):
    heavy = "[m for m in ('torch', 'torchvision', 'timm', 'nvidia.dali') if m in sys.modules]"
    script = f"import sys; {code}; found = {heavy}; assert not found, found"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_help_brings_neither_torch_nor_numpy():
    script = (
        "import sys; sys.argv = ['fastleuk', '--help']\n"
        "from fastleuk.cli import main\n"
        "try: main()\n"
        "except SystemExit as e: assert not e.code\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    out = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout
    for command in ("train", "evaluate", "data", "demo-data"):
        assert command in out
