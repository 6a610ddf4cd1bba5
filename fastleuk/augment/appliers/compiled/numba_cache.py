"""How the kernel is compiled: kept on the disk under a name of its constants, and not in silence.

numba compiles a function again when the file changes in which it stands. What that file imports,
constants and functions, is frozen into the machine code and not looked at any more, nor are the
options: so all of it is made part of the name under which the code is kept.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, ClassVar

from numba import njit
from numba.core import event

FASTMATH = ("nsz", "arcp", "contract", "reassoc")
"""Not the whole of it: nothing may assume that a value is finite."""
OPTIONS: dict[str, Any] = {
    "cache": True, "nogil": True, "error_model": "numpy", "forceinline": True,
}  # fmt: skip


def identity_of(*modules: ModuleType, callees: Sequence[ModuleType] = ()) -> str:
    """A short digest of what a file of compiled functions takes from others.

    Args:
        modules: Of all that has an upper-case name in them: constants.
        callees: Of their source and their own ``IDENTITY``: compiled functions.
    """
    values = [
        (name, value)
        for module in modules
        for name, value in sorted(vars(module).items())
        if name.isupper()
    ]
    sources = [(module.IDENTITY, inspect.getsource(module)) for module in callees]
    return hashlib.sha256(repr((values, sources)).encode()).hexdigest()[:12]


def compiler(identity: str, fastmath: Sequence[str] = FASTMATH) -> Callable[[Callable], Any]:
    """A decorator that compiles a function, and keeps it on the disk for this identity only.

    Args:
        identity: Of :func:`identity_of`.
        fastmath: Liberties with the arithmetic, in LLVM's words.
    """

    def compiled(function: Callable) -> Any:
        function.__qualname__ = f"{function.__name__}_{identity}"  # numba's files bear this name
        return njit(**OPTIONS, fastmath=set(fastmath))(function)

    return compiled


class _Notice(event.Listener):
    """Says that a module's functions are being compiled, if they are; once for all of its room."""

    _said: ClassVar[set[str]] = set()

    def __init__(self, module: str) -> None:
        self._module = module
        self._room = module.rpartition(".")[0] or module

    def on_start(self, event: Any) -> None:
        dispatcher = event.data["dispatcher"]
        if self._room in self._said or dispatcher.py_func.__module__ != self._module:
            return
        self._said.add(self._room)
        print(
            "fastleuk: compiling the augmentation for this processor, once: up to half a minute "
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
