"""Images that are not uint8 RGB in HWC: every way in refuses them, with a reason, at once."""

import numpy as np
import pytest
from nvidia.dali import fn, pipeline_def, types

from fastleuk.augment import PAPER, apply_graph, augment, augment_batch, draw, param_names
from fastleuk.augment.appliers.lowering import param_arrays
from fastleuk.errors import ConfigError
from tests.makers.augment_images import COMPILED, needs_numba

SIZE = 32
RGB = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
FORMS = {
    "grey": (RGB[..., :1].copy(), "HWC"),
    "grey without channels": (RGB[..., 0].copy(), "HW"),
    "grey and alpha": (RGB[..., :2].copy(), "HWC"),
    "RGBA": (np.dstack([RGB, RGB[..., :1]]), "HWC"),
    "CHW": (np.ascontiguousarray(RGB.transpose(2, 0, 1)), "CHW"),
    "float of 0 to 1": ((RGB / 255).astype(np.float32), "HWC"),
    "float of 0 to 255": (RGB.astype(np.float32), "HWC"),
    "half": (RGB.astype(np.float16), "HWC"),
    "uint16": (RGB.astype(np.uint16), "HWC"),
    "int32": (RGB.astype(np.int32), "HWC"),
    "grey float": (RGB[..., :1].astype(np.float32), "HWC"),
    "bytes": (RGB.ravel().copy(), ""),
}
GRAPHS = ["fused", "exact", COMPILED]


def by_augment(image, layout, applier):
    @pipeline_def(batch_size=2, num_threads=1, device_id=None)
    def define():
        source = fn.external_source(source=lambda: [image] * 2, batch=True, layout=layout)
        return augment(source, policy=PAPER, size=SIZE, applier=applier)

    pipeline = define()
    pipeline.build()
    return pipeline.run()[0]


def by_apply_graph(image, layout, applier):
    params = draw(PAPER, seed=0, epoch=0, indices=[0, 1], size=SIZE)
    names = param_names(applier)

    @pipeline_def(batch_size=2, num_threads=1, device_id=None)
    def define():
        source = fn.external_source(source=lambda: [image] * 2, batch=True, layout=layout)
        nodes = fn.external_source(
            source=lambda: param_arrays(params, applier), num_outputs=len(names), batch=True
        )
        return apply_graph(source, nodes, size=SIZE, applier=applier)

    pipeline = define()
    pipeline.build()
    return pipeline.run()[0]


@pytest.mark.parametrize("enter", [by_augment, by_apply_graph])
@pytest.mark.parametrize("applier", GRAPHS)
def test_a_graph_takes_uint8_rgb(enter, applier):
    assert np.isfinite(np.asarray(enter(RGB, "HWC", applier).as_tensor())).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("applier", GRAPHS)
def test_a_strangers_pipeline_refuses_the_rest(applier, form):
    with pytest.raises(RuntimeError, match="images_must_be_uint8_RGB_in_HWC_layout") as caught:
        by_augment(*FORMS[form], applier)
    assert "images: not uint8 RGB (H, W, 3)" in str(caught.value)


@pytest.mark.parametrize("form", ["RGBA", "float of 0 to 1"])
@pytest.mark.parametrize("applier", GRAPHS)
def test_apply_graph_refuses_the_rest(applier, form):
    with pytest.raises(RuntimeError, match="images_must_be_uint8_RGB_in_HWC_layout"):
        by_apply_graph(*FORMS[form], applier)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("applier", [*GRAPHS, "reference"])
def test_arrays_are_refused_before_anything_is_built(applier, form):
    params = draw(PAPER, seed=0, epoch=0, indices=[0], size=SIZE)
    with pytest.raises(ConfigError, match="image 0 must be"):
        augment_batch([FORMS[form][0]], params, applier=applier)


@needs_numba
def test_nothing_goes_to_the_kernel_by_address_unchecked():
    from fastleuk.augment.appliers.compiled import on_arrays

    kernel = np.ones((3, 3), np.float32)
    good = np.zeros((SIZE, SIZE, 3), np.uint8)
    on_arrays.image_table([good], [kernel], SIZE)
    bad = [image for image, _ in FORMS.values()]
    for image in [*bad, good[:-1], good.ravel(), np.empty((0, SIZE, 3), np.uint8)]:
        with pytest.raises(ConfigError, match="takes uint8 images"):
            on_arrays.image_table([image], [kernel], SIZE)
    for wrong in (kernel.astype(np.float64), kernel[:2], np.ones((2, 2), np.float32)):
        with pytest.raises(ConfigError, match="a kernel must be"):
            on_arrays.image_table([good], [wrong], SIZE)
    with pytest.raises(ConfigError, match="contiguous"):
        on_arrays.image_table([good[:, ::-1]], [kernel], SIZE)
    with pytest.raises(ConfigError, match="rows must be"):
        on_arrays.checked_rows([np.zeros(5, np.float32)])


@pytest.mark.parametrize(
    ("field", "row", "value"),
    [
        ("affine_angle", 0, np.nan),
        ("brightness", 1, np.inf),
        ("scale", 0, np.inf),
        ("sharpness", 0, np.nan),
        ("endpoints", (1, 2, 0), 3.5),
        ("endpoints", (0, 0, 0), np.nan),
        ("hue", 1, np.nan),
        ("angle", 1, -np.inf),
    ],
)
def test_parameters_that_no_applier_could_follow_are_refused(field, row, value):
    import dataclasses

    params = draw(PAPER, seed=0, epoch=0, indices=[0, 1], size=SIZE)
    array = getattr(params, field).copy()
    array[row] = value
    where = ", ".join(map(str, row)) if isinstance(row, tuple) else str(row)
    with pytest.raises(
        ConfigError, match=rf"{field}\[{where}\] must be a (finite|whole) number .*, got"
    ):
        dataclasses.replace(params, **{field: array})


def test_fractions_of_pixels_are_refused():
    import dataclasses

    params = draw(PAPER, seed=0, epoch=0, indices=[0, 1], size=SIZE)
    for field in ("crop", "translate", "jitter_order"):
        array = getattr(params, field) + 0.5
        with pytest.raises(ConfigError, match=rf"{field}\[0, 0\] must be a whole number"):
            dataclasses.replace(params, **{field: array})


@pytest.mark.parametrize(
    "moments",
    [
        {"mean": (np.nan, 0, 0)},
        {"mean": (0, 0)},
        {"std": (1, 1, np.inf)},
        {"std": (1, 0, 1)},
        {"std": (np.nan, 1, 1)},
        {"mean": "abc"},
        {"std": 1.0},
    ],
    ids=str,
)
def test_means_that_are_no_numbers_are_refused(moments):
    params = draw(PAPER, seed=0, epoch=0, indices=[0], size=SIZE)
    (name,) = moments
    with pytest.raises(ConfigError, match=f"{name} must be 3 finite numbers"):
        augment_batch([RGB], params, **moments)

    @pipeline_def(batch_size=1, num_threads=1, device_id=None)
    def define():
        images = fn.external_source(source=lambda: [RGB], batch=True, layout="HWC")
        return augment(images, size=SIZE, **moments)

    with pytest.raises(ConfigError, match=f"{name} must be 3 finite numbers"):
        define()


def test_compiled_host_is_for_a_gpu():
    """Traced: the kernel and all before it on the CPU, one upload, nothing comes back."""

    def graph(device_of_images, **options):
        @pipeline_def(batch_size=2, num_threads=1, device_id=0)
        def define():
            images = fn.external_source(name="images", device=device_of_images, layout="HWC")
            return augment(images, policy=PAPER, size=SIZE, applier="compiled-host", **options)

        pipeline = define()
        pipeline._build_graph()
        return pipeline

    pytest.importorskip("numba")
    pipeline = graph("cpu", dtype=types.FLOAT16)
    places = [str(op.spec.OutputDevice(0)).rsplit(".", 1)[-1].lower() for op in pipeline._ops]
    assert set(places) == {"cpu"}
    assert [node.device for node in pipeline._graph_outputs] == ["gpu"]
    with pytest.raises(ConfigError, match='device="cpu"'):
        graph("gpu")
    params = draw(PAPER, seed=0, epoch=0, indices=[0], size=SIZE)
    with pytest.raises(ConfigError, match="on the CPU use compiled"):
        augment_batch([RGB], params, applier="compiled-host")
