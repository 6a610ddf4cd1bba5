"""Who waits for whom: the upload ring on a device whose streams run late and in any order."""

import threading
from collections import deque
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastleuk.augment.gpu.upload import CudaStreams, HostStreams, UploadRing


def arrays(number, _device):
    return [np.full(4, number, np.int16), np.full(2, number, np.float32)]


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
        self.host_waits = 0

    # what UploadRing asks for
    def host_buffer(self, nbytes):
        return np.zeros(nbytes, np.uint8)

    def device_buffer(self, nbytes):
        return np.zeros(nbytes, np.uint8)

    def copy(self, target, source, nbytes):
        part = slice(nbytes)
        self.streams["upload"].append(("do", lambda: target.__setitem__(part, source[part])))

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
        self.streams["step"].append(("do", lambda: seen.append(buffer.copy())))

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
    batches=st.integers(1, 30),
    speed=st.integers(0, 6),
)
def test_no_buffer_is_overwritten_while_anybody_reads_it(seed, slots, batches, speed):
    gpu = LateGpu(seed)
    ring = UploadRing(gpu, slots=slots, nbytes=16)
    seen = []
    for number in range(batches):
        slot = ring.upload(partial(arrays, number))
        gpu.run_some(speed)
        with ring.reading(slot) as buffer:
            gpu.kernel(buffer, seen)
            gpu.kernel(buffer, seen)
        gpu.run_some(speed)
    while gpu.run_one():
        pass
    assert not any(gpu.streams.values())
    numbers = [int(found[:8].view(np.int16)[3]) for found in seen]
    floats = [float(found[8:].view(np.float32)[1]) for found in seen]
    expected = [number for number in range(batches) for _ in range(2)]
    assert numbers == expected
    assert floats == expected


def test_uploads_run_ahead_of_a_busy_device_without_a_wait():
    gpu = LateGpu(0)
    ring = UploadRing(gpu, slots=4, nbytes=8)
    for _ in range(4):  # the device does nothing at all
        with ring.reading(ring.upload(lambda _: [np.zeros(8, np.uint8)])):
            pass
    assert gpu.host_waits == 0
    ring.upload(lambda _: [np.zeros(8, np.uint8)])
    assert gpu.host_waits == 1


def test_another_thread_may_upload_but_not_into_a_slot_that_is_lent():
    gpu = LateGpu(1)
    ring = UploadRing(gpu, slots=1, nbytes=1)
    done = threading.Event()

    def next_upload():
        slot = ring.upload(lambda _: [np.array([2], np.uint8)])
        with ring.reading(slot):
            done.set()

    slot = ring.upload(lambda _: [np.array([1], np.uint8)])
    thread = threading.Thread(target=next_upload)
    with ring.reading(slot):
        thread.start()
        assert not done.wait(0.05)
    thread.join(10)
    assert done.is_set()


def test_without_a_device_what_is_uploaded_is_there_at_once():
    ring = UploadRing(HostStreams(), slots=2, nbytes=6)
    with ring.reading(ring.upload(lambda _: [np.array([1, 2], np.uint16)])) as buffer:
        assert buffer[:4].numpy().view(np.uint16).tolist() == [1, 2]


@pytest.mark.gpu
def test_a_gpu_reads_what_was_uploaded_for_it():
    import torch

    ring = UploadRing(CudaStreams("cuda:0"), slots=2, nbytes=1024)
    seen = []
    for number in range(40):
        torch.cuda._sleep(1_000_000)  # the device lags behind the host
        slot = ring.upload(lambda _, n=number: [np.full(1024, n, np.uint8)])
        with ring.reading(slot) as buffer:
            seen.append(buffer.clone())
    torch.cuda.synchronize()
    assert [int(found[-1]) for found in seen] == list(range(40))


def test_a_slot_comes_back_if_its_arrays_cannot_be_had():
    ring = UploadRing(HostStreams(), slots=1, nbytes=4)
    with pytest.raises(ZeroDivisionError):
        ring.upload(lambda _: 1 / 0)
    with ring.reading(ring.upload(lambda _: [np.array([7], np.int32)])) as buffer:
        assert buffer.numpy().view(np.int32)[0] == 7
