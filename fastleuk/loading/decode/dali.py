"""Reading and decoding inside a DALI graph, for the loader and for the decoded cache."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from nvidia.dali import Pipeline, fn, math, types
from nvidia.dali.data_node import DataNode

from fastleuk.augment.appliers.exact import resize
from fastleuk.data.dataset import DataSet
from fastleuk.data.decoded.read import SOURCE
from fastleuk.data.decoded.write import Decoded, pieces
from fastleuk.data.images.decode import encode_bmp, examine
from fastleuk.data.manifest import Manifest
from fastleuk.data.shards.read import image_bytes
from fastleuk.errors import DataError, FastleukError, listed
from fastleuk.loading.decode.pil import decode, decode_image
from fastleuk.memory import keep_freed_memory

BATCH_BYTES = 48 << 20
"""Of decoded images that building a cache holds at once; DALI keeps a few such batches."""

PIL_THREADS = 4
"""Threads that decode what is not left to DALI."""


def file_inputs(manifest: Manifest, rows: np.ndarray) -> list[list[np.ndarray] | np.ndarray]:
    """Return what :func:`decode_graph` needs from outside: paths or bytes, and crops if any.

    Raises:
        DataError: a file that isn't left to DALI can't be read or decoded.
    """
    files = [manifest.file(row) for row in rows]
    if by_bytes(manifest):
        sources = _encoded(files, rows_for_pil(manifest)[rows])
    else:
        sources = [np.frombuffer(os.fsencode(file), np.uint8) for file in files]
    crops = [manifest.crops[rows]] if manifest.crops.any() else []
    return [sources, *crops]


def count_inputs(manifest: Manifest) -> int:
    """Return the number of arrays that :func:`file_inputs` gives."""
    return 1 + bool(manifest.crops.any())


_rows_for_pil: weakref.WeakKeyDictionary[Manifest, np.ndarray] = weakref.WeakKeyDictionary()


def rows_for_pil(manifest: Manifest) -> np.ndarray:
    """Return (N,) bool: the images that DALI gets decoded, for it would see others or fail.

    Where the manifest doesn't know, every file is read once to find out.
    """
    if manifest.needs_pil is not None:
        return manifest.needs_pil
    if manifest not in _rows_for_pil:
        files = [manifest.file(row) for row in range(len(manifest))]
        with ThreadPoolExecutor(PIL_THREADS) as pool:
            _rows_for_pil[manifest] = np.fromiter(pool.map(_needs_pil, files), bool, len(files))
    return _rows_for_pil[manifest]


def _needs_pil(file: Path) -> bool:
    try:
        return examine(image_bytes(file).data).needs_pil
    except (OSError, DataError):
        return False  # DALI says what is wrong with it


def by_bytes(manifest: Manifest) -> bool:
    """Say whether DALI gets the files' bytes, and not their paths, to read them itself."""
    return manifest.packed or bool(rows_for_pil(manifest).any())


def _encoded(files: list[Path], needs_pil: np.ndarray) -> list[np.ndarray]:
    """Return each file's bytes; of those that need PIL, a BMP of the decoded pixels."""

    def one(file: Path, here: bool) -> np.ndarray:
        if here:
            return encode_bmp(decode_image(file))
        try:
            return image_bytes(file)
        except OSError as error:
            raise DataError(f"{file}: can't be read: {error.strerror or error}.") from error

    if not needs_pil.any():
        return [one(file, False) for file in files]
    with ThreadPoolExecutor(PIL_THREADS) as pool:  # PIL releases the interpreter lock
        return list(pool.map(one, files, needs_pil.tolist()))


def read_graph(manifest: Manifest, source: DataNode) -> DataNode:
    """Return the encoded bytes of the images whose paths or bytes :func:`file_inputs` gave."""
    return source if by_bytes(manifest) else fn.io.file.read(source)


def decode_graph(manifest: Manifest, nodes: list[DataNode], device: str) -> DataNode:
    """Read, decode to RGB, and cut the centre where the manifest says so.

    Args:
        manifest: The images.
        nodes: :func:`file_inputs`, as an ``external_source`` gives them.
        device: ``cpu`` or ``gpu``: where the decoded images are wanted.
    """
    source, *crops = nodes
    return decode_bytes(read_graph(manifest, source), *crops, device=device)


def decode_bytes(bytes_: DataNode, *crops: DataNode, device: str) -> DataNode:
    """Decode to RGB, and cut the centre where ``crops`` (one node or none) says so.

    The cut is that of :func:`fastleuk.loading.decode.pil.cut_centre`.
    """
    images = fn.decoders.image(
        bytes_,
        device="mixed" if device == "gpu" else "cpu",
        output_type=types.RGB,
        jpeg_fancy_upsampling=True,
        adjust_orientation=False,  # what isn't upright comes decoded
    )
    if not crops:
        return images
    sides = fn.peek_image_shape(bytes_, adjust_orientation=False, dtype=types.INT64)[:2]
    whole = fn.cast(crops[0] == 0, dtype=types.INT64)
    kept = math.min(sides, crops[0] + whole * sides)
    return fn.slice(
        images,
        start=fn.cast((sides - kept) // 2, dtype=types.INT32),
        shape=fn.cast(kept, dtype=types.INT32),
        axes=(0, 1),
    )


def decode_rows(
    dataset: DataSet, rows: np.ndarray, *, size: int, workers: int
) -> Iterator[Decoded]:
    """Decode and resize on the CPU, as the loader does it from files; see ``write_cache``.

    Uncompressed BMPs don't go through DALI where numba is installed: the pixels are the same.
    """
    largest = 3 * int(dataset.sizes.prod(axis=1).max(initial=1))
    cuts = list(pieces(rows, max(1, min(64, BATCH_BYTES // largest))))
    try:
        from fastleuk.loading.decode.bmp import decode_uncompressed, uncompressed_cuts
    except (ImportError, RuntimeError):  # no numba, or no folder for its cache
        return _decode(dataset, cuts, size=size, workers=workers)
    uncompressed = uncompressed_cuts(dataset, cuts, workers)
    sources = {
        kind: decoder(
            dataset,
            [cut for cut, given in zip(cuts, uncompressed, strict=True) if given == kind],
            size=size,
            workers=workers,
        )
        for kind, decoder in ((True, decode_uncompressed), (False, _decode))
    }
    return (next(sources[kind]) for kind in uncompressed)


def _decode(
    dataset: DataSet, cuts: list[np.ndarray], *, size: int, workers: int
) -> Iterator[Decoded]:
    """Decode ``cuts`` of the manifest's rows with DALI."""
    keep_freed_memory()
    manifest = dataset.manifest
    feed = iter(cuts)
    pipeline = Pipeline(
        batch_size=max(map(len, cuts)),
        num_threads=workers,
        device_id=None,
        prefetch_queue_depth=2,
    )
    with pipeline:
        nodes = fn.external_source(
            source=lambda: tuple(file_inputs(manifest, next(feed))),
            num_outputs=count_inputs(manifest),
            batch=True,
        )
        images = decode_graph(manifest, list(nodes), "cpu")
        if size != SOURCE:
            images = resize(images, size)
        pipeline.set_outputs(images, fn.reductions.mean(images, axes=(0, 1)))
    pipeline.build()
    for cut in cuts:
        try:
            images, mean_rgb = pipeline.run()
        except RuntimeError as error:
            near = np.concatenate([rows for rows in cuts if rows[0] >= cut[0]][:4])
            raise explain(error, manifest, near) from error
        arrays = [np.asarray(images[i]) for i in range(len(images))]
        yield arrays, mean_rgb.as_array()


def explain(error: RuntimeError, manifest: Manifest, rows: np.ndarray) -> FastleukError:
    """Turn a failure of DALI into one that names those of the files that PIL can't read either."""
    bad = []
    for row in rows:
        try:
            decode(manifest.file(row))
        except DataError as reason:
            bad.append(str(reason))
    if bad:
        return DataError(
            f"Files that were readable when the run started are not any more:\n{listed(bad)}\n"
            "Restore them and resume the run."
        )
    return FastleukError(f"DALI failed: {error}")
