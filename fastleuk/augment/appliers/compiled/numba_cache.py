"""How the kernel is compiled: kept on the disk under a name of its constants, and not in silence.

numba compiles a function again when the file changes in which it stands. What that file imports
is frozen into the machine code and not looked at any more, nor are the options: so both are made
part of the name under which the code is kept.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core import event

FASTMATH = ("nsz", "arcp", "contract", "reassoc")
"""Not the whole of it: nothing may assume that a value is finite."""
OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}


def identity_of(*modules: object) -> str:
    """A short digest of the constants of modules: of all that has an upper-case name in them."""
    values = [
        (name, value)
        for module in modules
        for name, value in sorted(vars(module).items())
        if name.isupper()
    ]
    return hashlib.sha256(repr(values).encode()).hexdigest()[:12]


def compiler(identity: str) -> Callable[[Callable], Any]:
    """A decorator that compiles a function, and keeps it on the disk for this identity only."""

    def compiled(function: Callable) -> Any:
        function.__qualname__ = f"{function.__name__}_{identity}"  # numba's files bear this name
        return njit(**OPTIONS, fastmath=set(FASTMATH))(function)

    return compiled


class _Notice(event.Listener):
    """Says once that a module's functions are being compiled, if they are."""

    def __init__(self, module: str) -> None:
        self._module, self._said = module, False

    def on_start(self, event: Any) -> None:
        dispatcher = event.data["dispatcher"]
        if self._said or dispatcher.py_func.__module__ != self._module:
            return
        self._said = True
        print(
            "fastleuk: compiling the augmentation for this processor, once: some 20 seconds "
            f"(kept in {dispatcher.stats.cache_path})",
            file=sys.stderr,
            flush=True,
        )

    def on_end(self, event: Any) -> None:
        pass


def announce_compiling(module: str) -> None:
    """Say on standard error, once, when a function of ``module`` isn't kept and is compiled.

    Args:
        module: Its ``__name__``.
    """
    event.register("numba:compile", _Notice(module))
