"""Standard output and error: written line by line, whatever characters they can show."""

from __future__ import annotations

import codecs
import sys

_PLAIN = {
    "–": "-", "—": "-", "−": "-", "×": "x", "±": "+-", "…": "...", "→": "->", "·": ".",
    "≤": "<=", "≥": ">=", "\u2018": "'", "\u2019": "'", "“": '"', "”": '"', "\xa0": " ",
}  # fmt: skip
_HANDLER = "fastleuk.plain"


def _plain(error: UnicodeError) -> tuple[str, int]:
    r"""Replace what an encoding lacks by something that reads alike, else by its escape.

    A byte of a file name that is not UTF-8 (a surrogate in Python) is shown as ``\xe9``.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    shown = [
        f"\\x{ord(letter) - 0xDC00:02x}"
        if 0xDC80 <= ord(letter) <= 0xDCFF
        else _PLAIN.get(letter, letter.encode("ascii", "backslashreplace").decode("ascii"))
        for letter in text
    ]
    return "".join(shown), error.end


def prepare_streams() -> None:
    """Let no output wait for a full buffer, and none fail for a character.

    Python buffers 8 KB where standard output is a file or a pipe, more than a run prints in hours,
    and ends with a traceback where the terminal's encoding lacks a character.
    """
    codecs.register_error(_HANDLER, _plain)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(line_buffering=True, errors=_HANDLER)
