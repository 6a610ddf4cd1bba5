"""The tables of a benchmark."""

from fastleuk.bench.report import plot, results_table


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


def test_both_panels_of_the_picture_have_one_order(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    rates = {"b": 10.0, "a": 30.0, "c": 20.0}
    results = [
        {"name": name, "images_per_s": {"median": rate, "iqr": 1.0}, "ratio_to_torchvision": None}
        for name, rate in rates.items()
    ]
    training = [
        {"name": name, "data_wait_share": 0.1, "backbone": "b0"}
        for name in ("ideal (one batch replayed)", "c", "b", "a")
    ]
    machine = {"gpu": "", "cores": 2, "cpu": "x"}
    plot({"results": results, "training": training, "machine": machine, "size": 224,
          "synthetic": True}, tmp_path / "x.png")  # fmt: skip
    left, right = ([t.get_text() for t in axis.get_yticklabels()] for axis in drawn[0].axes)
    assert left == ["a", "c", "b"]
    assert right == [*left, "ideal"]
