"""The pages in docs/: every code block runs, or at least names what exists; no link is dead.

```` ```python ```` and ```` ```toml ```` run as they stand. ```` ```console ```` runs in a shell as
it stands, with ``SMALL`` behind each training, so that it takes seconds. Of ```` ```sh ```` (what
this machine can't run: SLURM, Docker, several GPUs) and of inline code, commands and options must
exist. Python that names a run comes in turn with the console blocks. ```` ```py ```` needs a GPU:
it must compile, and what it imports must exist.
"""

import ast
import importlib.util
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fastleuk.augment import AugmentPolicy
from fastleuk.loading import has_dali
from tests.makers.cells import PROJECT
from tests.makers.commands import check_command

DOCS = PROJECT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
LANGUAGES = {"python", "py", "toml", "console", "sh", "text"}
SMALL = {
    "train": "--backbone test_efficientnet --weights none --size 48 --epochs 1 --device cpu",
    "cv": "--backbone test_efficientnet --weights none --size 48 --epochs 1 --device cpu",
    "bench-pipeline": "--size 48 --device cpu",
}
"""Put behind the commands of console blocks: of options given twice, the last counts."""
RUN = '"runs/'


def blocks(page):
    """Pairs of language and text of a page's fenced blocks, in order."""
    return re.findall(r"^```(\w*)[^\n]*\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def of(*languages):
    found = [(page, n, lang, text) for page in PAGES for n, (lang, text) in enumerate(blocks(page))]
    return [
        pytest.param(page, text, id=f"{page.stem}-{n}")
        for page, n, language, text in found
        if language in languages
    ]


def test_every_block_has_a_language_that_is_looked_at():
    for page in PAGES:
        assert {language for language, _ in blocks(page)} <= LANGUAGES, page.name
    assert len(of("python")) >= 4
    assert len(of("console")) >= 10


@pytest.mark.skipif(not has_dali(), reason="NVIDIA DALI is not installed")
@pytest.mark.parametrize(
    ("page", "text"), [case for case in of("python") if RUN not in case.values[1]]
)
def test_python_runs(page, text, tmp_path, monkeypatch):
    photographs(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    exec(compile(text, page.name, "exec"), {})


@pytest.mark.parametrize(("page", "text"), of("py"))
def test_python_for_a_gpu_imports_what_exists(page, text):
    for node in ast.walk(ast.parse(text, page.name)):
        if isinstance(node, ast.ImportFrom):
            file = Path(importlib.util.find_spec(node.module).origin)
            named = {n.name for n in ast.parse(file.read_text()).body if hasattr(n, "name")}
            assert {alias.name for alias in node.names} <= named


@pytest.mark.parametrize("name", re.findall(r"^::: (\S+)", (DOCS / "api.md").read_text(), re.M))
def test_the_reference_names_what_exists_and_is_described(name):
    assert pkgutil.resolve_name(name).__doc__


@pytest.mark.parametrize(("page", "text"), of("toml"))
def test_policies_are_read(page, text):
    assert AugmentPolicy.from_toml(text) != AugmentPolicy(), page


def lines(text):
    """Commands of a block: comments left out, continued lines joined."""
    text = text.replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize(("page", "text"), of("sh", "console"))
def test_commands_and_options_exist(page, text):
    assert lines(text), page
    for line in lines(text):
        if line.startswith("#"):
            continue
        words = shlex.split(line, comments=True)
        for position, word in enumerate(words):
            if word in ("fastleuk", "tools/train.sbatch"):
                rest = words[position + 1 :]
                if rest and rest[0] != ".":
                    check_command(["train", *rest] if word.startswith("tools") else rest)
        for word in words:
            if re.fullmatch(r"(tools|benchmarks)/[\w./-]+", word):
                assert (PROJECT / word).exists(), word
            if words[0] == "make" and not word.startswith("make"):
                assert re.search(rf"^{word}:", (PROJECT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_commands_in_the_text_exist(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for command in re.findall(r"`fastleuk ([^`]+)`", " ".join(text.split())):
        check_command(shlex.split(command))
    for path in re.findall(r"`((?:tools|benchmarks|tests|docs|fastleuk)/[\w./-]+)`", text):
        assert (PROJECT / path).exists(), path
    for target in re.findall(r"\]\(([\w.][\w./-]*\.(?:md|jpg|png))(?:#[\w-]+)?\)", text):
        assert (DOCS / target).exists() or target in ("commands.md",), target


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the sets that the pages name, and ``fastleuk`` on the path."""
    folder = tmp_path_factory.mktemp("pages")
    tools = folder / "bin"
    tools.mkdir()
    for name, module in (("fastleuk", "fastleuk"), ("torchrun", "torch.distributed.run")):
        (tools / name).write_text(
            f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m {module} "$@"\n'
        )
        (tools / name).chmod(0o755)
    for where in ("cells", "parts/train", "parts/test"):
        stained(folder / where, first=50 if where.endswith("test") else 1)
    return folder


def stained(folder, first):
    """Two classes of 8 subjects with 4 images each, 64 pixels, named as the pages say."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(first)
    for number, name in enumerate(("healthy", "leukemia")):
        (folder / name).mkdir(parents=True)
        for subject in range(8):
            for image in range(4):
                pixels = rng.integers(40 + 60 * number, 140 + 60 * number, (64, 64, 3))
                stem = f"P{first + 8 * number + subject:02d}_{image}"
                Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{stem}.png")


def photographs(folder):
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (folder / name).mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(0, 256, (90 + number, 120, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.jpg")


def small(line):
    match = re.search(r"\bfastleuk ([a-z-]+)", line)
    more = SMALL.get(match.group(1), "") if match else ""
    return f"{line} {more}" if "bench" not in line else f"{line} {more} --data cells"


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if any(b[0] == "console" for b in blocks(p))],
                         ids=lambda p: p.stem)  # fmt: skip
def test_console_blocks_run(page, place, monkeypatch):
    monkeypatch.chdir(place)
    shutil.rmtree(place / "runs", ignore_errors=True)
    environment = os.environ | {
        "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT),
        "OMP_NUM_THREADS": "1",
    }
    script = ["set -eu"]
    for language, text in blocks(page):
        if language == "console":
            script += [small(line) for line in lines(text)]
        if language == "python" and RUN in text:
            script.append(f"{shlex.quote(sys.executable)} -c {shlex.quote(text)}")
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        env=environment, capture_output=True, text=True, timeout=580,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    if page.stem == "training":
        table = page.read_text().partition("## The run folder")[2].partition("```")[0]
        made = {file.name for file in (place / "runs" / "cells").iterdir()}
        listed = set(re.findall(r"`([a-z_]+\.\w+)`", table))
        assert listed - {"skipped.csv", "decision.json"} == made - {"decision.json"}


@pytest.mark.slow
def test_the_pages_build_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": str(PROJECT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    for name in ("commands", "errors", "api"):
        assert (tmp_path / "site" / name / "index.html").is_file()
