#!/usr/bin/env python3
"""Trains, evaluates, predicts and serves for N minutes, with faults at random moments.

Every action is a real command with a real fault: SIGKILL, a file that vanishes, a damaged image, a
disk that is full, a broken upload. Afterwards the command is given again, and what it leaves must
be what an undisturbed one left, byte for byte. One server lives all the time; its memory, files and
threads are watched.

    python tools/soak.py --minutes 60 --seed 0 --json soak.json

The exit code is 1 if anything was lost, left over, or answered wrongly.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FASTLEUK = (sys.executable, "-m", "fastleuk")
OPTIONS = ("--backbone", "test_efficientnet", "--weights", "none", "--size", "64", "--epochs", "2",
           "--batch-size", "8", "--workers", "1", "--device", "cpu")  # fmt: skip
REFUSED = 2
SMALLEST_FILE = 40_000
"""Bytes up to which files can be written where the disk is full."""


class Lost(Exception):
    """A promise that was not kept."""


class Soak:
    """The undisturbed results, a server, and actions that disturb commands.

    Args:
        place: An empty folder.
        seed: Of the choice of actions and moments.
    """

    def __init__(self, place: Path, seed: int) -> None:
        self.place, self.random = place, random.Random(seed)
        self.env = {**os.environ, "FASTLEUK_CACHE_DIR": str(place / "cache")}
        self.data = place / "data"
        self.run("demo-data", self.data, "--cells", "120")
        self.model = place / "run"
        self.seconds = {"train": self._timed("train", "--data", self.data, *OPTIONS,
                                             "--out", self.model)}  # fmt: skip
        self.weights = _hash(self.model / "best.safetensors")
        self.seconds["evaluate"] = self._timed("evaluate", self.model)
        self.figures = _hash(self.model / "test_predictions.csv")
        self.table = place / "predictions.csv"
        self.seconds["predict"] = self._timed("predict", self.model, self.data, "--out", self.table)
        self.images = sorted(self.data.rglob("*.bmp"))
        self.server, self.port = self._serve()
        self.answers = {path: self._ask(path.read_bytes()) for path in self.images[:8]}
        self.number = 0

    def close(self) -> None:
        """End the server."""
        self.server.send_signal(signal.SIGTERM)
        if self.server.wait(60) not in (0, -signal.SIGTERM):
            raise Lost(f"the server ended with {self.server.returncode}")

    # Commands

    def run(self, *words: object, code: int = 0, limit: Callable[[], None] | None = None) -> str:
        """Run a command to its end."""
        done = subprocess.run(
            [*FASTLEUK, *map(str, words)], env=self.env, text=True, preexec_fn=limit,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900, check=False,
        )  # fmt: skip
        if done.returncode != code or "Traceback" in done.stdout:
            raise Lost(f"{words[0]}: exit code {done.returncode}, not {code}: {done.stdout[-800:]}")
        return done.stdout

    def _timed(self, *words: object) -> float:
        start = time.monotonic()
        self.run(*words)
        return time.monotonic() - start

    def _kill(self, *words: object) -> None:
        """Start a command and kill it, and all that it has started, at a random moment."""
        process = subprocess.Popen(
            [*FASTLEUK, *map(str, words)], env=self.env, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            process.wait(self.random.uniform(0.2, 1.0) * self.seconds[str(words[0])])
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _fresh(self, name: str) -> Path:
        self.number += 1
        return self.place / f"{name}-{self.number}"

    def _expect(self, file: Path, digest: str) -> None:
        found = _hash(file) if file.is_file() else "nothing"
        if found != digest:
            raise Lost(f"{file.name} is not what an undisturbed command leaves: {found[:12]}")
        left = [path for path in file.parent.iterdir() if path.name.endswith((".tmp", ".partial"))]
        if left:
            raise Lost(f"temporary files are left: {', '.join(path.name for path in left)}")

    # Actions: each disturbs something and expects what was promised

    def train_killed(self) -> None:
        """SIGKILL in training, once or twice; the same command goes on to the same weights."""
        out = self._fresh("train")
        words = ("train", "--data", self.data, *OPTIONS, "--out", out)
        for _ in range(self.random.randint(1, 2)):
            self._kill(*words)
        if not _ended(out):
            self.run(*words)
        self._expect(out / "best.safetensors", self.weights)
        shutil.rmtree(out)

    def evaluate_killed(self) -> None:
        """SIGKILL in evaluation; once more gives the same figures."""
        out = shutil.copytree(self.model, self._fresh("evaluate"))
        self._kill("evaluate", out)
        self.run("evaluate", out)
        self._expect(out / "test_predictions.csv", self.figures)
        shutil.rmtree(out)

    def predict_killed(self) -> None:
        """SIGKILL in prediction; ``--resume`` ends with the same table."""
        out = self._fresh("predict").with_suffix(".csv")
        self._kill("predict", self.model, self.data, "--out", out)
        self.run("predict", self.model, self.data, "--out", out, *(["--resume"] * out.exists()))
        self._expect(out, _hash(self.table))
        out.unlink()

    def image_damaged(self) -> None:
        """A damaged image among those to predict has a row with its reason; the rest is right."""
        bad, data = self._with_data()
        file = self.random.choice(sorted(data.rglob("*.bmp")))
        file.write_bytes(self.random.randbytes(self.random.choice([0, 10, 2000])))
        out = bad / "predictions.csv"
        self.run("predict", self.model, data, "--out", out)
        name = str(file.relative_to(data))
        before = self.table.read_text().replace(str(self.data), str(data)).splitlines()
        after = out.read_text().splitlines()
        changed = [new for old, new in zip(before, after, strict=True) if old != new]
        if len(changed) != 1 or name not in changed[0]:
            raise Lost(f"a damaged image changed {len(changed)} rows: {changed[:2]}")
        said = self.run("train", "--data", data, *OPTIONS, "--out", bad / "run", code=REFUSED)
        if file.name not in said or (bad / "run").exists():
            raise Lost(f"train does not name the damaged {name}, or has begun: {said[-300:]}")
        shutil.rmtree(bad)

    def image_vanishes(self) -> None:
        """An image vanishes while a run trains from the files: named or not needed any more."""
        place, data = self._with_data()
        words = ("train", "--data", data, *OPTIONS, "--cache", "off", "--out", place / "run")
        file = self.random.choice(sorted(data.rglob("*.bmp")))
        process = subprocess.Popen(
            [*FASTLEUK, *map(str, words)], env=self.env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        time.sleep(self.random.uniform(0.2, 1.0) * self.seconds["train"])
        kept = file.read_bytes()
        file.unlink()
        said, _ = process.communicate(timeout=900)
        if process.returncode not in (0, REFUSED) or "Traceback" in said:
            raise Lost(f"train ended with {process.returncode}: {said[-500:]}")
        if process.returncode == REFUSED and file.name not in said:
            raise Lost(f"train does not name {file.name}: {said[-500:]}")
        file.write_bytes(kept)
        if not _ended(place / "run"):
            self.run(*words)
        self._expect(place / "run" / "best.safetensors", self._from_files())
        shutil.rmtree(place)

    def disk_full(self) -> None:
        """No file can grow: one message, exit code 2; with room again it goes on."""
        out = self._fresh("full")
        words = ("train", "--data", self.data, *OPTIONS, "--out", out)

        def limit() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing fails instead of killing
            resource.setrlimit(resource.RLIMIT_FSIZE, (SMALLEST_FILE, SMALLEST_FILE))

        self.run(*words, code=REFUSED, limit=limit)
        self.run(*words)
        self._expect(out / "best.safetensors", self.weights)
        shutil.rmtree(out)

    def uploads_broken(self) -> None:
        """Garbage, bombs and broken connections are refused; the others' answers stay right."""
        image = self.images[0].read_bytes()
        broken = [b"", b"no image", image[: len(image) // 2], self.random.randbytes(50_000),
                  image[:18] + b"\xff\xff\xff\x7f" * 2 + image[26:]]  # fmt: skip

        def half() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            connection.putrequest("POST", "/predict")
            connection.putheader("Content-Type", "image/bmp")
            connection.putheader("Content-Length", str(len(image)))
            connection.endheaders(image[:100])
            connection.close()

        with ThreadPoolExecutor(8) as pool:
            lost = [pool.submit(half) for _ in range(4)]
            bad = [pool.submit(self._ask, each, None) for each in broken]
            good = {path: pool.submit(self._ask, path.read_bytes()) for path in self.answers}
            for path, answer in good.items():
                if answer.result() != self.answers[path]:
                    raise Lost(f"the server's answer for {path.name} has changed")
            for each in bad:
                each.result()
            for each in lost:
                each.result()

    # Helpers

    def _with_data(self) -> tuple[Path, Path]:
        place = self._fresh("data")
        return place, Path(shutil.copytree(self.data, place / "set"))

    def _from_files(self) -> str:
        """Return the hash of the weights of an undisturbed run without the cache."""
        if not hasattr(self, "_files_weights"):
            out = self._fresh("files")
            self.run("train", "--data", self.data, *OPTIONS, "--cache", "off", "--out", out)
            self._files_weights = _hash(out / "best.safetensors")
            shutil.rmtree(out)
        return self._files_weights

    def _serve(self) -> tuple[subprocess.Popen[str], int]:
        with http.client.socket.socket() as free:  # type: ignore[attr-defined]
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        log = (self.place / "serve.log").open("w")
        server = subprocess.Popen(
            [*FASTLEUK, "serve", str(self.model), "--port", str(port), "--device", "cpu"],
            env=self.env, text=True, stdout=log, stderr=log,
        )  # fmt: skip
        self.port = port
        until = time.monotonic() + 120
        while time.monotonic() < until and server.poll() is None:
            try:
                self._ask(self.images[0].read_bytes())
                return server, port
            except OSError:
                time.sleep(0.2)
        raise Lost("the server did not start: " + (self.place / "serve.log").read_text()[-500:])

    def _ask(self, body: bytes, code: int | None = 200) -> object:
        """Post an image; ``code`` None: anything but an answer or a crash will do."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request("POST", "/predict", body, {"Content-Type": "image/bmp"})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if code is None:
            if answer.status >= 500:
                raise Lost(f"the server answered {answer.status} to a broken upload")
            return None
        if answer.status != code:
            raise Lost(f"the server answered {answer.status}: {text[:300]!r}")
        return json.loads(text)

    def usage(self) -> dict[str, int]:
        """Return resident kilobytes, open files and threads of the server."""
        status = Path(f"/proc/{self.server.pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        return {
            "resident_kb": int(fields["VmRSS"].split()[0]),
            "files": len(os.listdir(f"/proc/{self.server.pid}/fd")),
            "threads": int(fields["Threads"]),
        }


ACTIONS = ("train_killed", "evaluate_killed", "predict_killed", "image_damaged", "image_vanishes",
           "disk_full", "uploads_broken")  # fmt: skip


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _ended(run: Path) -> bool:
    try:
        return json.loads((run / "run.json").read_text()).get("state") == "tested"
    except (OSError, ValueError):
        return False


def main() -> int:
    """Soak, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where the result goes, too")
    chosen = parser.parse_args()
    until = time.monotonic() + 60 * chosen.minutes
    done: Counter[str] = Counter()
    losses: list[str] = []
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        soak = Soak(Path(folder), chosen.seed)
        watched = [soak.usage()]
        while time.monotonic() < until:
            name = soak.random.choice(ACTIONS)
            try:
                getattr(soak, name)()
                soak.uploads_broken()
            except (Lost, OSError, ValueError, subprocess.TimeoutExpired) as error:
                losses.append(f"{name}: {error}")
                print(losses[-1], file=sys.stderr)
            done[name] += 1
            watched.append(soak.usage())
        try:
            soak.close()
        except Lost as error:
            losses.append(str(error))
    told = {"minutes": chosen.minutes, "seed": chosen.seed, "actions": dict(sorted(done.items())),
            "losses": losses, "server": _summary(watched)}  # fmt: skip
    if chosen.json:
        chosen.json.write_text(json.dumps(told, indent=2) + "\n")
    _tell(told)
    return int(bool(losses))


def _summary(watched: list[dict[str, int]]) -> dict[str, dict[str, int]]:
    """Return first, last and greatest of what was watched; first is after a tenth of the time."""
    start = watched[len(watched) // 10]
    return {
        name: {"first": start[name], "last": watched[-1][name],
               "most": max(each[name] for each in watched)}
        for name in start
    }  # fmt: skip


def _tell(told: dict[str, object]) -> None:
    print(f"{told['minutes']:g} minutes, seed {told['seed']}")
    for name, count in told["actions"].items():  # type: ignore[attr-defined]
        print(f"  {name:<16} {count:4}")
    for name, each in told["server"].items():  # type: ignore[attr-defined]
        print(f"  server {name:<12} " + ", ".join(f"{key} {value}" for key, value in each.items()))
    losses = told["losses"]
    print(f"losses: {len(losses) or 'none'}")  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main())
