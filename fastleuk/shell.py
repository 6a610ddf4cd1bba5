"""Quote words for a shell: a command that is printed has to work when it is pasted."""

from __future__ import annotations

import os
import shlex


def quoted(word: str | os.PathLike[str]) -> str:
    """Quote a path or value for a POSIX shell; a leading dash is kept from being an option.

    >>> print(quoted("runs/a b"), quoted("$set[1]"), quoted("-x.png"), quoted("runs/a"))
    'runs/a b' '$set[1]' ./-x.png runs/a
    """
    text = os.fspath(word)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)
