"""The README's benchmark table and decibels are those of benchmarks/results."""

import json
import re

from tests.makers.cells import PROJECT

README = (PROJECT / "README.md").read_text(encoding="utf-8")
RESULTS = PROJECT / "benchmarks" / "results"


def _by_name(file):
    return {row["name"]: row for row in json.loads((RESULTS / file).read_text())["results"]}


def _speed(row):
    speed = row["images_per_s"]
    return f"{speed['median']:.0f} ({speed['iqr']:.0f})", f"{row['ratio_to_torchvision']:.1f}"


def test_the_table_is_what_was_measured():
    kept, system = _by_name("pipeline.json"), _by_name("pipeline-system.json")
    rows = re.findall(r"^\| `([\w-]+)` \| (.*) \|$", README, re.MULTILINE)
    assert len(rows) >= 10
    for name, cells in rows:
        speed, ratio = _speed(kept[name])
        seconds = f"{kept[name]['cpu_s_per_1000_images']:.1f}"
        assert cells.split(" | ") == [speed, ratio, seconds, *_speed(system[name])], name
    assert {name for name, _ in rows} == set(kept)


def test_the_decibels_are_what_was_measured():
    measured = (RESULTS / "augment_parity.md").read_text()
    told = README[README.index("Against the same chain in float64") :]
    known = {f"{float(number):.1f}" for number in re.findall(r"\b\d+\.\d+\b", measured)}
    numbers = re.findall(r"(\d+\.\d) dB", told)
    assert len(numbers) == 6
    assert set(numbers) <= known
