"""CONTRIBUTING.md names files that exist and rooms in the order that the fences hold."""

import re

from tests.makers.cells import PROJECT
from tests.test_fences import ROOMS

TEXT = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_every_file_it_names_exists():
    names = re.findall(r"`([\w/.]+/(?:\w+\.\w+)?)`", "".join(TEXT.split("```")[::2]))
    assert len(names) > 15
    package = PROJECT / "fastleuk"
    places = (PROJECT, package, package / "data")
    missing = [
        name
        for name in names
        if "NAME" not in name and not any((place / name).exists() for place in places)
    ]
    assert missing == []


def test_every_room_stands_in_the_drawing_above_those_it_uses():
    drawing = TEXT.split("```")[1]
    places = [drawing.index(f"{room}/") for room in ROOMS]
    lines = [drawing.count("\n", 0, place) for place in places]
    assert lines == sorted(lines)
