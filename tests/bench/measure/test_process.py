"""Contenders in processes of their own: their words, their allocator, what they used."""

import mmap
import os
import time

import pytest

from fastleuk.bench.measure import usage
from fastleuk.bench.measure.allocator import ALLOCATORS, choose_allocator
from fastleuk.bench.measure.process import Process
from fastleuk.errors import ConfigError, FastleukError

CHATTY = """
import sys
from fastleuk.bench.measure.process import serve
def talk(value):
    sys.stderr.write("e" * 300_000); print("o" * 300_000)
    if value == 9: import os; os.kill(os.getpid(), 9)
    if value: raise SystemExit("the last words")
    return {"said": True}
serve(lambda line: {"first": lambda _: talk(None), "say": talk})
"""


def test_a_contender_that_prints_much_hangs_nothing_and_its_last_words_are_kept():
    process = Process("chatty", ["-c", CHATTY], "{}")
    assert process.first == process.ask(say=0) == {"said": True}
    with pytest.raises(FastleukError, match=r"chatty ended with exit code 1: .*the last words"):
        process.ask(say=1)
    process.close()


def test_a_contender_that_is_killed_says_why_that_may_be():
    process = Process("greedy", ["-c", CHATTY], "{}")
    with pytest.raises(FastleukError, match="greedy was killed, as the kernel does"):
        process.ask(say=9)
    process.close()


MAPPED = """
import ctypes
from fastleuk.bench.measure.process import serve
from fastleuk.memory import keep_freed_memory
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "abcd"] + [("mapped", ctypes.c_size_t)] + [
        (name, ctypes.c_size_t) for name in "fghij"]
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
libc.malloc.restype = ctypes.c_void_p
def first(_):
    libc.malloc(ctypes.c_size_t(64 << 20))
    return {"mapped": libc.mallinfo2().mapped, "set": keep_freed_memory()}
serve(lambda line: {"first": first})
"""


@pytest.mark.skipif(choose_allocator("kept") != "kept", reason="not glibc's allocator")
def test_every_process_gets_the_allocator_that_was_asked_for(monkeypatch):
    monkeypatch.setenv("MALLOC_TOP_PAD_", "1")  # whatever this process has
    found = {}
    for name in ALLOCATORS:
        process = Process(name, ["-c", MAPPED], "{}", allocator=name)
        found[name] = process.first
        process.close()
    assert found["kept"] == {"mapped": 0, "set": True}  # before anything of fastleuk's has run
    assert found["system"]["mapped"] >= 64 << 20
    assert found["system"]["set"] is False  # nor do fastleuk's own loaders change it


def test_an_unknown_allocator_is_refused():
    with pytest.raises(ConfigError, match="kept, system"):
        choose_allocator("jemalloc")


@pytest.mark.skipif(not usage.PROC.is_dir(), reason="no /proc")
def test_usage_counts_this_process_and_its_children():
    import subprocess
    import sys

    before = usage.cpu_seconds(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", "x = 0\nwhile x < 1.5e7: x += 1"])
    assert child.pid in usage.tree(os.getpid())
    while child.poll() is None:
        time.sleep(0.02)
    assert usage.cpu_seconds(os.getpid()) - before > 0.2
    held = usage.memory_bytes(os.getpid())
    # Mapped, not allocated: malloc may hand out memory that this process has kept.
    with mmap.mmap(-1, 64 << 20) as block:
        block.write(b"x" * (64 << 20))
        assert usage.memory_bytes(os.getpid()) - held > 60 << 20
