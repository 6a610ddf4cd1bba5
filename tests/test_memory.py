"""Freed memory stays in the process."""

import os
import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys, numpy as np
from fastleuk.memory import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        block = np.empty(int(sys.argv[1]) << 20, np.uint8)
        block[::4096] = 1
        del block
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
mapped = faults()
assert keep_freed_memory()
faults()
print(mapped, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc only")
@pytest.mark.parametrize("megabytes", [20, 64])
def test_freed_arrays_are_kept_and_not_mapped_anew(megabytes):
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    command = [sys.executable, "-c", SCRIPT, str(megabytes)]
    mapped, kept = map(int, subprocess.check_output(command, env=environment).split())
    assert kept < mapped / 10
