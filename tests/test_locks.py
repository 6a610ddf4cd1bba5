"""Locks between processes: one builds, the others wait; whoever is killed leaves nothing held."""

import errno
import fcntl
import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

from fastleuk import locks
from fastleuk.data.dataset import load_dataset
from fastleuk.data.decoded.read import is_sound
from fastleuk.data.decoded.write import pieces, write_cache
from fastleuk.data.user_cache.unfinished import being_built
from fastleuk.errors import DataError
from fastleuk.locks import is_held, locked, owned, read_owner
from tests.makers.cells import PROJECT, SUBJECT_REGEX

SOON = 30
"""Seconds after which something hangs."""


def _build(dataset, folder, decode):
    return write_cache(dataset, folder, decode, size=8, backend="none")


def _black(rows):
    for piece in pieces(rows):
        yield np.zeros((len(piece), 8, 8, 3), np.uint8), np.zeros((len(piece), 3), np.float32)


class _Gate:
    """A decoder that says when it starts, waits, and counts how many work at once."""

    def __init__(self):
        self.inside = self.most = self.builds = 0
        self.started = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def __call__(self, rows):
        self.inside += 1
        self.builds += 1
        self.most = max(self.most, self.inside)
        self.started.release()
        try:
            assert self.go.acquire(timeout=SOON)
            if self.builds == 1:
                raise DataError("the first one fails midway")
            yield from _black(rows)
        finally:
            self.inside -= 1


def test_a_builder_that_fails_hands_on_to_one_and_only_one(cells, tmp_path):
    """The second one waits on the first one's lock, the third comes when the first has gone."""
    dataset = load_dataset(cells, subject_regex=SUBJECT_REGEX)
    gate, ends = _Gate(), []

    def build():
        try:
            ends.append(_build(dataset, tmp_path, gate))
        except DataError as error:
            ends.append(error)

    threads = [threading.Thread(target=build) for _ in range(3)]
    threads[0].start()
    assert gate.started.acquire(timeout=SOON)
    threads[1].start()
    assert not gate.started.acquire(timeout=0.3)  # it waits
    gate.go.release()
    assert gate.started.acquire(timeout=SOON)
    threads[2].start()
    assert not gate.started.acquire(timeout=0.3)
    gate.go.release()
    for thread in threads:
        thread.join(SOON)
    assert gate.most == 1
    assert gate.builds == 2
    (failed,) = [end for end in ends if isinstance(end, DataError)]
    assert "midway" in str(failed)
    (key,) = {end for end in ends if end is not failed}
    assert is_sound(key)
    assert list(tmp_path.glob("*.lock"))  # whoever still waits for it and who comes now meet


BUILDER = """
    import sys, time
    from pathlib import Path
    from fastleuk.data.dataset import load_dataset
    from tests.test_locks import SUBJECT_REGEX, _black, _build

    def decode(rows):
        if sys.argv[3] == "sleep":
            print("building", flush=True)
            time.sleep(60)
        print("decoded", flush=True)
        yield from _black(rows)

    dataset = load_dataset(sys.argv[1], subject_regex=SUBJECT_REGEX)
    print("ready", flush=True)
    _build(dataset, Path(sys.argv[2]), decode)
    print("done", flush=True)
"""


def test_of_three_processes_one_is_killed_and_the_others_end_well(cells, tmp_path):
    def start(how):
        command = [sys.executable, "-c", textwrap.dedent(BUILDER), cells, tmp_path, how]
        return subprocess.Popen(
            [*map(str, command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
        )

    first = start("sleep")
    others = []
    try:
        assert first.stdout.readline() == "ready\n"
        assert first.stdout.readline() == "building\n"
        others = [start("build") for _ in range(2)]
        assert [process.stdout.readline() for process in others] == ["ready\n"] * 2
        first.kill()
        said = [process.communicate(timeout=SOON) for process in others]
    finally:
        for process in (first, *others):
            process.kill()
        first.communicate()
    assert [process.returncode for process in others] == [0, 0], said
    assert sorted(out for out, _ in said) == ["decoded\ndone\n", "done\n"]
    assert not list(tmp_path.glob("*.partial"))


def test_a_held_lock_is_refused_with_its_owner_and_free_after_a_kill(tmp_path):
    path = tmp_path / "run.lock"
    code = f"""
        import time
        from pathlib import Path
        from fastleuk.locks import owned
        with owned(Path({str(path)!r}), busy=ValueError):
            print("held", flush=True)
            time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        assert is_held(path)
        owner = read_owner(path)
        assert owner is not None
        assert owner.pid == holder.pid
        with pytest.raises(ValueError, match=rf"pid {holder.pid} since \d{{4}}-"):  # noqa: SIM117
            with owned(path, busy=ValueError):
                pytest.fail("held twice")
        assert read_owner(path) == owner  # the one that was refused leaves it
    finally:
        holder.kill()
        holder.communicate()
    assert not is_held(path)
    assert read_owner(path) == owner  # that is how a killed one is known
    with owned(path, busy=ValueError):
        assert read_owner(path).pid != holder.pid
    assert read_owner(path) is None
    assert path.exists()


def test_a_lock_can_be_taken_again_after_an_error(tmp_path):
    path = tmp_path / "x.lock"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), locked(path):
            raise KeyboardInterrupt
        with pytest.raises(KeyboardInterrupt), owned(path, busy=ValueError):
            raise KeyboardInterrupt
    assert not is_held(path)
    assert not is_held(tmp_path / "none.lock")
    assert not (tmp_path / "none.lock").exists()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_work_continues_where_files_have_no_locks(tmp_path, monkeypatch, capsys, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(locks, "_without_locks", set())
    path = tmp_path / "x.lock"
    with locked(path):
        pass
    with owned(path, busy=ValueError):
        assert read_owner(path) is not None
    with pytest.raises(OSError, match=os.strerror(number)):  # it can't be known
        is_held(path)
    assert being_built(tmp_path / "x.partial")  # so that nobody clears it
    assert capsys.readouterr().out.count("has no locks") == 1


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES])
def test_a_lock_that_another_process_holds_is_held(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    path = tmp_path / "x.lock"
    path.touch()
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert is_held(path)
    with pytest.raises(ValueError, match="another process"), owned(path, busy=ValueError):
        pytest.fail("held twice")
