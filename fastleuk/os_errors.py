"""What the operating system refuses, as errors that a user can mend."""

from __future__ import annotations

import errno
import os
import re
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastleuk.errors import FastleukError, MissingDependencyError

_FULL = ("No space left on device", "StorageFull")
"""How safetensors and torch quote the system, who raise errors of their own."""

_NO_SHARED_MEMORY = (
    "The shared memory is full: give the container more (docker run --shm-size 4g, or --ipc=host), "
    "or use --workers 0."
)
_NO_TEMPORARY = "Free some room there, or name another folder with TMPDIR=FOLDER."

_REMEDIES = {
    errno.ENOSPC: "The disk is full: free some room, or name another place. What was written "
    "before is sound.",
    errno.EDQUOT: "The quota is used up: free some room, or name another place. What was written "
    "before is sound.",
    errno.EROFS: "It lies on a file system that can't be written to: name another place.",
    errno.EACCES: "Change its permissions, or name another place.",
    errno.EPERM: "Change its permissions, or name another place.",
    errno.ENOENT: "Check the path; folders in front of the file must be there.",
    errno.EISDIR: "It is a folder: name a file.",
    errno.ENOTDIR: "Something in front of its last part is no folder: check the path.",
    errno.EEXIST: "It is there already: name another.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.EIO: "The disk or the network file system failed: look into the system's log.",
    errno.ESTALE: "The network file system has lost it: mount it again, and repeat the command.",
    errno.ENOMEM: "The memory is full: lower --batch-size, --prefetch or --workers.",
}


class SystemRefusal(FastleukError):
    """The operating system refused something: a full disk, a missing permission, a limit."""


def as_refusal(error: BaseException) -> FastleukError | None:
    """Return the error to show for ``error`` where the system's refusal caused it, else None.

    Libraries wrap what the system said; what they raised it from is looked through too.
    """
    if isinstance(error, FastleukError):
        text = _of_worker(str(error))
        return error if text == str(error) else _refusal(error, text)
    if isinstance(error, ModuleNotFoundError):
        return missing_package(error)
    if type(error).__name__ == "OutOfMemoryError":  # torch's, of a GPU
        return _refusal(
            error,
            "The GPU's memory is full: lower --batch-size (with --accumulate for the same update), "
            f"or use --amp or --grad-checkpointing. ({str(error).splitlines()[0]})",
        )
    for cause in _causes(error):
        if isinstance(cause, OSError) and not isinstance(cause, BrokenPipeError):
            return _refusal(error, _text(cause))
        if "unable to allocate shared memory" in str(cause) or "out of shared memory" in str(cause):
            return _refusal(error, f"/dev/shm: {_NO_SHARED_MEMORY} ({_first_line(cause)})")
        if "received 0 items of ancdata" in str(cause):  # torch's, of too many open files
            return _refusal(error, f"Too many open files. {_files_remedy()}")
        if any(sign in str(cause) for sign in _FULL):
            return _refusal(error, f"{str(cause).splitlines()[0]}. {_REMEDIES[errno.ENOSPC]}")
    if isinstance(error, MemoryError):
        return _refusal(error, f"{error or 'Out of memory'}. {_REMEDIES[errno.ENOMEM]}")
    return None


def missing_package(error: ModuleNotFoundError) -> MissingDependencyError | None:
    """Return the error to show for a package that isn't installed; None for a module of ours."""
    package = (error.name or "").partition(".")[0]
    if package in ("", "fastleuk"):
        return None
    name = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}.get(package, package)
    missing = MissingDependencyError(
        f"The Python package {name} is not installed, and fastleuk needs it here: pip install "
        f"{name.replace('_', '-')}"
    )
    missing.__cause__ = error
    return missing


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let the system's errors within name ``path``: a write to an open file does not say to which.

    Raises:
        OSError: as it was, with ``filename``.
    """
    try:
        yield
    except Exception as error:
        for cause in _causes(error):
            if isinstance(cause, OSError) and cause.filename is None and cause.errno is not None:
                cause.filename = str(path)
        raise


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and those it was raised from or while handling."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _refusal(error: BaseException, text: str) -> SystemRefusal:
    refusal = SystemRefusal(text)
    refusal.__cause__ = error
    return refusal


def _text(error: OSError) -> str:
    paths = [
        os.fsdecode(p) for p in (error.filename, error.filename2) if isinstance(p, str | bytes)
    ]
    where = f"{' -> '.join(paths)}: " if paths else ""
    said = error.strerror or _of_worker(str(error)) or type(error).__name__
    return f"{where}{said}. {_remedy(error)}".rstrip()


def _of_worker(text: str) -> str:
    """Return what an error says that torch has brought from a worker, without its traceback."""
    if "Original Traceback" not in text:
        return text
    return re.split(r"^[\w.]+(?:Error|Exception|Refusal): ", text, flags=re.MULTILINE)[-1].strip()


def _remedy(error: OSError) -> str:
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return _files_remedy()
    paths = [
        os.fsdecode(p) for p in (error.filename, error.filename2) if isinstance(p, str | bytes)
    ]
    if error.errno in (errno.ENOSPC, errno.EDQUOT) and any(_within(p, "/dev/shm") for p in paths):
        return _NO_SHARED_MEMORY
    if "No usable temporary directory" in str(error):
        return _NO_TEMPORARY
    if error.errno in (errno.ENOSPC, errno.EDQUOT) and any(map(_temporary, paths)):
        return f"The folder for temporary files is full. {_NO_TEMPORARY}"
    known = _REMEDIES.get(error.errno or 0)
    return known or "The system refused it; --debug shows where."


def _files_remedy() -> str:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return (
        f"This process may open {limit} files at once: raise the limit with ulimit -n, or lower "
        "--workers."
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _within(path: str, folder: str) -> bool:
    return os.path.abspath(path).startswith(f"{folder}/")


def _temporary(path: str) -> bool:
    """Return whether a library, and not the user, has put a file into the temporary folder."""
    folder = os.path.abspath(tempfile.gettempdir())
    name = os.path.relpath(os.path.abspath(path), folder).split("/")[0]
    return re.match(r"tmp|pymp-|fastleuk-|torch", name) is not None
