"""Distributed training: how the processes of a run meet, share the gradient, and end together.

Started by ``torchrun --nproc-per-node N -m fastleuk train …`` or, in SLURM, by ``srun
--kill-on-bad-exit=1 fastleuk train …``. A process that ends, by an error or killed, ends all: its
connections close, and every other one stops at its next exchange.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import torch
from torch import distributed as dist
from torch import nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from fastleuk.errors import ConfigError, FastleukError
from fastleuk.models.device import choose_device
from fastleuk.os_errors import as_refusal
from fastleuk.stop_signals import ended_at_once
from fastleuk.training.distributed.launch import Launch
from fastleuk.training.distributed.ranks import LostProcessError, Ranks
from fastleuk.training.optimizer import BATCH_NORMS

TIMEOUT = timedelta(minutes=10)
"""For the processes to meet, and for the others at each exchange in training: one that hangs
without dying ends the run after this."""

SOON = 3.0
"""Seconds after which a process that waits for the others says so."""

PATIENCE = timedelta(hours=24)
"""For what one process does while the others wait: reading the data, building a cache."""

GRACE = 3.0
"""Seconds that an error in another process than the first waits for the first to have it too."""

_OVER = "over"
Tell = Callable[[BaseException, str], None]


@contextmanager
def joined(launch: Launch, tell: Tell) -> Iterator[Ranks]:
    """Meet the other processes, and part from them at the end.

    An error in the block ends this process here, after which the others can't go on and end too.
    One that all processes meet is told by the first alone.

    Args:
        launch: Which process this is.
        tell: Prints an error, with the process's name in front if that is not empty.
    """
    store: Any = None
    try:
        store = _meet(launch)
        yield Ranks(
            rank=launch.rank,
            world_size=launch.world_size,
            local_rank=launch.local_rank,
            sharing=launch.sharing,
            launcher=launch.launcher,
            waiting=dist.new_group(backend="gloo", timeout=PATIENCE),
        )
    except (Exception, KeyboardInterrupt) as error:
        code = _end(_translated(error), launch, store, tell)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        # Not sys.exit: what waits for the lost processes (NCCL's threads) would keep this one.
        os._exit(code)
    if dist.is_initialized():
        dist.destroy_process_group()


def _meet(launch: Launch) -> Any:
    """Initialise torch's process group: gloo for the CPU, NCCL for GPUs."""
    if launch.address is not None:
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = (str(a) for a in launch.address)
        os.environ["RANK"], os.environ["WORLD_SIZE"] = str(launch.rank), str(launch.world_size)
        os.environ["LOCAL_RANK"] = str(launch.local_rank)
    where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    waiting = threading.Timer(SOON, _tell_waiting, (launch, where))
    waiting.daemon = True
    waiting.start()
    try:
        with ended_at_once():
            store, rank, world_size = next(rendezvous("env://", timeout=TIMEOUT))
            store = dist.PrefixStore("fastleuk", store)
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
                store=store,
                rank=rank,
                world_size=world_size,
                timeout=TIMEOUT,
            )
    except (RuntimeError, ValueError) as error:  # torch's DistError is a RuntimeError
        raise ConfigError(
            f"The {launch.world_size} processes could not meet at {where}: "
            f"{str(error).splitlines()[0]}. Is every one of them running, and the port free? "
            "MASTER_ADDR and MASTER_PORT name another place."
        ) from error
    finally:
        waiting.cancel()
    return store


def _tell_waiting(launch: Launch, where: str) -> None:
    alone = "env -u SLURM_STEP_ID" if launch.launcher == "srun" else "fastleuk without torchrun"
    print(
        f"Process {launch.rank} of {launch.world_size} (by {launch.launcher}) waits at {where} for "
        f"the others, {TIMEOUT.seconds // 60} minutes at most. Are they running? To train in this "
        f"process alone, start it with: {alone}",
        file=sys.stderr,
        flush=True,
    )


def rank_device(name: str, ranks: Ranks) -> torch.device:
    """Return this process's device: on GPUs that of its number on the machine.

    Args:
        name: ``auto``, ``cpu``, ``cuda`` or, in a single process, ``cuda:N``.
        ranks: The processes.

    Raises:
        ConfigError: a GPU named for all processes, or fewer GPUs than processes.
    """
    if not ranks.several:
        return choose_device(name)
    if name.startswith("cuda:"):
        raise ConfigError(
            f"--device {name} names one GPU, and each of the {ranks.world_size} processes needs "
            "its own: use cuda or auto."
        )
    device = choose_device(name)
    if device.type != "cuda":
        return device
    count, index = torch.cuda.device_count(), ranks.local_rank
    if count == 1 and ranks.launcher == "srun":  # each task sees the GPU that is bound to it
        index = 0
    if max(index, ranks.sharing - 1) >= count:
        raise ConfigError(
            f"This machine has {count} GPUs for {max(index + 1, ranks.sharing)} processes. Start "
            f"{count} of them (torchrun --nproc-per-node {count}), or use --device cpu."
        )
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device


class SharedGradients(DistributedDataParallel):
    """A network whose backward pass averages the gradient over the processes.

    Only parameters that need a gradient take part. Batch normalisation's statistics are left
    alone, see :func:`statistics`.

    Args:
        network: On its device.
        fixed: Always add up in the same order, so that with three processes and more a resumed
            run repeats bit for bit. Otherwise torch orders the gradients anew after the first
            step, which is a little faster.
    """

    def __init__(self, network: nn.Module, *, fixed: bool) -> None:
        device = next(network.parameters()).device
        with warnings.catch_warnings():
            # Newer torch wants another name, which older torch doesn't know.
            warnings.filterwarnings("ignore", "`broadcast_buffers`", FutureWarning)
            super().__init__(
                network,
                device_ids=[device] if device.type == "cuda" else None,
                broadcast_buffers=False,
                gradient_as_bucket_view=True,
                find_unused_parameters=fixed,  # torch keeps the order of the parameters then
            )
        self.trained = _trained(network)


def share_gradients(network: Any, ranks: Ranks, *, fixed: bool) -> Any:
    """Return ``network`` wrapped as :class:`SharedGradients`, if there are other processes.

    To be called again whenever other parameters are trained than before.
    """
    if not ranks.several:
        return network
    if isinstance(network, SharedGradients):
        if network.trained == _trained(network.module):
            return network
        inner = network.module
        del network.reducer, network.logger  # takes its hooks off the parameters
        network = inner
        gc.collect()
    return SharedGradients(network, fixed=fixed and ranks.world_size > 2)


def accumulating(network: Any, last: bool) -> AbstractContextManager[None]:
    """Return the context of a batch's pass: unless it is an update's last, nothing is sent."""
    if isinstance(network, SharedGradients) and not last:
        return network.no_sync()
    return nullcontext()


def _trained(network: nn.Module) -> list[str]:
    return [name for name, value in network.named_parameters() if value.requires_grad]


def statistics(model: nn.Module) -> list[torch.Tensor]:
    """Return the statistics of batch normalisation that a batch of this process has changed.

    They are averaged over the processes after each update, so that every process has the same
    model: the same moving average, the same validation, and nothing of its own in the checkpoint.
    """
    return [
        buffer
        for module in model.modules()
        if isinstance(module, BATCH_NORMS) and module.training
        for buffer in (module.running_mean, module.running_var)
        if buffer is not None
    ]


def _translated(error: BaseException) -> BaseException:
    """Turn what torch says of a lost connection into an error for the user."""
    text = str(error)
    lost = isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError)
        and any(sign in text for sign in ("gloo", "NCCL", "Connection closed", "Connection reset"))
    )
    if not lost:
        return as_refusal(error) or error
    told = LostProcessError(
        "Another process of this run has ended or no longer answers, so this one stops. Its own "
        "message says why, if it had time for one; otherwise it was killed (out of memory?). The "
        f"last checkpoint is sound. ({text.splitlines()[0] if text else type(error).__name__})"
    )
    told.__cause__ = error
    return told


def _end(error: BaseException, launch: Launch, store: Any, tell: Tell) -> int:
    """Tell the error, unless the first process has done that; returns the exit code."""
    if launch.rank == 0 or store is None:
        tell(error, "")
        if store is not None:
            with contextlib.suppress(RuntimeError):
                store.set(_OVER, str(error))
                if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
                    time.sleep(0.5)  # the store is in this process: let the others read it
    else:
        first = _first_said(store)
        if first is None or not (isinstance(error, LostProcessError) or str(error) == first):
            tell(error, f"process {launch.rank} of {launch.world_size}")
    if isinstance(error, FastleukError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return getattr(error, "exit_code", 130)  # of Ended
    return 1


def _first_said(store: Any) -> str | None:
    """Return the error of the first process, empty if it is gone; None if it has none."""
    until = time.monotonic() + GRACE
    while time.monotonic() < until:
        try:
            if store.check([_OVER]):
                return store.get(_OVER).decode()
        except RuntimeError:
            return ""
        time.sleep(0.05)
    return None
