"""Small labelled images for tests, and where the project lies."""

from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parents[2]
SUBJECT_REGEX = r"([ls]\d+)_\d+\.bmp$"


def write_cells(root: Path, *, subjects: int = 8, per_subject: int = 4, side: int = 72) -> Path:
    """Write dark BMPs with one disc each as ``<class>/<subject>_<n>.bmp``: large red against
    small blue discs, noisy, so that a tiny network can learn them and no two files are equal."""
    from PIL import Image

    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    for name, radius, colour in (("large", 0.36, (150, 40, 70)), ("small", 0.2, (50, 50, 150))):
        folder = root / name
        folder.mkdir(parents=True)
        for subject in range(subjects):
            for number in range(per_subject):
                middle = side / 2 + rng.uniform(-5, 5, 2)
                r = side * radius * rng.uniform(0.85, 1.15)
                disc = (x - middle[0]) ** 2 + (y - middle[1]) ** 2 < r**2
                pixels = np.zeros((side, side, 3))
                pixels[disc] = np.array(colour) + rng.normal(0, 14, (disc.sum(), 3))
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(folder / f"{name[0]}{subject}_{number}.bmp")
    return root
