"""Options that no protocol takes."""

from __future__ import annotations

from fastleuk.config import Config
from fastleuk.errors import ConfigError


def check_seeds(seeds: int) -> None:
    """Refuse a number of seeds below 1."""
    if seeds < 1:
        raise ConfigError(f"--seeds is {seeds}, but must be at least 1.")


def check_free_split(config: Config, command: str) -> None:
    """Refuse a configuration that names a split where the protocol chooses it."""
    if config.data.split != "subject":
        raise ConfigError(
            f"fastleuk {command} chooses the splits itself: leave split = {config.data.split!r} "
            "out of the configuration."
        )
