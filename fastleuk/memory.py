"""Keep freed memory in the process: batches come and go, and each would be mapped anew."""

from __future__ import annotations

import ctypes
import os
import platform

SETTINGS = {
    "MALLOC_MMAP_MAX_": (-4, 0),
    "MALLOC_TRIM_THRESHOLD_": (-1, 2**31 - 1),
    "MALLOC_TOP_PAD_": (-2, 64 << 20),
}
"""glibc's environment variables, their numbers for ``mallopt`` (malloc.h), and the values."""

SWITCH = "FASTLEUK_KEEP_MEMORY"
"""Environment variable; ``0``: leave the C library as it is."""


def keep_freed_memory() -> bool:
    """Make the C library reuse freed memory instead of giving it back.

    glibc maps every large array anew, and the kernel clears its pages each time. Both DALI's CPU
    operators and a training step on the CPU allocate tens of megabytes many times a batch: a step
    of EfficientNet-Lite0 was measured at 1.4 times the speed without (``benchmarks/allocator.py``),
    at 10 % more peak memory. Does nothing where another allocator is preloaded, outside glibc, or
    with ``FASTLEUK_KEEP_MEMORY=0`` in the environment.

    Returns:
        Whether glibc took the settings.
    """
    if platform.libc_ver()[0] != "glibc" or "LD_PRELOAD" in os.environ:
        return False
    if os.environ.get(SWITCH) == "0":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(option, value) == 1 for option, value in SETTINGS.values())
