"""Keep freed memory in the process: batches come and go, and each would be mapped anew."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h


def keep_freed_memory() -> bool:
    """Tell glibc's malloc not to give a batch's memory back to the system at every step.

    DALI's CPU operators allocate their outputs anew for each batch, tens of megabytes that malloc
    would map, fault in page by page, and unmap again: a sixth of the CPU time of the fused chain
    (measured). The process keeps what it once needed instead. Elsewhere than on glibc nothing
    happens.

    Returns:
        Whether malloc took the settings.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl
        return False
    settings = {M_MMAP_THRESHOLD: 32 << 20, M_TRIM_THRESHOLD: 1 << 30, M_TOP_PAD: 64 << 20}
    return all(mallopt(option, value) for option, value in settings.items())
