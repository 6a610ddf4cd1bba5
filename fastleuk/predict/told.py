"""``<table>.json``: which runs made a table of predictions, and how."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastleuk
from fastleuk.errors import DataError
from fastleuk.files import write_text
from fastleuk.run_folder.identity import flat

FORMAT = 1


@dataclass(frozen=True)
class Told:
    """What a table depends on.

    Attributes:
        identity: Of the ensemble: weights, sizes, views, decisions, batch size.
        runs: Folders, as they were given.
        paths: Of the images, as they were given.
    """

    identity: Mapping[str, Any]
    runs: Sequence[str]
    paths: Sequence[str]

    def as_json(self, *, finished: bool) -> str:
        """Return the document."""
        value = {
            "format": FORMAT,
            "made_by": f"fastleuk {fastleuk.__version__}",
            "use": "research only, not for diagnosis",
            "finished": finished,
            "run_folders": list(self.runs),
            "paths": list(self.paths),
            "identity": self.identity,
        }
        return json.dumps(value, indent=2) + "\n"

    def differences(self, before: Mapping[str, Any]) -> list[str]:
        """Say what differs from the identity of a table that was begun before."""
        old, new = _by_key(before), _by_key(json.loads(json.dumps(self.identity)))
        return [
            f"{key} was {_short(old.get(key))}, is {_short(new.get(key))}"
            for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key)
        ]


def told_place(out: Path) -> Path:
    """Return where a table's origin stands."""
    return out.with_name(f"{out.name}.json")


def write_told(out: Path, told: Told, *, finished: bool) -> None:
    """Write the origin of a table beside it."""
    write_text(told_place(out), told.as_json(finished=finished))


def read_told(out: Path) -> Mapping[str, Any] | None:
    """Return the identity of what began a table; None where nothing says it.

    Raises:
        DataError: the file beside the table is damaged.
    """
    path = told_place(out)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise ValueError(f"its format is {found['format']}, not {FORMAT}")
        identity = found["identity"]
        if not isinstance(identity, dict):
            raise ValueError("its identity is no object")
        return identity
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} can't be read ({error}), so nobody knows which runs began {out}. Remove both, "
            "or name another file with --out."
        ) from error


def _by_key(identity: Mapping[str, Any]) -> dict[str, Any]:
    tables = {**identity, "runs": {str(i): run for i, run in enumerate(identity.get("runs", ()))}}
    return flat(tables)


def _short(value: Any) -> str:
    return "not there" if value is None else repr(value)[:80]
