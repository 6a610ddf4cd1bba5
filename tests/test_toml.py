"""TOML text: what is written is read back, whatever the strings hold."""

import random
import sys

import pytest

from fastleuk.toml import dumps

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CHARACTERS = ["a", "Z", '"', "\\", "'", "\n", "\r", "\t", "\x00", "\x1f", "\x7f", "#", "=", " "]
CHARACTERS += ["é", "細", "\u2028", "\x85", "\U0001d4b3", "["]


def value(rng, depth):
    kinds = [
        lambda: rng.choice([True, False]),
        lambda: rng.randrange(-(10**12), 10**12),
        lambda: rng.choice(
            [rng.random() * 10.0 ** rng.randrange(-20, 20), 1e16, -0.0, float("inf")]
        ),
        lambda: "".join(rng.choices(CHARACTERS, k=rng.randrange(8))),
        lambda: [rng.random() for _ in range(rng.randrange(3))],
        lambda: {key(rng): value(rng, depth - 1) for _ in range(rng.randrange(4))},
        lambda: [[rng.random()], ["b"]],
    ]
    return rng.choice(kinds if depth else kinds[:5])()


def key(rng):
    return rng.choice(
        ["a", "b-c", "d_e", "with space", "dot.ted", '"q"', "ü", "", "A1", "new\nline"]
    )


def test_what_is_written_is_read_back():
    rng = random.Random(0)
    for _ in range(2000):
        values = {key(rng): value(rng, 2) for _ in range(rng.randrange(5))}
        assert tomllib.loads(dumps(values)) == values


def test_a_configuration_reads_as_before():
    """Own values of a table first, then its tables; lists one item a line."""
    text = dumps({"b": {"c": {"x": 1}, "y": [0.5, 1.0], "z": []}, "a": "text"})
    assert text == ('a = "text"\n\n[b]\ny = [\n    0.5,\n    1.0,\n]\nz = []\n\n[b.c]\nx = 1\n')


@pytest.mark.parametrize("wrong", [None, {1, 2}, object()])
def test_what_toml_can_not_hold_is_refused(wrong):
    with pytest.raises(TypeError, match="can't be written as TOML"):
        dumps({"key": wrong})
