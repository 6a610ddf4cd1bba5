"""How far a command has come through its files: the callback that tells it, and a bar."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fastleuk.run_log import quiet

Progress = Callable[[int, int], None]
"""Called as ``progress(done, total)``."""


def no_progress(_done: int, _total: int) -> None:
    """Report nothing."""


@contextmanager
def progress_bar(title: str, *, hidden: bool = False) -> Iterator[Progress]:
    """Give a ``progress(done, total)`` callable that draws a bar on a terminal."""
    from tqdm import tqdm

    off = hidden or quiet() or None  # None: where there is no terminal
    with tqdm(desc=title, unit="file", leave=False, disable=off, file=sys.stderr) as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield advance
