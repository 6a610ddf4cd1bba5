"""Who waits for whom: the upload ring on a device whose streams run late and in any order."""

import threading
import weakref
from collections import deque
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastleuk.augment.gpu.packing import Array
from fastleuk.augment.gpu.streams import CudaStreams, HostStreams
from fastleuk.augment.gpu.upload import UploadRing


def arrays(number, length, _device):
    """A number of int16, then twice as float32, at the end of the upload."""
    head = np.full(length, number, np.int16)
    return [Array(head), Array(np.full(2, number, np.float32))]


def send(ring, values):
    """Upload one array."""
    return ring.upload(lambda _: [Array(values)], values.nbytes)


class LateGpu:
    """Two streams that do what was put on them later, in turns that a generator chooses.

    A copy takes the host's bytes when it runs, not when it was asked for; so does a kernel with
    the device's. Whoever overwrites a buffer too soon is found out by what a kernel has read.
    """

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.streams = {"upload": deque(), "step": deque()}
        self.passed = set()
        self.events = 0
        self.host_waits = self.made = 0
        self.used = []
        self.memory = {}

    # what UploadRing asks for
    def host_buffer(self, nbytes):
        return np.zeros(nbytes, np.uint8)

    def device_buffer(self, nbytes):
        """A view; once it is dropped, somebody else writes into its memory at once."""
        self.made += 1
        memory = np.zeros(nbytes, np.uint8)
        buffer = memory.view()
        weakref.finalize(buffer, memory.fill, 255)
        self.memory[id(buffer)] = memory
        return buffer

    def step_uses(self, buffer):
        self.used.append(id(buffer))

    def copy(self, target, source, nbytes):
        part, memory = slice(nbytes), self.memory[id(target)]
        self.streams["upload"].append(("do", lambda: memory.__setitem__(part, source[part])))

    def upload_waits(self, event):
        self.streams["upload"].append(("wait", event))

    def step_waits(self, event):
        self.streams["step"].append(("wait", event))

    def _record(self, stream):
        self.events += 1
        event = self.events
        self.streams[stream].append(("do", lambda: self.passed.add(event)))
        return event

    def after_upload(self):
        return self._record("upload")

    def after_step(self):
        return self._record("step")

    def wait(self, event):
        self.host_waits += event not in self.passed
        while event not in self.passed:
            assert self.run_one(), "the host waits for what can never happen"

    # what happens on the device
    def kernel(self, buffer, seen):
        memory = self.memory[id(buffer)]
        self.streams["step"].append(("do", lambda: seen.append(memory.copy())))

    def run_one(self):
        ready = [
            queue for queue in self.streams.values()
            if queue and (queue[0][0] == "do" or queue[0][1] in self.passed)
        ]  # fmt: skip
        if not ready:
            return False
        kind, what = ready[self.rng.integers(len(ready))].popleft()
        if kind == "do":
            what()
        return True

    def run_some(self, most):
        for _ in range(self.rng.integers(most + 1)):
            self.run_one()


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    slots=st.integers(1, 4),
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    speed=st.integers(0, 6),
)
def test_no_buffer_is_overwritten_while_anybody_reads_it(seed, slots, lengths, speed):
    """Whatever the delays, and whether buffers are made larger in between."""
    gpu = LateGpu(seed)
    ring = UploadRing(gpu, slots=slots)
    seen = []
    for number, length in enumerate(lengths):
        slot = ring.upload(partial(arrays, number, 2 * length), 4 * length + 8, room=5 * length)
        gpu.run_some(speed)
        with ring.reading(slot) as buffer:
            assert len(buffer) >= max(4 * length + 8, 5 * length)
            assert gpu.used[-1] == id(buffer)
            gpu.kernel(buffer, seen)
            gpu.kernel(buffer, seen)
        gpu.run_some(speed)
    while gpu.run_one():
        pass
    assert not any(gpu.streams.values())
    for position, found in enumerate(seen):
        number, end = position // 2, 4 * lengths[position // 2]
        assert (found[:end].view(np.int16) == number).all()
        assert (found[end : end + 8].copy().view(np.float32) == number).all()


def test_uploads_run_ahead_of_a_busy_device_without_a_wait():
    gpu = LateGpu(0)
    ring = UploadRing(gpu, slots=4)
    for _ in range(4):  # the device does nothing at all
        with ring.reading(send(ring, np.zeros(8, np.uint8))):
            pass
    assert gpu.host_waits == 0
    send(ring, np.zeros(8, np.uint8))
    assert gpu.host_waits == 1


def test_buffers_are_made_again_only_when_they_are_too_small():
    gpu = LateGpu(0)
    ring = UploadRing(gpu, slots=1)
    for nbytes in (100, 90, 125, 100, 126, 10):  # a fourth is to spare
        with ring.reading(send(ring, np.zeros(nbytes, np.uint8))):
            pass
    assert gpu.made == 2


def test_a_pool_fills_the_parts():
    from concurrent.futures import ThreadPoolExecutor

    ring = UploadRing(HostStreams(), slots=1)
    parts = [Array(np.full(3 + i, i, np.uint8)) for i in range(20)]
    with ThreadPoolExecutor(4) as pool:
        slot = ring.upload(lambda _: parts, sum(part.nbytes for part in parts), each=pool.map)
    with ring.reading(slot) as buffer:
        expected = np.concatenate([part.array for part in parts])
        assert buffer.numpy()[: len(expected)].tolist() == expected.tolist()


def test_another_thread_may_upload_but_not_into_a_slot_that_is_lent():
    gpu = LateGpu(1)
    ring = UploadRing(gpu, slots=1)
    done = threading.Event()

    def next_upload():
        slot = send(ring, np.array([2], np.uint8))
        with ring.reading(slot):
            done.set()

    slot = send(ring, np.array([1], np.uint8))
    thread = threading.Thread(target=next_upload)
    with ring.reading(slot):
        thread.start()
        assert not done.wait(0.05)
    thread.join(10)
    assert done.is_set()


def test_without_a_device_what_is_uploaded_is_there_at_once():
    ring = UploadRing(HostStreams(), slots=2)
    with ring.reading(send(ring, np.array([1, 2], np.uint16))) as buffer:
        assert buffer[:4].numpy().view(np.uint16).tolist() == [1, 2]


@pytest.mark.gpu
def test_a_gpu_reads_what_was_uploaded_for_it():
    import torch

    ring = UploadRing(CudaStreams("cuda:0"), slots=2)
    seen = []
    for number in range(40):
        torch.cuda._sleep(1_000_000)  # the device lags behind the host
        slot = send(ring, np.full(1024 + 100 * number, number, np.uint8))
        with ring.reading(slot) as buffer:
            seen.append(buffer.clone())
    torch.cuda.synchronize()
    assert [int(found[1023]) for found in seen] == list(range(40))


def test_a_slot_comes_back_if_its_arrays_cannot_be_had():
    ring = UploadRing(HostStreams(), slots=1)
    with pytest.raises(ZeroDivisionError):
        ring.upload(lambda _: 1 / 0, 4)
    with ring.reading(send(ring, np.array([7], np.int32))) as buffer:
        assert buffer.numpy()[:4].view(np.int32)[0] == 7
