"""PTX that Triton has compiled, executed by NumPy: all threads of an image in step.

No emulator of a GPU: no scheduling, no caches, no timing. It executes the instructions that a
driver is given, as the PTX manual defines them (fused multiply-adds, NaN in min and max, saturating
conversions), for the subset that these kernels use, and refuses any other. Branches must be taken
alike by all threads of an image's blocks, as these kernels' are. Every address is checked.
"""

import re
import struct
from typing import ClassVar, NamedTuple

import numpy as np
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from tests.augment.gpu.kernel_memory import ObservedKernels

THREADS = 128
UNSIGNED = {"8": np.uint8, "16": np.uint16, "32": np.uint32, "64": np.uint64}
SIGNED = {"8": np.int8, "16": np.int16, "32": np.int32, "64": np.int64}
POINTERS = {
    torch.int64: "*i64",
    torch.uint8: "*u8",
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
}
ROUND = {"rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil, "rni": np.rint}
COMPARE = {
    "eq": np.equal,
    "ne": lambda x, y: (x < y) | (x > y),  # false for NaN, as the others without a u
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "equ": lambda x, y: ~((x < y) | (x > y)),
    "neu": np.not_equal,
    "ltu": lambda x, y: ~(x >= y),
    "leu": lambda x, y: ~(x > y),
    "gtu": lambda x, y: ~(x <= y),
    "geu": lambda x, y: ~(x < y),
}
FLOAT = {
    "fma": lambda x, y, z: (x.astype(np.float64) * y + z).astype(np.float32),
    "mul": np.multiply,
    "add": np.add,
    "sub": np.subtract,
    "div": np.divide,
    "neg": np.negative,
    "abs": np.abs,
    "min": np.fmin,
    "max": np.fmax,
}
INTEGER = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "mad": lambda x, y, z: x * y + z,
    "min": np.minimum,
    "max": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "not": np.invert,
    "shl": lambda x, y: x << y.astype(x.dtype),
    "shr": lambda x, y: x >> y.astype(x.dtype),
    "neg": np.negative,
    "abs": np.abs,
    "bfe": lambda x, first, count: x >> first & ((np.uint32(1) << count) - np.uint32(1)),
}
LOGIC = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor, "not": np.logical_not}


class Instruction(NamedTuple):
    """``@predicate op arguments``; ``taken`` is the predicate's value to run it."""

    op: str
    arguments: list
    predicate: str | None
    taken: bool


class Program:
    """The PTX of a kernel, parsed."""

    def __init__(self, ptx):
        body = ptx[ptx.index(".visible .entry") :]
        self.instructions, self.labels = [], {}
        for raw in body[body.index("{") + 1 :].splitlines():
            line = raw.split("//")[0].strip()
            if line.startswith("}"):
                break
            if label := re.fullmatch(r"([$\w]+):", line):
                self.labels[label[1]] = len(self.instructions)
            elif line and not line.startswith("."):
                found = re.fullmatch(r"(?:@(!?)(%p\d+)\s+)?([a-z][\w.:]*)\s*(.*?);?", line)
                if not found:
                    raise NotImplementedError(raw)
                arguments = re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s]+", found[4])
                self.instructions.append(
                    Instruction(found[3], arguments, found[2], found[1] != "!")
                )

    def run(self, parameters, grid, memory):
        """Execute all blocks.

        Args:
            parameters: Addresses, int.
            grid: Images, and blocks of each.
            memory: A :class:`.kernel_memory.Memory`.
        """
        blocks = grid[1] if len(grid) > 1 else 1
        for image in range(grid[0]):
            Threads(self, parameters, image, blocks, memory).run()


class Threads:
    """The threads of an image's blocks, with their registers."""

    def __init__(self, program, parameters, image, blocks, memory):
        self.program, self.parameters, self.memory = program, parameters, memory
        self.count = blocks * THREADS
        self.block = np.repeat(np.arange(blocks), THREADS)
        self.registers = {
            "%tid.x": np.tile(np.arange(THREADS, dtype=np.uint32), blocks),
            "%ctaid.x": np.full(self.count, image, np.uint32),
            "%ctaid.y": self.block.astype(np.uint32),
            "global_smem": np.zeros(self.count, np.uint32),
        }
        self.shared = np.zeros((blocks, 4096), np.uint8)

    def run(self):
        """Execute the program to its end."""
        at, instructions = 0, self.program.instructions
        with np.errstate(all="ignore"):
            while at < len(instructions):
                op, arguments, predicate, taken = instructions[at]
                at += 1
                mask = None if predicate is None else self.registers[predicate] == taken
                if op.startswith(("bra", "ret")):
                    if mask is not None and mask.any() != mask.all():
                        raise NotImplementedError("threads of an image take different branches")
                    if mask is None or mask.all():
                        at = len(instructions) if op == "ret" else self.program.labels[arguments[0]]
                elif not op.startswith("bar."):
                    self._execute(op, arguments, mask)

    def read(self, text, dtype):
        """Return the value of a register or a constant in each thread."""
        dtype = np.dtype(dtype)
        if text in self.registers:
            value = self.registers[text]
            same = value.dtype.itemsize == dtype.itemsize
            return value.view(dtype) if same else value.astype(dtype)
        if text.startswith("0f"):
            number = struct.unpack(">f", bytes.fromhex(text[2:]))[0]
            return np.full(self.count, number, np.float32).view(dtype)
        whole = UNSIGNED[str(8 * dtype.itemsize)]
        number = int(text, 0) & int(np.iinfo(whole).max)
        return np.full(self.count, number, whole).view(dtype)

    def write(self, name, value, mask=None):
        """Set a register in the threads of ``mask``."""
        value = np.asarray(value)
        if not name.startswith("%p"):
            kind = {"%rs": np.uint16, "%rd": np.uint64}.get(name[:3], np.uint32)
            same = value.dtype.itemsize == np.dtype(kind).itemsize
            value = value.view(kind) if same else value.astype(kind)
        if mask is not None:
            value = np.where(mask, value, self.registers.get(name, np.zeros_like(value)))
        self.registers[name] = value

    def _execute(self, op, arguments, mask):
        name, *_, kind = op.split(".")
        special = getattr(self, f"_{name}", None)
        if special:
            special(op, arguments, mask)
            return
        target, *sources = arguments
        if kind == "pred":
            value = LOGIC[name](*(self.registers[text] for text in sources))
        elif kind == "f32" and name in FLOAT:
            value = FLOAT[name](*(self.read(text, np.float32) for text in sources))
        elif ".wide." in op or ".hi." in op:
            value = self._wide(op, kind, sources)
        elif kind[:1] in "usb" and name in INTEGER:
            dtype = self._integer(kind)
            shift = name in ("shl", "shr")
            dtypes = [np.uint32 if shift and i == 1 else dtype for i in range(len(sources))]
            value = INTEGER[name](*map(self.read, sources, dtypes))
        else:
            raise NotImplementedError(op)
        self.write(target, value, mask)

    @staticmethod
    def _integer(kind):
        return (SIGNED if kind[0] == "s" else UNSIGNED)[kind[1:]]

    def _wide(self, op, kind, sources):
        """Products of 64 bits, or their upper halves."""
        kinds = SIGNED if kind[0] == "s" else UNSIGNED
        x, y = (self.read(text, kinds["32"]).astype(kinds["64"]) for text in sources[:2])
        if ".hi." in op:
            return (x * y >> kinds["64"](32)).astype(kinds["32"])
        return x * y + self.read(sources[2], kinds["64"]) if op.startswith("mad") else x * y

    def _address(self, place, dtype):
        base, _, offset = place.strip("[] ").partition("+")
        return self.read(base.strip(), dtype).astype(np.int64) + int(offset or 0)

    def _ld(self, op, arguments, mask):
        if op == "ld.param.b64":
            number = int(re.search(r"param_(\d+)", arguments[1])[1])
            self.write(arguments[0], np.full(self.count, self.parameters[number], np.uint64))
            return
        names, dtype = self._names(arguments[0]), UNSIGNED[op.rpartition(".b")[2]]
        size = np.dtype(dtype).itemsize * len(names)
        found = np.zeros((self.count, size), np.uint8)
        active = np.arange(self.count) if mask is None else np.flatnonzero(mask)
        if "shared" in op:
            index = self._address(arguments[1], np.uint32)[:, None] + np.arange(size)
            found[active] = self.shared[self.block[active, None], index[active]]
        else:
            address = self._address(arguments[1], np.uint64)[active]
            for allocation, index, where in self.memory.load(address, size):
                found[active[where]] = allocation.bytes()[index]
        for name, value in zip(names, found.view(dtype).T, strict=True):
            self.write(name, value.copy(), mask)

    def _st(self, op, arguments, mask):
        names, dtype = self._names(arguments[1]), UNSIGNED[op.rpartition(".b")[2]]
        values = np.stack([self.read(name, dtype) for name in names], axis=1)
        data = np.ascontiguousarray(values).view(np.uint8)
        active = np.arange(self.count) if mask is None else np.flatnonzero(mask)
        if "shared" in op:
            index = self._address(arguments[0], np.uint32)[:, None] + np.arange(data.shape[1])
            self.shared[self.block[active, None], index[active]] = data[active]
            return
        address = self._address(arguments[0], np.uint64)[active]
        for allocation, index, where in self.memory.store(address, data.shape[1]):
            allocation.bytes()[index] = data[active[where]]

    @staticmethod
    def _names(text):
        return [name.strip() for name in text.strip("{} ").split(",")]

    def _shfl(self, op, arguments, mask):
        if not op.startswith("shfl.sync.bfly") or mask is not None:
            raise NotImplementedError(op)
        values = self.read(arguments[1], np.uint32).reshape(-1, 32)
        self.write(arguments[0], values[:, np.arange(32) ^ int(arguments[2])].reshape(-1))

    def _mov(self, op, arguments, mask):
        target, source = arguments
        kind = op.split(".")[-1]
        if kind == "pred":
            known = {"0": False, "-1": True}
            value = known[source] if source in known else self.registers[source]
            self.write(target, np.broadcast_to(value, self.count), mask)
            return
        whole, half = UNSIGNED[kind[1:]], UNSIGNED.get(str(int(kind[1:]) // 2))
        if source.startswith("{"):
            low, high = (self.read(name, half).astype(whole) for name in self._names(source))
            self.write(target, low | high << whole(int(kind[1:]) // 2), mask)
        elif target.startswith("{"):
            value = self.read(source, whole)
            for name, part in zip(self._names(target), (0, int(kind[1:]) // 2), strict=True):
                self.write(name, (value >> whole(part)).astype(half), mask)
        else:
            self.write(target, self.read(source, whole).copy(), mask)

    def _cvt(self, op, arguments, mask):
        target, *sources = arguments
        _, *modes, to, of = op.split(".")
        if of == "f32":
            values = [self.read(text, np.float32) for text in sources]
            if to in ("s32", "u32"):
                limits = np.iinfo(SIGNED["32"] if to == "s32" else UNSIGNED["32"])
                whole = np.nan_to_num(ROUND[modes[0]](values[0].astype(np.float64)))
                value = whole.clip(limits.min, limits.max).astype(self._integer(to))
            elif to == "f32":
                value = ROUND[modes[0]](values[0])
            elif to in ("f16", "bf16"):
                value = half_bits(values[0], to)
            elif to in ("f16x2", "bf16x2"):
                high, low = (half_bits(v, to[:-2]).astype(np.uint32) for v in values)
                value = low | high << np.uint32(16)
            else:
                raise NotImplementedError(op)
        elif to == "f32":
            dtype = np.float16 if of == "f16" else self._integer(of)
            value = self.read(sources[0], dtype).astype(np.float32)
        else:
            value = self.read(sources[0], self._integer(of)).astype(self._integer(to))
        self.write(target, value, mask)

    def _selp(self, op, arguments, mask):
        dtype = np.float32 if op.endswith("f32") else UNSIGNED[op[-2:]]
        target, yes, no, predicate = arguments
        chosen = np.where(self.registers[predicate], self.read(yes, dtype), self.read(no, dtype))
        self.write(target, chosen, mask)

    def _setp(self, op, arguments, mask):
        _, comparison, kind = op.split(".")
        dtype = np.float32 if kind == "f32" else self._integer(kind)
        target, *sources = arguments
        self.write(target, COMPARE[comparison](*(self.read(t, dtype) for t in sources)), mask)


def half_bits(values, kind):
    """Round float32 to float16 or bfloat16, halves to even; the bits as uint16."""
    if kind == "f16":
        return values.astype(np.float16).view(np.uint16)
    bits = values.view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(values), 0x7FFF, rounded).astype(np.uint16)


class PtxKernels(ObservedKernels):
    """Kernels whose launches execute the PTX that Triton compiles for a generation of GPUs.

    Args:
        capability: Of the GPU: 90 is Hopper.
        options: Of :class:`ObservedKernels`.
    """

    programs: ClassVar[dict] = {}

    def __init__(self, *arguments, capability=90, **options):
        super().__init__(*arguments, **options)
        self.capability = capability

    def _run(self, name, grid, tensors, constants):
        signature = {argument: POINTERS[tensor.dtype] for argument, tensor in tensors.items()}
        function = getattr(self._module, name)
        key = function, self.capability, *signature.values(), *constants.items()
        if key not in self.programs:
            self.programs[key] = Program(self._compile(name, signature, constants))
        addresses = [tensor.data_ptr() for tensor in tensors.values()]
        self.programs[key].run(addresses, grid, self.memory)

    def _compile(self, name, signature, constants):
        function = getattr(self._module, name)
        names = function.arg_names
        aligned = {(names.index(argument),): [["tt.divisibility", 16]] for argument in signature}
        source = ASTSource(
            fn=function,
            signature={**signature, **dict.fromkeys(constants, "constexpr")},
            constexprs=constants,
            attrs=aligned,
        )
        return triton.compile(source, target=GPUTarget("cuda", self.capability, 32)).asm["ptx"]
