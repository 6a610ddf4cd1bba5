"""Draw the pages' pictures of the augmentation: docs/images/step-NAME.jpg, and the whole chain.

``python tools/docs_pictures.py`` draws synthetic demo cells, no patients'.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from fastleuk.augment import NONE, PAPER, AugmentPolicy, augment_batch, draw
from fastleuk.data.demo.plan import draw_demo_cell, plan_demo

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "images"
SIZE, COLUMNS, GAP = 128, 6, 4

STEPS: dict[str, AugmentPolicy] = {
    "hflip": NONE.replace(p_hflip=0.5),
    "vflip": NONE.replace(p_vflip=0.5),
    "rotation": NONE.replace(p_rotation=1.0, degrees=PAPER.degrees),
    "jitter": NONE.replace(
        p_jitter=1.0, brightness=PAPER.brightness, contrast=PAPER.contrast,
        saturation=PAPER.saturation, hue=PAPER.hue,
    ),
    "crop": NONE.replace(p_crop=1.0, crop_scale=PAPER.crop_scale, crop_ratio=PAPER.crop_ratio),
    "affine": NONE.replace(
        p_affine=1.0, affine_degrees=PAPER.affine_degrees, translate=PAPER.translate,
        scale=PAPER.scale, shear=PAPER.shear,
    ),
    "blur": NONE.replace(p_blur=1.0, kernel_size=PAPER.kernel_size, sigma=PAPER.sigma),
    "sharpness": NONE.replace(p_sharpness=1.0, sharpness_factor=PAPER.sharpness_factor),
    "perspective": NONE.replace(p_perspective=1.0, distortion_scale=PAPER.distortion_scale),
    "chain": PAPER,
}  # fmt: skip
"""Each of the nine steps alone, always applied (flips half of the time), and all together."""


def strip(cell: np.ndarray, policy: AugmentPolicy) -> Image.Image:
    """The cell as it is, then drawn from the policy."""
    params = draw(policy, seed=3, epoch=0, indices=np.arange(COLUMNS - 1), size=SIZE)
    plain = draw(NONE, seed=0, epoch=0, indices=[0], size=SIZE)
    shown = [augment_batch(cell[None], plain, applier="reference", normalize=False)[0]]
    shown += list(
        augment_batch(
            np.stack([cell] * (COLUMNS - 1)), params, applier="reference", normalize=False
        )
    )
    sheet = Image.new("RGB", (COLUMNS * (SIZE + GAP) - GAP, SIZE), "white")
    for column, pixels in enumerate(shown):
        image = Image.fromarray(np.asarray(pixels).clip(0, 255).round().astype(np.uint8))
        sheet.paste(image, (column * (SIZE + GAP), 0))
    return sheet


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    cell = draw_demo_cell(plan_demo(cells=120, seed=0)[5], seed=0)[85:365, 85:365]
    for name, policy in STEPS.items():
        strip(cell, policy).save(out / f"step-{name}.jpg", quality=88)


if __name__ == "__main__":
    main()
