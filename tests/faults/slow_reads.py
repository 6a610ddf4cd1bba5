"""A file system that answers late, as one over a network does, or not at all.

fanotify asks this process before a file below a mount is opened or read, by whatever library;
each answer is given after a while. Started as ``python -m tests.faults.slow_reads`` with a folder,
milliseconds and the number of questions after which all are denied (0: none is).
"""

import contextlib
import ctypes
import heapq
import os
import select
import struct
import subprocess
import sys
import time

import pytest

from tests.makers.cells import PROJECT

CONTENT, CLOEXEC = 4, 1
ADD, MOUNT = 1, 16
OPEN_PERM, ACCESS_PERM = 0x10000, 0x20000
ALLOW, DENY = 1, 2
AT_FDCWD = -100
QUESTION = struct.Struct("=IBBHQii")


@contextlib.contextmanager
def slow(folder, milliseconds, deny_after=0):
    """Delay all reads below a mounted folder; gives a list that holds their number in the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.slow_reads", str(folder), str(milliseconds),
         str(deny_after)], cwd=PROJECT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    said, count = process.stdout.readline().strip(), []
    if said != "ready":
        process.communicate()
        pytest.skip(f"fanotify can't be used here: {said}")
    try:
        yield count
    finally:
        count.append(int(process.communicate("end\n")[0]))


def _watch(folder):
    library = ctypes.CDLL(None, use_errno=True)
    watch = library.fanotify_init(CONTENT | CLOEXEC, os.O_RDONLY)
    kinds = ctypes.c_uint64(OPEN_PERM | ACCESS_PERM)
    name = os.fsencode(folder)
    if watch < 0 or library.fanotify_mark(watch, ADD | MOUNT, kinds, AT_FDCWD, name) < 0:
        print(os.strerror(ctypes.get_errno()), flush=True)
        sys.exit(0)
    return watch


def _questions(watch):
    data = os.read(watch, 1 << 16)
    while data:
        length, _, _, _, _, file, _ = QUESTION.unpack_from(data)
        data = data[length:]
        yield file


def main(folder, milliseconds, deny_after):
    """Answer until a line comes, then print how many questions there were."""
    watch, due, count = _watch(folder), [], 0
    print("ready", flush=True)
    while True:
        patience = max(0, due[0][0] - time.monotonic()) if due else None
        readable, _, _ = select.select([watch, sys.stdin], [], [], patience)
        if sys.stdin in readable and not due:
            print(count)
            return
        if watch in readable:
            for file in _questions(watch):
                heapq.heappush(due, (time.monotonic() + milliseconds / 1000, count, file))
                count += 1
        while due and due[0][0] <= time.monotonic():
            _, number, file = heapq.heappop(due)
            answer = DENY if deny_after and number >= deny_after else ALLOW
            os.write(watch, struct.pack("=iI", file, answer))
            os.close(file)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
