"""What must hold of a DALI graph on a GPU, found by tracing it: no driver is needed."""

UNLISTED = {"_Shape", "DLTensorPythonFunctionImpl"}
"""Operators that DALI has and doesn't list: a shape, and a Python function on the CPU."""


def device(text):
    """``cpu`` or ``gpu`` of one of DALI's names for them."""
    return str(text).rsplit(".", 1)[-1].lower()


def check_placement(pipeline):
    """Every operator exists where it is placed; what is on the GPU never comes back but as a shape.

    Args:
        pipeline: On which ``_build_graph`` was called.

    Returns:
        ``(name, device)`` of every operator in order; mixed decoders count as on the GPU.
    """
    from nvidia.dali import backend

    registered = {
        "gpu": set(backend.RegisteredGPUOps()),
        "mixed": set(backend.RegisteredMixedOps()),
        "cpu": set(backend.RegisteredCPUOps()),
    }
    made_on = {node.name: node.device for op in pipeline._ops for node in op.outputs}
    found = []
    for operator in pipeline._ops:
        name, spec = operator._op.schema.Name(), operator.spec
        place = device(spec.OutputDevice(0))
        if name not in UNLISTED:
            there = registered[place] | (registered["mixed"] if place == "gpu" else set())
            assert name in there, f"{name} has no {place} implementation"
        for i in range(spec.NumInput()):
            came_from = made_on[spec.InputName(i)]
            regular = i < spec.NumRegularInput()
            on_gpu = device(spec.InputDevice(i)) == "gpu"
            hop = came_from == "gpu" and (place == "cpu" or not regular or not on_gpu)
            assert not hop or name == "_Shape", f"{name} takes {spec.InputName(i)} off the GPU"
        found.append((name, place))
    return found
