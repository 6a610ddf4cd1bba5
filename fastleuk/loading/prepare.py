"""Find the decoded cache of a data set, or build it; put it into GPU memory where asked to."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastleuk.config import LoaderConfig
from fastleuk.data.dataset import DataSet
from fastleuk.data.decoded.read import (
    INFO,
    SOURCE,
    DecodedCache,
    cache_key,
    decoded_root,
    open_decoded,
    read_info,
)
from fastleuk.data.decoded.write import Decode, final_shapes, write_cache
from fastleuk.errors import DataError
from fastleuk.progress import progress_bar

if TYPE_CHECKING:
    import torch

AUTO_BYTES = 8 << 30
"""``auto`` builds no cache larger than this, nor one that takes half of the free disk."""

AUTO_TIMES, FREE_BYTES = 20, 1 << 30
"""Nor one that takes more than so many times the files' room, unless it stays below a gigabyte."""

CHECK_BYTES = 4 << 30
"""Every checksum is compared when a cache up to this size is opened: half a second a GB. Larger
ones are compared in full by ``fastleuk prepare`` only."""

GPU_SHARE = 0.4
"""Of the free GPU memory that ``--cache gpu`` may take; the rest is the model's."""

Report = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Pixels:
    """Decoded images: in a memory-mapped file and, where asked for, in GPU memory too."""

    cache: DecodedCache
    resident: torch.Tensor | None = None
    """uint8 ``(N, size, size, 3)`` on the GPU."""


def open_pixels(
    dataset: DataSet,
    config: LoaderConfig,
    device: torch.device,
    *,
    report: Report = print,
) -> Pixels | None:
    """Return the decoded images that ``config.cache`` asks for; None to read the files.

    ``auto`` uses the user's cache folder and falls back to the files, saying why; ``off`` reads
    the files; ``gpu`` is ``auto`` and then copies the pixels to the GPU if they fit; anything
    else is a folder of caches, or one cache, and then nothing but that will do.

    Args:
        dataset: The images.
        config: Resolved: it names the loader, the size, the workers and the cache.
        device: Where the batches will be.
        report: Takes what is printed.

    Raises:
        DataError: a named folder can't be used, or holds a cache of something else.
    """
    if config.cache == "off":
        return None
    named = config.cache not in ("auto", "gpu")
    folder = Path(config.cache).expanduser() if named else decoded_root()
    if named and (folder / INFO).exists():
        return Pixels(_only(folder, dataset, config))
    cache = find_cache(dataset, folder, size=config.size, backend=config.loader, report=report)
    if cache is None:
        reason = "" if named else _too_large(dataset, config.size, folder)
        if reason:
            report(f"No decoded cache: {reason}. `fastleuk prepare` builds it all the same.")
            return None
        try:
            cache = build_cache(
                dataset, folder, size=config.size, backend=config.loader, workers=config.workers
            )
        except DataError as error:
            if named:
                raise
            report(f"No decoded cache, reading the files: {error}")
            return None
        sizes = f"{cache.info.bytes / 1e9:.2f} GB, the files {_file_bytes(dataset) / 1e9:.2f} GB"
        report(f"Decoded cache: {cache.folder} ({sizes})")
    if config.cache == "gpu":
        return Pixels(cache, to_gpu(cache, device, report))
    return Pixels(cache)


def find_cache(
    dataset: DataSet,
    folder: Path,
    *,
    size: int,
    backend: str,
    check: bool | None = None,
    report: Report = print,
) -> DecodedCache | None:
    """Return the sound cache of exactly these images, at ``size`` or at their own size.

    Args:
        dataset: The images.
        folder: Where caches are kept.
        size: Edge in pixels.
        backend: ``dali`` or ``torchvision``.
        check: Compare every checksum; by default where that takes a second or two.
        report: Is told of a damaged one.
    """
    for edge in dict.fromkeys((size, SOURCE)):
        place = folder / cache_key(dataset, edge, backend)
        if not (place / INFO).exists():
            continue
        try:
            cache = open_decoded(place)
            if check or (check is None and cache.info.bytes <= CHECK_BYTES):
                problem = cache.damage()
                if problem:
                    raise DataError(f"{place}: {problem}.")
            return cache
        except DataError as error:
            report(f"A decoded cache is damaged and is built anew: {error}")
    return None


def build_cache(
    dataset: DataSet, folder: Path, *, size: int, backend: str, workers: int
) -> DecodedCache:
    """Decode and resize every image into a new cache, with a progress bar.

    Raises:
        DataError: the folder can't be written, the disk lacks room, or a file has become
            unreadable.
    """
    with progress_bar("decoding into the cache") as progress:
        place = write_cache(
            dataset,
            folder,
            decoder(dataset, size, backend, workers),
            size=size,
            backend=backend,
            progress=progress,
        )
    return open_decoded(place)


def decoder(dataset: DataSet, size: int, backend: str, workers: int) -> Decode:
    """Return what decodes and resizes rows of the manifest in order, on the CPU.

    Args:
        dataset: The images.
        size: Edge in pixels, or ``SOURCE``.
        backend: ``dali`` or ``torchvision``.
        workers: Threads.
    """
    if backend == "dali":
        from fastleuk.loading.decode.dali import decode_rows
    else:
        from fastleuk.loading.decode.torchvision import decode_rows
    return lambda rows: decode_rows(dataset, rows, size=size, workers=workers)


def _only(folder: Path, dataset: DataSet, config: LoaderConfig) -> DecodedCache:
    """Open the one cache that was named, if it is this data set's."""
    info = read_info(folder)
    if info is not None:
        wrong = []
        if info.content_hash != dataset.content_hash:
            wrong.append(f"holds other images (of {info.root}), or those of an earlier state")
        if info.size not in (config.size, SOURCE):
            wrong.append(f"holds images of {info.size} pixels, not {config.size}")
        if info.backend != config.loader:
            wrong.append(f"was decoded for --loader {info.backend}, not {config.loader}")
        if wrong:
            raise DataError(
                f"--cache {folder}: this cache {'; it '.join(wrong)}. Build a fitting one with "
                f"fastleuk prepare, or leave --cache out."
            )
    cache = open_decoded(folder)
    problem = cache.damage() if cache.info.bytes <= CHECK_BYTES else ""
    if not problem and cache.info.key != cache_key(dataset, cache.size, config.loader):
        problem = "its images stand in another order"
    if problem:
        raise DataError(f"--cache {folder}: {problem}. Remove it and run fastleuk prepare.")
    return cache


def _cache_bytes(dataset: DataSet, size: int) -> int:
    return 3 * int(final_shapes(dataset, size).prod(axis=1).sum())


def _file_bytes(dataset: DataSet) -> int:
    """Return what the files of a data set take, those in shards included."""
    manifest = dataset.manifest
    if manifest.packed:
        shards = {path.partition(".tar/")[0] for path in manifest.paths}
        return sum((manifest.root / f"{shard}.tar").stat().st_size for shard in shards)
    return sum(manifest.file(row).stat().st_size for row in range(len(manifest)))


def _too_large(dataset: DataSet, size: int, folder: Path) -> str:
    need = _cache_bytes(dataset, size)
    files = _file_bytes(dataset)
    if need > min(AUTO_BYTES, max(FREE_BYTES, AUTO_TIMES * files)):
        return (
            f"it would take {need / 1e9:.1f} GB for {files / 1e9:.2f} GB of files, more than is "
            "taken without being asked"
        )
    there = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(there).free
    if need > free / 2:
        return f"it would take {need / 1e9:.1f} GB of the {free / 1e9:.1f} GB free in {there}"
    return ""


def to_gpu(cache: DecodedCache, device: torch.device, report: Report) -> torch.Tensor | None:
    """Copy a cache's pixels to the GPU; None, with the reason told, where that can't be."""
    import torch

    stays = "it stays a memory-mapped file"
    if device.type != "cuda":
        report(f"--cache gpu: this run is on the {device.type}, so {stays}.")
        return None
    if cache.size == SOURCE:
        report(f"--cache gpu: the images have their own sizes, so {stays}.")
        return None
    free, _ = torch.cuda.mem_get_info(device)
    if cache.info.bytes > GPU_SHARE * free:
        report(
            f"--cache gpu: {cache.info.bytes / 1e9:.2f} GB are more than {GPU_SHARE:.0%} of the "
            f"{free / 1e9:.2f} GB free on {device}, so {stays}."
        )
        return None
    resident = torch.empty(cache.pixels.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(cache), 1024):
        part = torch.from_numpy(cache.pixels[start : start + 1024].copy())
        resident[start : start + 1024].copy_(part)
    report(f"--cache gpu: {cache.info.bytes / 1e9:.2f} GB of pixels are on {device}")
    return resident
