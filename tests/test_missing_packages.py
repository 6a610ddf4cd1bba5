"""Packages that aren't installed: what doesn't need them works, and the rest names them."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastleuk
from fastleuk.errors import MissingDependencyError
from fastleuk.os_errors import as_refusal
from tests.makers.cells import PROJECT

SMALL = "platformdirs tomli_w tqdm typer packaging timm sklearn matplotlib safetensors jsonschema"
HIDING = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
HIDDEN = set(sys.argv[1].split())
sys.meta_path.insert(0, Hidden())
del sys.argv[1]
"""
AUGMENT = """
import torch
from fastleuk.augment import PAPER, GpuAugment
from fastleuk.augment.gpu import verdicts
from fastleuk.augment.gpu.selftest import Verdict
device = torch.device("cuda", 0)
verdicts.versions = lambda device: {}
verdicts.require("compiled", device, test=lambda applier: Verdict(applier, True, "ok"))
images = torch.full((1, 5, 6, 3), 99, dtype=torch.uint8)
print(GpuAugment(PAPER, 4)(images, indices=[1]).shape, PAPER.to_toml()[:4])
"""


def python(hidden, program, *arguments, **environment):
    paths = [str(PROJECT), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, "-c", HIDING + program, hidden, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment},
        capture_output=True,
        text=True,
    )


def test_the_gpus_augmentation_starts_without_small_packages():
    pytest.importorskip("triton", reason="Triton comes with torch for Linux")
    done = python(SMALL, AUGMENT, TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stderr
    assert "[1, 3, 4, 4]" in done.stdout


def test_the_command_line_names_the_package_that_it_is_made_with():
    done = python("typer", "from fastleuk.cli import main; main()", "--version")
    assert done.returncode == 2, done.stderr
    assert done.stderr == (
        "error: The Python package typer is not installed, and fastleuk needs it here: "
        "pip install typer\n"
    )


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("tqdm", "tqdm"),
        ("sklearn.metrics", "scikit-learn"),
        ("PIL", "pillow"),
        ("tomli_w", "tomli-w"),
    ],
)
def test_any_command_names_it(module, package):
    refusal = as_refusal(ModuleNotFoundError(f"No module named {module!r}", name=module))
    assert isinstance(refusal, MissingDependencyError)
    assert f"pip install {package}" in str(refusal)
    assert "\n" not in str(refusal)


def test_a_module_of_ours_that_is_missing_is_a_defect():
    assert as_refusal(ModuleNotFoundError("No module", name="fastleuk.nothing")) is None


def test_nothing_imports_what_was_given_up():
    for file in Path(fastleuk.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in getattr(node, "names", ())]
            assert not {"platformdirs", "tomli_w"} & {*names, getattr(node, "module", "")}, file
