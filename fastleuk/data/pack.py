"""Write a data set as WebDataset tar shards with index files."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from fastleuk.data.decoded_write import MARGIN
from fastleuk.data.litter import note_unfinished
from fastleuk.data.load import DataSet
from fastleuk.data.scan import Progress
from fastleuk.data.shards import image_bytes
from fastleuk.errors import ConfigError, DataError, listed

BLOCK = 512
"""A tar pads every member, and gives each a header, of so many bytes."""


@dataclass(frozen=True)
class _Sample:
    """One image on its way into a shard."""

    row: int
    key: str
    extension: str


def write_shards(
    dataset: DataSet,
    out: Path,
    *,
    shard_bytes: int = 256 << 20,
    seed: int = 0,
    progress: Progress = lambda _done, _total: None,
) -> list[Path]:
    """Write ``shard-000000.tar`` and so on, each with the index that DALI's reader takes.

    A sample is the image file, byte for byte under its own name, and a ``.json`` with its label,
    subject, fold, source and crop. Samples are shuffled once, so that a reader that goes through
    a shard in order sees all classes. The folder appears when it is complete.

    Args:
        dataset: What to pack.
        out: A new folder.
        shard_bytes: A shard is closed when the next sample would make it larger.
        seed: Of the shuffle.
        progress: Called as ``progress(done, total)``.

    Raises:
        DataError: ``out`` exists, can't be written or lacks room, names that would collide, or
            a file that has changed since it was verified.
    """
    if shard_bytes < 1 << 20:
        raise ConfigError(f"a shard of {shard_bytes} bytes: give at least 1 MB.")
    samples = _samples(dataset)
    partial = out.with_name(f".{out.name}.partial")
    try:
        if out.exists():
            raise DataError(f"--out {out} is there already. Name a new folder.")
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        note_unfinished(partial, "shards")
        try:
            _check_room(dataset, partial)
            order = np.random.Generator(np.random.Philox(key=[seed, 3])).permutation(len(samples))
            names = _write(dataset, [samples[i] for i in order], partial, shard_bytes, progress)
            os.rename(partial, out)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    except (OSError, ValueError) as error:  # ValueError: a name that no tar header holds
        raise DataError(f"Can't write the shards {out}: {error}. Nothing was left.") from error
    return [out / name for name in names]


def _samples(dataset: DataSet) -> list[_Sample]:
    """Name the samples: a key has no dot (it ends there) and no blank (the index splits there)."""
    samples: list[_Sample] = []
    rows: dict[str, list[str]] = {}
    for row, path in enumerate(dataset.manifest.paths):
        inside = path.partition(".tar/")[2] if dataset.manifest.packed else path
        pure = PurePosixPath(re.sub(r"\s", "_", inside))
        stem = pure.name[: -len(pure.suffix)].replace(".", "_")
        key = (pure.parent / stem).as_posix()
        rows.setdefault(key, []).append(path)
        samples.append(_Sample(row, key, pure.suffix.lower().removeprefix(".")))
    twice = [" and ".join(paths) for paths in rows.values() if len(paths) > 1]
    if twice:
        raise DataError(f"Files whose names would be one in a shard:\n{listed(twice)}\nRename one.")
    return samples


def _check_room(dataset: DataSet, folder: Path) -> None:
    manifest = dataset.manifest
    need = sum(4 * BLOCK + _size(manifest.file(row)) for row in range(len(manifest)))
    free = shutil.disk_usage(folder).free
    if free < need + MARGIN:
        raise DataError(
            f"The shards need {need / 1e9:.2f} GB and {MARGIN >> 20} MiB to spare; "
            f"{free / 1e9:.2f} GB are free in {folder.parent}. Nothing was left."
        )


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except NotADirectoryError:
        return image_bytes(file).nbytes


def _write(
    dataset: DataSet, samples: list[_Sample], folder: Path, shard_bytes: int, progress: Progress
) -> list[str]:
    names: list[str] = []
    waiting = iter(_with_bytes(dataset, samples))
    sample = next(waiting, None)
    done = 0
    while sample is not None:
        names.append(f"shard-{len(names):06d}.tar")
        lines: list[str] = []
        with tarfile.open(folder / names[-1], "w", format=tarfile.USTAR_FORMAT) as tar:
            while sample is not None:
                label, data = sample
                if lines and tar.offset + len(data) + 4 * BLOCK > shard_bytes:
                    break
                lines.append(_add(tar, dataset, label, data))
                done += 1
                progress(done, len(samples))
                sample = next(waiting, None)
        text = "\n".join([f"v1.2 {len(lines)}", *lines]) + "\n"
        (folder / names[-1]).with_suffix(".idx").write_text(text, encoding="utf-8")
    return names


def _with_bytes(dataset: DataSet, samples: list[_Sample]) -> Iterator[tuple[_Sample, bytes]]:
    for sample in samples:
        data = image_bytes(dataset.manifest.file(sample.row)).tobytes()
        if hashlib.sha256(data).hexdigest() != dataset.sha256[sample.row]:
            name = dataset.manifest.paths[sample.row]
            raise DataError(f"{name} has changed since it was verified. Run the command again.")
        yield sample, data


def _add(tar: tarfile.TarFile, dataset: DataSet, sample: _Sample, data: bytes) -> str:
    """Append a sample; return its line of the index: extension, offset, size, name of each part."""
    manifest, row = dataset.manifest, sample.row
    about = {
        "label": manifest.label_name(row),
        "subject": "" if manifest.subjects[row] == manifest.paths[row] else manifest.subjects[row],
        "fold": int(manifest.folds[row]),
        "source": manifest.sources[row],
        "crop": int(manifest.crops[row]),
        "synthetic": manifest.synthetic,
    }
    words = []
    parts = {sample.extension: data, "json": json.dumps(about).encode()}
    for extension, content in parts.items():
        info = tarfile.TarInfo(f"{sample.key}.{extension}")
        info.size, info.mode = len(content), 0o644
        start = tar.offset
        tar.addfile(info, io.BytesIO(content))
        padded = -(-len(content) // BLOCK) * BLOCK
        words += [extension, str(tar.offset - padded), str(len(content)), info.name]
        assert tar.offset - padded - start >= BLOCK, "a member without a header"
    return " ".join(words)
