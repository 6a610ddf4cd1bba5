"""The commands that are disturbed, and what each must give in the end."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from soaking.place import Loss, Place, hashes

TINY = ("--backbone", "test_efficientnet", "--weights", "none", "--size", "64", "--epochs", "2",
        "--batch-size", "8", "--workers", "1", "--device", "cpu", "--val-fraction", "0.25",
        "--test-fraction", "0.25")  # fmt: skip


Table = dict[str, dict[str, str]]
"""Rows by path."""


@dataclass(frozen=True)
class Job:
    """A command.

    Attributes:
        name: Of the command.
        words: Behind ``fastleuk``; ``{out}`` stands for what is written.
        same: Patterns of files of ``{out}`` that have equal bytes however it was disturbed; none
            if ``{out}`` is a file.
        again: Words that are added when the command is given again.
        images: Those of its input.
        expected: What an undisturbed one gives.
        seconds: That this took.
    """

    name: str
    words: tuple[str, ...]
    same: tuple[str, ...]
    again: tuple[str, ...]
    images: tuple[Path, ...]
    expected: dict[str, str]
    seconds: float

    def at(self, out: Path, *, again: bool = False) -> list[str]:
        """Return the words with their place."""
        words = [word.replace("{out}", str(out)) for word in self.words]
        return [*words, *(self.again if again and out.exists() else ())]

    def check(self, out: Path) -> None:
        """Compare.

        Raises:
            Loss: a result is another than that of the undisturbed command.
        """
        found = hashes(out, self.same)
        wrong = [name for name in self.expected if found.get(name) != self.expected[name]]
        if wrong or found.keys() != self.expected.keys():
            raise Loss(f"{', '.join(wrong) or sorted(found)} of {out} differ from the undisturbed")


class Jobs:
    """A data set, a run, and the commands.

    Args:
        place: An empty one.
        seed: Of the cells.
        cells: How many.

    Attributes:
        run: A run that has ended.
        all: The commands by name.
        table: Rows that ``predict`` gives undisturbed, by path.
    """

    def __init__(self, place: Place, seed: int, cells: int) -> None:
        self.place = place
        data, self.run = place.folder / "data", place.folder / "run"
        place.run(["demo-data", data, "--cells", cells, "--seed", seed]).must(0)
        images = tuple(sorted(data.rglob("*.bmp")))
        shown = tuple(sorted((data / "C-NMC_test_prelim_phase_data").glob("*.bmp")))
        train = ("train", "--data", str(data), *TINY, "--cache", "off", "--out", "{out}")
        self.all = {
            "train": self._undisturbed(
                train, ("best.safetensors", "test_predictions.csv", "split.csv"), (), images,
                self.run,
            ),
            "evaluate": self._undisturbed(
                ("evaluate", str(self.run), "--out", "{out}"), ("test_predictions.csv",), (), images
            ),
            "predict": self._undisturbed(
                ("predict", str(self.run), str(shown[0].parent), "--out", "{out}"), (),
                ("--resume",), shown, place.folder / "undisturbed.csv",
            ),
        }  # fmt: skip
        self.table = rows(place.folder / "undisturbed.csv")

    def _undisturbed(
        self,
        words: tuple[str, ...],
        same: Sequence[str],
        again: tuple[str, ...],
        images: tuple[Path, ...],
        out: Path | None = None,
    ) -> Job:
        there = out or self.place.folder / "undisturbed"
        job = Job(words[0], words, tuple(same), again, images, {}, 0)
        ended = self.place.run(job.at(there)).must(0)
        expected = hashes(there, same)
        if out is None:
            shutil.rmtree(there)
        return Job(words[0], words, tuple(same), again, images, expected, ended.seconds)


def rows(table: Path) -> Table:
    """Read a table of ``predict``, by path."""
    with table.open(newline="") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def check_others(found: Table, expected: Table, spoiled: Path) -> None:
    """Compare all rows of ``predict`` but one, which may hold an error.

    Raises:
        Loss: a row is missing or another.
    """
    if found.keys() != expected.keys():
        raise Loss(f"rows are missing: {sorted(expected.keys() - found.keys())}")
    for path, row in found.items():
        if path == str(spoiled):
            if not row["error"] and not row["predicted"]:
                raise Loss(f"{path} has neither a label nor an error")
            continue
        chances = [name for name in row if name.startswith("p_")]
        far = [n for n in chances if abs(float(row[n] or "nan") - float(expected[path][n])) > 1e-5]
        if row["error"] or far or row["predicted"] != expected[path]["predicted"]:
            raise Loss(f"the row of {path} is another beside {spoiled}: {row}")
