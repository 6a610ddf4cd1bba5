"""What the processes of a run tell each other; every method is free in a run of one process.

Tensors and JSON go over the wire, never a pickle. All of it goes through gloo, from the CPU, also
where the gradients go through NCCL: the host does not wait for the GPU, and a process that has died
is noticed when its connection closes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import distributed as dist

from fastleuk.errors import ConfigError, FastleukError
from fastleuk.evaluation.predict import Predictions
from fastleuk.training.step_losses import NonFiniteError

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Ranks:
    """This process and the others of its run.

    Every method but the properties is to be called by all processes, in the same order.

    Attributes:
        rank: Number of this process, from 0. The first one writes, prints and decides.
        world_size: How many there are.
        local_rank: Number of this process on its machine, from 0.
        sharing: Processes that share this one's cores.
        launcher: ``torchrun``, ``srun`` or empty.
        waiting: The gloo group in which the others may wait for one process for hours.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    sharing: int = 1
    launcher: str = ""
    waiting: Any = None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.world_size > 1

    def barrier(self) -> None:
        """Wait until every process is here, however long that takes."""
        if self.several:
            dist.barrier(group=self.waiting)

    def in_turns(self, work: Callable[[], Result]) -> Result:
        """Do ``work`` in the first process, then in the first of each machine, then in the rest.

        What the one before has left on the disk, the next ones find; where the disk is not
        shared, every machine makes it once.
        """
        turn = 0 if self.first else 1 if self.local_rank == 0 else 2
        results = []
        for now in range(3 if self.several else 1):
            if now == turn:
                results.append(work())
            self.barrier()
        return results[0]

    def gather(self, value: Any) -> list[Any]:
        """Return the ``value`` (fit for JSON) of each process, by rank."""
        if not self.several:
            return [value]
        return [json.loads(part) for part in _gather(json.dumps(value).encode(), self.world_size)]

    def gather_tensors(self, tensors: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        """Return the ``tensors`` of each process, by rank, on the CPU."""
        from safetensors.torch import load, save

        if not self.several:
            return [tensors]
        whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        return [load(part) for part in _gather(save(whole), self.world_size)]

    def shared(self, value: Any) -> Any:
        """Return the first process's ``value`` (fit for JSON)."""
        return self.gather(value if self.first else None)[0] if self.several else value

    def mean(self, value: float) -> float:
        """Return the mean over the processes, summed exactly: the same number in each."""
        return math.fsum(self.gather(value)) / self.world_size if self.several else value

    def highest(self, *values: int) -> Sequence[int]:
        """Return the largest of all processes' numbers, place by place."""
        if not self.several:
            return values
        numbers = torch.tensor(values)
        dist.all_reduce(numbers, dist.ReduceOp.MAX)
        return numbers.tolist()

    def everywhere(self, flag: bool) -> bool:
        """Say whether ``flag`` is set in every process."""
        return not self.highest(int(not flag))[0]

    def require_same(self, what: dict[str, str]) -> None:
        """Refuse a run whose processes differ in what they train or on what.

        Raises:
            ConfigError: names the entries of ``what`` that differ, and whose they are.
        """
        gathered = self.gather(what)
        for key in what:
            values = [each[key] for each in gathered]
            odd = [rank for rank, value in enumerate(values) if value != values[0]]
            if odd:
                raise ConfigError(
                    f"The {self.world_size} processes don't do the same: {key} is {values[0]} in "
                    f"the first and {values[odd[0]]} in process {odd[0]}. Give all of them the "
                    "same options, the same data and machines of the same kind."
                )

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let every process raise where one does.

        Raises:
            NonFiniteError: the block raised one somewhere; the text is that of the earliest step,
                with the images of every process that found it there.
        """
        error: NonFiniteError | None = None
        try:
            yield
        except NonFiniteError as caught:
            if not self.several:
                raise
            error = caught
        if not self.highest(int(error is not None))[0]:
            return
        found = [
            (step, rank, text)
            for rank, (step, text) in enumerate(
                self.gather([error.step, str(error)] if error else [0, ""])
            )
            if text
        ]
        earliest = min(step for step, *_ in found)
        texts = [f"In process {rank}: {text}" for step, rank, text in found if step == earliest]
        raise NonFiniteError("\n".join(texts), step=earliest) from error

    def gather_predictions(self, mine: Predictions) -> Predictions:
        """Put together what each process predicted of its share of a validation.

        Args:
            mine: Of every ``world_size``-th sample, as
                :class:`fastleuk.loading.stream.EvalStream` divides them.

        Returns:
            All samples, each once, in the order that one process would have.
        """
        if not self.several:
            return mine
        names = ("indices", "labels", "logits")
        parts = self.gather_tensors({n: torch.from_numpy(getattr(mine, n)) for n in names})
        whole = {}
        for name in names:
            arrays = [part[name].numpy() for part in parts]
            joined = np.empty((sum(map(len, arrays)), *arrays[0].shape[1:]), arrays[0].dtype)
            for rank, array in enumerate(arrays):
                joined[rank :: self.world_size] = array
            whole[name] = joined
        assert len(np.unique(whole["indices"])) == len(whole["indices"])
        return Predictions(**whole)

    def average_(self, tensors: list[torch.Tensor]) -> None:
        """Set floating-point ``tensors`` of one device and dtype to their means, in place."""
        if not self.several or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        parts = flat.div_(self.world_size).split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def disband(self) -> None:
        """Part after the last common work: what is left, the first process does alone."""
        if self.several:
            self.barrier()
            dist.destroy_process_group()


ALONE = Ranks()


class LostProcessError(FastleukError):
    """Another process of the run has ended, so this one can't go on."""


def _gather(data: bytes, world_size: int) -> list[bytes]:
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(world_size)]
    dist.all_gather(sizes, torch.tensor([len(data)]))
    lengths = [int(size) for size in sizes]
    mine = torch.zeros(max(lengths), dtype=torch.uint8)
    mine[: len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    parts = [torch.zeros_like(mine) for _ in range(world_size)]
    dist.all_gather(parts, mine)
    return [part[:length].numpy().tobytes() for part, length in zip(parts, lengths, strict=True)]
