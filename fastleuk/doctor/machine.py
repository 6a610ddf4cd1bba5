"""Cores, memory, shared memory, disk and file limit: what this process may use of the machine."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fastleuk.doctor.finding import FAILED, OK, WARNING, Finding, size

LEAST_MEMORY, SMALL_MEMORY = 1e9, 4e9
SMALL_SHARED = 1e9
SMALL_DISK, FEW_INODES = 2e9, 1000
FEW_FILES = 1024

CGROUP = Path("/sys/fs/cgroup")
PROC = Path("/proc")


def cores(*, seen: int | None = None, quota: float | None = None) -> Finding:
    """Compare the cores that the process sees with those that its control group grants.

    Args:
        seen: Cores that the process may be scheduled on; None to ask the system.
        quota: Cores' worth of time that the control group grants; None to ask the system.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    seen = seen or (len(affinity(0)) if affinity else os.cpu_count() or 1)
    quota = cgroup_cores() if quota is None else quota
    if quota is not None and quota < seen:
        share = max(1, int(quota))
        return Finding(
            "cores",
            WARNING,
            f"{seen} are seen, but the control group grants the time of {quota:g}",
            f"Give --workers {share}, and set OMP_NUM_THREADS={share}: more threads than that "
            "only wait for each other.",
        )
    if seen == 1:
        return Finding(
            "cores", WARNING, "1", "Loading and training share it: grant the process more."
        )
    return Finding("cores", OK, str(seen))


def cgroup_cores(root: Path = CGROUP, proc: Path = PROC) -> float | None:
    """Return the cores' worth of CPU time that this process may use; None without a limit.

    Args:
        root: Where the control groups are mounted (version 2 or 1).
        proc: Where ``self/cgroup`` is.
    """
    limits = []
    for folder in _groups(root, proc, "cpu"):
        words = _words(folder / "cpu.max")
        if len(words) == 2 and words[0] != "max":
            limits.append(int(words[0]) / int(words[1]))
        quota, period = _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us")
        if quota and period and int(quota[0]) > 0:
            limits.append(int(quota[0]) / int(period[0]))
    return min(limits, default=None)


def memory(*, available: float | None = None, granted: float | None = None) -> Finding:
    """Look at the memory that is left to the process.

    Args:
        available: Bytes that the machine has left; None to ask the system.
        granted: Bytes that the control group leaves; None to ask the system.
    """
    available = _available() if available is None else available
    granted = cgroup_memory() if granted is None else granted
    left = min((each for each in (available, granted) if each is not None), default=None)
    if left is None:
        return Finding("memory", OK, "unknown on this system")
    limited = granted is not None and granted == left and granted != available
    found = f"{size(left)} available" + (" in the control group" if limited else "")
    if left < LEAST_MEMORY:
        return Finding(
            "memory", FAILED, found, "End other programs, or grant more: torch alone needs it."
        )
    if left < SMALL_MEMORY:
        return Finding(
            "memory", WARNING, found, "Lower --batch-size, --size or --workers if it is not enough."
        )
    return Finding("memory", OK, found)


def cgroup_memory(root: Path = CGROUP, proc: Path = PROC) -> float | None:
    """Return the bytes that the control group leaves to this process; None without a limit."""
    left = []
    names = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
    for folder in _groups(root, proc, "memory"):
        for limit_file, used_file in names:
            limit, used = _words(folder / limit_file), _words(folder / used_file)
            if limit and limit[0] != "max" and int(limit[0]) < 1 << 60:
                left.append(float(int(limit[0]) - (int(used[0]) if used else 0)))
    return min(left, default=None)


def shared_memory(folder: Path = Path("/dev/shm")) -> Finding:
    """Look at the room for batches that worker processes hand over, and for NCCL's."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return Finding(
            "shared memory",
            WARNING,
            f"no {folder}",
            "--loader torchvision needs it for --workers above 0; --loader dali does not.",
        )
    found = f"{size(free)} free in {folder}"
    if free < SMALL_SHARED:
        return Finding(
            "shared memory",
            WARNING,
            found,
            "--loader torchvision and several GPUs use it: in Docker, --shm-size 4g. "
            "--loader dali on one GPU or a CPU does not need it.",
        )
    return Finding("shared memory", OK, found)


def cache_folder(folder: Path) -> Finding:
    """Look at the folder that keeps decoded images: whether it can be written, room, inodes."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    name, elsewhere = "cache folder", "Set FASTLEUK_CACHE_DIR to another folder"
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
        free, inodes = shutil.disk_usage(there).free, os.statvfs(there)
    except OSError as error:
        return Finding(
            name,
            WARNING,
            f"{folder} can't be written: {error.strerror or error}",
            f"{elsewhere}, or change its permissions: without it files are scanned and decoded "
            "each time, and there is no demo set.",
        )
    found = f"{folder}: {size(free)} free"
    if free < SMALL_DISK:
        return Finding(
            name,
            WARNING,
            found,
            f"Ten thousand images of 224 pixels take 1.5 GB there. {elsewhere}, see `fastleuk "
            "cache list`, or train with --cache off.",
        )
    if inodes.f_files and inodes.f_favail < FEW_INODES:
        return Finding(
            name,
            WARNING,
            f"{found}, but only {inodes.f_favail} inodes (files)",
            f"Remove files of that file system. {elsewhere}.",
        )
    return Finding(name, OK, found)


def run_folder(folder: Path) -> Finding:
    """Look at the folder that runs are written to by default, the current one."""
    name = "run folder"
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Finding(
            name,
            WARNING,
            f"{folder} can't be written: {error.strerror or error}",
            "Give --out DIR, or start from another folder.",
        )
    found = f"{folder}: {size(free)} free"
    if free < SMALL_DISK:
        return Finding(name, WARNING, found, "Give --out DIR on another disk.")
    return Finding(name, OK, found)


def file_limit(limit: int | None = None) -> Finding:
    """Look at how many files the process may open at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = soft if limit is None else limit
    if soft == resource.RLIM_INFINITY:
        return Finding("open files", OK, "no limit")
    if soft < FEW_FILES:
        most = "unlimited" if hard == resource.RLIM_INFINITY else str(hard)
        return Finding(
            "open files",
            WARNING,
            f"{soft} at once",
            f"Raise it with `ulimit -n 4096` (at most {most}): many shards and workers need more.",
        )
    return Finding("open files", OK, f"{soft} at once")


def _groups(root: Path, proc: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control group and of those that contain it."""
    yield root  # in a container it is the group itself
    for line in _text(proc / "self" / "cgroup").splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if names and controller not in names.split(","):
            continue
        base = root / names if names else root
        if names and not base.is_dir():
            base = root / controller
        group = base / path.lstrip("/")
        while group != root and root in group.parents:
            yield group
            group = group.parent


def _available() -> float | None:
    for line in _text(PROC / "meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return float(line.split()[1]) * 1024
    return None


def _words(file: Path) -> list[str]:
    return _text(file).split()


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
