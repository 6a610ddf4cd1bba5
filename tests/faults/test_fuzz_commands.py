"""Damaged files through whole commands: each is used as it is meant, or named; nothing crashes."""

import csv
import subprocess
import sys

import pytest

from fastleuk.data.images.decode import decode_rgb, encode_bmp, examine
from tests.faults.commands import TINY, Outcome, give, temporaries
from tests.faults.mutate import mutant
from tests.makers.cells import PROJECT
from tests.makers.untrained_runs import untrained_run

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of damaged files

ALL, SAMPLE = 2000, 80
MEMORY, SECONDS = 3e9, 600
COMMANDS = ("data", "prepare", "train", "predict")


class Mutants:
    """Damaged images in two class folders, what is to be found out about each, and which are equal.

    Equal pixels always lie in one class: in two they would be refused as contradictory.
    """

    def __init__(self, folder, count):
        self.folder, self.bad, self.good, self.equal = folder, [], {}, {}
        for seed in range(count):
            _, data = mutant(seed)
            path = folder / "ab"[seed % 5 > 2] / f"{seed}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            found = examine(data)
            if found.error:
                self.bad.append(path)
            else:
                self.good[path] = data
                self.equal.setdefault(found.pixels, set()).add(path.relative_to(folder).as_posix())


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return Mutants(tmp_path_factory.mktemp("few") / "set", SAMPLE)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return Mutants(tmp_path_factory.mktemp("many") / "set", ALL)


def in_a_process(*words):
    """Run a command that may crash, hang or swell; return how it has ended, and its memory."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fastleuk", *map(str, words)], cwd=PROJECT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
    )  # fmt: skip
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode in (0, 2), f"exit code {process.returncode}: {said[-3000:]}"
    assert "Traceback" not in said
    assert "UserWarning" not in said
    return Outcome(process.returncode, said)


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def go_through(name, mutants, tmp_path, run):
    """Give a command the whole folder, and check what it says of each file."""
    data, out = mutants.folder, tmp_path / "out"
    if name == "predict":
        predicted(mutants, tmp_path, run)
        return
    own = {
        "data": (data,),
        "prepare": ("--data", data, "--size", 32, "--cache", out),
        "train": ("--data", data, *TINY, "--epochs", 1, "--split", "image", "--out", out),
    }[name]
    refused = run(name, *own)
    assert refused.code == 2, refused.text
    named = [path for path in mutants.bad if f"/{path.name}: " in refused.text]
    assert len(named) >= min(20, len(mutants.bad)), refused.text  # as many as a message lists
    outcome = run(name, *own, "--skip-bad")
    assert outcome.code == 0, outcome.text
    assert temporaries(tmp_path) == []
    if name == "train":
        used = {row["path"] for row in rows_of(out / "split.csv")}
        assert used <= {path.relative_to(data).as_posix() for path in mutants.good}
        assert all(len(used & same) == 1 for same in mutants.equal.values())
    kept, copies = len(mutants.equal), len(mutants.good) - len(mutants.equal)
    said = outcome.text.replace(",", "")
    if name == "data":
        assert f"{kept} used" in said, outcome.text
    if name == "prepare":
        assert f"{kept} images" in said, outcome.text
    if name != "data" and copies:
        assert f"Left out: {copies} files: a copy of another image" in said, outcome.text


def predicted(mutants, tmp_path, run):
    """A row with an error for each bad file, and for all others what a plain BMP of them gives."""
    network = untrained_run(tmp_path / "run")
    outcome = run("predict", network, mutants.folder, "--out", tmp_path / "p.csv")
    assert outcome.code == 0, outcome.text
    rows = {row["path"]: row for row in rows_of(tmp_path / "p.csv")}
    assert len(rows) == len(mutants.bad) + len(mutants.good)
    assert {path for path, row in rows.items() if row["error"]} == {str(p) for p in mutants.bad}
    for path, data in mutants.good.items():
        plain = tmp_path / "plain" / f"{path.stem}.bmp"
        plain.parent.mkdir(exist_ok=True)
        plain.write_bytes(encode_bmp(decode_rgb(data)).tobytes())
    run("predict", network, tmp_path / "plain", "--out", tmp_path / "plain.csv")
    expected = {row["path"]: row for row in rows_of(tmp_path / "plain.csv")}
    for path, data in mutants.good.items():
        found, other = rows[str(path)], expected[str(tmp_path / "plain" / f"{path.stem}.bmp")]
        level = 0.05 if data[:3] == b"\xff\xd8\xff" else 1e-4
        for column in ("p_hem", "p_ALL"):
            assert float(found[column]) == pytest.approx(float(other[column]), abs=level), path


@pytest.mark.parametrize("name", ["train", "predict"])
def test_a_sample_of_damaged_files_goes_through_commands(name, few, tmp_path):
    go_through(name, few, tmp_path, give)


@pytest.mark.slow
@pytest.mark.parametrize("loader", ["auto", "torchvision"])
@pytest.mark.parametrize("name", COMMANDS)
def test_damaged_files_go_through_commands(name, loader, many, tmp_path, monkeypatch):
    """2,000 files: no crash, no hang, no more memory than a few decoded images take."""
    if loader != "auto" and name in ("data", "predict"):
        pytest.skip(f"{name} has no other loader")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    peaks = []

    def run(*words):
        more = ("--loader", loader) if words[0] in ("train", "prepare") else ()
        outcome = in_a_process(*words, *more)
        peaks.append(peak_of_children())
        return outcome

    go_through(name, many, tmp_path, run)
    assert max(peaks) < MEMORY


def peak_of_children():
    """Bytes that the largest of the children so far has held."""
    import resource

    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
