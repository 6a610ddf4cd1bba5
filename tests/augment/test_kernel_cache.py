"""What numba keeps on the disk: renewed when a constant changes, and said when it is made."""

import ast
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
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


KERNELS = ("cpu", "cpu_resize", "cpu_batch")  # cpu_lanes takes nothing but the compiler


@pytest.mark.parametrize("name", KERNELS)
def test_all_that_a_kernel_imports_is_part_of_its_identity(name, monkeypatch):
    """Constants by their values, compiled functions by their source."""
    from fastleuk.augment.appliers.compiled import numba_cache

    room = "fastleuk.augment.appliers.compiled"
    kernel = importlib.import_module(f"{room}.{name}")
    tree = ast.parse((APPLIER / f"{name}.py").read_text())
    imported = [
        (importlib.import_module(node.module), alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and node.module.startswith("fastleuk.augment.")
        and not node.module.endswith("numba_cache")
        for alias in node.names
    ]
    constants = [(module, name) for module, name in imported if name.isupper()]
    functions = {module for module, name in imported if hasattr(module, "IDENTITY")}
    assert constants or functions
    kept = sys.modules.pop(kernel.__name__)
    monkeypatch.setattr(numba_cache, "announce_compiling", lambda _: None)

    def identity():
        sys.modules.pop(kernel.__name__, None)
        return importlib.import_module(kernel.__name__).IDENTITY

    try:
        assert identity() == kept.IDENTITY
        for module, constant in constants:
            with monkeypatch.context() as patch:
                patch.setattr(module, constant, 12345)
                assert identity() != kept.IDENTITY, constant
        for module in functions:
            with monkeypatch.context() as patch:
                patch.setattr(module, "IDENTITY", "another")
                assert identity() != kept.IDENTITY, module.__name__
            source = Path(module.__file__).read_text() + "# changed"
            with monkeypatch.context() as patch:
                patch.setattr("inspect.getsource", lambda _, text=source: text)
                assert identity() != kept.IDENTITY, module.__name__
    finally:
        sys.modules[kernel.__name__] = kept
        setattr(importlib.import_module(room), name, kept)
    own = [
        value.py_func.__qualname__
        for value in vars(kept).values()
        if hasattr(value, "py_func") and value.py_func.__module__ == kept.__name__
    ]
    assert own
    assert all(qualname.endswith(f"_{kept.IDENTITY}") for qualname in own)


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
    row = copy / APPLIER.parent.relative_to(PACKAGE) / "row.py"
    text = row.read_text()
    swapped = text.replace("BRIGHTNESS, CONTRAST,", "CONTRAST, BRIGHTNESS,")
    assert swapped != text
    row.write_text(swapped)
    assert run() == (50.0, 1)


COMPILED_AND_KEPT = """
import sys
import numpy as np
from fastleuk.augment import PAPER, draw, param_arrays
from fastleuk.augment.appliers.compiled.cpu_batch import augment_batch
from fastleuk.augment.appliers.compiled.on_arrays import image_table

count, size = 400, 64
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
params = draw(PAPER, seed=0, epoch=0, indices=np.arange(count), size=size)
_, rows, kernels = param_arrays(params, "compiled")
kernels = [np.ascontiguousarray(kernel) for kernel in kernels]
table = image_table(images, kernels, size)
output = np.empty((count, 3, size, size), np.float32)
one = np.ones(3, np.float32)
augment_batch(output, True, table, rows, 0 * one, one, 0, 1)
np.save(sys.argv[1], output)
"""


@pytest.mark.slow
def test_what_was_just_compiled_computes_what_is_read_from_the_disk(tmp_path):
    """To the last bit: a function that was called and not inlined had two versions."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "kept")}
    found = []
    for number in range(2):
        file = tmp_path / f"{number}.npy"
        command = [sys.executable, "-c", COMPILED_AND_KEPT, str(file)]
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert ended.returncode == 0, ended.stderr
        assert ("compiling" in ended.stderr) == (number == 0)
        found.append(np.load(file))
    assert np.array_equal(*found)
