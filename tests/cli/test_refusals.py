"""What the system refuses, a user hears in one line."""

import errno
import os
from tempfile import gettempdir

import pytest
import torch

from fastleuk.errors import ConfigError
from fastleuk.files import write_atomically
from fastleuk.os_errors import as_refusal


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "name another place"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EACCES, "permissions"),
        (errno.EXDEV, "--debug"),
    ],
)
def test_the_systems_refusal_is_a_line_with_path_and_remedy(fastleuk, monkeypatch, number, remedy):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number), "/there/f")

    monkeypatch.setattr("fastleuk.tracking.runs.find_runs", fail)
    code, _, error = fastleuk("runs", "x")
    assert code == 2
    assert error.startswith(f"error: /there/f: {os.strerror(number)}. ")
    assert remedy in error
    assert error.count("\n") == 1
    with pytest.raises(OSError, match="/there/f"):
        fastleuk("runs", "x", "--debug")


def test_a_refusal_is_found_behind_what_a_library_made_of_it():
    wrapped = RuntimeError("unexpected pos 64 vs 0")  # torch's
    wrapped.__context__ = OSError(errno.ENOSPC, "No space left on device")
    assert "disk is full" in str(as_refusal(wrapped))
    text = 'I/O error: Os { code: 28, kind: StorageFull, message: "No space left on device" }'
    assert "disk is full" in str(as_refusal(ValueError(text)))
    assert "--batch-size" in str(as_refusal(torch.OutOfMemoryError("CUDA out of memory.")))
    assert as_refusal(ValueError("a bug")) is None


TEMPORARY, FULL = gettempdir(), (errno.ENOSPC, "No space left on device")
NO_SHM = "unable to allocate shared memory(shm) for file </torch_1>: (28)"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RuntimeError(NO_SHM), "--shm-size"),
        (OSError(*FULL, "/dev/shm/sem.x"), "--shm-size"),
        (OSError(*FULL, "/dev/shm/../mnt/run"), "disk is full"),
        (FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"), "TMPDIR="),
        (OSError(*FULL, os.path.join(TEMPORARY, "pymp-x7", "listener")), "TMPDIR="),
        (OSError(*FULL, os.path.join(TEMPORARY, "run", "last.ckpt")), "disk is full"),
        (RuntimeError("received 0 items of ancdata"), "ulimit -n"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
    ],
)
def test_what_is_full_is_named_with_its_own_remedy(error, says):
    assert says in str(as_refusal(error))


def _from_a_worker(error):
    from torch._utils import ExceptionWrapper

    try:
        raise error
    except type(error):
        wrapper = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(type(error)) as raised:
        wrapper.reraise()
    return raised.value


def test_errors_of_workers_lose_their_traceback():
    lost = FileNotFoundError(errno.ENOENT, "No such file or directory", "/cache/pixels.bin")
    for error in (lost, ConfigError("a.png is cut short.\nRemove it.")):
        brought = _from_a_worker(error)
        assert "Traceback" in str(brought)
        told = as_refusal(brought)
        assert str(error) in str(told)
        assert "Traceback" not in str(told)
        assert told.exit_code == 2


def test_a_write_that_fails_names_its_file(tmp_path):
    path = tmp_path / "last.ckpt"
    path.write_text("old")

    def write(file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"last\.ckpt"):
        write_atomically(path, write)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["last.ckpt"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["data", "{cells}", "--manifest", "{file}/m.csv"],
        ["data", "{cells}", "--contact-sheet", "{file}/s.png"],
        ["data", "{cells}", "--contact-sheet", "sheet.xyz"],
    ],
)
def test_outputs_that_cannot_be_written_end_in_a_line(fastleuk, cells, tmp_path, arguments):
    file = tmp_path / "file"
    file.touch()
    given = [word.format(cells=cells, file=file) for word in arguments]
    code, _, error = fastleuk(*given)
    assert code == 2
    assert given[-1] in error
    assert "Traceback" not in error
