"""The processor time of an operator, and its interval."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastleuk.bench.report import interval, operators_table
from tests.makers.skips import needs_dali


@pytest.mark.parametrize(
    ("differences", "low", "noise"),
    [([1.0, 1.2, 0.8, 1.1, 0.9, 1.0, 1.05, 0.95, 1.0], 0.8, False), ([-0.5] * 9, 0, True)],
)
def test_an_operators_time_is_never_below_zero(differences, low, noise):
    found = interval(differences)
    assert found["below_noise"] is noise
    assert 0 <= low <= found["low"] <= found["ms_per_image"] <= found["high"]
    row = {"name": "x", "graph": "both", **found}
    assert ("<" in operators_table([row])) is noise


@given(st.lists(st.floats(-10, 10), min_size=5, max_size=40))
def test_an_operators_interval_holds_its_median(differences):
    found = interval(differences)
    assert 0 <= found["low"] <= found["ms_per_image"] <= found["high"]
    assert found["below_noise"] or found["low"] > 0


@needs_dali
def test_the_copies_of_a_timed_operator_are_all_computed():
    from fastleuk.bench.operators import COPIES, _Timer

    images = [np.full((8, 8, 3), value, np.uint8) for value in (10, 20)]
    timer = _Timer(batch_size=2, repeats=5)
    ran = []

    def work(batch):
        ran.append(int(np.asarray(batch).flat[0]))
        return batch

    def graph(node, _):
        from nvidia.dali import fn

        return fn.python_function(node, function=work)

    pipeline = timer._build(graph, images, [])
    pipeline.run()
    assert sorted(ran)[: 2 * COPIES] == [10] * COPIES + [20] * COPIES
    times, outputs = timer.time(lambda node, _: node + 1, images, [])
    assert times.keys() == {"ms_per_image", "low", "high", "below_noise"}
    assert [int(output[0, 0, 0]) for output in outputs] == [11, 21]
