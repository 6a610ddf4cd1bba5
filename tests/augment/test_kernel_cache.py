"""What numba keeps on the disk: renewed when a constant changes, and said when it is made."""

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import fastleuk

pytest.importorskip("numba")

PACKAGE = Path(fastleuk.__file__).parent
APPLIER = PACKAGE / "augment" / "appliers" / "compiled"
PROGRAM = """
import numpy as np
from dataclasses import replace
from fastleuk.augment import augment_batch, identity
params = replace(identity(1, 8), brightness=np.full(1, 0.5))
image = np.full((1, 8, 8, 3), 100, np.uint8)
print(augment_batch(image, params, applier="compiled", normalize=False).mean())
"""


def load(path, **names):
    """A module of a file, with names that are there before."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    vars(module).update(names)
    spec.loader.exec_module(module)
    return module


def test_machine_code_is_kept_for_its_constants_only(tmp_path, capsys):
    """The function's own file stays as it is, as ``cpu.py`` when ``row.py`` changes."""
    from fastleuk.augment.appliers.compiled.numba_cache import (
        announce_compiling,
        compiler,
        identity_of,
    )

    file = tmp_path / "cached_function.py"
    file.write_text("@compiled\ndef function(x):\n    return x + CONSTANT\n")
    constants = ModuleType("constants")
    announce_compiling("cached_function")

    def answer(value):
        constants.CONSTANT = value
        compiled = compiler(identity_of(constants))
        function = load(file, compiled=compiled, CONSTANT=value).function
        result = function(1)
        return result, sum(function.stats.cache_hits.values())

    assert answer(1) == (2, 0)
    said = capsys.readouterr().err
    assert said.count("compiling") == 1
    assert str(tmp_path) in said
    assert answer(1) == (2, 1)  # from the disk
    assert answer(2) == (3, 0)
    assert answer(1) == (2, 1)
    assert capsys.readouterr().err == ""  # once a process, and never for what is kept


def test_every_constant_that_the_kernel_imports_is_part_of_its_identity(monkeypatch):
    from fastleuk.augment import sampling
    from fastleuk.augment.appliers.compiled import cpu as kernel
    from fastleuk.augment.appliers.compiled import numba_cache
    from fastleuk.augment.appliers.compiled import row as kernel_row
    from fastleuk.augment.appliers.compiled.numba_cache import identity_of

    digested = {module.__name__: module for module in (kernel_row, sampling, numba_cache)}
    assert identity_of(*digested.values()) == kernel.IDENTITY
    assert kernel.augment_batch.py_func.__qualname__ == f"augment_batch_{kernel.IDENTITY}"
    tree = ast.parse((APPLIER / "cpu.py").read_text())
    imported = [
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("fastleuk.augment.")
        for alias in node.names
    ]
    constants = [(module, name) for module, name in imported if name.isupper()]
    assert ("fastleuk.augment.appliers.compiled.row", "CONTRAST") in constants
    for module, name in constants:
        with monkeypatch.context() as patch:
            patch.setattr(digested[module], name, 12345)
            assert identity_of(*digested.values()) != kernel.IDENTITY, name


@pytest.mark.slow
def test_a_changed_constant_of_another_file_reaches_the_compiled_kernel(tmp_path):
    """Brightness did silently nothing after such an update."""
    copy = shutil.copytree(
        PACKAGE, tmp_path / "fastleuk", ignore=shutil.ignore_patterns("__pycache__")
    )

    def run():
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": ""}
        environment.pop("NUMBA_CACHE_DIR")
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=environment, capture_output=True, text=True, timeout=300, check=True, cwd=tmp_path,
        )  # fmt: skip
        return float(done.stdout), done.stderr.count("compiling the augmentation")

    assert run() == (50.0, 1)
    assert run() == (50.0, 0)
    row = copy / APPLIER.relative_to(PACKAGE) / "row.py"
    text = row.read_text()
    swapped = text.replace("BRIGHTNESS, CONTRAST,", "CONTRAST, BRIGHTNESS,")
    assert swapped != text
    row.write_text(swapped)
    assert run() == (50.0, 1)
