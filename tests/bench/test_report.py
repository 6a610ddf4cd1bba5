"""The tables of a benchmark."""

from fastleuk.bench.report import results_table


def test_what_was_not_measured_is_a_dash():
    row = {
        "name": "kornia",
        "images_per_s": {"median": 10.4, "iqr": 0.2},
        "ratio_to_torchvision": None,
        "cpu_s_per_1000_images": None,
        "peak_memory_mb": None,
        "latency_ms": {"p50": 1.0, "p95": 2.0},
        "first_batch_s": 1.0,
    }
    assert results_table([row]).count("–") == 3
