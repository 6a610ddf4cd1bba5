"""Who started this process beside others: torchrun, or srun of SLURM. Nothing heavy is imported."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastleuk.errors import ConfigError

FIRST_PORT, PORTS = 20000, 10000
"""Without MASTER_PORT the processes of a SLURM job meet at 20000 + SLURM_JOB_ID modulo 10000."""


_SHELLS = ("bash", "sh", "dash", "zsh", "fish", "ksh", "tcsh", "csh")


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """This process among those of a run.

    Attributes:
        rank: Its number, from 0.
        world_size: How many processes there are.
        local_rank: Its number on its machine, from 0.
        sharing: Processes that share this one's cores: torchrun gives each all of the machine's,
            srun each its own (``--cpus-per-task``).
        launcher: ``torchrun``, ``srun`` or, for a single process, empty.
        address: Where the processes meet: host and port; None leaves that to torchrun.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    sharing: int = 1
    launcher: str = ""
    address: tuple[str, int] | None = None


def find_launch(environ: Mapping[str, str] = os.environ) -> Launch:
    """Read what torchrun or srun has said in the environment.

    A step of SLURM with one task, a batch script that does not use srun, and a command given by
    hand in a shell that srun has opened, are single processes.

    Raises:
        ConfigError: the variables are incomplete or contradict each other.
    """
    if "RANK" in environ and "WORLD_SIZE" in environ:
        found = Launch(
            rank=_number(environ, "RANK"),
            world_size=_number(environ, "WORLD_SIZE"),
            local_rank=_number(environ, "LOCAL_RANK", "0"),
            sharing=_number(environ, "LOCAL_WORLD_SIZE", "1"),
            launcher="torchrun",
        )
    elif "SLURM_STEP_ID" in environ and "SLURM_PROCID" in environ and not by_hand(environ):
        found = Launch(
            rank=_number(environ, "SLURM_PROCID"),
            world_size=_number(environ, "SLURM_STEP_NUM_TASKS", environ.get("SLURM_NTASKS", "1")),
            local_rank=_number(environ, "SLURM_LOCALID", "0"),
            launcher="srun",
            address=_slurm_address(environ),
        )
    elif _number(environ, "WORLD_SIZE", "1") > 1:
        raise ConfigError(
            f"WORLD_SIZE is {environ['WORLD_SIZE']}, but RANK is not set. Start the processes with "
            "torchrun or srun, or unset WORLD_SIZE."
        )
    else:
        return Launch()
    if found.rank >= found.world_size:
        raise ConfigError(
            f"The environment says that this is process {found.rank} of {found.world_size}, "
            "counted from 0. Start the processes with torchrun or srun."
        )
    return found if found.world_size > 1 else Launch()


def by_hand(environ: Mapping[str, str] = os.environ, parent: Sequence[str] | None = None) -> bool:
    """Say whether the command was typed into a shell that ``srun --pty`` has opened.

    Such a shell is a task of a step, and what is started in it inherits the step's variables, but
    the step's other tasks will never come.

    Args:
        environ: Has ``SLURM_STEP_ID`` in a step.
        parent: Command line of the process above this one; read where it is None.

    >>> step = {"SLURM_STEP_ID": "0"}
    >>> by_hand(step, ["-bash"]), by_hand(step, ["/bin/zsh", "-i"])
    (True, True)
    >>> by_hand(step, ["bash", "job.sh"]), by_hand(step, ["bash", "-c", "fastleuk train"])
    (False, False)
    >>> by_hand({}, ["-bash"])
    False
    """
    if "SLURM_STEP_ID" not in environ:
        return False
    name, *options = (_parent() if parent is None else parent) or [""]
    shell = name.rpartition("/")[2].lstrip("-") in _SHELLS
    return shell and all(word.startswith("-") and word != "-c" for word in options)


def _parent() -> list[str]:
    try:
        line = Path(f"/proc/{os.getppid()}/cmdline").read_bytes()
    except OSError:
        return []
    return os.fsdecode(line).rstrip("\0").split("\0")


def first_host(nodes: str) -> str:
    """Return the first name of SLURM's list of nodes.

    >>> first_host("gpu[07-09,12],login1")
    'gpu07'
    >>> first_host("a-3,a-4"), first_host("rack[2-3]n[10,12]")
    ('a-3', 'rack2n10')
    """
    outside = re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodes.strip())
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", outside.group()) if outside else ""


def _slurm_address(environ: Mapping[str, str]) -> tuple[str, int]:
    nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST", "")
    host = environ.get("MASTER_ADDR") or first_host(nodes)
    job = _number(environ, "SLURM_JOB_ID", "0")
    port = _number(environ, "MASTER_PORT", str(FIRST_PORT + job % PORTS))
    return host or "localhost", port


def _number(environ: Mapping[str, str], name: str, default: str | None = None) -> int:
    text = environ.get(name) or default or ""
    if not text.isdecimal():
        raise ConfigError(
            f"{name} is {text!r} in the environment, but must be a number from 0. torchrun and "
            "srun set it; unset it for a single process."
        )
    return int(text)
