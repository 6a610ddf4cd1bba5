"""Memory of the Triton kernels under observation: every address that a launch touches is checked.

A kernel may read bytes that were given to it: pixels of its images (not the gap between two rows,
not the padding of a BMP), and its other arguments, if they were written before. It must write every
byte of its outputs exactly once. Memory that :meth:`Kernels._allocate` returns is filled with NaN.

Two things run on this: Triton's interpreter (:mod:`.kernel_bounds`) and compiled PTX (:mod:`.ptx`).
"""

import ctypes
from collections import Counter
from types import SimpleNamespace

import numpy as np
import torch

from fastleuk.augment.gpu.kernels import Kernels

OUTPUTS = {
    "resize": "targets",
    "mean_grey": "pivots",
    "warp_and_jitter": "canvas",
    "filter_and_write": "outputs",
}
"""The argument that each kernel writes; it may not read it, nor write any other."""


class Allocation:
    """Some bytes: which of them are data, which were written, how often by this launch.

    Args:
        name: For messages.
        start: Address.
        nbytes: Length.
        written: False for fresh memory.
        data: bool ``(nbytes,)``: bytes that may be read at all; None for all.
    """

    def __init__(self, name, start, nbytes, *, written=True, data=None):
        self.name, self.start, self.end = name, start, start + nbytes
        self.written = np.full(nbytes, written)
        self.data = data
        self.writes = np.zeros(nbytes, np.int32)

    def bytes(self):
        """uint8 ``(nbytes,)``: the memory itself."""
        kind = ctypes.c_uint8 * (self.end - self.start)
        return np.ctypeslib.as_array(kind.from_address(self.start))


class Memory:
    """The memory of one launch, and the problems of all launches."""

    def __init__(self):
        self.problems = Counter()
        self.loads = self.stores = 0
        self.kernel, self.readable, self.writable = "", [], []

    def begin(self, kernel, readable, writable):
        """Say which allocations the next launch may read and write."""
        self.kernel, self.readable, self.writable = kernel, readable, writable
        for allocation in writable:
            allocation.writes[:] = 0

    def end(self):
        """Check that the launch has written all of its outputs, every byte once."""
        for allocation in self.writable:
            counts = np.unique(allocation.writes).tolist()
            if counts != [1]:
                self.report(f"{allocation.name} is written {counts} times")

    def report(self, text, times=1):
        """Note a problem of the running kernel."""
        self.problems[f"{self.kernel}: {text}"] += times

    def load(self, addresses, itemsize):
        """Check a load at ``addresses`` (int64); yield allocation, offsets, and positions."""
        self.loads += len(addresses)
        for allocation, offsets, where in self._find(addresses, itemsize, "load", self.readable):
            index = offsets[:, None] + np.arange(itemsize)
            if allocation.data is not None:
                self._count(~allocation.data[index], f"{allocation.name} is read between its rows")
            self._count(
                ~allocation.written[index], f"{allocation.name} is read before it is written"
            )
            yield allocation, index, where

    def store(self, addresses, itemsize):
        """Check a store likewise."""
        self.stores += len(addresses)
        for allocation, offsets, where in self._find(addresses, itemsize, "store", self.writable):
            index = offsets[:, None] + np.arange(itemsize)
            np.add.at(allocation.writes, index.reshape(-1), 1)
            allocation.written[index] = True
            yield allocation, index, where

    def _count(self, bad, text):
        if bad.any():
            self.report(text, int(bad.any(axis=1).sum()))

    def _find(self, addresses, itemsize, verb, allocations):
        misaligned = addresses % itemsize != 0
        if misaligned.any():
            self.report(f"{verb} at misaligned addresses", int(misaligned.sum()))
        rest = np.ones(len(addresses), bool)
        for allocation in allocations:
            inside = (addresses >= allocation.start) & (addresses + itemsize <= allocation.end)
            where = np.flatnonzero(rest & inside)
            if len(where):
                rest[where] = False
                yield allocation, addresses[where] - allocation.start, where
        if rest.any():
            self.report(f"{verb} outside of what it may {verb}", int(rest.sum()))


class ObservedKernels(Kernels):
    """Kernels whose launches go to :meth:`_run`, with the memory that each may touch.

    Args:
        memory: Collects problems.
        kernels: The module of the kernels; None for the package's.
        block: Pixels a program; None for the package's choice.
        options: Of :class:`Kernels`.
    """

    def __init__(self, size, memory, *, kernels=None, block=None, **options):
        super().__init__(size, **options)
        self.memory, self.block = memory, block
        self._module = kernels or self._kernels
        self._kernels = SimpleNamespace(**{name: _Launcher(self, name) for name in OUTPUTS})

    def _run(self, name, grid, tensors, constants):
        """Run a kernel on tensors by the names of its arguments."""
        raise NotImplementedError

    def _launch(self, buffer, layout):
        self._own = []
        room = buffer[layout.room]
        room.fill_(255)
        self._room = self._allocation("room", room, written=False)
        return super()._launch(buffer, layout)

    def _allocate(self, n, device):
        made = super()._allocate(n, device)
        for name, tensor in zip(("pivots", "canvas", "output"), made, strict=True):
            tensor.fill_(float("nan"))
            self._own.append(self._allocation(name, tensor, written=False))
        return made

    @staticmethod
    def _allocation(name, tensor, **options):
        nbytes = tensor.numel() * tensor.element_size()
        return Allocation(name, tensor.data_ptr(), nbytes, **options)

    def launch_kernel(self, name, grid, arguments, constants):
        """Find the memory of a launch, run it, check what it wrote."""
        function = getattr(self._module, name)
        tensors = dict(zip(function.arg_names, arguments, strict=False))
        known = {a.start: a for a in [*self._own, self._room] if a.end > a.start}
        readable, writable = [], []
        for argument, tensor in tensors.items():
            allocation = known.get(tensor.data_ptr()) or self._allocation(argument, tensor)
            (writable if argument == OUTPUTS[name] else readable).append(allocation)
            if argument == "images":
                readable += self._images(tensor)
        if self.block:
            constants["BLOCK"] = self.block
            grid = (grid[0], *(-(-(self.size**2) // self.block) for _ in grid[1:]))
        self.memory.begin(name, readable, writable)
        self._run(name, grid, tensors, constants)
        self.memory.end()

    def _images(self, table):
        """The pixels of the images of a table: those that were resized, and the callers'."""
        found = [self._room]
        for address, stride, height, width, _ in table.reshape(-1, 5).tolist():
            if self._room.start <= address < self._room.end:
                continue
            lowest = address + min(0, stride * (height - 1))
            data = np.zeros(abs(stride) * (height - 1) + 3 * width, bool)
            for row in range(height):
                first = address + row * stride - lowest
                data[first : first + 3 * width] = True
            found.append(Allocation("an image", lowest, len(data), data=data))
        return found

    def launch(self, buffer, layout):
        """Launch, and check that the result is finite."""
        result = super().launch(buffer, layout)
        if not torch.isfinite(result.float()).all():
            self.memory.report("the result is not finite")
        return result


class _Launcher:
    """Stands in for a kernel: ``launcher[grid](*tensors, **constants)``."""

    def __init__(self, owner, name):
        self._owner, self._name = owner, name

    def __getitem__(self, grid):
        def launch(*tensors, **constants):
            self._owner.launch_kernel(self._name, grid, tensors, constants)

        return launch
