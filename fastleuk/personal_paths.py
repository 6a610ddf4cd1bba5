"""Replace absolute paths in texts that leave the machine: bug reports, pages for reviewers.

An absolute path names a user, and often a project or a group of patients.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

_SYSTEM = ("/dev", "/proc", "/sys", "/usr", "/lib", "/etc")
_PATH = re.compile(
    r"(?<![\w<>~/.:])/[^\s'\",;:()\[\]]+"
    r"|(?<!\w)(?:[A-Za-z]:[\\/](?!/)|\\\\)[^\s'\",;:()\[\]]+"
)


def replace_paths(value: Any, places: Mapping[str, str], *, elsewhere: str = "<path>/") -> Any:
    r"""Replace known places, and shorten every other absolute path outside the system's folders.

    Charts (texts that begin with ``<``) and data URIs are returned as they are.

    Args:
        value: A text, or dictionaries, lists and tuples of texts at any depth.
        places: Texts to replace, by their replacements; longer ones go first.
        elsewhere: What stands before the last name of any other absolute path.

    >>> replace_paths(["/data/anna/x.so: no file", "D:\\anna\\set", "hem/a.bmp"], {})
    ['<path>/x.so: no file', '<path>/set', 'hem/a.bmp']
    """
    if isinstance(value, dict):
        return {k: replace_paths(each, places, elsewhere=elsewhere) for k, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(replace_paths(each, places, elsewhere=elsewhere) for each in value)
    if type(value) is not str or value.startswith(("<svg", "<img", "data:")):
        return value
    for place in sorted(places, key=len, reverse=True):
        pattern = rf"(?<!\w){re.escape(place)}(?!\w)"
        value = re.sub(pattern, places[place].replace("\\", r"\\"), value)

    def shortened(match: re.Match[str]) -> str:
        path = match.group()
        if path.startswith(_SYSTEM):
            return path
        return elsewhere + last_name(path)

    return _PATH.sub(shortened, value)


def paths_in(config: Any) -> dict[str, str]:
    """Return the absolute paths in a configuration, each with its last name.

    Args:
        config: Dictionaries of texts and other values at any depth.
    """
    if isinstance(config, dict):
        return {path: name for each in config.values() for path, name in paths_in(each).items()}
    absolute = isinstance(config, str) and (
        config.startswith("~")
        or Path(config).is_absolute()
        or PureWindowsPath(config).is_absolute()
    )
    return {config.rstrip("/\\"): last_name(config)} if absolute else {}


def last_name(path: str) -> str:
    r"""Return the last name of a path of any system.

    >>> last_name("/a/b/"), last_name("C:\\a\\b"), last_name("b")
    ('b', 'b', 'b')
    """
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]
