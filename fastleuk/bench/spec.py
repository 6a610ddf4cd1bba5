"""What a benchmark measures, and the lines that its processes exchange."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import shutil
from dataclasses import dataclass

from fastleuk.loading import has_dali, has_numba

METHODS = {
    "dali-compiled-cache": "DALI, augmentation as one compiled CPU function, decoded cache",
    "dali-compiled-files": "DALI, augmentation as one compiled CPU function, from the files",
    "dali-compiled-host-cache": "as dali-compiled-cache, on the CPU for a GPU",
    "dali-compiled-host-files": "as dali-compiled-files, on the CPU for a GPU",
    "dali-fused-cache": "DALI, fused augmentation, decoded cache",
    "dali-fused-files": "DALI, fused augmentation, from the files",
    "dali-exact-files": "DALI, one operator a step, from the files",
    "torchvision-pil": "torchvision on PIL images, DataLoader workers",
    "torchvision-v2": "torchvision v2 on tensors, DataLoader workers",
    "albumentations": "albumentations (OpenCV), DataLoader workers",
    "kornia": "kornia on batches, files decoded by DataLoader workers",
    "torchvision-v2-batch": "torchvision v2 on batches: one draw for a whole batch, not one an "
    "image, so less than the paper asks for; files decoded by DataLoader workers",
    "kornia-compiled": "kornia's functions on batches under torch.compile, files decoded by "
    "DataLoader workers",
    "fuse-augmentations": "fuse-augmentations over kornia's transforms, on batches, files decoded "
    "by DataLoader workers",
}
BASELINE = "torchvision-pil"
PEERS = ("torchvision-v2-batch", "kornia-compiled", "fuse-augmentations")
"""Left out unless asked for: ``kornia-compiled`` alone may compile for a minute."""

PACKAGES = {
    "albumentations": ("albumentations",),
    "kornia": ("kornia",),
    "kornia-compiled": ("kornia",),
    "fuse-augmentations": ("fuse_aug", "kornia"),
}
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
        allocator: A key of :data:`fastleuk.bench.measure.allocator.ALLOCATORS`.
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
    allocator: str = "kept"

    def to_line(self) -> str:
        """Return the specification as one line of JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_line(cls, line: str) -> BenchSpec:
        """Read :meth:`to_line`."""
        return cls(**json.loads(line))

    @property
    def applier(self) -> str:
        """The applier of a method of DALI: ``dali-<applier>-<source>``."""
        return self.method.removeprefix("dali-").rpartition("-")[0]

    @property
    def cached(self) -> bool:
        """Whether a method of DALI reads the decoded cache."""
        return self.method.endswith("-cache")


def available(device: str = "cpu") -> tuple[list[str], dict[str, str]]:
    """Return the methods that can run on ``device`` here, and why the others can't."""
    missing = {}
    compiled = [name for name in METHODS if name.startswith("dali-compiled")]
    host = [name for name in compiled if name.startswith("dali-compiled-host")]
    if not has_numba():
        missing = dict.fromkeys(compiled, "not installed: pip install 'fastleuk[cpu]'")
    if device != "cpu":
        missing |= {n: "its batches stay on the CPU" for n in compiled if n not in host}
    else:
        missing |= dict.fromkeys(host, "feeds a GPU")
    if not has_dali():
        reason = "NVIDIA DALI is not installed (it exists for Linux)"
        missing |= dict.fromkeys([name for name in METHODS if name.startswith("dali")], reason)
    for name, packages in PACKAGES.items():
        if any(importlib.util.find_spec(package) is None for package in packages):
            missing[name] = "not installed: pip install 'fastleuk[bench]'"
    if device == "cpu" and not shutil.which(os.environ.get("CXX", "g++")):
        missing.setdefault("kornia-compiled", "torch.compile needs a C++ compiler (g++)")
    return [name for name in METHODS if name not in missing], missing
