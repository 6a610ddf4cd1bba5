"""Where fastleuk keeps what it can always make again: scan results, the demo set."""

import os
from pathlib import Path

import platformdirs


def cache_root() -> Path:
    """Return the cache folder, not necessarily there yet.

    The environment variable ``FASTLEUK_CACHE_DIR`` overrides the platform's user cache folder.
    """
    override = os.environ.get("FASTLEUK_CACHE_DIR")
    if override:
        return Path(override).expanduser().absolute()
    return Path(platformdirs.user_cache_dir("fastleuk", appauthor=False))
