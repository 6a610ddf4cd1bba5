"""``fastleuk prepare``, ``cache``, ``pack`` and ``bench-pipeline``: the way of the data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastleuk.cli.app import Application, app
from fastleuk.cli.data_options import (
    ClassLevelOption,
    LayoutOption,
    RegexOption,
    RootOption,
    SplitOption,
    SubjectLevelOption,
)
from fastleuk.cli.examples import example
from fastleuk.config import DataConfig, LoaderConfig
from fastleuk.errors import ConfigError, DataError
from fastleuk.shell import quoted

LOADER = LoaderConfig()
cache_app = Application(
    help="The decoded caches: list, clear.", no_args_is_help=True, epilog=example("cache")
)
app.add_typer(cache_app, name="cache")

DataOption = Annotated[
    str, typer.Option(help="Folder, manifest CSV or tar shards; without it, the demo set.")
]
SkipOption = Annotated[bool, typer.Option("--skip-bad", help="Leave unusable files out.")]
FolderOption = Annotated[str, typer.Option("--cache", help="Folder of caches; else the user's.")]


def _data_config(
    data: str,
    root: str,
    layout: str,
    class_level: int,
    subject_level: int,
    split: str,
    subject_regex: str,
    skip_bad: bool,
) -> DataConfig:
    return DataConfig(
        data=data,
        root=root,
        layout=layout,
        class_level=class_level,
        subject_level=subject_level,
        split=split or "subject",
        subject_regex=subject_regex,
        skip_bad=skip_bad,
    )


@app.command()
def prepare(
    data: DataOption = "",
    size: Annotated[str, typer.Option(help="Side in pixels, or source.")] = str(LOADER.size),
    loader: Annotated[str, typer.Option(help="dali, torchvision or auto.")] = LOADER.loader,
    workers: Annotated[int, typer.Option(help="Threads; 0: one a core.")] = LOADER.workers,
    root: RootOption = "",
    layout: LayoutOption = "auto",
    class_level: ClassLevelOption = 0,
    subject_level: SubjectLevelOption = 0,
    split: SplitOption = "",
    subject_regex: RegexOption = "",
    skip_bad: SkipOption = False,
    cache: FolderOption = "",
) -> None:
    """Verify every image, then decode and resize each once into the cache that train uses."""
    import time

    from fastleuk.data.decoded.read import SOURCE, decoded_root
    from fastleuk.data.from_config import open_dataset
    from fastleuk.loading import resolve_loader
    from fastleuk.loading.prepare import build_cache, find_cache

    if size != "source" and not size.isdigit():
        raise ConfigError(f"--size {size!r}: give a number of pixels, such as 224, or source.")
    edge = SOURCE if size == "source" else LoaderConfig(size=int(size)).size
    options = resolve_loader(LoaderConfig(loader=loader, workers=workers))
    folder = Path(cache).expanduser() if cache else decoded_root()
    started = time.perf_counter()
    dataset = open_dataset(
        _data_config(data, root, layout, class_level, subject_level, split, subject_regex, skip_bad)
    )
    verified = time.perf_counter()
    there = find_cache(dataset, folder, size=edge, backend=options.loader, check=True)
    if there is not None and there.size == edge:
        typer.echo(f"Already there, and every checksum is right: {there.folder}")
        return
    made = build_cache(dataset, folder, size=edge, backend=options.loader, workers=options.workers)
    ended = time.perf_counter()
    count = len(dataset.manifest)
    typer.echo(f"Decoded cache: {made.folder} ({made.info.bytes / 1e9:.2f} GB)")
    typer.echo(
        f"{count} images: verified in {verified - started:.1f} s, decoded in "
        f"{ended - verified:.1f} s; {count / (ended - started):.0f} images/s in all, "
        f"{count / (ended - verified):.0f} decoding"
    )


@cache_app.command("list")
def list_(cache: FolderOption = "") -> None:
    """Show every decoded cache, and what killed processes have left of demo sets and shards."""
    from fastleuk.data.decoded.read import VERSION, decoded_root, list_caches
    from fastleuk.data.user_cache.unfinished import being_built, find_unfinished

    folder = Path(cache).expanduser() if cache else decoded_root()
    found = list_caches(folder)
    for place, info, size in found:
        if place.name.endswith(".partial") and being_built(place):
            what = "being built now"
        elif place.name.endswith(".partial"):
            what = "unfinished; the next prepare or train goes on with it"
        elif info is None or info.version != VERSION:
            version = "damaged" if info is None else f"of format {info.version}"
            what = f"{version}: can't be used"
        else:
            edge = f"{info.size} px" if info.size else "source size"
            what = f"{info.images} images, {edge}, {info.backend}, {info.created}, {info.root}"
        typer.echo(f"{place.name}  {size / 1e9:7.2f} GB  {what}")
    typer.echo(f"{len(found)} caches, {sum(s for *_, s in found) / 1e9:.2f} GB, in {folder}")
    for unfinished in () if cache else find_unfinished():
        writer = unfinished.writer
        state = f"being written by {writer}" if writer else "left by a killed process"
        room = f"{unfinished.bytes / 1e9:.2f} GB"
        typer.echo(f"{unfinished.folder}  {room}  {unfinished.what}, {state}")


@cache_app.command("clear")
def clear(cache: FolderOption = "") -> None:
    """Remove every decoded cache, and what killed processes have left of demo sets and shards.

    Caches are made again when needed. What a process is writing is left alone.
    """
    from fastleuk.data.decoded.read import clear_caches, decoded_root, list_caches
    from fastleuk.data.user_cache.unfinished import clear_unfinished

    folder = Path(cache).expanduser() if cache else decoded_root()
    typer.echo(f"Freed {clear_caches(folder) / 1e9:.2f} GB in {folder}")
    for place, *_ in list_caches(folder):
        typer.echo(f"Left alone, it is being built: {place}")
    freed, left = (0, []) if cache else clear_unfinished()
    if freed:
        typer.echo(f"Freed {freed / 1e9:.2f} GB of what killed processes had left")
    for unfinished in left:
        typer.echo(f"Left alone, {unfinished.writer} is writing it: {unfinished.folder}")


@app.command()
def bench_pipeline(
    data: DataOption = "",
    subject_regex: RegexOption = "",
    methods: Annotated[
        str, typer.Option(help="Some of them, with commas; else all but --peers.")
    ] = "",
    peers: Annotated[
        bool, typer.Option("--peers", help="Also the newer peers: minutes more.")
    ] = False,
    size: Annotated[int, typer.Option(help="Side in pixels.")] = LOADER.size,
    batch_size: Annotated[int, typer.Option(help="Images a batch.")] = LOADER.batch_size,
    workers: Annotated[int, typer.Option(help="Threads or processes; 0: one a core.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    cache: FolderOption = "",
    allocator: Annotated[
        str, typer.Option(help="Of every contender: kept (freed memory) or system.")
    ] = "kept",
    rounds: Annotated[int, typer.Option(help="Turns that each loader has.")] = 3,
    seconds: Annotated[float, typer.Option(help="Length of a turn.")] = 0.3,
    backbone: Annotated[str, typer.Option(help="What is trained.")] = "efficientnet_b0",
    train_seconds: Annotated[
        float, typer.Option(help="Training fed by a loader, at least a step; 0: none.")
    ] = 1.0,
    train_all: Annotated[
        bool, typer.Option("--train-all", help="By every loader, not only fastest and baseline.")
    ] = False,
    amp: Annotated[bool, typer.Option("--amp", help="Train in mixed precision.")] = False,
    operators: Annotated[bool, typer.Option(help="Time each operator.")] = True,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Batch sizes and threads as well: minutes.")
    ] = False,
    json: Annotated[str, typer.Option(help="Write everything to this file.")] = "",
    plot: Annotated[str, typer.Option(help="Draw bars into this PNG.")] = "",
) -> None:
    """Say how fast each way of loading is here, side by side, and what training sees of it."""
    from fastleuk.bench.command import BenchOptions
    from fastleuk.bench.command import bench_pipeline as run

    run(
        BenchOptions(
            data=data,
            subject_regex=subject_regex,
            methods=methods,
            peers=peers,
            size=size,
            batch_size=batch_size,
            workers=workers,
            device=device,
            cache=cache,
            allocator=allocator,
            rounds=rounds,
            seconds=seconds,
            backbone=backbone,
            train_seconds=train_seconds,
            train_all=train_all,
            amp=amp,
            operators=operators,
            sweep=sweep,
            json=json,
            plot=plot,
        )
    )


@app.command()
def pack(
    out: Annotated[Path, typer.Argument(help="New folder for the shards.")],
    data: DataOption = "",
    form: Annotated[str, typer.Option("--format", help="webdataset.")] = "webdataset",
    shard_mb: Annotated[int, typer.Option(help="Size of a shard in MB.")] = 256,
    seed: Annotated[int, typer.Option(help="Of the shuffle.", min=0)] = 0,
    root: RootOption = "",
    layout: LayoutOption = "auto",
    class_level: ClassLevelOption = 0,
    subject_level: SubjectLevelOption = 0,
    split: SplitOption = "",
    subject_regex: RegexOption = "",
    skip_bad: SkipOption = False,
) -> None:
    """Write a data set as tar shards with index files; train --data 'OUT/*.tar' reads them."""
    from fastleuk.data.from_config import open_dataset
    from fastleuk.data.pack import write_shards
    from fastleuk.progress import progress_bar

    if form != "webdataset":
        raise ConfigError(f"--format {form!r}: there is only webdataset.")
    out = out.expanduser()
    if out.exists():
        raise DataError(f"--out {out} is there already. Name a new folder.")
    dataset = open_dataset(
        _data_config(data, root, layout, class_level, subject_level, split, subject_regex, skip_bad)
    )
    with progress_bar("packing") as progress:
        shards = write_shards(
            dataset, out, shard_bytes=shard_mb * 10**6, seed=seed, progress=progress
        )
    size = sum(shard.stat().st_size for shard in shards)
    typer.echo(f"{len(dataset.manifest)} images in {len(shards)} shards, {size / 1e9:.2f} GB")
    typer.echo(f"Use them with: fastleuk train --data {quoted(out / '*.tar')}")
