"""A batch on its way to a GPU: its buffer is written once the last reader has finished, not sooner.

Parameters, and pixels that are not there yet, go up while the GPU works on earlier batches. Three
things happen to a buffer in turn, each on a clock of its own: the host writes it, a stream of its
own copies it, the stream of the training step reads it. :class:`UploadRing` says who waits for
whom. It knows streams and events only by what they do (:mod:`.streams`), so that the tests can put
slow ones in their place.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastleuk.augment.gpu.packing import Upload
from fastleuk.augment.gpu.streams import Streams

ROOM_TO_GROW = 4
"""A buffer that is too small is made a fourth larger than what has to go in."""

Each = Callable[[Callable[[Any], None], Iterable[Any]], Iterable[Any]]
"""``map``, or that of a pool of threads."""


@dataclass(eq=False, slots=True)
class Slot:
    """A host buffer and the device buffer that it is copied to."""

    host: Any = None
    device: Any = None
    uploaded: Any = None
    read: Any = None


class UploadRing:
    """Buffers that are used again and again, as many uploads ahead as there are slots.

    They are made, and made larger, when they are needed.

    Args:
        streams: The device.
        slots: How many; one that no slot is left for waits.
    """

    def __init__(self, streams: Streams, *, slots: int) -> None:
        assert slots > 0
        self._streams = streams
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for _ in range(slots):
            self._free.put(Slot())

    def upload(
        self,
        parts: Callable[[Any], Sequence[Upload]],
        nbytes: int,
        *,
        room: int = 0,
        each: Each = map,
    ) -> Slot:
        """Begin to copy what ``parts`` gives, one behind the other; any thread may call this.

        Args:
            parts: Returns it, together ``nbytes``; is given the device buffer, in case that it is
                to name places in it.
            nbytes: Of all parts.
            room: Bytes that the device buffer has at least; those behind ``nbytes`` are the
                reader's to write.
            each: Fills the parts; several threads may share them.

        Returns:
            The slot, to be given to :meth:`reading`.
        """
        slot = self._free.get()
        try:
            self._send(slot, parts, nbytes, max(nbytes, room), each)
        except BaseException:
            self._free.put(slot)
            raise
        return slot

    def _send(
        self,
        slot: Slot,
        parts: Callable[[Any], Sequence[Upload]],
        nbytes: int,
        room: int,
        each: Each,
    ) -> None:
        streams = self._streams
        if slot.uploaded is not None:
            streams.wait(slot.uploaded)  # passed long ago, but for a device that is far behind
        if slot.host is None or len(slot.host) < nbytes:
            slot.host = None  # given back before more is taken
            slot.host = streams.host_buffer(nbytes + nbytes // ROOM_TO_GROW)
        if slot.device is None or len(slot.device) < room:
            if slot.read is not None:
                streams.wait(slot.read)  # whoever gets its memory next doesn't know the reader
            slot.device = slot.read = None
            slot.device = streams.device_buffer(room + room // ROOM_TO_GROW)
        _fill(slot.host, parts(slot.device), each)
        if slot.read is not None:
            streams.upload_waits(slot.read)
        streams.copy(slot.device, slot.host, nbytes)
        slot.uploaded = streams.after_upload()

    @contextmanager
    def reading(self, slot: Slot) -> Iterator[Any]:
        """Lend the device buffer to what the caller puts on its stream within the block."""
        self._streams.step_waits(slot.uploaded)
        self._streams.step_uses(slot.device)
        try:
            yield slot.device
        finally:
            slot.read = self._streams.after_step()
            self._free.put(slot)


def _fill(host: np.ndarray, parts: Sequence[Upload], each: Each) -> None:
    ends = np.cumsum([part.nbytes for part in parts]).tolist()
    places = zip(parts, [0, *ends[:-1]], ends, strict=True)

    def fill(place: tuple[Upload, int, int]) -> None:
        part, first, end = place
        part.fill(host[first:end])

    for _ in each(fill, places):
        pass
