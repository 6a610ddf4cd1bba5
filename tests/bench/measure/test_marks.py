"""Marks on a device: what waited for what."""

import pytest
import torch

from fastleuk.bench.measure.marks import Clock, HostMark, Waits, new_mark


class Simulated:
    """A mark on a device whose work ends when the test says so."""

    now = 0.0

    def __init__(self):
        self.waited_for = False

    def record(self):
        self.at = Simulated.now

    def synchronize(self):
        self.waited_for = True

    def elapsed_time(self, end):
        return end.at - self.at


def test_data_wait_is_the_devices_idle_time_not_the_hosts():
    waits = Waits(Simulated)
    for gap, step in ((5, 100), (0, 100), (20, 100)):  # milliseconds on the device
        Simulated.now += gap
        waits.fed()
        Simulated.now += step
        waits.stepped()
    assert waits.seconds() == pytest.approx(0.025)


def test_the_host_stays_a_few_steps_ahead_and_waits_for_no_later_one():
    made = []

    def make():
        made.append(Simulated())
        return made[-1]

    waits = Waits(make)
    for _ in range(12):
        waits.fed()
        waits.stepped()
    ends = [made[0], *made[2::2]]
    assert [mark.waited_for for mark in ends] == [True] * 5 + [False] * 8


def test_a_clock_counts_batches_from_mark_to_mark():
    clock = Clock(HostMark)
    for _ in range(3):
        clock.mark()
    assert len(clock) == len(clock.latencies()) == 3
    assert sum(clock.latencies()) <= clock.host_seconds


def test_marks_of_a_gpu_are_events_on_its_own_stream(monkeypatch):
    """Of the device that is measured: torch's current one may be another."""
    recorded = []

    class Event:
        def __init__(self, *, enable_timing):
            assert enable_timing

        def record(self, stream):
            recorded.append(stream)

        def elapsed_time(self, end):
            assert isinstance(end, Event)
            return 2.5

        def synchronize(self):
            recorded.append("waited")

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    clock = Clock(new_mark(torch.device("cuda", 1)))
    clock.mark()
    assert clock.latencies() == [0.0025]
    assert recorded == ["stream of cuda:1"] * 2 + ["waited"]
    assert new_mark(torch.device("cpu")) is HostMark
