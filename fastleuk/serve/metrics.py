"""Counters in the text form that Prometheus reads (version 0.0.4)."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper ends of the histogram of latencies."""


class Metrics:
    """What a server has done so far; counted from any thread.

    Args:
        gauges: Values that are asked for when the metrics are: ``name: (help, value)``.
    """

    def __init__(self, gauges: Mapping[str, tuple[str, Callable[[], float]]]) -> None:
        self._gauges, self._lock = gauges, threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._images: Counter[str] = Counter()
        self._buckets = [0] * len(SECONDS)
        self._seconds, self._count = 0.0, 0
        self._batches, self._batched = 0, 0

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a request; the time of answered predictions goes into the histogram."""
        with self._lock:
            self._requests[path, status] += 1
            if path == "/predict" and status == 200:
                self._seconds += seconds
                self._count += 1
                for place, end in enumerate(SECONDS):
                    self._buckets[place] += seconds <= end

    def images(self, outcome: str, count: int) -> None:
        """Count images: ``predicted`` or ``refused``."""
        with self._lock:
            self._images[outcome] += count

    def batch(self, size: int) -> None:
        """Count a batch."""
        with self._lock:
            self._batches += 1
            self._batched += size

    def text(self) -> str:
        """Return all of it."""
        with self._lock:
            lines = _head("requests_total", "counter", "Requests by path and status.")
            for (path, status), count in sorted(self._requests.items()):
                lines.append(f'fastleuk_requests_total{{path="{path}",status="{status}"}} {count}')
            lines += _head("images_total", "counter", "Images by what came of them.")
            for outcome in ("predicted", "refused"):
                count = self._images[outcome]
                lines.append(f'fastleuk_images_total{{outcome="{outcome}"}} {count}')
            lines += _head("batches_total", "counter", "Batches shown to the networks.")
            lines.append(f"fastleuk_batches_total {self._batches}")
            lines += _head("batched_images_total", "counter", "Images in these batches.")
            lines.append(f"fastleuk_batched_images_total {self._batched}")
            name = "predict_seconds"
            lines += _head(name, "histogram", "Time to answer a request that was served.")
            for end, count in zip(SECONDS, self._buckets, strict=True):
                lines.append(f'fastleuk_{name}_bucket{{le="{end:g}"}} {count}')
            lines.append(f'fastleuk_{name}_bucket{{le="+Inf"}} {self._count}')
            lines.append(f"fastleuk_{name}_sum {self._seconds:.6f}")
            lines.append(f"fastleuk_{name}_count {self._count}")
        for gauge, (help_, value) in self._gauges.items():
            lines += [*_head(gauge, "gauge", help_), f"fastleuk_{gauge} {value():g}"]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, help_: str) -> list[str]:
    return [f"# HELP fastleuk_{name} {help_}", f"# TYPE fastleuk_{name} {kind}"]


def resident_bytes() -> float:
    """Return the memory of this process; 0 where the system doesn't say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return float(pages * os.sysconf("SC_PAGE_SIZE"))
