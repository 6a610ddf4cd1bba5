"""Trees of small image files for the tests of fastleuk.data."""

import csv
import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image

from fastleuk.data.manifest import Manifest

LABELS = "C-NMC_test_prelim_phase_data_labels.csv"
PRELIM = "C-NMC_test_prelim_phase_data"
FINAL = "C-NMC_test_final_phase_data"


def picture(seed: int, side: int = 8, kind: str = "BMP") -> bytes:
    """Encode a random RGB image; equal seeds give equal bytes."""
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def put(root: Path, *names: str, start: int = 0) -> None:
    """Write a distinct image under each name."""
    for i, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = {".jpg": "JPEG", ".png": "PNG"}.get(path.suffix.lower(), "BMP")
        path.write_bytes(picture(seed_of(path) + start + i, kind=kind))


def seed_of(path: Path) -> int:
    return int(hashlib.sha256(str(path).encode()).hexdigest()[:12], 16)


def labels_csv(path: Path, rows: list[tuple[str, str, int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as stream:
        csv.writer(stream).writerows([("Patient_ID", "new_names", "labels"), *rows])


def small_cnmc(root: Path, cells: int = 2) -> Path:
    """Three folds of two ALL and two hem subjects each, preliminary 1..4, final 1..3."""
    for fold in range(3):
        for k in range(2):
            for cell in range(1, cells + 1):
                who = 10 * fold + k + 1
                base = root / f"C-NMC_training_data/fold_{fold}"
                put(base, f"all/UID_{who}_{cell}_1_all.bmp", f"hem/UID_H{who}_{cell}_1_hem.bmp")
    put(root / PRELIM, "1.bmp", "2.bmp", "3.bmp", "4.bmp", start=500)
    labels_csv(
        root / LABELS,
        [
            ("UID_57_29_1_all.bmp", "1.bmp", 1),
            ("UID_H57_29_1_hem.bmp", "2.bmp", 0),
            ("UID_57_29_2_all.bmp", "3.bmp", 1),
            ("UID_H58_1_1_hem.bmp", "4.bmp", 0),
        ],
    )
    put(root / FINAL, "1.bmp", "2.bmp", "10.bmp", start=900)
    return root


def manifest_of(
    root: Path, labels: list[int], subjects: list[str], folds: list[int] | None = None
) -> Manifest:
    """Make a manifest of files that need not be there."""
    size = len(labels)
    return Manifest(
        root=root,
        paths=tuple(f"{i:05d}.bmp" for i in range(size)),
        labels=np.array(labels, dtype=np.int64),
        class_names=tuple(f"c{k}" for k in range(max(labels) + 1)),
        subjects=tuple(subjects),
        folds=np.array(folds or [-1] * size, dtype=np.int64),
        sources=("folder",) * size,
        crops=np.zeros(size, dtype=np.int64),
        layout="folder",
    )
