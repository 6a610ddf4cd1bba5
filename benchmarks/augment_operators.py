"""CPU time of each part of the two DALI graphs, in milliseconds an image.

    python benchmarks/augment_operators.py

Processor time of the whole process, best of a few runs: unlike wall time it hardly depends on
what else the machine does. Feeding the batch in (first row) is part of each figure.
"""

import importlib.util
import time
import warnings

import numpy as np
from augment_machine import table
from nvidia.dali import fn, pipeline_def
from PIL import Image

from fastleuk.augment import PAPER, apply_graph, dali, dali_fused, draw, param_arrays, param_names
from fastleuk.data.demo_plan import draw_demo_cell, plan_demo
from fastleuk.memory import keep_freed_memory

SIZE, BATCH = 224, 64


def cpu_ms(graph, sources, applier, params, repeats=7):
    """``graph(images, nodes by name)`` on one batch, again and again."""
    arrays, names = param_arrays(params, applier), param_names(applier)

    @pipeline_def(batch_size=BATCH, num_threads=2, device_id=None, prefetch_queue_depth=1)
    def define():
        images, *nodes = fn.external_source(
            lambda: [sources, *arrays],
            num_outputs=1 + len(arrays),
            batch=True,
            layout=["HWC"] + [""] * len(arrays),
            no_copy=True,
        )
        fixed = {"size": SIZE, "interpolation": "bilinear", "device": "cpu"}
        fixed |= {"resized": np.shape(sources[0])[0] == SIZE}
        return graph(images, dict(zip(names, nodes, strict=True)) | fixed)

    pipeline = define()
    pipeline.build()
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        pipeline.run()
        best = min(best, time.process_time() - start)
    return 1e3 * best / BATCH


def operator_rows():
    keep_freed_memory()  # as every DALI loader of fastleuk does
    warnings.simplefilter("ignore")  # a part of a graph leaves arrays of the whole unused
    plan = plan_demo(cells=240, seed=3)
    big = [draw_demo_cell(cell, seed=3) for cell in plan[:BATCH]]
    small = [np.asarray(Image.fromarray(i).resize((SIZE, SIZE), Image.BILINEAR)) for i in big]
    levels = [image.astype(np.float32) for image in small]
    params = draw(PAPER, seed=1, epoch=0, indices=np.arange(BATCH), size=SIZE)

    def whole(applier):
        names = param_names(applier)
        return lambda x, p: apply_graph(
            x, [p[n] for n in names], size=SIZE, applier=applier, resized=p["resized"]
        )

    parts = [
        ("feeding", "exact", lambda x, _: x, small),
        ("resize 450 to 224", "exact", lambda x, _: dali.resize(x, SIZE), big),
    ]
    for step in dali.CHAIN:
        early = step in (dali.hflip, dali.vflip, dali.rotate, dali.color_jitter)
        parts.append((step.__name__, "exact", step, small if early else levels))
    parts += [
        ("whole chain from 450", "exact", whole("exact"), big),
        ("whole chain from 224", "exact", whole("exact"), small),
        ("geometry_and_colour from 450", "fused", dali_fused.geometry_and_colour, big),
        ("geometry_and_colour from 224", "fused", dali_fused.geometry_and_colour, small),
        ("affine_and_filter", "fused", dali_fused.affine_and_filter, levels),
        ("whole chain from 450", "fused", whole("fused"), big),
        ("whole chain from 224", "fused", whole("fused"), small),
    ]
    if importlib.util.find_spec("numba"):
        parts += [
            ("whole chain from 450", "compiled", whole("compiled"), big),
            ("whole chain from 224", "compiled", whole("compiled"), small),
        ]
    return [
        {"applier": applier, "part": name, "CPU ms/image": cpu_ms(graph, images, applier, params)}
        for name, applier, graph, images in parts
    ]


if __name__ == "__main__":
    print(table(operator_rows()))
