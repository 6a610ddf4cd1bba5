"""Freed memory stays in the process, and waiting threads sleep."""

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


@pytest.mark.parametrize(("given", "found"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_of_openmp_sleep_while_they_wait_unless_told_otherwise(given, found):
    """Spinning ones made a batch nine times as slow on a busy machine of two cores."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": given} if given else {}
    code = (
        "import atexit, os, sys; from fastleuk.cli import main\n"
        "sys.argv = ['fastleuk', '--version']\n"
        "atexit.register(lambda: print(os.environ['OMP_WAIT_POLICY']))\n"
        "main()"
    )
    told = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert told.split()[-1] == found
