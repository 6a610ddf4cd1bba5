"""How a folder becomes a run's own, and stays so while it is trained."""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from fastleuk.errors import CheckpointError, DataError, listed
from fastleuk.locks import is_held, owned, read_owner
from fastleuk.run_folder.identity import PLACES, differences, flat
from fastleuk.run_folder.names import CONFIG, LOCK, POLICY, SKIPPED
from fastleuk.run_folder.state import is_new
from fastleuk.shell import quoted

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def plain_name(backbone: str) -> str:
    """Return a backbone's name as a part of a folder's, with where it comes from.

    ``fastleuk.models.backbone_name.file_name`` leaves that out, as files of weights do.

    >>> plain_name("hf-hub:timm/vit_tiny")
    'hf-hub-timm-vit_tiny'
    """
    return re.sub(r"[^\w.+-]+", "-", backbone)


@contextmanager
def reserved(out: str, backbone: str) -> Iterator[str]:
    """Give the run a folder: ``out``, or where that is empty a new one, ``runs/DATE-BACKBONE``.

    Runs that start in the same second get folders of their own. A new one that is still empty
    when the block fails is removed.

    Raises:
        DataError: it can't be made.
    """
    if out:
        yield out
        return
    folder = _new_folder(Path("runs"), f"{time.strftime('%Y%m%d-%H%M%S')}-{plain_name(backbone)}")
    try:
        yield str(folder)
    except BaseException:
        with suppress(OSError):  # it holds something
            folder.rmdir()
        raise


def _new_folder(parent: Path, name: str) -> Path:
    number = 1
    while True:
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
            return folder
        except FileExistsError:
            if not parent.is_dir():
                raise _unwritable(folder, FileExistsError(f"{parent} is a file")) from None
            number += 1
        except OSError as error:
            raise _unwritable(folder, error) from error


@contextmanager
def hold(folder: Path, *, lock: str = LOCK, what: str = "trained") -> Iterator[None]:
    """Be the one process that trains or resumes the run in a folder that exists.

    Args:
        folder: The run folder, or that of several runs.
        lock: Name of the lock file.
        what: What happens there, for others.

    Raises:
        CheckpointError: another one is, or the folder can't be written.
    """

    def busy(owner: str) -> CheckpointError:
        return _busy(folder, owner, what)

    with ExitStack() as stack:
        try:
            stack.enter_context(owned(folder / lock, busy=busy))
        except OSError as error:
            raise CheckpointError(
                f"Can't write into {folder}: {error.strerror or error}. Only where that is "
                "allowed can a run go on; a copy of the folder can."
            ) from error
        yield


def check_idle(folder: Path, *, lock: str = LOCK, what: str = "trained") -> None:
    """Refuse early what a process works on at this moment.

    Raises:
        CheckpointError: names the process.
    """
    try:
        held = is_held(folder / lock)
    except OSError:  # told when it is to be written
        return
    if held:
        raise _busy(folder, str(read_owner(folder / lock) or "another process"), what)


def check_vacant(run_dir: Path, config: Mapping[str, Any], policy: Mapping[str, Any]) -> bool:
    """Refuse a folder that a new run can't have.

    Args:
        run_dir: The folder; it need not exist.
        config: Tables of the run's configuration.
        policy: Options of its augmentation.

    Returns:
        Whether this run has been begun there already and was stopped before its first checkpoint.

    Raises:
        DataError: it holds something else than the beginning of a run with this configuration.
        CheckpointError: a process trains there.
    """
    check_idle(run_dir)
    try:
        there = {file.name for file in run_dir.iterdir()} if run_dir.exists() else set()
        if there <= {LOCK, "run.owner"}:
            return False
        if not is_new(run_dir):
            raise DataError(
                f"--out {run_dir} is not empty. Choose a new folder, or go on with the run in it: "
                f"fastleuk train --resume {quoted(run_dir)}"
            )
        _same_beginning(run_dir, config, policy)
    except OSError as error:
        raise _unwritable(run_dir, error) from error
    return True


def _same_beginning(run_dir: Path, config: Mapping[str, Any], policy: Mapping[str, Any]) -> None:
    before: dict[str, Any] = {}
    try:
        for name, prefix in ((CONFIG, ""), (POLICY, "policy.")):
            text = (run_dir / name).read_text(encoding="utf-8")
            before.update(flat(tomllib.loads(text), prefix))
    except FileNotFoundError:  # the beginning of a beginning
        return
    except ValueError as error:
        raise DataError(
            f"--out {run_dir} holds a run whose {name} can't be read ({error}). Choose a new "
            "folder."
        ) from error
    free = PLACES | {"augment.augment"}
    wrong = differences(before, {**flat(config), **flat({"policy": policy})}, free=free)
    if wrong:
        raise DataError(
            f"--out {run_dir} holds another run, which was stopped before its first checkpoint:\n"
            f"{listed(wrong, 20)}\n"
            f"Choose a new folder, or start that run: fastleuk train --resume {quoted(run_dir)}"
        )


@contextmanager
def claim(run_dir: Path) -> Iterator[None]:
    """Make the folder of a new run, which :func:`check_vacant` has allowed, and hold it.

    What a run that was stopped before its first checkpoint has left there is removed.

    Raises:
        DataError: it can't be made, or another process has been faster.
        CheckpointError: another process is at it.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(run_dir, error) from error
    with hold(run_dir):
        clear_beginning(run_dir)
        yield


def clear_beginning(run_dir: Path) -> None:
    """Remove of a run's beginning what isn't written anew; the caller holds the lock.

    Raises:
        DataError: there is more than a beginning: another process has trained here meanwhile.
    """
    if not is_new(run_dir):
        raise DataError(
            f"--out {run_dir} has been filled meanwhile by another run. Choose a new folder."
        )
    shutil.rmtree(run_dir / "tensorboard", ignore_errors=True)
    for leftover in (run_dir / SKIPPED, *run_dir.glob(".*.tmp")):
        leftover.unlink(missing_ok=True)


def _busy(folder: Path, owner: str, what: str) -> CheckpointError:
    return CheckpointError(
        f"{folder} is being {what} by {owner}. Wait until that has ended, or stop it."
    )


def _unwritable(run_dir: Path, error: OSError) -> DataError:
    return DataError(f"Can't write the run folder {run_dir}: {error}. Choose --out.")
