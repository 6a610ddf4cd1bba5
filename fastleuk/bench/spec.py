"""What a benchmark measures, and the lines that its processes exchange."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from dataclasses import dataclass

from fastleuk.loading import has_dali, has_numba

METHODS = {
    "dali-compiled-cache": "DALI, augmentation as one compiled CPU function, decoded cache",
    "dali-compiled-files": "DALI, augmentation as one compiled CPU function, from the files",
    "dali-fused-cache": "DALI, fused augmentation, decoded cache",
    "dali-fused-files": "DALI, fused augmentation, from the files",
    "dali-exact-files": "DALI, one operator a step, from the files",
    "torchvision-pil": "torchvision on PIL images, DataLoader workers",
    "torchvision-v2": "torchvision v2 on tensors, DataLoader workers",
    "albumentations": "albumentations (OpenCV), DataLoader workers",
    "kornia": "kornia on batches, files decoded by DataLoader workers",
}
BASELINE = "torchvision-pil"
IDEAL = "ideal (one batch replayed)"


@dataclass(frozen=True, kw_only=True)
class BenchSpec:
    """One process of the benchmark: it feeds batches in one way.

    Attributes:
        method: A key of :data:`METHODS`.
        data: Folder of the images.
        subject_regex: As for ``fastleuk train``.
        size: Edge of the images in pixels.
        batch_size: Images a batch.
        workers: Threads (DALI) or processes (DataLoader).
        device: ``cpu`` or ``cuda[:N]``.
        cache: Folder of decoded caches.
        backbone: What ``train`` commands train.
        amp: Whether it trains in mixed precision.
    """

    method: str
    data: str
    subject_regex: str
    size: int
    batch_size: int
    workers: int
    device: str
    cache: str
    backbone: str
    amp: bool

    def to_line(self) -> str:
        """Return the specification as one line of JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_line(cls, line: str) -> BenchSpec:
        """Read :meth:`to_line`."""
        return cls(**json.loads(line))


def available(device: str = "cpu") -> tuple[list[str], dict[str, str]]:
    """Return the methods that can run on ``device`` here, and why the others can't."""
    missing = {}
    compiled = [name for name in METHODS if "compiled" in name]
    if device != "cpu":
        missing = dict.fromkeys(compiled, "runs on the CPU")
    elif not has_numba():
        missing = dict.fromkeys(compiled, "not installed: pip install 'fastleuk[cpu]'")
    if not has_dali():
        reason = "NVIDIA DALI is not installed (it exists for Linux)"
        missing |= dict.fromkeys([name for name in METHODS if name.startswith("dali")], reason)
    for name in ("albumentations", "kornia"):
        if importlib.util.find_spec(name) is None:
            missing[name] = "not installed: pip install 'fastleuk[bench]'"
    return [name for name in METHODS if name not in missing], missing
