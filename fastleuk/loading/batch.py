"""What every loader yields, and what every loader is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """A batch on the loader's device.

    Attributes:
        images: ``(B, 3, H, W)`` in channels_last memory (NHWC), normalised; float32, or the dtype
            that the loader was asked for.
        labels: int64 ``(B,)``.
        indices: int64 ``(B,)``, rows of the manifest.
    """

    images: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor


class Loader(Protocol):
    """Batches of an epoch, from any step on; as a context manager it closes itself."""

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of ``epoch`` from batch ``start`` on."""

    def close(self) -> None:
        """Free threads, processes and memory, again and again if need be.

        An epoch left midway ends with that; a later epoch starts them anew.
        """

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
