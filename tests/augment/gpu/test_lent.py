"""Images that are dropped before a GPU has read them, on a GPU that does nothing yet."""

import gc
import weakref

import numpy as np
import pytest
import torch

from fastleuk.augment.gpu import lent
from fastleuk.augment.gpu.lent import BATCHES, keep_until_read, let_go


class Event:
    def __init__(self):
        self.passed = self.waited = False

    def query(self):
        return self.passed

    def synchronize(self):
        self.passed = self.waited = True


class Image:
    """A tensor that says of itself to be on a GPU."""

    device = torch.device("cuda", 0)

    def __init__(self, tensor):
        self._tensor, self.streams = tensor, []

    def record_stream(self, stream):
        self.streams.append(stream)

    def untyped_storage(self):
        return self._tensor.untyped_storage()


@pytest.fixture
def events(monkeypatch):
    """Those that were recorded."""
    found = []

    class Stream:
        def record_event(self):
            found.append(Event())
            return found[-1]

    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: Stream())
    monkeypatch.setattr(lent, "_holds", {})
    return found


def by_dlpack():
    return Image(torch.from_dlpack(np.zeros((2, 2, 3), np.uint8)))


def is_alive(reference):
    gc.collect()
    return reference() is not None


def test_memory_of_others_is_held_until_it_has_been_read(events):
    image = by_dlpack()
    alive = weakref.ref(image)
    keep_until_read([image])
    del image
    assert is_alive(alive)
    keep_until_read([by_dlpack()])
    assert is_alive(alive)  # its event has not passed
    events[0].passed = True
    keep_until_read([by_dlpack()])
    assert not is_alive(alive)
    assert not any(event.waited for event in events)


def test_torchs_own_memory_is_left_to_its_allocator(events):
    image = Image(torch.zeros(2, 2, 3, dtype=torch.uint8)[1:])
    alive = weakref.ref(image)
    keep_until_read([image])
    assert len(image.streams) == 1
    del image
    assert not is_alive(alive)
    assert not events


def test_no_more_batches_are_held_than_there_is_room_for(events):
    for _ in range(BATCHES + 2):
        keep_until_read([by_dlpack()])
    assert [event.waited for event in events] == [True] * 2 + [False] * BATCHES
    alive = weakref.ref(image := by_dlpack())
    keep_until_read([image])
    del image
    let_go()
    assert not is_alive(alive)
    assert all(event.passed for event in events)


def test_on_the_host_nothing_is_held(events):
    keep_until_read([torch.zeros(2, 2, 3, dtype=torch.uint8)])
    assert not events
