"""Read every file once: content hash, size in pixels, and whether it decodes at all."""

import hashlib
import io
import json
import os
import tempfile
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image, UnidentifiedImageError

from fastleuk.data.bmp import read_layout
from fastleuk.data.cachedir import cache_root
from fastleuk.data.manifest import Manifest
from fastleuk.data.shards import ImageReader, split_member
from fastleuk.errors import DataError

FORMATS = ("BMP", "PNG", "JPEG", "TIFF", "WEBP")
MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})
MIN_SIDE = 8
MAX_PIXELS = 50_000_000
"""A cell crop has 0.2 million pixels; anything near this is not one, or is a bomb."""

_CACHE_VERSION = f"1/PIL {PIL.__version__}"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Scan:
    """What reading the N files of a manifest told."""

    sha256: tuple[str, ...]
    """Hex digest of each file's bytes; ``""`` where it couldn't be read."""
    errors: dict[int, str]
    """Index to reason, for the files that can't be used."""
    sizes: np.ndarray
    """(N, 2) int64: width, height in pixels; 0 where unknown."""


@dataclass(frozen=True)
class _Entry:
    sha256: str
    width: int
    height: int
    error: str


def scan(
    manifest: Manifest,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    cache_dir: Path | None = None,
) -> Scan:
    """Hash and decode every file of ``manifest``, each read once, on a pool of threads.

    Results are kept by (path, size, modification time), so an unchanged file isn't read again.

    Args:
        manifest: the images.
        workers: threads; default one a CPU, at most 8.
        progress: called as ``progress(done, total)`` from this thread.
        cache_dir: where results are kept; default :func:`cache_root`.
    """
    store = _store_path(manifest.root, cache_dir)
    known = _read_store(store)
    files = [str(manifest.file(i)) for i in range(len(manifest))]
    stamps = [_stamp(file) for file in files]
    entries: list[_Entry | None] = [known.get(s) if s else None for s in stamps]
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
            for done, (i, entry) in enumerate(zip(todo, results, strict=True), start=1):
                entries[i] = entry
                if progress:
                    progress(total - len(todo) + done, total)
    finally:
        pool.shutdown(cancel_futures=True)
        if todo:
            known.update((s, e) for s, e in zip(stamps, entries, strict=True) if s and e)
            _write_store(store, known)
    return _collect([entry for entry in entries if entry is not None])


def _collect(entries: list[_Entry]) -> Scan:
    return Scan(
        sha256=tuple(entry.sha256 for entry in entries),
        errors={i: entry.error for i, entry in enumerate(entries) if entry.error},
        sizes=np.array([(e.width, e.height) for e in entries], dtype=np.int64).reshape(-1, 2),
    )


def _examine(file: str, reader: ImageReader) -> _Entry:
    try:
        data = reader.read(Path(file)).data
    except OSError as error:
        return _Entry("", 0, 0, f"can't be read: {error.strerror or error}")
    except DataError as error:  # of a tar shard
        return _Entry("", 0, 0, str(error))
    digest = hashlib.sha256(data).hexdigest()
    width, height, problem = decode_check(data)
    return _Entry(digest, width, height, problem)


def decode_check(data: bytes | memoryview) -> tuple[int, int, str]:
    """Decode an image from memory; return width, height in pixels and what is wrong, if anything.

    The reason is ``""`` for a whole BMP, PNG, JPEG, TIFF or WebP of 8 bits a channel.
    """
    if not data:
        return 0, 0, "empty file (0 bytes)"
    width, height = _plain_bmp_size(data)
    if width:
        return width, height, _check_size(width, height)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            problem = _check_size(width, height)
            if problem:
                return width, height, problem
            if image.mode not in MODES:
                return width, height, f"pixel mode {image.mode}: convert it to 8-bit RGB"
            image.convert("RGB")
    except UnidentifiedImageError:
        return 0, 0, f"not an image ({_kind(bytes(data[:4096]), len(data))})"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return width, height, "absurdly many pixels: not a cell crop"
    except Exception as error:
        # PIL's decoders raise nearly anything on damaged input.
        return width, height, f"damaged or truncated: {error}"
    return width, height, ""


def _check_size(width: int, height: int) -> str:
    if width * height > MAX_PIXELS or min(width, height) < MIN_SIDE:
        return f"{width}x{height} pixels: not a cell crop"
    return ""


def _plain_bmp_size(data: bytes | memoryview) -> tuple[int, int]:
    """Return width, height of an uncompressed 24-bit BMP whose pixels are all there, else 0, 0.

    Nothing else in such a file can be wrong: it needs no decoding to be known as sound, which
    makes verifying C-NMC three times faster.
    """
    layout = read_layout(data)
    if layout is None or layout.length > len(data):
        return 0, 0
    if layout.width * layout.height > (Image.MAX_IMAGE_PIXELS or MAX_PIXELS):
        return 0, 0
    return layout.width, layout.height


def _kind(head: bytes, length: int) -> str:
    """Say what a file that begins with ``head`` seems to be."""
    if head[:2] == b"BM" or head[:3] == b"\xff\xd8\xff" or head[:4] == b"\x89PNG":
        return "begins like one, but its header is damaged"
    if b"\0" not in head:
        return f"text, beginning {head[:24].decode('utf-8', 'replace')!r}"
    return f"{length} bytes of another kind"


def _stamp(file: str) -> str:
    """Return the key under which a file's result is kept; ``""`` where there is no file."""
    try:
        status = os.stat(file)
    except NotADirectoryError:  # a member of a tar shard changes with the shard
        status = os.stat(split_member(Path(file))[0])
    except OSError:
        return ""
    return f"{status.st_size}:{status.st_mtime_ns}:{file}"


def _store_path(root: Path, cache_dir: Path | None) -> Path:
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:24]
    return (cache_dir or cache_root()) / "scan" / f"{name}.json"


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
        isinstance(e.sha256, str)
        and len(e.sha256) == 64
        and isinstance(e.error, str)
        and isinstance(e.width, int)
        and isinstance(e.height, int)
        for e in entries.values()
    )
    return entries if sound else {}


def _write_store(store: Path, entries: dict[str, _Entry]) -> None:
    """Keep results; a folder that can't be written to is no error, only a slower next start."""
    files = {key: (e.sha256, e.width, e.height, e.error) for key, e in entries.items() if e.sha256}
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
