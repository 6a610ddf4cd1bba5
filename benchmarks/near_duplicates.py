"""Measure how alike different cells are, which copies are found, and the time that it takes.

    python benchmarks/near_duplicates.py --data malaria --data pbc --data demo1 demo2

Every figure in ``fastleuk/data/copies/near.py`` and docs/honesty.md about near-duplicates is of
this script. Each ``--data`` names one or more folders, which are compared as one set.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from fastleuk.data.copies.near import ALIKE, SAME, SIDE, alike_pairs, describe_picture
from fastleuk.data.images.decode import decode_rgb

ENDINGS = (".bmp", ".png", ".jpg", ".jpeg", ".tif", ".tiff")


def saved(quality: int) -> Callable[[Image.Image], Image.Image]:
    """Save as a JPEG and read it again."""

    def save(image: Image.Image) -> Image.Image:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality)
        return Image.open(stream).convert("RGB")

    return save


def scaled(factor: float) -> Callable[[Image.Image], Image.Image]:
    """Resize by a factor."""
    return lambda image: image.resize(
        (round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC
    )


def on(color: tuple[int, int, int]) -> Callable[[Image.Image], Image.Image]:
    """Replace a black background."""

    def replace(image: Image.Image) -> Image.Image:
        pixels = np.array(image)
        pixels[pixels.max(axis=2) == 0] = color
        return Image.fromarray(pixels)

    return replace


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "turned by 90 degrees": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "JPEG 95": saved(95),
    "JPEG 75": saved(75),
    "JPEG 40": saved(40),
    "half the size": scaled(0.5),
    "x 0.8": scaled(0.8),
    "x 1.3": scaled(1.3),
    "brightness x 1.3": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "brightness x 0.7": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "contrast x 1.4": lambda image: ImageEnhance.Contrast(image).enhance(1.4),
    "white background": on((255, 255, 255)),
    "gray background": on((190, 185, 200)),
    "turned by 3 degrees": lambda image: image.rotate(3, Image.Resampling.BILINEAR),
    "5 pixels cut off": lambda image: image.crop((5, 5, image.width - 5, image.height - 5)),
}


def read(file: Path) -> Image.Image:
    """Decode a file by fastleuk's rules."""
    return decode_rgb(file.read_bytes())


def measured(folders: list[Path], copies: int) -> dict[str, object]:
    """Measure one set: its most alike pairs, the share of copies that are found, seconds."""
    files = sorted(
        file for folder in folders for file in folder.rglob("*") if file.suffix.lower() in ENDINGS
    )
    described, spent = [], 0.0
    for file in files:
        image = read(file)
        start = time.process_time()
        described.append(describe_picture(image))
        spent += time.process_time() - start
    start = time.process_time()
    pairs = sorted((p.correlation for p in alike_pairs(np.array(described), 0.8)), reverse=True)
    compared = time.process_time() - start
    some = [read(file) for file in files[:: max(1, len(files) // copies)][:copies]]
    found: dict[str, object] = {}
    for name, change in COPIES.items():
        best = []
        for image in some:
            pair = np.array([describe_picture(image), describe_picture(change(image))])
            both = alike_pairs(pair.reshape(2, SIDE, SIDE), 0.51)
            best.append(both[0].correlation if both else 0.0)
        found[name] = {
            "alike": float(np.mean(np.array(best) >= ALIKE)),
            "same": float(np.mean(np.array(best) >= SAME)),
        }
    return {
        "data": [folder.name for folder in folders],
        "images": len(files),
        "pairs": len(files) * (len(files) - 1) // 2,
        "most_alike": [round(value, 4) for value in pairs[:10]],
        "alike": sum(value >= ALIKE for value in pairs),
        "same": sum(value >= SAME for value in pairs),
        "describe_ms": round(1e3 * spent / len(files), 3),
        "compare_s": round(compared, 2),
        "copies": len(some),
        "found": found,
    }


def main() -> None:
    """Measure every set that is named and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", action="append", type=Path, required=True)
    parser.add_argument("--copies", type=int, default=100)
    asked = parser.parse_args()
    results = [measured(folders, asked.copies) for folders in asked.data]
    print(json.dumps({"alike": ALIKE, "same": SAME, "sets": results}, indent=2))


if __name__ == "__main__":
    main()
