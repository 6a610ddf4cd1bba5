"""Loaders: the same batches from DALI or from torchvision, chosen by name."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastleuk.augment import NONE, POLICIES, AugmentPolicy
from fastleuk.config import LoaderConfig
from fastleuk.errors import ConfigError, MissingDependencyError, did_you_mean

if TYPE_CHECKING:
    import torch

    from fastleuk.data.manifest import Manifest
    from fastleuk.loading.batch import Loader
    from fastleuk.loading.prepare import Pixels
    from fastleuk.loading.stream import Stream

__all__ = ["has_dali", "load_policy", "make_loader", "resolve_applier", "resolve_loader"]


def has_dali() -> bool:
    """Say whether NVIDIA DALI is installed, without importing it."""
    try:
        return importlib.util.find_spec("nvidia.dali") is not None
    except ModuleNotFoundError:
        return False


def has_numba() -> bool:
    """Say whether the applier ``compiled`` can be had, without importing anything."""
    return importlib.util.find_spec("numba") is not None


def load_policy(name: str) -> AugmentPolicy:
    """Return the augmentation policy of a preset's name or of a ``.toml`` file.

    Raises:
        ConfigError: neither, or a file with a bad option.
    """
    if name in POLICIES:
        return POLICIES[name]
    if name.endswith(".toml"):
        return AugmentPolicy.from_toml(Path(name))
    raise ConfigError(
        f"--augment {name!r} is no preset ({', '.join(POLICIES)}) and no .toml file."
        + did_you_mean(name, POLICIES, 2)
    )


def resolve_loader(config: LoaderConfig, *, sharing: int = 1) -> LoaderConfig:
    """Fill in what was left to the machine: DALI where installed, one worker a core (≤ 16).

    Args:
        config: What was asked for.
        sharing: Processes that divide the cores.

    Raises:
        MissingDependencyError: DALI was asked for and is not installed.
    """
    loader = config.loader
    if loader == "auto":
        loader = "dali" if has_dali() else "torchvision"
    if loader == "dali" and not has_dali():
        raise MissingDependencyError(
            "--loader dali: NVIDIA DALI is not installed. It exists for Linux on x86-64 and "
            "aarch64 (pip install nvidia-dali-cuda120); elsewhere use --loader torchvision, "
            "which yields the same batches."
        )
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only; it respects a container's cores
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    workers = config.workers or min(16, max(1, cores // sharing))
    return dataclasses.replace(config, loader=loader, workers=workers)


def resolve_applier(applier: str, policy: AugmentPolicy, device: torch.device) -> str:
    """Turn ``auto`` into the fastest applier that there is.

    ``exact`` where the policy asks for ``nearest``, else ``fused`` on a GPU, and on a CPU
    ``compiled`` if numba is installed.

    Raises:
        ConfigError: ``compiled-host`` without a GPU, or ``compiled`` there and ``nearest``.
        MissingDependencyError: ``compiled`` without numba or, on a GPU, without Triton.
    """
    if applier == "compiled" and device.type != "cpu":
        from fastleuk.augment.gpu.images import load_kernels

        if policy.interpolation != "bilinear":
            raise ConfigError(
                "--applier compiled interpolates by bilinear: for nearest use --applier exact."
            )
        load_kernels()
        return applier
    if applier == "compiled-host" and device.type == "cpu":
        raise ConfigError("--applier compiled-host is for a GPU; on the CPU use compiled or auto.")
    if applier in ("compiled", "compiled-host"):
        _load_kernel()
    if applier != "auto":
        return applier
    if policy.interpolation != "bilinear":
        return "exact"
    if device.type != "cpu":
        return "fused"
    try:
        _load_kernel()
    except MissingDependencyError:
        return "fused"
    return "compiled"


def _load_kernel() -> None:
    from fastleuk.augment.appliers.compiled.in_dali import load_kernel

    load_kernel()


def make_loader(
    *,
    manifest: Manifest,
    stream: Stream,
    config: LoaderConfig,
    policy: AugmentPolicy,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: torch.device,
    seed: int = 0,
    applier: str = "auto",
    pixels: Pixels | None = None,
    half: bool = False,
) -> Loader:
    """Make the loader that ``config.loader`` (``dali`` or ``torchvision``) names.

    Args:
        manifest: The images.
        stream: Their order, see :mod:`fastleuk.loading.stream`.
        config: Loader, size, workers; resolved.
        policy: What augmented samples get; ``NONE`` for evaluation.
        mean: Channel means of the normalisation in 0–1 units.
        std: Channel standard deviations in 0–1 units.
        device: Where the batches go; DALI computes there too.
        seed: Of the augmentation.
        applier: ``compiled``, ``compiled-host``, ``fused``, ``exact`` or ``auto``, see
            :func:`resolve_applier`.
        pixels: The decoded cache of ``manifest``, see :func:`fastleuk.loading.prepare.open_pixels`.
        half: The network will round the images to float16 first of all (autocast, and no mixup):
            ``compiled-host`` then uploads half the bytes, and nothing more is lost.

    Raises:
        ConfigError: an unknown loader.
    """
    common: dict[str, Any] = {
        "manifest": manifest,
        "stream": stream,
        "size": config.size,
        "workers": config.workers,
        "prefetch": config.prefetch,
        "seed": seed,
        "mean": mean,
        "std": std,
        "device": device,
        "pixels": pixels,
    }
    if applier == "compiled" and device.type == "cuda":
        return _gpu_loader(policy, config, common)
    if config.loader == "dali":
        from fastleuk.loading.dali import DaliLoader

        return DaliLoader(
            policy=None if policy == NONE else policy,
            applier=resolve_applier(applier, policy, device),
            half=half,
            **common,
        )
    if config.loader == "torchvision":
        from fastleuk.loading.torchvision import TorchvisionLoader

        return TorchvisionLoader(policy=policy, **common)
    raise ConfigError(f"Unknown loader {config.loader!r}: use dali or torchvision.")


def _gpu_loader(policy: AugmentPolicy, config: LoaderConfig, common: dict[str, Any]) -> Loader:
    """The loader whose kernels read the decoded cache; neither DALI nor a worker takes part."""
    from fastleuk.loading.gpu import GpuLoader

    pixels = common["pixels"]
    if pixels is None or pixels.cache.size != config.size:
        raise ConfigError(
            f"--applier compiled on a GPU reads a decoded cache of images of {config.size} pixels, "
            "and there is none: use --cache auto or --cache gpu, or --applier compiled-host or "
            "fused, which read files."
        )
    options = {key: value for key, value in common.items() if key != "workers"}
    return GpuLoader(policy=None if policy == NONE else policy, **options)
