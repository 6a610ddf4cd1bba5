"""Small labelled images for tests, and where the project lies."""

from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parents[2]
SUBJECT_REGEX = r"([ls]\d+)_\d+\.bmp$"


def write_cells(
    root: Path,
    *,
    subjects: int = 8,
    per_subject: int = 4,
    side: int = 72,
    seed: int = 0,
    names: tuple[str, str] = ("large", "small"),
    light: float = 1.0,
) -> Path:
    """Write dark BMPs with one disc each as ``<class>/<subject>_<n>.bmp``: large red against
    small blue discs, noisy, so that a tiny network can learn them and no two files are equal."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    looks = ((0.36, (150, 40, 70)), (0.2, (50, 50, 150)))
    for letter, name, (radius, colour) in zip("ls", names, looks, strict=True):
        folder = root / name
        folder.mkdir(parents=True)
        for subject in range(subjects):
            for number in range(per_subject):
                middle = side / 2 + rng.uniform(-5, 5, 2)
                r = side * radius * rng.uniform(0.85, 1.15)
                disc = (x - middle[0]) ** 2 + (y - middle[1]) ** 2 < r**2
                pixels = np.zeros((side, side, 3))
                pixels[disc] = light * np.array(colour) + rng.normal(0, 14, (disc.sum(), 3))
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(folder / f"{letter}{subject}_{number}.bmp")
    return root
