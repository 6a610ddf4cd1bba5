"""Verify every file by reading it once: content hash, size, look, whether it decodes at all."""

import dataclasses
import hashlib
import json
import os
import tempfile
import threading
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image

from fastleuk.data.copies import near
from fastleuk.data.images.decode import VERSION, examine, examine_image
from fastleuk.data.images.headers import content_endings
from fastleuk.data.manifest import Manifest
from fastleuk.data.shards.read import ImageReader, image_bytes, split_member
from fastleuk.data.user_cache.arrays import keep, read_kept
from fastleuk.data.user_cache.folder import cache_root
from fastleuk.errors import DataError
from fastleuk.progress import Progress

_CACHE_VERSION = f"{VERSION}/PIL {PIL.__version__}"
_LOOKS = near.SIDE**2


@dataclass(frozen=True, eq=False)
class Verification:
    """What reading the N files of a manifest told."""

    sha256: tuple[str, ...]
    """Hex digest of each file's bytes; ``""`` where it couldn't be read."""
    errors: dict[int, str]
    """Index to reason, for the files that can't be used."""
    sizes: np.ndarray
    """(N, 2) int64: width, height in pixels, upright; 0 where unknown."""
    pixels: tuple[str, ...]
    """Hex digest of each image's pixels, see :attr:`fastleuk.data.images.decode.Examined.pixels`;
    ``""`` for those with an error."""
    needs_pil: np.ndarray
    """(N,) bool: see :attr:`fastleuk.data.images.decode.Examined.needs_pil`."""
    notes: dict[int, str]
    """Index to what of the file is not used as it stands."""
    stamps: tuple[str, ...]
    """What each file looked like before it was read, see :func:`changed_files`."""
    described: np.ndarray
    """float32 (N, 256): each image by :func:`fastleuk.data.copies.near.describe_picture`; 0 where
    it has an error."""


@dataclass(frozen=True)
class _Entry:
    sha256: str
    width: int = 0
    height: int = 0
    error: str = ""
    pixels: str = ""
    needs_pil: bool = False
    note: str = ""


def verify_files(
    manifest: Manifest,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    cache_dir: Path | None = None,
) -> Verification:
    """Hash and decode every file of ``manifest``, each read once, on a pool of threads.

    Results are kept by path, size, times of modification and change, and inode, so an unchanged
    file isn't read again, and one put in its place is, whatever time it bears.

    Args:
        manifest: the images.
        workers: threads; default one a CPU, at most 8.
        progress: called as ``progress(done, total)`` from this thread.
        cache_dir: where results are kept; default :func:`cache_root`.
    """
    store = _store_path(manifest.root, cache_dir)
    looks_store = _looks_path(manifest.root, cache_dir)
    known, looks = _read_store(store), read_kept(looks_store, _LOOKS, np.float16)
    files = [str(manifest.file(i)) for i in range(len(manifest))]
    stamps = [_stamp(file) for file in files]
    entries: list[_Entry | None] = [known.get(s) if s else None for s in stamps]
    entries = [e if e and (e.error or e.pixels in looks) else None for e in entries]
    todo = [i for i, entry in enumerate(entries) if entry is None]
    total = len(files)
    if progress:
        progress(total - len(todo), total)
    own = threading.local()

    def start() -> None:
        own.reader = ImageReader()

    pool = ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1), initializer=start)
    try:
        # Filters are set here, once: catch_warnings isn't safe inside the threads.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            results = pool.map(lambda i: _examine(files[i], own.reader), todo)
            for done, (i, (entry, look)) in enumerate(zip(todo, results, strict=True), start=1):
                entries[i] = entry
                if look is not None:
                    looks[entry.pixels] = look
                if progress:
                    progress(total - len(todo) + done, total)
    finally:
        pool.shutdown(cancel_futures=True)
        if todo:
            known.update((s, e) for s, e in zip(stamps, entries, strict=True) if s and e)
            _write_store(store, known)
            keep(looks_store, looks)
    return _collect([entry for entry in entries if entry is not None], stamps, looks)


def changed_files(manifest: Manifest, stamps: Sequence[str], sha256: Sequence[str]) -> list[str]:
    """Return the paths of files whose content is not what it was when they were scanned.

    Only files that look different are read.

    Args:
        manifest: The images.
        stamps: Of a :class:`Verification` of theirs.
        sha256: Of the same.
    """
    changed = []
    for i, path in enumerate(manifest.paths):
        file = manifest.file(i)
        if _stamp(str(file)) == stamps[i]:
            continue
        try:
            same = hashlib.sha256(image_bytes(file).data).hexdigest() == sha256[i]
        except (OSError, DataError):
            same = False
        if not same:
            changed.append(path)
    return changed


def _collect(
    entries: list[_Entry], stamps: list[str], looks: dict[str, np.ndarray]
) -> Verification:
    none = np.zeros(_LOOKS, np.float16)
    return Verification(
        sha256=tuple(entry.sha256 for entry in entries),
        errors={i: entry.error for i, entry in enumerate(entries) if entry.error},
        sizes=np.array([(e.width, e.height) for e in entries], dtype=np.int64).reshape(-1, 2),
        pixels=tuple(entry.pixels for entry in entries),
        needs_pil=np.array([entry.needs_pil for entry in entries], dtype=bool),
        notes={i: entry.note for i, entry in enumerate(entries) if entry.note},
        stamps=tuple(stamps),
        described=np.array(
            [none if e.error else looks[e.pixels] for e in entries], np.float32
        ).reshape(-1, _LOOKS),
    )


def _examine(file: str, reader: ImageReader) -> tuple[_Entry, np.ndarray | None]:
    """Read one file: its entry and its description, which one with an error lacks."""
    try:
        data = reader.read(Path(file)).data
    except OSError as error:
        return _Entry("", error=f"can't be read: {error.strerror or error}"), None
    except DataError as error:  # of a tar shard
        return _Entry("", error=str(error)), None
    found, image = examine_image(data)
    note, look = "", None
    if image is not None:
        note = _name_note(file, bytes(data[:2]))
        described = near.describe_picture(image)
        look = described.reshape(-1).astype(np.float16)
    entry = _Entry(
        hashlib.sha256(data).hexdigest(),
        found.width,
        found.height,
        found.error,
        found.pixels,
        found.needs_pil,
        ", ".join(filter(None, (note, found.note))),
    )
    return entry, look


def decode_check(data: bytes | memoryview) -> tuple[int, int, str]:
    """Decode an image from memory; return width, height in pixels and what is wrong, if anything.

    The reason is ``""`` for a whole BMP, PNG, JPEG, TIFF or WebP of 8 bits a channel.
    """
    found = examine(data)
    return found.width, found.height, found.error


def _name_note(file: str, head: bytes) -> str:
    """Say where a name's ending isn't that of the content."""
    endings = content_endings(head)
    if not endings or os.path.splitext(file)[1].lower() in endings:
        return ""
    return f"named otherwise, but by content a {endings[0][1:].upper()}"


def _stamp(file: str) -> str:
    """Return the key under which a file's result is kept; ``""`` where there is no file."""
    try:
        status = os.stat(file)
    except NotADirectoryError:  # a member of a tar shard changes with the shard
        status = os.stat(split_member(Path(file))[0])
    except OSError:
        return ""
    # An archive restores a file's modification time, nobody the time of its last change.
    times = f"{status.st_mtime_ns}:{status.st_ctime_ns}:{status.st_ino}"
    return f"{status.st_size}:{times}:{file}"


def _store_path(root: Path, cache_dir: Path | None) -> Path:
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:24]
    return (cache_dir or cache_root()) / "scan" / f"{name}.json"


def _looks_path(root: Path, cache_dir: Path | None) -> Path:
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:24]
    return (cache_dir or cache_root()) / "near" / f"{name}-{near.VERSION}.npz"


def _read_store(store: Path) -> dict[str, _Entry]:
    """Read kept results; a missing or damaged file simply means that there are none."""
    try:
        content: Any = json.loads(store.read_text(encoding="utf-8"))
        if content["version"] != _CACHE_VERSION:
            return {}
        entries = {str(key): _Entry(*value) for key, value in content["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    sound = all(
        all(isinstance(text, str) for text in (e.sha256, e.error, e.pixels, e.note))
        and len(e.sha256) == 64
        and (bool(e.error) or len(e.pixels) == 64)
        and all(isinstance(number, int) for number in (e.width, e.height, e.needs_pil))
        for e in entries.values()
    )
    return entries if sound else {}


def _write_store(store: Path, entries: dict[str, _Entry]) -> None:
    """Keep results; a folder that can't be written to is no error, only a slower next start."""
    files = {key: dataclasses.astuple(e) for key, e in entries.items() if e.sha256}
    temporary = None
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=store.parent, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump({"version": _CACHE_VERSION, "files": files}, stream)
        os.replace(temporary, store)
    except OSError:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
