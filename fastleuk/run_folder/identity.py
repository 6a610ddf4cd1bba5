"""What a run is, by keys and values, and what two of them differ in."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PLACES = frozenset(
    {
        "data.data", "data.positive", "data.root", "data.layout", "data.class_level",
        "loader.workers", "loader.prefetch", "loader.cache",
        "run.out", "run.device", "run.recipe", "run.checkpoint_every", "run.profile",
        "run.tensorboard", "run.wandb",
    }
)  # fmt: skip
"""Keys that never make another run of it: where things are, machines, what a run tells of itself.
The data count by content."""

TOLD = ("optim.epochs", "optim.patience")
"""Keys that a resumed run may have otherwise, which is said."""

CHANGEABLE = (PLACES | {*TOLD, "loader.batch_size"}) - {"run.out", "run.recipe"}
"""Keys of the options that can be given with ``--resume``."""

_ABSENT = object()


def flat(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables by dotted keys, pairs as lists, as they come back from a file.

    >>> flat({"optim": {"lr": 0.1}, "policy": {"degrees": (-1, 1)}})
    {'optim.lr': 0.1, 'policy.degrees': [-1, 1]}
    """
    found: dict[str, Any] = {}
    for key, value in tables.items():
        if isinstance(value, Mapping):
            found.update(flat(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return found


def differences(
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    *,
    free: Collection[str] = (),
    defaults: Mapping[str, Any] | None = None,
) -> list[str]:
    """Say which keys differ, with both values.

    Args:
        before: Flat, of the run that is there.
        now: Flat, of what is asked for.
        free: Keys that may differ.
        defaults: What a key that ``before`` lacks meant then: it is of a version without it.

    >>> differences({"optim.lr": 0.1, "run.out": "a"}, {"optim.lr": 0.2}, free=PLACES)
    ['optim.lr was 0.1, is 0.2']
    """
    texts = []
    for key in sorted((before.keys() | now.keys()) - set(free)):
        old, new = before.get(key, (defaults or {}).get(key, _ABSENT)), now.get(key, _ABSENT)
        if old != new:
            texts.append(f"{key} {_told('was', old)}, {_told('is', new)}")
    return texts


def _told(verb: str, value: Any) -> str:
    return f"{verb} not set" if value is _ABSENT else f"{verb} {value!r}"


def read_identity(saved: Any) -> dict[str, Any]:
    """Return a checkpoint's identity flat, whichever version wrote it.

    Earlier ones held the configuration as one JSON text and the policy as one TOML text.
    """
    if not isinstance(saved, Mapping):
        return {}
    if not isinstance(saved.get("config"), str):
        return flat(saved)
    kept = {key: saved[key] for key in ("data", "split", "classes", "precision") if key in saved}
    try:
        config = flat(json.loads(saved["config"]))
        policy = flat({"policy": tomllib.loads(str(saved.get("policy", "")))})
        return {**kept, **config, **policy, "processes": int(saved.get("processes", 1))}
    except (ValueError, AttributeError):
        return kept
