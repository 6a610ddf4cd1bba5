"""The user's cache folder: scan results, self-tests, the demo set, decoded images."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fastleuk.files import expand_home


def cache_root() -> Path:
    """Return the cache folder, not necessarily there yet.

    ``FASTLEUK_CACHE_DIR`` names it. Otherwise it is ``fastleuk`` in ``XDG_CACHE_HOME``, or in the
    platform's folder for caches: ``~/.cache`` on Linux.

    Raises:
        ConfigError: none of the two is set, and the user has no home folder.
    """
    override = os.environ.get("FASTLEUK_CACHE_DIR")
    if override:
        return expand_home(override, "FASTLEUK_CACHE_DIR").absolute()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
        return expand_home(local, "The cache folder") / "fastleuk" / "Cache"
    if sys.platform == "darwin":
        return expand_home("~/Library/Caches/fastleuk", "The cache folder")
    shared = os.environ.get("XDG_CACHE_HOME", "").strip() or "~/.cache"
    return expand_home(shared, "The cache folder") / "fastleuk"
