"""Keep freed memory in the process: batches come and go, and each would be mapped anew."""

from __future__ import annotations

import ctypes
import os
import platform

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # glibc's malloc.h


def keep_freed_memory() -> bool:
    """Make the C library reuse freed memory instead of giving it back.

    glibc maps every large array anew, and the kernel clears its pages each time. Both DALI's CPU
    operators and a training step on the CPU allocate tens of megabytes many times a batch: a step
    of EfficientNet-Lite0 was measured at 1.4 times the speed without (``benchmarks/allocator.py``),
    at 10 % more peak memory. Does nothing where another allocator is preloaded or outside glibc.

    Returns:
        Whether glibc took the settings.
    """
    if platform.libc_ver()[0] != "glibc" or "LD_PRELOAD" in os.environ:
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 << 20))
    return all(mallopt(option, value) == 1 for option, value in settings)
