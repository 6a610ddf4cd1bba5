"""What ``fastleuk data`` accepts passes everything after it, with equal pixels on every loader;
what it refuses, ``train`` refuses as well, before it starts, each file named.

``FASTLEUK_EXAMPLES`` multiplies the examples: the default is a sample for every day.
"""

import os
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastleuk.augment import NONE
from fastleuk.config import Config, DataConfig, LoaderConfig, ModelConfig, OptimConfig, RunConfig
from fastleuk.config.sections import AugmentConfig
from fastleuk.data.dataset import load_dataset
from fastleuk.data.decoded.read import SOURCE
from fastleuk.data.pack import write_shards
from fastleuk.errors import DataError, one_line
from fastleuk.evaluation.evaluate import evaluate_run
from fastleuk.files import CsvWriter
from fastleuk.loading import has_dali, make_loader
from fastleuk.loading.decode.pil import decode
from fastleuk.loading.prepare import Pixels, build_cache
from fastleuk.loading.stream import EvalStream
from fastleuk.training.train import resume, train
from tests.makers.image_files import ACCEPTED, REFUSED, photo, tolerance
from tests.makers.resizing import border_levels

pytestmark = pytest.mark.skipif(not has_dali(), reason="NVIDIA DALI is not installed")

TIMES = float(os.environ.get("FASTLEUK_EXAMPLES", "1"))
SIDE = 32


def examples(count):
    return settings(
        max_examples=max(1, round(count * TIMES)),
        deadline=None,
        database=None,
        derandomize=TIMES == 1,
        suppress_health_check=list(HealthCheck),
    )


# Bytes of a file name: no slash, no NUL; what begins with a dot is hidden.
plain = st.sampled_from([b"cell", b"Zelle 1", b"UID", b"1", b"x" * 120, b"-a", b"#%&;'\"", b"a.b"])
odd = st.sampled_from(
    [b"F\xe4rbung", "Färbung".encode(), "Fa\u0308rbung".encode(), b"a\rb", b"a\nb", b"a\\b", b"a,b",
     b"\xff\xfe", "細胞".encode(), b"a\tb", b"a\x1b[1mb", b"%s{}", b"a  b"]
)  # fmt: skip
stems = st.tuples(plain, st.one_of(plain, odd)).map(b"_".join)
endings = st.sampled_from([b".png", b".bmp", b".jpg", b".JPEG", b".tif", b".TIFF", b".webp"])
sides = st.integers(8, 40)


@st.composite
def pictures(draw, kinds):
    """Return a kind of file, its encoder, height and width, and the bytes of its name."""
    kind = draw(st.sampled_from(sorted(kinds)))
    same = draw(st.booleans())  # of the network's size, so that nothing is resized
    height, width = (SIDE, SIDE) if same else (draw(sides), draw(sides))
    return kind, kinds[kind], (height, width), draw(stems) + draw(endings)


def data_sets(kinds, least, most):
    return st.lists(pictures(kinds), min_size=least, max_size=most)


class Made:
    """A data set on disk, in class folders or by a manifest CSV, in a folder of its own."""

    def __init__(self, folder, files, layout, crops):
        self.root, self.kinds = Path(folder) / "set", {}
        for number, (kind, encode, shape, name) in enumerate(files):
            # Pictures and names are numbered, so that no two are one.
            path = f"{'ab'[number % 2]}/{number}_{os.fsdecode(name)}"
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_bytes(encode(photo(number, *shape)))
            self.kinds[path] = kind
        self.data = self.root
        if layout == "manifest":
            self.data = self.root / "m.csv"
            with open(self.data, "w", newline="", errors="surrogateescape") as stream:
                writer = CsvWriter(stream)
                writer.writerow(["path", "label", "subject", "crop"])
                for number, path in enumerate(self.kinds):
                    writer.writerow([path, path[0], "", crops[number % len(crops)]])

    def kind(self, path):
        return self.kinds[path]


def decoded(dataset, backend, folder, size=SOURCE):
    return build_cache(dataset, Path(folder), size=size, backend=backend, workers=1)


def assert_equal_pixels(image, reference, kind, where):
    assert image.shape == reference.shape, (where, kind)
    difference = np.abs(image.astype(int) - reference.astype(int)).max()
    assert difference <= tolerance(kind), (where, kind, difference)


layouts = st.sampled_from(["folders", "manifest"])
cuts = st.lists(st.sampled_from([0, 0, 9, 16, 31, 50]), min_size=1, max_size=5)


@examples(25)
@given(files=data_sets(ACCEPTED, 2, 8), layout=layouts, crops=cuts)
def test_what_is_accepted_has_equal_pixels_everywhere(files, layout, crops):
    with tempfile.TemporaryDirectory() as folder:
        made = Made(folder, files, layout, crops)
        dataset = load_dataset(made.data)
        manifest = dataset.manifest
        crop = dict(zip(manifest.paths, manifest.crops.tolist(), strict=True))
        truth = {p: decode(manifest.root / p, crop[p]) for p in manifest.paths}
        for backend in ("dali", "torchvision"):
            cache = decoded(dataset, backend, f"{folder}/cache")
            for row, path in enumerate(manifest.paths):
                assert_equal_pixels(cache.image(row), truth[path], made.kind(path), backend)
        write_shards(dataset, Path(folder) / "out")
        packed = load_dataset(Path(folder) / "out" / "*.tar")
        assert sorted(packed.sha256) == sorted(dataset.sha256)
        by_hash = dict(zip(dataset.sha256, manifest.paths, strict=True))
        cache = decoded(packed, "dali", f"{folder}/cache")
        for row, digest in enumerate(packed.sha256):
            path = by_hash[digest]
            assert_equal_pixels(cache.image(row), truth[path], made.kind(path), "shards")
            assert packed.manifest.crops[row] == crop[path]


def batches(dataset, loader, pixels=None):
    """Return the un-augmented images by path, uint8."""
    manifest = dataset.manifest
    config = LoaderConfig(loader=loader, size=SIDE, batch_size=3, workers=1)
    made = make_loader(
        manifest=manifest,
        stream=EvalStream(np.arange(len(manifest)), batch_size=3),
        config=config,
        policy=NONE,
        mean=(0.0,) * 3,
        std=(1 / 255,) * 3,
        device=torch.device("cpu"),
        pixels=pixels,
    )
    images = {}
    try:
        for batch in made.epoch():
            for image, row in zip(batch.images, batch.indices, strict=True):
                images[manifest.paths[int(row)]] = image.permute(1, 2, 0).numpy()
    finally:
        made.close()
    return images


@examples(6)
@given(files=data_sets(ACCEPTED, 2, 7), layout=layouts, crops=cuts)
def test_batches_are_equal_from_files_and_cache(files, layout, crops):
    with tempfile.TemporaryDirectory() as folder:
        made = Made(folder, files, layout, crops)
        dataset = load_dataset(made.data)
        cache = decoded(dataset, "dali", folder, SIDE)
        from_files, from_cache = batches(dataset, "dali"), batches(dataset, "dali", Pixels(cache))
        reference = decoded(dataset, "torchvision", folder, SIDE)
        assert list(from_files) == list(from_cache) == list(dataset.manifest.paths)
        for row, path in enumerate(dataset.manifest.paths):
            np.testing.assert_allclose(from_files[path], from_cache[path], atol=0.01)
            np.testing.assert_allclose(from_cache[path], cache.image(row), atol=0.01)
            shape = decode(dataset.manifest.file(row), int(dataset.manifest.crops[row])).shape
            limit = tolerance(made.kind(path))
            limit += 0 if shape == (SIDE, SIDE, 3) else border_levels(shape, SIDE)
            assert np.abs(from_files[path] - reference.image(row)).max() <= limit + 0.01, path


def network(made, out, loader, cache):
    return Config(
        data=DataConfig(data=str(made.data), split="image", val_fraction=0.25, test_fraction=0.25),
        loader=LoaderConfig(loader=loader, size=SIDE, batch_size=4, workers=1, cache=cache),
        augment=AugmentConfig(augment="flips-rotations"),
        model=ModelConfig(backbone="test_efficientnet", weights="none"),
        optim=OptimConfig(epochs=1),
        run=RunConfig(out=str(out), device="cpu"),
    )


@examples(2)
@given(
    files=data_sets(ACCEPTED, 16, 20),
    layout=layouts,
    crops=cuts,
    loader=st.sampled_from(["dali"] if TIMES == 1 else ["dali", "torchvision"]),  # workers are slow
    cache=st.sampled_from(["off", "auto"]),
)
def test_what_is_accepted_is_trained_and_evaluated(files, layout, crops, loader, cache):
    with tempfile.TemporaryDirectory() as folder:
        made = Made(folder, files, layout, crops)
        out = Path(folder) / "run"
        train(network(made, out, loader, cache), report=lambda _: None)
        first = (out / "test_predictions.csv").read_bytes()
        evaluate_run(out, report=lambda _: None)
        assert (out / "test_predictions.csv").read_bytes() == first


@examples(15)
@given(
    good=data_sets(ACCEPTED, 2, 4),
    bad=data_sets(REFUSED, 1, 4),
    layout=layouts,
)
def test_what_is_refused_is_refused_before_training_with_every_name(good, bad, layout):
    with tempfile.TemporaryDirectory() as folder:
        made = Made(folder, [*good, *bad], layout, [0])
        wrong = [path for path, kind in made.kinds.items() if kind in REFUSED]
        out = Path(folder) / "run"
        for refuse in (
            lambda: load_dataset(made.data),
            lambda: train(network(made, out, "dali", "off"), report=lambda _: None),
        ):
            with pytest.raises(DataError) as caught:
                refuse()
            assert [path for path in wrong if one_line(path) not in str(caught.value)] == []
        assert not out.exists()


def test_files_exchanged_in_training_are_noticed_before_the_test_figures(tmp_path):
    files = [("BMP", ACCEPTED["BMP"], (SIDE, SIDE), b"x.bmp")] * 16
    made = Made(tmp_path, files, "folders", [0])
    victim = made.root / next(iter(made.kinds))
    old = victim.read_bytes()

    def report(line):
        if line.startswith("epoch"):
            victim.write_bytes(old[:-1] + b"\1")

    out = tmp_path / "run"
    with pytest.raises(DataError, match=re.escape(victim.name)):
        train(network(made, out, "dali", "off"), report=report)
    assert not (out / "test_predictions.csv").exists()
    victim.write_bytes(old)
    resume(out, report=lambda _: None)
    assert (out / "test_predictions.csv").exists()
