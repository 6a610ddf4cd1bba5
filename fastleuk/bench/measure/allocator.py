"""The same memory allocator for every contender: which one, and how a process gets it."""

from __future__ import annotations

import os
import platform

from fastleuk.errors import ConfigError
from fastleuk.memory import SETTINGS, SWITCH

ALLOCATORS = {
    "kept": "glibc keeps freed memory, in every contender and its workers",
    "system": "the C library's defaults, in every contender",
}


def choose_allocator(wanted: str) -> str:
    """Return what processes started here can have: ``kept`` needs glibc and no other allocator.

    Raises:
        ConfigError: there is no such allocator.
    """
    if wanted not in ALLOCATORS:
        raise ConfigError(f"--allocator {wanted!r}: there are {', '.join(ALLOCATORS)}.")
    glibc = platform.libc_ver()[0] == "glibc" and "LD_PRELOAD" not in os.environ
    return wanted if glibc else "system"


def environment(allocator: str) -> dict[str, str]:
    """Return this process's environment with the allocator's settings for a process to start.

    Set from outside, glibc's variables hold from the first allocation on and for whatever workers
    a contender starts, so that no library has to be told.
    """
    found = {key: value for key, value in os.environ.items() if key not in (*SETTINGS, SWITCH)}
    if allocator == "system":
        return found | {SWITCH: "0"}
    return found | {name: str(value) for name, (_, value) in SETTINGS.items()}
