"""tools/gpu_check.sh with a Python that only writes down what it is asked for."""

import json
import os
import subprocess
import sys

import click
import pytest
import typer

from fastleuk.bench.spec import METHODS
from fastleuk.cli.app import app
from tests.makers.cells import PROJECT

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a script for Linux")
PYTHON = """#!{python}
import json, os, sys
words, log = sys.argv[1:], os.environ["ASKED"]
if words[0] == "-c":
    missing = os.environ.get("MISSING", "").split(",")
    sys.exit(words[1].removeprefix("import ") in missing)
if words[0] == "-":
    sys.stdin.read()
    sys.exit(0)
with open(log, "a") as file:
    file.write(json.dumps(words) + "\\n")
print("said", *words)
sys.exit(3 if os.environ.get("BREAKS", "nothing") in words else 0)
"""


@pytest.fixture
def gpu_check(tmp_path):
    """Run the script; return its exit code, what it printed, and every command."""
    (tmp_path / "python").write_text(PYTHON.format(python=sys.executable))
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nseq ${GPUS:-1}\n")
    for name in ("python", "nvidia-smi"):
        (tmp_path / name).chmod(0o755)

    def run(**environment):
        asked = tmp_path / "asked"
        asked.unlink(missing_ok=True)
        path = f"{tmp_path}:{os.environ['PATH']}"
        found = subprocess.run(
            ["bash", PROJECT / "tools" / "gpu_check.sh", tmp_path / "out"],
            env={**os.environ, "PATH": path, "PYTHON": str(tmp_path / "python"),
                 "ASKED": str(asked), **environment},
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        commands = (
            [json.loads(line) for line in asked.read_text().splitlines()] if asked.exists() else []
        )
        return found.returncode, found.stdout + found.stderr, commands

    return run


def options_of(words):
    """The options that a command of fastleuk's knows."""
    command = typer.main.get_command(app)
    context = click.Context(command)
    known = command.get_command(context, words[0])
    assert known is not None, words[0]
    return {option for parameter in known.params for option in
            (*parameter.opts, *parameter.secondary_opts)}  # fmt: skip


def of_fastleuk(commands):
    """What stands behind ``-m fastleuk``, in other modules' commands too."""
    for words in commands:
        if "fastleuk" in words:
            yield words[words.index("fastleuk") + 1 :]


def methods_of(commands):
    found = {}
    for words in of_fastleuk(commands):
        if words[0] == "bench-pipeline" and "--methods" in words:
            found["--sweep" in words] = words[words.index("--methods") + 1].split(",")
    return found


def test_all_that_it_calls_is_there(gpu_check):
    code, said, commands = gpu_check(GPUS="2")
    assert code == 0, said
    assert "left out" not in said
    for words in of_fastleuk(commands):
        used = {word for word in words if word.startswith("--")}
        assert used <= options_of(words), words
    for words in commands:
        if words[0] not in ("-m", "-c"):
            assert (PROJECT / words[0]).is_file()
    names = methods_of(commands)
    assert names.keys() == {False, True}
    for chosen in names.values():
        assert set(chosen) <= set(METHODS)
        assert {"triton-cache-gpu", "triton-cache", "dali-fused-cache"} <= set(chosen)
    assert next(of_fastleuk(commands)) == ["gpu-check"]
    caches = {words[words.index("--cache") + 1] for words in of_fastleuk(commands)
              if "compiled" in words}  # fmt: skip
    assert caches == {"gpu", "auto", "off"}
    assert any("torch.distributed.run" in words for words in commands)


def test_without_dali_the_kernels_are_still_tried_and_what_is_left_out_is_named(gpu_check):
    code, said, commands = gpu_check(MISSING="nvidia.dali,kornia")
    assert code == 0, said
    (tests,) = [words for words in commands if "pytest" in words]
    assert "tests" in tests
    assert "left out: DALI's loaders" in said
    assert "left out: kornia" in said
    assert "there is one GPU" in said
    assert "but for dali" in said
    assert not any("dali" in words or "--peers" in words for words in commands)
    for chosen in methods_of(commands).values():
        assert chosen == ["triton-cache-gpu", "triton-cache", "triton-files", "torchvision-pil"]


def test_a_package_that_fastleuk_needs_ends_it_at_once(gpu_check):
    code, said, commands = gpu_check(MISSING="filelock,tqdm")
    assert code == 2
    assert "not installed, though fastleuk needs it: tqdm filelock" in said
    assert not commands


@pytest.mark.slow
def test_a_check_that_fails_is_named_and_the_others_go_on(gpu_check):
    everything = gpu_check()[2]
    code, said, commands = gpu_check(BREAKS="gpu-check")
    assert code == 1
    assert "FAILED (3): every applier on the GPU" in said
    assert "done, 1 failed" in said
    assert len(commands) == len(everything)
