"""2,000 damaged files: each is decoded alike by all decoders, or named as bad by all of them."""

import json
import subprocess
import sys

import pytest

from fastleuk.loading import has_dali
from tests.faults.mutate import KINDS, mutant
from tests.makers.cells import PROJECT

pytestmark = pytest.mark.skipif(not has_dali(), reason="NVIDIA DALI is not installed")

ALL, SAMPLE, PART = 2000, 100, 500
SECONDS, MEMORY = 20, 1.5e9
"""Most that a file of a few kilobytes may take; the first ones compile and import."""


def judged(first, last):
    """What :mod:`tests.faults.judge` says of the mutants of these seeds."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.faults.judge", str(first), str(last)],
        cwd=PROJECT, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0, f"{rows[-1]}: exit code {done.returncode}\n{done.stderr[-2000:]}"
    return [row for row in rows if "name" in row]


def check(rows):
    assert [(row["name"], row["wrong"]) for row in rows if row["wrong"]] == []
    assert [row["name"] for row in rows if row["seconds"] > SECONDS] == []
    assert [row["name"] for row in rows if row["grown"] > MEMORY] == []
    bad = sum(bool(row["error"]) for row in rows)
    assert 0.2 < bad / len(rows) < 0.9, "the mutations are too harmless, or too wild"


def test_a_sample_of_damaged_files_is_judged_alike_by_all_decoders():
    check(judged(0, SAMPLE))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, ALL, PART))
def test_damaged_files_are_judged_alike_by_all_decoders(first):
    check(judged(first, first + PART))


def test_mutants_are_repeatable_and_of_every_kind():
    assert mutant(5) == mutant(5)
    assert len({mutant(seed)[1] for seed in range(60)}) == 60
    assert {mutant(seed)[0].split(" ", 1)[1].split(":")[0] for seed in range(len(KINDS))} >= {
        kind.split(":")[0] for kind in KINDS
    }
