"""The doctor's look at cores, memory, disk and limits, with machines that lack them."""

import errno
import resource
import shutil
import tempfile
from collections import namedtuple

import pytest

from fastleuk.doctor import machine
from fastleuk.doctor.finding import FAILED, OK, WARNING

Usage = namedtuple("Usage", "total used free")
Inodes = namedtuple("Inodes", "f_files f_favail")


def group(tmp_path, path, **files):
    """A control group as the kernel shows it; returns (root, proc)."""
    root, proc = tmp_path / "cgroup", tmp_path / "proc"
    folder = root / path.lstrip("/")
    folder.mkdir(parents=True, exist_ok=True)
    (proc / "self").mkdir(parents=True, exist_ok=True)
    (proc / "self" / "cgroup").write_text(f"0::{path}\n")
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return root, proc


def test_cores_of_a_control_group(tmp_path):
    assert machine.cgroup_cores(*group(tmp_path, "/job", cpu__max="150000 100000\n")) == 1.5


def test_the_narrowest_of_nested_groups_counts(tmp_path):
    group(tmp_path, "/slurm", cpu__max="200000 100000")
    root, proc = group(tmp_path, "/slurm/job", cpu__max="max 100000")
    assert machine.cgroup_cores(root, proc) == 2


def test_cores_of_version_one(tmp_path):
    root, proc = tmp_path / "cgroup", tmp_path / "proc"
    folder = root / "cpu,cpuacct" / "docker"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text("50000")
    (folder / "cpu.cfs_period_us").write_text("100000")
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text("3:memory:/docker\n2:cpu,cpuacct:/docker\n")
    assert machine.cgroup_cores(root, proc) == 0.5


def test_no_control_group_is_no_limit(tmp_path):
    assert machine.cgroup_cores(tmp_path, tmp_path) is None
    assert machine.cgroup_memory(tmp_path, tmp_path) is None


def test_memory_of_a_control_group(tmp_path):
    root, proc = group(tmp_path, "/job", memory__max="3000000000", memory__current="500000000")
    assert machine.cgroup_memory(root, proc) == 2.5e9


def test_fewer_cores_granted_than_seen():
    found = machine.cores(seen=64, quota=4.0)
    assert found.state == WARNING
    assert "--workers 4" in found.remedy
    assert machine.cores(seen=4, quota=4.0).state == OK
    assert machine.cores(seen=1, quota=8.0).state == WARNING


@pytest.mark.parametrize(
    ("available", "granted", "state"),
    [(64e9, 64e9, OK), (64e9, 2e9, WARNING), (3e9, None, WARNING), (64e9, 0.5e9, FAILED)],
)
def test_memory(available, granted, state):
    found = machine.memory(available=available, granted=granted)
    assert found.state == state
    assert bool(found.remedy) == (state != OK)
    assert ("control group" in found.found) == (granted is not None and granted < available)


def test_small_shared_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(64 << 20, 0, 64 << 20))
    found = machine.shared_memory(tmp_path)
    assert found.state == WARNING
    assert "--shm-size" in found.remedy


def test_no_shared_memory(tmp_path):
    assert machine.shared_memory(tmp_path / "none").state == WARNING


def test_a_cache_folder_that_is_yet_to_be_made(tmp_path):
    found = machine.cache_folder(tmp_path / "a" / "b")
    assert found.state == OK
    assert not (tmp_path / "a").exists()


def test_a_cache_folder_that_cannot_be_written(monkeypatch, tmp_path):
    def refuse(dir):
        raise OSError(errno.EROFS, "Read-only file system", str(dir))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    for found in (machine.cache_folder(tmp_path), machine.run_folder(tmp_path)):
        assert found.state == WARNING
        assert "Read-only" in found.found
    assert "FASTLEUK_CACHE_DIR" in machine.cache_folder(tmp_path).remedy
    assert "--out" in machine.run_folder(tmp_path).remedy


def test_full_disk_and_no_inodes(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1e12, 1e12, 1e8))
    assert "--cache off" in machine.cache_folder(tmp_path).remedy
    assert machine.run_folder(tmp_path).state == WARNING
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1e12, 0, 1e12))
    monkeypatch.setattr(machine.os, "statvfs", lambda _: Inodes(10**6, 3))
    assert "3 inodes" in machine.cache_folder(tmp_path).found
    monkeypatch.setattr(machine.os, "statvfs", lambda _: Inodes(0, 0))  # such as btrfs
    assert machine.cache_folder(tmp_path).state == OK


def test_file_limit():
    assert "ulimit" in machine.file_limit(256).remedy
    assert machine.file_limit(4096).state == OK
    assert machine.file_limit(resource.RLIM_INFINITY).state == OK
