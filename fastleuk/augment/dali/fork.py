"""What a forked process must not touch: the pipelines of the process it was forked from.

A fork copies a pipeline's memory and none of its threads. To run such a copy waits for ever, and
so does to destroy it, which joins the threads: the child keeps it, unused, until it ends. Fork
while no batch is being made: DALI's own locks are copied as they are, and a child of a process
whose pipeline works at that moment may wait for one for ever, whatever is done here.
"""

from __future__ import annotations

import ctypes
import os
import weakref

from nvidia.dali import Pipeline

_built: weakref.WeakSet[Pipeline] = weakref.WeakSet()


def shield_from_fork(pipeline: Pipeline) -> Pipeline:
    """Let no forked process destroy ``pipeline``, whoever drops it there; returns it."""
    _built.add(pipeline)
    return pipeline


def _abandon() -> None:
    for pipeline in list(_built):
        # One reference that nothing ever gives back: not even the interpreter, when it ends,
        # calls the destructor. DALI's own exit handler must not know it either.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(pipeline))
        getattr(Pipeline, "_pipes", set()).discard(weakref.ref(pipeline))
    _built.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon)
