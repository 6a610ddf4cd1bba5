"""A long run does not grow."""

import json
import subprocess
import sys

import pytest

from fastleuk.loading import has_dali
from tests.makers.cells import SUBJECT_REGEX

SCRIPT = """
import json, os, sys
from fastleuk.config import assemble
from fastleuk.training.train import train

data, regex, out, cache, loader = sys.argv[1:]
page, resident = os.sysconf("SC_PAGE_SIZE"), []

def report(line):
    if line.startswith("epoch "):
        with open("/proc/self/statm") as statm:
            resident.append(int(statm.read().split()[1]) * page)

train(assemble({
    "data": {"data": data, "subject_regex": regex},
    "model": {"backbone": "test_efficientnet", "weights": "none"},
    "loader": {"loader": loader, "size": 64, "batch_size": 8, "workers": 1, "cache": cache},
    "optim": {"epochs": 20, "patience": 20, "ema": 0.9, "mixup": 0.2},
    "run": {"out": out, "device": "cpu"},
}), report=report)
print(json.dumps(resident))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    "loader",
    [
        pytest.param(
            "dali", marks=pytest.mark.skipif(not has_dali(), reason="NVIDIA DALI is not installed")
        ),
        "torchvision",
    ],
)
def test_memory_is_flat_over_twenty_epochs(loader, cells, tmp_path):
    arguments = [cells, SUBJECT_REGEX, tmp_path / "run", tmp_path / "cache", loader]
    output = subprocess.check_output(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)], text=True
    )
    resident = json.loads(output.splitlines()[-1])
    assert len(resident) == 20
    assert max(resident[2:]) <= 1.02 * resident[1], [f"{r / 2**20:.1f} MB" for r in resident]
