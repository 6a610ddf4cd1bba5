"""Bytes that the kernels move, on paper, and the bandwidth that they are compared with."""

import numpy as np
import pytest
import torch

from fastleuk.augment.gpu.packing import Images
from fastleuk.bench import traffic
from fastleuk.bench.report import traffic_table
from fastleuk.bench.traffic import Traffic, kernel_traffic, measure_bandwidth, with_traffic

PIXELS = 3 * 224 * 224


def images(side, *, go_up):
    class Bytes:
        nbytes = 3 * side * side

    table = np.tile(np.array([0, 3 * side, side, side, 0], np.int64), (4, 1))
    return Images(table, [Bytes()] * 4 if go_up else ())


@pytest.mark.parametrize(("dtype", "itemsize"), [("float16", 2), ("bfloat16", 2), ("float32", 4)])
def test_a_resident_image_is_read_warped_filtered_and_written(dtype, itemsize):
    """uint8 in; the warped image written and read again; the result out: float, three channels."""
    found = kernel_traffic(images(224, go_up=False), 224, getattr(torch, dtype))
    assert found.moved - found.uploaded == PIXELS + 3 * PIXELS * itemsize
    assert found.uploaded < 500


def test_pixels_that_go_up_are_written_to_gpu_memory_first():
    resident, mapped = (
        kernel_traffic(images(224, go_up=up), 224, torch.float16) for up in (False, True)
    )
    assert mapped.uploaded - resident.uploaded == pytest.approx(PIXELS, abs=16)
    assert mapped.moved - resident.moved == pytest.approx(PIXELS, abs=16)


def test_large_images_are_resized_first_and_that_is_counted():
    side = 3 * 224
    found = kernel_traffic(images(side, go_up=False), 224, torch.float16)
    assert found.moved - found.uploaded == 3 * side**2 + 2 * PIXELS + 6 * PIXELS


def test_bandwidth_counts_reads_and_writes_of_a_copy_and_an_upload_once(monkeypatch):
    class Mark:
        def __init__(self, device):
            pass

        def record(self):
            pass

        def synchronize(self):
            pass

        def elapsed_time(self, _end):
            return 500.0

    monkeypatch.setattr(traffic, "new_mark", lambda device: lambda: Mark(device))
    found = measure_bandwidth(torch.device("cpu"), nbytes=1000, copies=3)
    assert found == {"copy_gb_per_s": 12000 / 1e9, "upload_gb_per_s": 6000 / 1e9}


def test_bandwidth_is_measured():
    found = measure_bandwidth(torch.device("cpu"), nbytes=1 << 22, copies=4)
    assert all(0.05 < value < 5000 for value in found.values())


def test_shares_of_the_bandwidth():
    row = {"name": "triton-cache", "dtype": "float16", "images_per_s": {"median": 1000.0}}
    bandwidth = {"copy_gb_per_s": 4.0, "upload_gb_per_s": 0.5}
    found = with_traffic(row, Traffic(1e6, 1e5), bandwidth)
    assert (found["share_of_copy"], found["share_of_upload"]) == pytest.approx((0.25, 0.2))
    other = with_traffic(row | {"name": "kornia"}, None, bandwidth)
    assert other["bytes_moved"] is other["share_of_copy"] is None
    lines = traffic_table([found, other], bandwidth).splitlines()
    assert ["triton-cache", "float16", "1000", "25.0%", "100.0", "20.0%"] in [
        line.split() for line in lines
    ]
    assert lines[-1].count("–") == 4
