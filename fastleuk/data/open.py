"""Open the data set that a configuration names, or the demo set where it names none."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fastleuk.config import DataConfig
from fastleuk.data.load import DataSet, load_dataset
from fastleuk.run_log import quiet, say

ProgressCallback = Callable[[int, int], None]


@contextmanager
def progress_bar(title: str, *, hidden: bool = False) -> Iterator[ProgressCallback]:
    """Give a ``progress(done, total)`` callable that draws a bar on a terminal."""
    from tqdm import tqdm

    off = hidden or quiet() or None  # None: where there is no terminal
    with tqdm(desc=title, unit="file", leave=False, disable=off, file=sys.stderr) as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield advance


def open_dataset(
    config: DataConfig, *, report: Callable[[str], None] = say, hidden: bool = False
) -> DataSet:
    """Find, verify and group the images; the demo set is made where ``config.data`` is empty.

    Args:
        config: Where they are.
        report: Is told where the demo set is.
        hidden: Draw no progress bar.

    Raises:
        DataError: the data can't be used; every offending file is listed.
    """
    root = config.data
    if not root:
        from fastleuk.data.demo import demo_root

        with progress_bar("making the synthetic demo set", hidden=hidden) as progress:
            root = str(demo_root(progress=progress))
        report(f"No --data given: using the synthetic demo set in {root}")
    with progress_bar("verifying images", hidden=hidden) as progress:
        return load_dataset(
            root,
            subject_regex=config.subject_regex or None,
            skip_bad=config.skip_bad,
            progress=progress,
        )
