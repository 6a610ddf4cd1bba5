"""Write a data set as WebDataset tar shards with index files."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from fastleuk.data.dataset import DataSet
from fastleuk.data.decoded.write import MARGIN
from fastleuk.data.images.headers import content_endings
from fastleuk.data.shards.index import ShardEntry, content_of, write_index
from fastleuk.data.shards.labels import about_sample
from fastleuk.data.shards.read import image_bytes, read_header
from fastleuk.data.tree import is_image_name
from fastleuk.data.user_cache.unfinished import note_unfinished
from fastleuk.errors import ConfigError, DataError
from fastleuk.locks import owned
from fastleuk.progress import Progress, no_progress

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
    progress: Progress = no_progress,
) -> list[Path]:
    """Write ``shard-000000.tar`` and so on, each with the index that DALI's reader takes.

    A sample is the image file, byte for byte and as far as possible under its own name, and a
    ``.json`` with its label, subject, fold, source and crop. Samples are shuffled once, so that
    a reader that goes through a shard in order sees all classes. ``shards.json`` lists the
    shards, so that a lost one is noticed. The folder appears when it is complete; until then,
    what is written is in a folder ``.NAME.*.partial`` beside it, which only a killed process
    leaves behind, and the next one removes.

    Args:
        dataset: What to pack.
        out: A new folder.
        shard_bytes: A shard is closed when the next sample would make it larger.
        seed: Of the shuffle.
        progress: Called as ``progress(done, total)``.

    Raises:
        DataError: ``out`` exists, can't be written or lacks room, or a file has changed since it
            was verified.
    """
    if shard_bytes < 10**6:
        raise ConfigError(f"--shard-mb {shard_bytes / 10**6:g}: give at least 1.")
    samples = _samples(dataset)
    try:
        if out.exists():
            raise DataError(f"--out {out} is there already. Name a new folder.")
        out.parent.mkdir(parents=True, exist_ok=True)
        with _alone(out), _partial_folder(out) as partial:
            _check_room(dataset, partial)
            order = np.random.Generator(np.random.Philox(key=[seed, 3])).permutation(len(samples))
            chosen = [samples[i] for i in order]
            entries = _write(dataset, chosen, partial, shard_bytes, progress)
            write_index(partial, entries)
            os.rename(partial, out)
    except (OSError, ValueError) as error:  # ValueError: a name that no tar header holds
        raise DataError(f"Can't write the shards {out}: {error}. Nothing was left.") from error
    return [out / entry.name for entry in entries]


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keep other processes from packing ``out`` meanwhile. The lock's file stays: others may wait.

    Raises:
        DataError: one does already.
    """

    def busy(owner: str) -> DataError:
        return DataError(
            f"--out {out}: another fastleuk pack writes it ({owner}). Wait for it, or name another "
            "folder."
        )

    with owned(out.with_name(f".{out.name}.pack.lock"), busy=busy):
        if out.exists():  # the other one has just ended
            raise DataError(f"--out {out} is there already. Name a new folder.")
        yield


@contextmanager
def _partial_folder(out: Path) -> Iterator[Path]:
    """Give a folder of this process's own beside ``out``, and remove it unless it was renamed."""
    for left_over in partial_folders(out):
        shutil.rmtree(left_over, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    note_unfinished(partial, "shards")
    try:
        partial.chmod(0o777 & ~_umask())  # mkdtemp's is for its owner alone
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def partial_folders(out: Path) -> list[Path]:
    """Return what processes that were killed while they packed ``out`` have left beside it."""
    pattern = re.compile(rf"\.{re.escape(out.name)}\.([A-Za-z0-9_]{{8}}\.)?partial")
    return sorted(path for path in out.parent.iterdir() if pattern.fullmatch(path.name))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _samples(dataset: DataSet) -> list[_Sample]:
    """Name the samples by their paths, as far as the formats allow it.

    A key has no dot (it ends there), no blank (the index splits there) and no backslash (a reader
    on Windows would leave the folder there). Where two keys would be one, or one is too long for
    a tar, a hash of the path makes the difference.
    """
    manifest = dataset.manifest
    samples: list[_Sample] = []
    taken: set[str] = set()
    for row, path in enumerate(manifest.paths):
        inside = path.partition(".tar/")[2] if manifest.packed else path
        pure = PurePosixPath(re.sub(r"[\s\\]", "_", inside))
        suffix = pure.suffix if is_image_name(pure.name) else _content_suffix(manifest.file(row))
        stem = pure.name.removesuffix(pure.suffix).replace(".", "_")
        key, extension = (pure.parent / stem).as_posix(), suffix.lower().removeprefix(".")
        if key in taken or not _fits(f"{key}.{extension}"):
            digest = hashlib.sha256(os.fsencode(path)).hexdigest()
            key = f"{key}-{digest[:16]}" if _fits(f"{key}-{digest[:16]}.{extension}") else digest
        taken.add(key)
        samples.append(_Sample(row, key, extension))
    return samples


def _content_suffix(file: Path) -> str:
    return (content_endings(read_header(file, 16)) or (".bin",))[0]


def _fits(name: str) -> bool:
    """Whether a tar header holds a sample's names."""
    try:
        for part in (name, f"{name.rpartition('.')[0]}.json"):
            tarfile.TarInfo(part).tobuf(tarfile.USTAR_FORMAT, errors="surrogateescape")
    except ValueError:
        return False
    return True


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
) -> list[ShardEntry]:
    entries: list[ShardEntry] = []
    waiting = iter(_with_bytes(dataset, samples))
    sample = next(waiting, None)
    done = 0
    while sample is not None:
        file = folder / f"shard-{len(entries):06d}.tar"
        lines: list[str] = []
        images: list[tuple[str, str]] = []
        with tarfile.open(file, "w", format=tarfile.USTAR_FORMAT) as tar:
            while sample is not None:
                label, data = sample
                if lines and tar.offset + len(data) + 4 * BLOCK > shard_bytes:
                    break
                lines.append(_add(tar, dataset, label, data))
                images.append((f"{label.key}.{label.extension}", dataset.sha256[label.row]))
                done += 1
                progress(done, len(samples))
                sample = next(waiting, None)
        text = "\n".join([f"v1.2 {len(lines)}", *lines]) + "\n"
        index = file.with_suffix(".idx")
        index.write_bytes(text.encode("utf-8", "surrogateescape"))
        size = file.stat().st_size
        entries.append(ShardEntry(file.name, len(images), size, content_of(images)))
    return entries


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
    about = about_sample(
        manifest.label_name(row) if manifest.labels[row] >= 0 else None,
        subject="" if manifest.subjects[row] == manifest.paths[row] else manifest.subjects[row],
        fold=int(manifest.folds[row]),
        source=manifest.sources[row],
        crop=int(manifest.crops[row]),
        synthetic=manifest.synthetic,
    )
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
