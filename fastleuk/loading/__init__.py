"""Loaders: the same batches from DALI or from torchvision, chosen by name."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastleuk.augment import NONE, POLICIES, AugmentPolicy
from fastleuk.augment.normalization import checked_moments
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


def resolve_applier(
    applier: str,
    policy: AugmentPolicy,
    device: torch.device,
    *,
    report: Callable[[str], None] = print,
) -> str:
    """Turn ``auto`` into the fastest applier that there is.

    ``exact`` where the policy asks for ``nearest``. Else on a CPU ``compiled`` if numba is
    installed, or ``fused``; on a GPU the first of ``compiled``, ``fused`` and ``exact`` whose
    self-test passes there.

    Args:
        applier: ``auto``, or one by name, which then has to pass its self-test on a GPU.
        policy: What it is for.
        device: Where the batches go.
        report: Is told, in a line each, of appliers that were passed over.

    Raises:
        ConfigError: ``compiled-host`` without a GPU, or ``compiled`` there and ``nearest``.
        FastleukError: on a GPU, the one named fails its self-test, or all do.
        MissingDependencyError: ``compiled`` without numba or, on a GPU, without Triton.
    """
    on_gpu = device.type != "cpu"
    if applier == "compiled-host" and not on_gpu:
        raise ConfigError("--applier compiled-host is for a GPU; on the CPU use compiled or auto.")
    if applier == "compiled" and on_gpu and policy.interpolation != "bilinear":
        raise ConfigError(
            "--applier compiled interpolates by bilinear: for nearest use --applier exact."
        )
    if applier == "auto" and policy.interpolation != "bilinear":
        applier = "exact"
    if on_gpu and applier != "compiled-host":
        from fastleuk.augment.gpu import verdicts

        if applier == "auto":
            return verdicts.first_sound(device, report=report)
        verdicts.require(applier, device)
        return applier
    if applier in ("compiled", "compiled-host"):
        _load_kernel()
    if applier != "auto":
        return applier
    try:
        _load_kernel()
    except MissingDependencyError:
        return "fused"
    return "compiled"


def _load_kernel() -> None:
    from fastleuk.augment.appliers.compiled.on_arrays import load_kernel

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
    dtype: str = "float32",
    report: Callable[[str], None] = print,
) -> Loader:
    """Make the loader that ``config.loader`` (``dali`` or ``torchvision``) names.

    With the applier ``compiled`` on a GPU it is one whose kernels run there, whatever the config
    names: that says then who decodes what is neither in the cache nor a plain BMP.

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
            :func:`resolve_applier`; one by name on a GPU is not tested again.
        pixels: The decoded cache of ``manifest``, see :func:`fastleuk.loading.prepare.open_pixels`.
        half: The network will round the images to float16 first of all (autocast, and no mixup):
            ``compiled-host`` then uploads half the bytes, and nothing more is lost.
        dtype: Of the images: ``float32``; of the kernels on a GPU ``float16`` or ``bfloat16``, too.
        report: Is told of what ``auto`` passes over.

    Raises:
        ConfigError: an unknown loader, or another one's dtype.
    """
    if config.loader not in ("dali", "torchvision"):
        raise ConfigError(f"Unknown loader {config.loader!r}: use dali or torchvision.")
    mean, std = checked_moments(mean, std)
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
    }
    drawn = None if policy == NONE else policy
    named = device.type == "cuda" and applier in ("compiled", "fused", "exact")
    if config.loader == "dali" and drawn is not None and not named:
        applier = resolve_applier(applier, policy, device, report=report)
    if applier == "compiled" and device.type == "cuda":
        return kernel_loader(config.loader, drawn, pixels, common, dtype)
    if dtype != "float32":
        raise ConfigError(
            f"dtype {dtype}: only the applier compiled on a GPU makes other images than float32"
        )
    if config.loader == "dali":
        from fastleuk.loading.dali.loader import DaliLoader

        return DaliLoader(policy=drawn, applier=applier, half=half, pixels=pixels, **common)
    from fastleuk.loading.torchvision import TorchvisionLoader

    return TorchvisionLoader(policy=policy, pixels=pixels, **common)


def kernel_loader(
    decoder: str,
    policy: AugmentPolicy | None,
    pixels: Pixels | None,
    common: dict[str, Any],
    dtype: str,
) -> Loader:
    """The loader whose kernels run on the GPU.

    Args:
        decoder: ``dali`` or ``torchvision``: who decodes files where there is no cache, unless
            most of them are BMPs, which nobody has to decode.
        policy: What augmented samples get; None for evaluation.
        pixels: The decoded cache, of this size or of the images' own.
        common: Of every loader.
        dtype: Of the images.
    """
    from fastleuk.loading.gpu.sources import mostly_bmp, source_of

    if pixels is None and decoder == "dali" and not mostly_bmp(common["manifest"]):
        from fastleuk.loading.dali.kernels import DaliKernelLoader

        return DaliKernelLoader(policy=policy, dtype=dtype, **common)
    from fastleuk.loading.gpu.loader import GpuLoader

    source = source_of(common["manifest"], pixels, common["device"])
    return GpuLoader(policy=policy, dtype=dtype, source=source, **common)
