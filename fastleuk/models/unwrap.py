"""Checkpoints of other programs: the backbone's tensors, found by name in whatever wraps them.

torch.compile, DistributedDataParallel, Lightning, moving averages and distillation put prefixes in
front of names, several networks into one file, and state dicts into other dicts, in any order. None
of them is looked for: the table of tensors and the prefix under which most of the backbone's names
and shapes are found, is taken.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "module")
"""Parts of names that wrappers of single layers add in the middle, too."""

CONTAINERS = (*WRAPPERS, "model", "net", "network", "backbone", "student", "teacher", "ema_model")
"""Prefixes taken off tensors whose names are not the backbone's, and which timm may convert."""

AVERAGED = re.compile(r"(?:^|[._])(?:ema|swa|averaged|averages?|teacher|shadow)(?:$|[._])")
"""Keys and prefixes of averaged weights: preferred to the plain ones beside them, as by timm."""

COUNTER = ".num_batches_tracked"
"""Ending of batch normalization's counters, which have no effect at a fixed momentum."""

_DEPTH = 6


@dataclass(frozen=True, eq=False, slots=True)
class Unwrapped:
    """A backbone's tensors by its own names.

    Attributes:
        state: Tensors by name.
        note: What was unwrapped and left out; an empty text where nothing was.
    """

    state: dict[str, Tensor]
    note: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class _Found:
    """A prefix in a table, under which ``names`` of the backbone's names stand."""

    path: tuple[str, ...]
    table: dict[str, Tensor]
    prefix: str
    names: int = 0
    shapes: int = 0

    @property
    def rank(self) -> tuple[int, int, bool]:
        return self.shapes, self.names, _averaged(*self.path, self.prefix)


def unwrap(document: Any, expected: Mapping[str, tuple[int, ...]]) -> Unwrapped | None:
    """Find a backbone's tensors in a checkpoint.

    Args:
        document: A state dict, or dicts in dicts that hold one.
        expected: The backbone's names and shapes, without its classifier's.

    Returns:
        Its tensors; None where the document holds no tensors by name. Where fewer than half of the
        names are found, the largest table without its wrappers' prefixes.
    """
    tables = [(path, _plain_names(table, expected)) for path, table in _tables(document)]
    if not tables:
        return None
    found = [each for path, table in tables for each in _prefixes(path, table, expected)]
    best = max(found, key=lambda each: each.rank, default=None)
    if best is None or 2 * best.names < len(expected):
        path, table = max(tables, key=lambda each: (len(each[1]), _averaged(*each[0])))
        prefix = _container_prefix(table, {name.split(".")[0] for name in expected})
        best = _Found(path, table, prefix)
    state = {}
    for name, tensor in best.table.items():
        own = name.removeprefix(best.prefix)
        # Counters and the like, such as the n_averaged of torch's swa_utils.
        if name.startswith(best.prefix) and (own in expected or tensor.numel() != 1):
            state[own] = tensor
    raw = next(table for path, table in _tables(document) if path == best.path)
    rivals = [each for each in found if each is not best and each.rank[:2] == best.rank[:2]]
    others = [n for n in best.table if n.removeprefix(best.prefix) not in state]
    return Unwrapped(state, _note(best, raw, others, rivals))


def _tables(document: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict]]:
    """Yield the path and the tensors of each dict that holds some by name."""
    from torch import Tensor

    if not isinstance(document, Mapping) or len(path) > _DEPTH:
        return
    named = {name: value for name, value in document.items() if isinstance(name, str)}
    tensors = {name: value for name, value in named.items() if isinstance(value, Tensor)}
    if tensors:
        yield path, tensors
    for name, value in named.items():
        yield from _tables(value, (*path, name))


def _plain_names(
    table: dict[str, Tensor], expected: Mapping[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    """Leave wrappers out of the middle of names, except those that are layers of the backbone.

    Those in front remain: they tell the backbone's tensors from others beside it.
    """
    wrappers = set(WRAPPERS) - _parts(expected)

    def plain(name: str) -> str:
        parts = name.split(".")
        front = list(takewhile(wrappers.__contains__, parts))
        return ".".join(front + [part for part in parts[len(front) :] if part not in wrappers])

    return {plain(name): tensor for name, tensor in table.items()}


def _prefixes(
    path: tuple[str, ...], table: dict[str, Tensor], expected: Mapping[str, tuple[int, ...]]
) -> Iterator[_Found]:
    """Yield each prefix under which names of the backbone stand, in the file's order."""
    names: Counter[str] = Counter()
    shapes: Counter[str] = Counter()
    for name, tensor in table.items():
        start = 0
        while start >= 0:
            shape = expected.get(name[start:])
            if shape is not None:
                names[name[:start]] += 1
                shapes[name[:start]] += shape == tuple(tensor.shape)
            start = name.find(".", start) + 1 or -1
    for prefix, count in names.items():
        yield _Found(path, table, prefix, count, shapes[prefix])


def _container_prefix(table: dict[str, Tensor], own: set[str]) -> str:
    """Return the containers in front of all names."""
    prefix = ""
    while True:
        first = {name.removeprefix(prefix).split(".")[0] for name in table}
        if len(first) > 1 or first & own or not first & set(CONTAINERS):
            return prefix
        prefix += f"{first.pop()}."


def _note(best: _Found, raw: Mapping[str, Tensor], others: list[str], rivals: list[_Found]) -> str:
    """Describe what was unwrapped, left out, and could have been taken instead."""
    said = [f"the tensors under {'.'.join(best.path)!r}"] if best.path else []
    removed = _parts(raw) - _parts(best.table)
    gone = [f"{part}." for part in WRAPPERS if part in removed]
    gone += [best.prefix] if best.prefix else []
    if gone:
        said.append(f"names without {', '.join(map(repr, gone))}")
    if others:
        more = ", …" if len(others) > 3 else ""
        said.append(f"{len(others)} other tensors left out ({', '.join(others[:3])}{more})")
    elsewhere = [".".join((*each.path, each.prefix)).strip(".") or "the top" for each in rivals]
    if elsewhere:
        said.append(f"equally complete, and not used: {', '.join(elsewhere)}")
    return "; ".join(said)


def _averaged(*parts: str) -> bool:
    return AVERAGED.search(".".join(parts)) is not None


def _parts(names: Iterable[str]) -> set[str]:
    return {part for name in names for part in name.split(".")}
