"""What figures were measured on, and how benchmarks write them down."""

from __future__ import annotations

import json
import os
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import fastleuk

PACKAGES = ("torch", "torchvision", "nvidia-dali-cuda120", "nvidia-dali-cuda130", "numba", "numpy",
            "pillow", "albumentations", "kornia", "fuse-augmentations", "opencv-python-headless",
            "timm")  # fmt: skip


def machine(device: str = "cpu") -> dict[str, Any]:
    """Describe what the figures were measured on.

    Args:
        device: ``cpu`` or ``cuda[:N]``, never ``auto``: it names the GPU that is described.
    """
    import torch

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    affinity = getattr(os, "sched_getaffinity", None)
    gpu = None if device == "cpu" else torch.cuda.get_device_name(torch.device(device))
    return {
        "cpu": _cpu_model(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "memory_gb": _memory_gb(),
        "gpu": gpu,
        "device": device,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "fastleuk": fastleuk.__version__,
        "packages": versions,
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def write_results(folder: Path, name: str, text: str, data: Any) -> None:
    """Write ``name.md`` and ``name.json`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text + "\n")
    (folder / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_gb() -> float | None:
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    return round(pages * size / 1e9, 1)
