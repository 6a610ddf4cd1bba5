"""What a benchmark ran on, and how its tables are written."""

import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "nvidia-dali-cuda120",
    "torch",
    "torchvision",
    "numpy",
    "pillow",
    "albumentations",
    "albumentationsx",
    "kornia",
)


def machine() -> dict[str, Any]:
    """Processor, cores, load and versions."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = lines[0].split(":")[1].strip() if lines else model
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "versions": versions,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table; numbers with as many digits as they deserve."""

    def cell(value: Any) -> str:
        if not isinstance(value, float):
            return str(value)
        return f"{value:.5f}" if 0 < abs(value) < 0.05 else f"{value:.2f}"

    head = list(rows[0])
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell(row.get(name, "")) for name in head) + " |" for row in rows]
    return "\n".join(lines)


def write_results(folder: Path, name: str, text: str, data: Any) -> None:
    """Write ``name.md`` and ``name.json`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text + "\n")
    (folder / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")
