"""What a benchmark measures, and the lines that its processes exchange."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import shutil
from collections.abc import Iterable
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
    "triton-cache-gpu": "Triton kernels on the GPU, decoded cache in GPU memory",
    "triton-cache": "Triton kernels on the GPU, decoded cache, whose pixels go up as uint8",
    "triton-files": "Triton kernels on the GPU, from the files: plain BMPs go up as they are",
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
    "kornia-compiled-cache-gpu": "kornia's functions on batches under torch.compile, decoded cache "
    "in GPU memory",
    "torchvision-v2-cache-gpu": "torchvision v2 on batches: one draw for a whole batch, not one an "
    "image; decoded cache in GPU memory",
}
BASELINE = "torchvision-pil"
PEERS = ("torchvision-v2-batch", "kornia-compiled", "fuse-augmentations",
         "kornia-compiled-cache-gpu", "torchvision-v2-cache-gpu")  # fmt: skip
"""Left out unless asked for: ``kornia-compiled`` alone may compile for a minute."""

PACKAGES = {
    "albumentations": ("albumentations",),
    "kornia": ("kornia",),
    "kornia-compiled": ("kornia",),
    "fuse-augmentations": ("fuse_aug", "kornia"),
    "kornia-compiled-cache-gpu": ("kornia",),
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
        """Whether the method reads the decoded cache."""
        return self.method.endswith("-cache") or self.resident

    @property
    def resident(self) -> bool:
        """Whether it reads the decoded cache from GPU memory."""
        return self.method.endswith("-cache-gpu")

    @property
    def by_kernels(self) -> bool:
        """Whether it is the Triton kernels: ``triton-<source>``."""
        return self.method.startswith("triton-")


def available(device: str = "cpu") -> tuple[list[str], dict[str, str]]:
    """Return the methods that can run on ``device`` here, and why the others can't."""
    missing: dict[str, str] = {}

    def leave_out(reason: str, names: Iterable[str]) -> None:
        for name in names:
            missing.setdefault(name, reason)

    host = [name for name in METHODS if name.startswith("dali-compiled-host")]
    compiled = [name for name in METHODS if name.startswith("dali-compiled")]
    kernels = [name for name in METHODS if name.startswith("triton-")]
    if device == "cpu":
        resident = [name for name in METHODS if name.endswith("-cache-gpu")]
        leave_out("for a GPU, and this is a CPU", [*host, *kernels, *resident])
    if not has_dali():
        reason = "NVIDIA DALI is not installed (it exists for Linux)"
        leave_out(reason, [name for name in METHODS if name.startswith("dali")])
    if device != "cpu":
        leave_out("its batches stay on the CPU", [name for name in compiled if name not in host])
    if not has_numba():
        leave_out("not installed: pip install 'fastleuk[cpu]'", compiled)
    if importlib.util.find_spec("triton") is None:
        leave_out("Triton is not installed; it comes with torch for Linux", kernels)
    for name, packages in PACKAGES.items():
        if any(importlib.util.find_spec(package) is None for package in packages):
            leave_out("not installed: pip install 'fastleuk[bench]'", [name])
    if device == "cpu" and not shutil.which(os.environ.get("CXX", "g++")):
        leave_out("torch.compile needs a C++ compiler (g++)", ["kornia-compiled"])
    return [name for name in METHODS if name not in missing], missing
