"""A folder in which commands run, and what is in it before and after."""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
LIMIT = 600
"""Seconds after which a command counts as hanging."""


class Loss(Exception):
    """A promise that was not kept."""


@dataclass(frozen=True)
class Ended:
    """How a command has ended.

    Attributes:
        code: Exit code; negative: the signal that has killed it.
        said: Its output and errors.
        seconds: That it took.
    """

    code: int
    said: str
    seconds: float

    def must(self, *codes: int) -> Ended:
        """Return itself.

        Raises:
            Loss: it has another exit code than one of ``codes``, or shows a traceback.
        """
        if self.code not in codes:
            raise Loss(f"exit code {self.code}, not {' or '.join(map(str, codes))}: {self.said}")
        if self.code >= 0 and "Traceback" in self.said:
            raise Loss(f"a traceback: {self.said}")
        return self


class Place:
    """A folder with a cache and a folder for temporary files of its own.

    Args:
        folder: Is there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.temporary = folder / "tmp"
        self.temporary.mkdir(exist_ok=True)
        self.environment = os.environ | {
            "PYTHONPATH": str(PROJECT),
            "OMP_NUM_THREADS": "1",
            "FASTLEUK_CACHE_DIR": str(folder / "cache"),
            "TMPDIR": str(self.temporary),
            "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        }

    def start(
        self, words: Sequence[object], output: int, *, bytes_a_file: int = 0
    ) -> subprocess.Popen[str]:
        """Start ``fastleuk WORDS``; ``bytes_a_file`` is the size at which writing fails."""

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_a_file, bytes_a_file))

        return subprocess.Popen(
            [sys.executable, "-m", "fastleuk", *map(str, words)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=limit if bytes_a_file else None,
        )

    def run(
        self,
        words: Sequence[object],
        *,
        kill_after: float = 0,
        meanwhile: Callable[[subprocess.Popen[str]], None] | None = None,
        bytes_a_file: int = 0,
    ) -> Ended:
        """Run a command to its end.

        Args:
            words: Behind ``fastleuk``.
            kill_after: Seconds after which it gets SIGKILL, with all its children.
            meanwhile: Called once it is started.
            bytes_a_file: Size of a file at which writing fails.

        Raises:
            Loss: it hangs.
        """
        begun = time.monotonic()
        process = self.start(words, subprocess.PIPE, bytes_a_file=bytes_a_file)
        try:
            if meanwhile is not None:
                meanwhile(process)
            said, _ = process.communicate(timeout=kill_after or LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
            if not kill_after:
                raise Loss(f"{words[0]} hangs: {said}") from None
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        return Ended(process.returncode, said, time.monotonic() - begun)

    def leftovers(self) -> list[str]:
        """Return half-written and temporary files anywhere below the folder."""
        return sorted(
            path.relative_to(self.folder).as_posix()
            for path in self.folder.rglob("*")
            if path.name.endswith((".tmp", ".partial"))
            or path.name.startswith(".tmp")
            or self.temporary in path.parents
        )


def hashes(out: Path, patterns: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 of each file of ``out``, which may be a file itself.

    Raises:
        Loss: nothing matches a pattern.
    """
    if out.is_file():
        return {"": hashlib.sha256(out.read_bytes()).hexdigest()}
    found = {}
    for pattern in patterns:
        files = sorted(out.glob(pattern))
        if not files:
            raise Loss(f"no {pattern} in {out}")
        for file in files:
            name = file.relative_to(out).as_posix()
            found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def mount(*words: str) -> bool:
    """Give ``mount``; return whether it may be done here."""
    return subprocess.run(["mount", *words], capture_output=True).returncode == 0


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Callable[[], None] | None]:
    """Mount a tmpfs over a folder; gives what makes it larger, or None where that is forbidden."""
    if not mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)):
        yield None
        return
    try:
        yield lambda: _must_mount("-o", "remount,size=256m", str(folder))
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[bool]:
    """Make a folder read-only, for root too; gives whether that can be done here."""
    if mount("--bind", str(folder), str(folder)):
        try:
            yield mount("-o", "remount,ro,bind", str(folder))
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        return
    folder.chmod(0o555)
    try:
        yield os.geteuid() != 0
    finally:
        folder.chmod(0o755)


def _must_mount(*words: str) -> None:
    if not mount(*words):
        raise RuntimeError(f"mount {' '.join(words)} failed")
