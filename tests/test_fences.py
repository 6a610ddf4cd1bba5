"""The architecture: who may import what, and what starts fast."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fastleuk

PACKAGE = Path(fastleuk.__file__).parent
FENCES = {
    "nvidia.dali": {
        "augment/appliers/exact", "augment/appliers/fused", "augment/appliers/compiled/in_dali",
        "augment/dali/", "loading/dali", "loading/decode/dali", "bench/operators",
    },
    "torchvision": {
        "augment/appliers/reference", "loading/torchvision", "loading/decode/torchvision",
        "bench/contenders/chains",
    },
    "triton": {"augment/appliers/compiled/gpu"},
    "timm": {"models/backbone", "training/optimizer", "training/objective"},
    "typer": {"cli/"},
}  # fmt: skip
# Each room may import from itself and from those to its right.
ROOMS = [
    "cli", "report", "explain", "protocols", "bench", "training", "tracking", "evaluation",
    "models", "loading", "augment", "data", "config", "run_folder",
]  # fmt: skip


def _imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(PACKAGE).as_posix())
def test_imports_stay_inside_their_fence(file):
    room = file.relative_to(PACKAGE).with_suffix("").as_posix()
    for name in _imports(file):
        for package, allowed in FENCES.items():
            if name == package or name.startswith(f"{package}."):
                assert any(room.startswith(a) for a in allowed), f"{room} imports {name}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(PACKAGE).as_posix())
def test_rooms_import_downwards_only(file):
    room = file.relative_to(PACKAGE).with_suffix("").parts[0]
    if room not in ROOMS:
        return
    for name in _imports(file):
        parts = name.split(".")
        if parts[0] == "fastleuk" and len(parts) > 1 and parts[1] in ROOMS:
            assert ROOMS.index(parts[1]) >= ROOMS.index(room), f"{room} imports {name}"


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
