"""What a process and its children have used, from Linux's ``/proc``; None elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PROC = Path("/proc")


def tree(pid: int) -> list[int]:
    """Return the process and all that descend from it and still live."""
    parents: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields:
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo.extend(parents.get(found[-1], []))
    return found


def cpu_seconds(pid: int) -> float | None:
    """Return the CPU seconds of the tree, children that have ended included."""
    if not PROC.is_dir():
        return None
    ticks = 0
    for member in tree(pid):
        fields = _stat(member)
        if fields:  # utime, stime and, for ended children, cutime, cstime
            ticks += sum(int(value) for value in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_bytes(pid: int) -> int | None:
    """Return the memory of the tree that no file backs: what a mapped cache takes isn't in it."""
    if not PROC.is_dir():
        return None
    total = 0
    for member in tree(pid):
        try:
            text = (PROC / str(member) / "status").read_text()
        except OSError:
            continue  # ended in between
        for line in text.splitlines():
            if line.startswith(("RssAnon:", "RssShmem:")):
                total += int(line.split()[1]) * 1024
    return total


def device_bytes(device: torch.device) -> int | None:
    """Return the memory in use on a GPU, by whichever process; None for the CPU."""
    if device.type != "cuda":
        return None
    import torch

    free, total = torch.cuda.mem_get_info(device)
    return total - free


def _stat(pid: int) -> list[str]:
    """Return the fields of ``/proc/<pid>/stat`` after the name: the state is the first."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()
