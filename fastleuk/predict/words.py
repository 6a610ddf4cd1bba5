"""Which words of the command line are runs, and which are images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastleuk.run_folder.names import BEST, CONFIG, MARKS


def split_words(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Return the run folders at the beginning, and the rest.

    The first word is a run in any case: what is wrong with it is said when it is loaded.
    """
    count = 1
    while count < len(words) and _is_run(Path(words[count])):
        count += 1
    return [Path(word) for word in words[:count]], list(words[count:])


def _is_run(folder: Path) -> bool:
    there = [name for name in MARKS if (folder / name).is_file()]
    return CONFIG in there or BEST in there
