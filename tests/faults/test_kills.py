"""SIGKILL at seeded random moments: the command given again ends as if nothing had been."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from tests.faults.commands import TINY, of, temporaries
from tests.makers.cells import PROJECT

TIMES = 20
LIMIT = 300


@dataclass(frozen=True)
class Case:
    """A command, and what has to be the same in the end."""

    words: tuple
    """``{out}``, ``{data}``, ``{regex}`` and ``{run}`` stand for places."""
    same: tuple[str, ...]
    """Patterns below ``{out}`` of files with equal bytes."""
    fresh: bool = False
    """Whether the command refuses what is there, so that it has to be removed first."""
    again: tuple[str, ...] = ()
    """Words that are added where something is there already."""
    env: dict = field(default_factory=dict)


DATA = ("--data", "{data}", "--subject-regex", "{regex}")
CASES = {
    "train": Case(
        ("train", *DATA, *TINY, "--out", "{out}"),
        ("best.safetensors", "test_predictions.csv", "split.csv"),
    ),
    "prepare": Case(
        ("prepare", *DATA, "--size", "160", "--cache", "{out}"), ("*/pixels.npy", "*/rows*")
    ),
    "pack": Case(("pack", "{out}", *DATA, "--shard-mb", "1"), ("*.tar", "shards.json"), fresh=True),
    "evaluate": Case(
        ("evaluate", "{run}", "--out", "{out}"), ("test_predictions.csv",)
    ),
    "predict": Case(
        ("predict", "{run}", "{data}", "--device", "cpu", "--batch-size", "4",
         "--out", "{out}/table.csv"),
        ("table.csv",), again=("--resume",),
    ),
    "cv": Case(
        ("cv", *DATA, *TINY, "--folds", "2", "--epochs", "1", "--out", "{out}"),
        ("cv_predictions.csv", "runs/*/best.safetensors"),
    ),
    "paper": Case(
        ("paper", *DATA, *TINY, "--backbones", "test_efficientnet", "--epochs", "1",
         "--out", "{out}"),
        ("runs/*/best.safetensors",),
    ),
}  # fmt: skip


class Place:
    """Gives a command in a process of its own, and kills it."""

    def __init__(self, folder, data, regex, run):
        self.folder, self.names = folder, {"data": data, "regex": regex, "run": run}
        self.environment = os.environ | {
            "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1",
            "FASTLEUK_CACHE_DIR": str(folder / "cache"),
        }  # fmt: skip

    def start(self, case, out):
        there = out.is_dir() and any(out.iterdir())
        if case.again:
            out.mkdir(exist_ok=True)
        added = case.again if there else ()
        words = [str(word).replace("{out}", str(out)) for word in (*case.words, *added)]
        for name, value in self.names.items():
            words = [word.replace("{" + name + "}", str(value)) for word in words]
        if "--backbones" in words:
            at = words.index("--backbone")
            del words[at : at + 2]
        return subprocess.Popen(
            [sys.executable, "-m", "fastleuk", *words],
            cwd=self.folder, env=self.environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def finish(self, case, out):
        process = self.start(case, out)
        said, _ = process.communicate(timeout=LIMIT)
        return process.returncode, said

    def kill_after(self, case, out, seconds):
        """Returns whether it was still running."""
        process = self.start(case, out)
        try:
            process.wait(seconds)
            running = False
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            running = True
        process.communicate()
        return running


@pytest.fixture(scope="module")
def place(cells, tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    regex = of(cells)[3]
    made = Place(folder, cells, regex, folder / "run")
    code, said = made.finish(CASES["train"], folder / "run")
    assert code == 0, said
    return made


def contents(case, out):
    files = sorted({file for pattern in case.same for file in out.glob(pattern)})
    assert files, f"nothing of {case.same} in {list(out.iterdir())}"
    return {file.relative_to(out).as_posix(): file.read_bytes() for file in files}


def try_kills(name, times, place, seed=0):
    case, rng = CASES[name], np.random.default_rng([seed, sorted(CASES).index(name)])
    whole = place.folder / f"{name}-whole"
    began = time.monotonic()
    code, said = place.finish(case, whole)
    length = time.monotonic() - began
    assert code == 0, said
    expected, hits = contents(case, whole), 0
    for number in range(times):
        out = place.folder / f"{name}-{number}"
        for kill in range(int(rng.integers(1, 3))):
            # Little happens while Python imports: most kills come after that.
            moment = length * float(rng.uniform(0.3, 1.0) if rng.random() < 0.9 else rng.random())
            hits += place.kill_after(case, out, moment)
            if case.fresh and out.exists():
                shutil.rmtree(out)
            del kill
        code, said = place.finish(case, out)
        if code == 2 and "is not empty" in said and name == "train":  # it had ended before
            code = 0
        assert code == 0, f"{name} {number}: {said}"
        assert contents(case, out) == expected, f"{name} {number}"
        assert temporaries(out) == []
        shutil.rmtree(out)
    assert hits >= times // 2, "most kills came too late"
    shutil.rmtree(whole)
    left = [p for p in temporaries(place.folder) if not p.startswith("cache/")]
    assert left == []


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_killed_twenty_times(name, place):
    try_kills(name, TIMES, place)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "prepare", "pack"])
def test_two_of_the_same_command_at_once(name, place):
    """One does the work; the other waits and finds it done, or is refused by name."""
    case, out = CASES[name], place.folder / f"{name}-twice"
    both = [place.start(case, out) for _ in range(2)]
    said = [process.communicate(timeout=LIMIT)[0] for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 0], [0, 2]), said
    refused = [text for text, process in zip(said, both, strict=True) if process.returncode == 2]
    for text in refused:
        assert str(out) in text, text
        assert "Traceback" not in text
    assert contents(case, out) == contents(case, _whole(name, place))
    assert temporaries(out) == []


def _whole(name, place) -> Path:
    out = place.folder / f"{name}-alone"
    code, said = place.finish(CASES[name], out)
    assert code == 0, said
    return out


@pytest.mark.slow
def test_trainings_that_share_a_cache_folder(place, tmp_path):
    """Four begin at the same moment with an empty cache: all end, with equal results."""
    shutil.rmtree(place.folder / "cache", ignore_errors=True)
    outs = [tmp_path / f"run-{i}" for i in range(4)]
    all_ = [place.start(CASES["train"], out) for out in outs]
    for process in all_:
        said, _ = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, said
    first, *rest = [contents(CASES["train"], out) for out in outs]
    assert all(each == first for each in rest)
    assert temporaries(place.folder / "cache") == []
