"""Train, evaluate, predict and serve for some minutes, disturbed at random; report what was lost.

``python tools/soak.py --minutes 60`` needs Linux, no GPU, and no data: it makes its own. A loss is
a result that differs from the undisturbed one, another exit code than promised, a traceback, a
temporary file that stays, a wrong answer of the server, or a server that grows. With losses the
exit code is 1. A round in which the machine stood still says nothing, and is counted apart.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

from soaking.faults import Disturber
from soaking.jobs import Jobs
from soaking.pauses import Pauses
from soaking.place import Loss, Place
from soaking.server import Sample, Server

SERVE_SHARE = 0.8
"""Of the rounds that disturb the server rather than a command."""

ALLOWED = {"resident_mb": 1.3, "files": 1.0, "threads": 1.0}
"""How many times what it held in the first quarter the server may hold in the last, plus MORE."""

MORE = {"resident_mb": 40, "files": 4, "threads": 4}


def growth(samples: list[Sample]) -> list[str]:
    """Say what of the server grows: medians of the last quarter against the first.

    Fewer than 12 samples say nothing: the first requests fill caches and start threads.
    """
    quarter = len(samples) // 4
    if quarter < 3:
        return []
    found = []
    for name, factor in ALLOWED.items():
        first, last = (
            statistics.median(getattr(each, name) for each in part)
            for part in (samples[1 : quarter + 1], samples[-quarter:])
        )
        if last > factor * first + MORE[name]:
            found.append(f"{name} of the server grows from {first:g} to {last:g}")
    return found


def soak(folder: Path, minutes: float, seed: int, cells: int) -> dict:
    """Disturb until the time is over; return the report.

    Raises:
        Loss: already the undisturbed commands fail.
    """
    rng = Random(seed)
    jobs = Jobs(Place(folder), seed, cells)
    disturber = Disturber(jobs, rng)
    place = Place(_made(folder / "server"))
    server = Server(place, jobs.run, jobs.all["predict"].images[:6], rng)
    counts: Counter[str] = Counter()
    losses: list[dict] = []
    pauses, unheard = Pauses(), 0
    begun = time.monotonic()
    try:
        server.sample()
        while time.monotonic() < begun + 60 * minutes:
            if rng.random() < SERVE_SHARE:
                name, fault = "serve", rng.choice(list(server.faults))
            else:
                name = rng.choice(list(disturber.faults))
                fault = rng.choice(disturber.faults[name])[0]
            counts[f"{name}: {fault}"] += 1
            print(
                f"{time.monotonic() - begun:6.0f} s  {name}: {fault}", file=sys.stderr, flush=True
            )
            before = pauses.count
            try:
                if name == "serve":
                    server.disturb(fault)
                else:
                    disturber.disturb(name, fault)
                server.sample()
            except (Loss, OSError, ValueError) as error:
                if pauses.settle() > before:
                    unheard += 1
                    continue
                losses.append({"round": sum(counts.values()), "command": name, "fault": fault,
                               "loss": f"{type(error).__name__}: {error}"[:3000]})  # fmt: skip
                print(f"LOSS {losses[-1]}", file=sys.stderr, flush=True)
                if server.process.poll() is not None:
                    break
        seconds = time.monotonic() - begun
        server.check()
    except Loss as error:
        seconds = time.monotonic() - begun
        losses.append({"round": sum(counts.values()), "command": "serve", "fault": "",
                       "loss": str(error)})  # fmt: skip
    finally:
        losses += _ended(server)
        pauses.end()
    if place.leftovers():
        losses.append({"command": "serve", "loss": f"left over: {place.leftovers()[:9]}"})
    losses += [{"command": "serve", "loss": text} for text in growth(server.samples)]
    return {
        "minutes": round(seconds / 60, 2), "seed": seed, "cells": cells,
        "rounds": sum(counts.values()), "faults": dict(sorted(counts.items())),
        "too_late": disturber.idle,
        "paused": unheard, "unavailable": sorted(disturber.unavailable),
        "losses": losses, "serve": server.told(),
    }  # fmt: skip


def _ended(server: Server) -> list[dict]:
    try:
        server.end()
    except Loss as error:
        return [{"command": "serve", "fault": "SIGTERM", "loss": str(error)}]
    return []


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def table(report: dict) -> str:
    """Lay the report out for people."""
    lines = [
        f"{report['minutes']:g} minutes, seed {report['seed']}: {report['rounds']} faults, "
        f"{len(report['losses'])} losses",
        "",
        *(f"  {count:5}  {fault}" for fault, count in report["faults"].items()),
        f"  {report['too_late']:5}  of them came when the command had ended",
        f"  {report['paused']:5}  say nothing, since the machine stood still",
        "",
        "  the server      first    last    most",
    ]
    serve = report["serve"]
    for name in ("resident_mb", "files", "threads"):
        numbers = "".join(f"{serve[part][name]:8g}" for part in ("first", "last", "most"))
        lines.append(f"  {name:12} {numbers}")
    lines += [f"not made here: {text}" for text in report["unavailable"]]
    lines += [f"LOSS {loss}" for loss in report["losses"]]
    return "\n".join(lines)


def main() -> int:
    """Soak, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cells", type=int, default=96, help="labelled cells of the data set")
    parser.add_argument("--json", type=Path, help="file for the whole report")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        report = soak(Path(folder), options.minutes, options.seed, options.cells)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(table(report), flush=True)
    return 1 if report["losses"] else 0


if __name__ == "__main__":
    sys.exit(main())
