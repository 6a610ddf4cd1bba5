"""Memory that the Triton kernels touch: every load and store of random batches, interpreted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.augment.gpu.kernel_bounds import MUTANTS
from tests.makers.cells import PROJECT

pytest.importorskip("triton", reason="Triton comes with torch for Linux")
PROGRAM = Path(__file__).with_name("kernel_bounds.py")


def run(*arguments):
    """Run the checker in Triton's interpreter."""
    paths = [str(PROJECT), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, PROGRAM, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("rounds", "kernel_sizes"), [(14, 3), pytest.param(200, 4, marks=pytest.mark.slow)]
)
def test_every_address_is_a_pixel_or_an_argument_and_every_byte_is_written_once(
    rounds, kernel_sizes
):
    """Fresh memory is NaN; float16, bfloat16, planar, BMPs, resized and identity rows."""
    found = run(rounds, kernel_sizes)
    assert found["problems"] == {}
    for kind in ("in_place", "as_bmps"):
        for dtype in ("float32", "float16", "bfloat16"):
            for layout in ("HWC", "CHW"):
                assert found["covered"].get(f"{kind} {dtype} {layout}")
    for kind in ("augmented", "identity"):
        for size in ("resized", "of the output's size"):
            assert found["covered"].get(f"{kind} {size}", 0) >= 3
    assert found["loads"] > 100_000
    assert found["stores"] > 10_000


QUICK = list(MUTANTS)[:3]


@pytest.mark.parametrize(
    "mutants", [QUICK, pytest.param(list(MUTANTS)[3:], marks=pytest.mark.slow)], ids=["few", "all"]
)
def test_faults_are_found(mutants):
    """The first one is a fault that there was: images without contrast became black."""
    found = run("mutants", *mutants)
    for name in mutants:
        expected = MUTANTS[name][-1]
        assert any(expected in problem for problem in found[name]), (name, found[name])
