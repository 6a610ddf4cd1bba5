"""Faults of a command: each disturbs it, puts things right, and gives the same command again."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from soaking.jobs import Job, Jobs, check_others, rows
from soaking.place import Ended, Loss, Place, read_only, small_disk

SIGKILL = -9
FULL = ("space", "full", "too large")
"""What a message about a full disk, or a file at its limit, speaks of."""


class Disturber:
    """Disturbs commands.

    Args:
        jobs: What to disturb.
        rng: Chooses.

    Attributes:
        unavailable: Faults that can't be made on this machine.
        idle: Faults that came too late, when the command had ended.
    """

    def __init__(self, jobs: Jobs, rng: Random) -> None:
        self.jobs, self.rng = jobs, rng
        self.place: Place = jobs.place
        self.unavailable: set[str] = set()
        self.idle = 0
        kills, disk, closed = ("SIGKILL", self.kill), ("full disk", self.fill), (
            "read-only folder", self.close)  # fmt: skip
        lost = ("vanished image", self.vanish)
        self.faults: dict[str, list[tuple[str, Callable[[Job, Path], None]]]] = {
            "train": [kills, disk, closed, lost],
            "evaluate": [kills, disk, closed, lost],
            "predict": [kills, disk, closed, lost, ("corrupted image", self.corrupt)],
        }

    def kill(self, job: Job, out: Path) -> None:
        """SIGKILL at random moments, once or twice; then the same command again."""
        for _ in range(self.rng.randint(1, 2)):
            moment = max(0.05, job.seconds * self.rng.uniform(0.2, 1.05))
            ended = self.place.run(job.at(out, again=True), kill_after=moment)
            self.idle += ended.code != SIGKILL
            if ended.code != SIGKILL:
                ended.must(0)
                break
        self._again(job, out)

    def fill(self, job: Job, out: Path) -> None:
        """A disk, or without permission to mount one a limit of a file, that is too small."""
        disk = out.parent
        kilobytes = 4 * round(2 ** self.rng.uniform(2, 9))
        with small_disk(disk, kilobytes) as enlarge:
            allowed = 0 if enlarge else kilobytes << 8
            ended = self.place.run(job.at(out), bytes_a_file=allowed).must(0, 2)
            if ended.code:
                _names(ended, disk, FULL)
            else:
                self.idle += 1
            if enlarge:
                enlarge()
            self._again(job, out)
            self._sound(job, out)

    def close(self, job: Job, out: Path) -> None:
        """A folder that can't be written to."""
        with read_only(out.parent) as closed:
            if not closed:
                self.unavailable.add("read-only folder: nothing may be mounted, and root writes")
            else:
                ended = self.place.run(job.at(out)).must(2)
                _names(ended, out.parent, ())
        self._again(job, out)

    def vanish(self, job: Job, out: Path) -> None:
        """An image that is gone at a random moment, and is back for the second try."""
        image = self.rng.choice(job.images)
        aside = self.place.folder / "aside.bmp"
        moment = job.seconds * self.rng.uniform(0.3, 0.9)

        def later(process: subprocess.Popen[str]) -> None:
            _wait(process, moment)
            # Before the images are listed, one less would be another data set, and no fault.
            begun = out / "split.csv" if job.name == "train" else out
            while job.name != "evaluate" and process.poll() is None and not begun.exists():
                time.sleep(0.01)
            image.rename(aside)

        try:
            ended = self.place.run(job.at(out), meanwhile=later).must(0, 2)
        finally:
            if aside.exists():
                aside.rename(image)
        if ended.code:
            _names(ended, Path(image.name), ())
        self.idle += ended.code == 0 and job.name != "predict"
        if job.name == "predict":
            there = rows(out)
            if str(image) not in there and "came or went" in ended.said:
                self.idle += 1  # it went before the images were listed, and that was said
                there[str(image)] = {"error": "went", "predicted": ""}
            check_others(there, self.jobs.table, image)
            out.unlink()
        self._again(job, out)

    def corrupt(self, job: Job, out: Path) -> None:
        """An image that is cut, overwritten or empty: a row with an error; the others stay."""
        image = self.rng.choice(job.images)
        whole = image.read_bytes()
        data = bytearray(whole)
        how = self.rng.choice(("cut", "noise", "empty", "text"))
        if how == "noise":
            at = self.rng.randrange(len(data))
            data[at : at + 400] = self.rng.randbytes(400)
        elif how == "text":
            data = bytearray(b"no image\n" * 99)
        else:
            data = data[: self.rng.randrange(len(data)) if how == "cut" else 0]
        image.write_bytes(data)
        try:
            self.place.run(job.at(out)).must(0)
        finally:
            image.write_bytes(whole)
        found = rows(out)
        if how in ("empty", "text") and not found[str(image)]["error"]:
            raise Loss(f"{image} is {how}, and its row says nothing")
        check_others(found, self.jobs.table, image)
        out.unlink()
        self._again(job, out)

    def _again(self, job: Job, out: Path) -> None:
        """Give the command again; a training that has ended already says so."""
        ended = self.place.run(job.at(out, again=True))
        over = job.name == "train" and ended.code == 2 and "is not empty" in ended.said
        if not over:
            ended.must(0)

    def _sound(self, job: Job, out: Path) -> None:
        job.check(out)
        left = self.place.leftovers()
        if left:
            raise Loss(f"left over: {', '.join(left[:9])}")

    def disturb(self, name: str, fault: str) -> None:
        """Disturb a command, and compare.

        Raises:
            Loss: a promise was not kept.
        """
        job = self.jobs.all[name]
        folder = self.place.folder / "out"
        folder.mkdir()
        out = folder / ("table.csv" if name == "predict" else "result")
        try:
            dict(self.faults[name])[fault](job, out)
            if fault != "full disk":  # which is gone
                self._sound(job, out)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            _empty(self.place.temporary)


def _names(ended: Ended, path: Path, words: tuple[str, ...]) -> None:
    if str(path) not in ended.said:
        raise Loss(f"{path} isn't named: {ended.said}")
    if words and not any(word in ended.said.lower() for word in words):
        raise Loss(f"the reason isn't named: {ended.said}")


def _wait(process: subprocess.Popen[str], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
