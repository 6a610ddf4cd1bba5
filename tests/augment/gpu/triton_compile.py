"""Compiles the Triton kernels ahead of time and prints what they take, as JSON.

``python triton_compile.py CAPABILITY…``, such as 80 90. No driver is needed.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import triton
import triton.backends.nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from fastleuk.augment.appliers.compiled import gpu as kernel_gpu
from fastleuk.augment.appliers.row import PIVOT_POINTS, ROW
from fastleuk.augment.gpu.kernels import BLOCK

COMMON = {"LENGTH": ROW + 1 + 25, "SIZE": 224, "BLOCK": BLOCK}
KERNELS = {
    "mean_grey": (
        {"images": "*i64", "rows": "*fp32", "pivots": "*fp32"},
        {"POINTS": PIVOT_POINTS},
    ),
    "warp_and_jitter": (
        {"images": "*i64", "rows": "*fp32", "pivots": "*fp32", "canvas": "*fp16"},
        {},
    ),
    "filter_and_write": (
        {"canvas": "*fp16", "rows": "*fp32", "moments": "*fp32", "outputs": "*fp16"},
        {"PLANAR": False},
    ),
    "resize": ({"images": "*i64", "targets": "*u8"}, {"LENGTH": None}),
}
"""Types of the arguments, and constants beside the common ones; None: not one of its own."""


def usage(name: str, capability: int) -> dict[str, int]:
    """Registers, stack and local memory of a kernel, from its machine code.

    From its PTX the bytes that a thread stores, and its calls of functions of a library.
    """
    signature, own = KERNELS[name]
    constants = {k: v for k, v in {**COMMON, **own}.items() if v is not None}
    source = ASTSource(
        fn=getattr(kernel_gpu, name),
        signature={**signature, **dict.fromkeys(constants, "constexpr")},
        constexprs=constants,
    )
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    tool = Path(triton.backends.nvidia.__file__).parent / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        text = subprocess.run(
            [tool, "-res-usage", file.name], check=True, capture_output=True, text=True
        ).stdout
    found = {what: int(re.search(rf"{what}:(\d+)", text)[1]) for what in ("REG", "STACK", "LOCAL")}
    stores = re.findall(r"st\.global(?:\.v(\d))?\.b(\d+)", made.asm["ptx"])
    found["STORED"] = sum(int(width or 1) * int(bits) // 8 for width, bits in stores)
    found["CALLS"] = len(re.findall(r"\bcall\b|__nv_", made.asm["ptx"]))
    return found


if __name__ == "__main__":
    pairs = [(name, int(capability)) for name in KERNELS for capability in sys.argv[1:]]
    print(json.dumps({f"{name} {version}": usage(name, version) for name, version in pairs}))
