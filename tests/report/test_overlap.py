"""The proof that parts share nothing: subjects, groups, files and looks."""

import pytest

from fastleuk.report.overlap import verdict


def rows(parts="train val test"):
    return [
        {"path": f"{part}.bmp", "subject": part, "group": part, "sha256": part, "part": part}
        for part in parts.split()
    ]


def looks(same=0, alike=0):
    pair = {"images": ["a.bmp", "b.bmp"], "parts": ["train", "test"], "distance": 0.001}
    return {"images": 3, "same_up_to": 0.02, "alike_up_to": 0.05, "same": same, "alike": alike,
            "pairs": [pair] * (same + alike)}  # fmt: skip


@pytest.mark.parametrize(
    ("found", "separate", "told"),
    [
        (looks(), True, "No near-identical pictures (distance up to 0.02) are in two parts: 3 im"),
        (looks(1), False, "1 pair of near-identical pictures (distance up to 0.02), a.bmp "
                          "(training) and b.bmp (test), is in two parts"),
        (looks(2), False, "such as a.bmp (training) and b.bmp (test), are in two parts"),
        (looks(0, 2), True, "2 pairs in two parts look alike and may be copies (distance up to "
                            "0.05), such as a.bmp"),
        (None, True, "Looks were not compared"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("known", [True, False])
def test_looks_are_part_of_the_verdict(found, separate, told, known):
    good, sentence = verdict(rows(), subjects_known=known, looks=found)
    assert good == (separate and known)
    assert told in sentence
