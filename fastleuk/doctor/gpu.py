"""The GPU: whether torch can use it, whether the driver is new enough, and what it computes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastleuk.doctor.finding import OK, WARNING, Finding, size
from fastleuk.doctor.probe import Answer

NEEDED_DRIVERS = {11: (450, 80), 12: (525, 60), 13: (580, 65)}
"""Oldest driver for each CUDA of torch or DALI: NVIDIA's table of minor version compatibility."""

SMALL_GPU = 6e9


def driver_version(proc: Path = Path("/proc")) -> str:
    """Return the NVIDIA driver's version; empty where none is loaded."""
    try:
        text = (proc / "driver" / "nvidia" / "version").read_text()
    except OSError:
        return ""
    found = re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", text)
    return found.group(1) if found else ""


def has_gpu(dev: Path = Path("/dev")) -> bool:
    """Say whether the system shows this process an NVIDIA GPU, usable or not."""
    return any(re.fullmatch(r"nvidia\d+", file.name) for file in dev.glob("nvidia*"))


def driver(version: str, toolkits: Mapping[str, int]) -> Finding:
    """Compare the driver with what torch and DALI were built for.

    Args:
        version: Of the driver, such as ``535.104.05``.
        toolkits: Major version of CUDA, by package.
    """
    have = tuple(int(part) for part in version.split(".")[:2])
    lacking = [
        f"{package} (CUDA {major}) needs {'.'.join(map(str, NEEDED_DRIVERS[major]))}"
        for package, major in toolkits.items()
        if major in NEEDED_DRIVERS and have < NEEDED_DRIVERS[major]
    ]
    if lacking:
        return Finding(
            "GPU driver",
            WARNING,
            f"{version} is too old: {'; '.join(lacking)}",
            "Update the driver, or install torch and DALI for an older CUDA. Until then, training "
            "runs on the CPU.",
        )
    return Finding("GPU driver", OK, version)


def gpus(answer: Answer, *, there: bool, environ: Mapping[str, str] = os.environ) -> list[Finding]:
    """Say what torch can do with the GPUs.

    Args:
        answer: Of the probe ``gpus``.
        there: Whether the system shows a GPU, or a driver for one.
        environ: Has ``CUDA_VISIBLE_DEVICES``.
    """
    first: dict[str, Any] = answer.rows[0] if answer.rows else {}
    if not first.get("available"):
        return [_none(answer, first, there, environ)]
    found = [_one(row, first) for row in answer.rows[1:]]
    if answer.failure:
        found.append(
            Finding(
                "GPU",
                WARNING,
                f"computing on it {answer.failure}",
                "Look into `dmesg` and nvidia-smi. Until then: --device cpu.",
            )
        )
    return found


def _none(
    answer: Answer, first: Mapping[str, Any], there: bool, environ: Mapping[str, str]
) -> Finding:
    if not there:
        return Finding("GPU", OK, "none: training runs on the CPU")
    hidden = environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.strip() in ("", "-1"):
        return Finding(
            "GPU",
            WARNING,
            f"hidden by CUDA_VISIBLE_DEVICES={hidden!r}",
            "Unset the variable to train on it.",
        )
    if answer.rows and first.get("cuda") is None:
        return Finding(
            "GPU",
            WARNING,
            "there is one, but this torch is built for the CPU",
            "Install the build for CUDA: https://pytorch.org/get-started.",
        )
    said = f" ({answer.failure})" if answer.failure else ""
    return Finding(
        "GPU",
        WARNING,
        f"there is one, but torch can't use it{said}",
        "Check the driver with nvidia-smi; in Docker give --gpus all. Until then, training runs "
        "on the CPU.",
    )


def _one(row: Mapping[str, Any], first: Mapping[str, Any]) -> Finding:
    name = f"GPU {row['index']}"
    half = "bf16 and fp16" if row["bf16"] else "fp16, no bf16 (--amp takes fp16)"
    found = f"{row['name']}, {size(row['memory'])}, compute {row['capability']}, {half}"
    wrong = {key: row[key] for key in ("float32", "float16", "bfloat16") if row.get(key)}
    if wrong:
        kernels = first.get("kernels") or ["none"]
        return Finding(
            name,
            WARNING,
            f"{found}; fails to compute: {'; '.join(f'{k}: {v}' for k, v in wrong.items())}",
            f"This torch has kernels for {', '.join(kernels)}: install one for this GPU, or use "
            "--device cpu.",
        )
    if row["memory"] < SMALL_GPU:
        return Finding(
            name, WARNING, found, "Give --batch-size 8 --accumulate 4, --amp, or a lean backbone."
        )
    return Finding(name, OK, found)
