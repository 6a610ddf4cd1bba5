"""The ways that need a GPU, on the CPU: its kernels and its memory replaced by the host's."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fastleuk.bench.contenders import on_gpu
from fastleuk.bench.contenders.chains import RESIDENT
from fastleuk.bench.contenders.feeds import open_feed
from fastleuk.bench.contenders.stream import EndlessStream
from fastleuk.bench.spec import METHODS
from fastleuk.bench.traffic import method_traffic
from fastleuk.config import DataConfig
from fastleuk.data.from_config import open_dataset
from fastleuk.errors import ConfigError
from tests.bench.contenders.test_feeds import check_batches
from tests.makers.augment_images import needs_numba
from tests.makers.host_kernels import HostKernels

KERNELS = [name for name in METHODS if name.startswith("triton-")]


@pytest.fixture
def sent(monkeypatch):
    """Bytes that each batch of the kernels' loader uploads, on the host."""
    found = []

    class Noting(HostKernels):
        def _launch(self, buffer, layout):
            found.append(layout.images_up.stop)
            return super()._launch(buffer, layout)

    monkeypatch.setattr("fastleuk.loading.gpu.loader.Kernels", Noting)
    monkeypatch.setattr(on_gpu, "resolve_applier", lambda *_: "compiled")
    monkeypatch.setattr(on_gpu, "to_gpu", lambda cache, *_: torch.from_numpy(cache.pixels.copy()))
    return found


def dataset_of(spec):
    config = DataConfig(data=spec.data, subject_regex=spec.subject_regex)
    return open_dataset(config, report=lambda _: None)


@needs_numba
@pytest.mark.parametrize("method", KERNELS)
def test_the_kernels_feed_as_the_others_do_and_upload_what_the_table_says(method, spec, sent):
    spec = replace(spec, method=method, workers=2)
    feed, close = open_feed(spec)
    check_batches([next(feed) for _ in range(8)])
    close()
    told = method_traffic(spec, dataset_of(spec), "float32")
    assert sent[:8] == [told.uploaded * spec.batch_size] * 8
    pixels = 3 * spec.size**2
    if method == "triton-cache-gpu":
        assert told.uploaded < 500
    else:
        assert told.uploaded > pixels


@pytest.mark.usefixtures("sent")
def test_a_peer_takes_the_batches_from_gpu_memory(spec):
    spec = replace(spec, method="torchvision-v2-cache-gpu")
    feed, close = open_feed(spec)
    check_batches([next(feed) for _ in range(8)])
    close()
    assert method_traffic(spec, dataset_of(spec), "float32") is None


def test_every_resident_method_has_a_chain():
    resident = {name for name in METHODS if name.endswith("-cache-gpu")}
    assert set(RESIDENT) == resident - set(KERNELS)


def test_a_batch_from_gpu_memory_is_its_rows_of_the_pixels():
    pixels = torch.arange(10, dtype=torch.uint8)[:, None, None, None].expand(10, 4, 4, 3)
    stream = EndlessStream(np.arange(10), batch_size=6)
    feed = on_gpu.resident_feed(pixels, np.arange(100, 110), stream, lambda images: images)
    plans = stream.batches()
    for _ in range(5):
        rows = next(plans).indices
        images, labels = next(feed)
        assert images.shape == (6, 3, 4, 4)
        assert images.is_contiguous()
        assert (images == torch.from_numpy(rows)[:, None, None, None]).all()
        assert labels.tolist() == (100 + rows).tolist()


def test_a_cache_that_is_not_in_gpu_memory_is_refused_with_the_reason(spec, monkeypatch):
    monkeypatch.setattr(on_gpu, "resolve_applier", lambda *_: "compiled")
    with pytest.raises(ConfigError, match=r"needs the decoded cache in GPU memory.*on the cpu"):
        open_feed(replace(spec, method="triton-cache-gpu"))


def test_kernels_that_fail_their_self_test_are_not_measured(spec, monkeypatch):
    def refuse(applier, _policy, device):
        raise ConfigError(f"{applier} is wrong on {device}")

    monkeypatch.setattr(on_gpu, "resolve_applier", refuse)
    with pytest.raises(ConfigError, match="compiled is wrong"):
        open_feed(replace(spec, method="triton-files"))
