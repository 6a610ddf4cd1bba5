"""Pictures of the augmentation: what each step does, and how the appliers differ."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fastleuk.augment.appliers.compiled.on_arrays import has_kernel
from fastleuk.augment.batch import augment_batch, checked_images
from fastleuk.augment.draw import draw
from fastleuk.augment.params import STEPS, AugmentParams
from fastleuk.augment.policy import PAPER, AugmentPolicy
from fastleuk.errors import ConfigError
from fastleuk.files import write_atomically

AMPLIFY = 16
"""Differences are shown that many times as large."""

INK, PAPER_WHITE, MARGIN = (30, 30, 30), (250, 250, 250), 6


def write_gallery(
    images: Sequence[np.ndarray],
    out_png: str | Path,
    *,
    policy: AugmentPolicy = PAPER,
    size: int = 224,
    seed: int = 7,
) -> list[Path]:
    """Write two pictures: the steps compared, and a sheet of 64 augmented images.

    The first has a row for each of the nine steps and one for the chain, with the columns
    input, torchvision, exact, fused and, where numba is installed, compiled, and the amplified
    differences of these from torchvision, all at equal parameters; a step that the policy
    leaves out is shown neutral.

    Args:
        images: One or more ``(H, W, 3)`` uint8 images. The first is shown in the first
            picture.
        out_png: The first picture; the second is beside it, named ``…-sheet.png``.
        policy: What to draw from; its interpolation is taken as bilinear.
        size: Edge of each image in pixels.
        seed: Of the draws.

    Returns:
        The two paths.

    Raises:
        ConfigError: if there is no image, or the name doesn't end in ``.png``.
    """
    out = Path(out_png)
    if out.suffix.lower() != ".png":
        raise ConfigError(f"the gallery is a PNG: {out} must end in .png")
    arrays, _ = checked_images(images)
    policy = policy.replace(interpolation="bilinear")
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet = out.with_name(f"{out.stem}-sheet.png")
    _save(comparison(arrays[0], policy, size, seed), out)
    _save(contact_sheet(arrays, policy, size, seed), sheet)
    return [out, sheet]


def _save(picture: Image.Image, path: Path) -> None:
    write_atomically(path, lambda file: picture.save(file, "PNG"))


def comparison(image: np.ndarray, policy: AugmentPolicy, size: int, seed: int) -> Image.Image:
    """The table of steps and appliers."""
    params = _step_params(policy, size, seed)
    batch = [image] * len(params)
    neutral = params.where(np.zeros(len(params), bool))
    plain = augment_batch(batch, neutral, applier="exact", normalize=False)
    columns = {"input": plain}
    appliers = ["exact", "fused", *(["compiled"] if has_kernel() else [])]
    for title, applier in {"torchvision": "reference", **{a: a for a in appliers}}.items():
        columns[title] = augment_batch(batch, params, applier=applier, normalize=False)
    captions = {title: [""] * len(params) for title in columns}
    for title in appliers:
        difference = np.abs(columns[title] - columns["torchvision"])
        name = f"{title}: off by, x {AMPLIFY}"
        columns[name] = AMPLIFY * difference
        captions[name] = [f"mean {d.mean():.2f}  worst {d.max():.0f}" for d in difference]
    rows = [*(step.replace("_", " ") for step in STEPS), "whole chain"]
    return _grid(columns, captions, rows, size)


def contact_sheet(
    images: Sequence[np.ndarray], policy: AugmentPolicy, size: int, seed: int, edge: int = 8
) -> Image.Image:
    """``edge`` x ``edge`` augmented images by the fused applier, side by side."""
    count = edge * edge
    batch = [images[i % len(images)] for i in range(count)]
    params = draw(policy, seed=seed, epoch=0, indices=np.arange(count), size=size)
    tiles = _to_bytes(augment_batch(batch, params, applier="fused", normalize=False))
    step = size + MARGIN
    sheet = Image.new("RGB", (edge * step + MARGIN,) * 2, PAPER_WHITE)
    for i, tile in enumerate(tiles):
        corner = (MARGIN + i % edge * step, MARGIN + i // edge * step)
        sheet.paste(Image.fromarray(tile), corner)
    return sheet


def _step_params(policy: AugmentPolicy, size: int, seed: int) -> AugmentParams:
    """A row for each step alone, then one for the chain; steps that are on at all are on."""
    switches = [f.name for f in dataclasses.fields(policy) if f.name.startswith("p_")]
    always = policy.replace(**{name: float(getattr(policy, name) > 0) for name in switches})
    params = draw(always, seed=seed, epoch=0, indices=np.zeros(len(STEPS) + 1, int), size=size)
    alone = [params.take([0]).only(step) for step in STEPS]
    return AugmentParams.concatenate([*alone, params.take([-1])])


def _grid(
    columns: dict[str, np.ndarray],
    captions: dict[str, list[str]],
    rows: Sequence[str],
    size: int,
) -> Image.Image:
    font = ImageFont.load_default(size=max(10, size // 14))
    line = int(1.6 * font.size)  # type: ignore[union-attr]
    left = int(max(font.getlength(row) for row in rows)) + 2 * MARGIN
    step_x, step_y = size + MARGIN, size + line + MARGIN
    canvas = Image.new(
        "RGB", (left + len(columns) * step_x, line + MARGIN + len(rows) * step_y), PAPER_WHITE
    )
    pen = ImageDraw.Draw(canvas)
    for j, (title, images) in enumerate(columns.items()):
        x = left + j * step_x
        pen.text((x, MARGIN), title, INK, font)
        for i, tile in enumerate(_to_bytes(images)):
            y = line + MARGIN + i * step_y
            canvas.paste(Image.fromarray(tile), (x, y))
            pen.text((x, y + size), captions[title][i], INK, font)
    for i, row in enumerate(rows):
        pen.text((MARGIN, line + MARGIN + i * step_y + size // 2), row, INK, font)
    return canvas


def _to_bytes(levels: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)
