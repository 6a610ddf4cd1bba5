"""Near-duplicates: copies that were turned, resized or saved anew are found, others are not."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from fastleuk.data.copies import near as near_module
from fastleuk.data.copies.near import (
    ALIKE,
    SIDE,
    SMALL_CELL,
    alike_across,
    alike_pairs,
    describe_near,
    describe_picture,
    find_near_duplicates,
)
from fastleuk.data.dataset import load_dataset
from tests.makers.cells import write_cells


def jpeg(image, quality):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


COPIES = {
    "turned": lambda i: i.transpose(Image.Transpose.ROTATE_270),
    "mirrored": lambda i: i.transpose(Image.Transpose.TRANSVERSE),
    "saved with losses": lambda i: jpeg(i, 60),
    "brightened": lambda i: ImageEnhance.Brightness(i).enhance(1.25),
    "half the size": lambda i: i.resize((i.width // 2, i.height // 2), Image.Resampling.BICUBIC),
    "more colour": lambda i: ImageEnhance.Color(i).enhance(1.4),
    "another frame": lambda i: i.crop((9, 4, i.width, i.height)),
}


def cell(seed, side=130):
    """A disc of stained, blotchy texture on black, as a segmented cell is."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] - side / 2
    blotches = Image.fromarray(rng.uniform(70, 200, (6, 6)).astype(np.float32))
    texture = np.asarray(blotches.resize((side, side), Image.Resampling.BICUBIC))
    inside = x**2 + y**2 < (side * 0.36) ** 2
    pixels = texture[..., None] * [0.9, 0.5, 0.8] + rng.normal(0, 5, (side, side, 3))
    return Image.fromarray((pixels.clip(0, 255) * inside[..., None]).astype(np.uint8))


def pairs_of(*images):
    return alike_pairs(np.stack([describe_picture(image.convert("RGB")) for image in images]))


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_is_found_among_other_cells(how):
    others = [cell(seed) for seed in range(30)]
    found = pairs_of(*others, COPIES[how](others[7]))
    assert [(pair.first, pair.second) for pair in found] == [(7, 30)]


def test_a_copy_that_is_turned_by_some_degrees_is_not_promised():
    assert pairs_of(cell(1), cell(1).rotate(30)) == []


@pytest.mark.parametrize("block", [2048, 2])
def test_copies_of_known_pictures_are_found_and_nothing_within_a_set(block, monkeypatch):
    monkeypatch.setattr(near_module, "BLOCK", block)
    known = [cell(seed) for seed in range(9)]
    asked = [cell(20), COPIES["turned"](cell(4)), cell(21), cell(21), COPIES["mirrored"](cell(8))]
    pictures, others = (
        np.stack([describe_picture(image.convert("RGB")) for image in images])
        for images in (asked, known)
    )
    found = alike_across(pictures, others)
    assert sorted((pair.first, pair.second) for pair in found) == [(1, 4), (4, 8)]
    assert alike_across(pictures[:0], others) == []


def speckled(seed, side=50):
    """A cell of few pixels, each of its own grey, as those of a small microscope picture are."""
    grey = np.random.default_rng(seed).uniform(60, 220, (side, side, 1))
    y, x = np.mgrid[:side, :side] - side / 2
    inside = (x**2 + y**2 < (side * 0.45) ** 2)[..., None]
    return Image.fromarray((grey * inside).astype(np.uint8).repeat(3, axis=2))


@pytest.mark.parametrize(("how", "found"), [("turned", 1), ("half the size", 0)])
def test_of_a_small_cell_on_black_only_unchanged_pixels_are_found(how, found):
    assert max(speckled(1).size) < SMALL_CELL
    assert len(pairs_of(speckled(1), COPIES[how](speckled(1)))) == found


def test_a_flat_picture_is_like_none():
    flat = Image.new("RGB", (40, 40), (90, 20, 60))
    assert pairs_of(flat, flat.copy(), cell(1)) == []


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), noise=st.floats(0, 0.6), count=st.integers(2, 40))
def test_no_pair_is_lost_that_comparing_all_positions_finds(seed, noise, count):
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(SIDE, SIDE))
    pictures = []
    for _ in range(count):
        turned = np.rot90(base if rng.random() < 0.5 else base.T, rng.integers(4))
        picture = turned + noise * rng.normal(size=(SIDE, SIDE))
        picture -= picture.mean()
        pictures.append(picture / np.linalg.norm(picture))
    pictures = np.array(pictures, np.float32)
    turns = [
        np.rot90(p, k, (1, 2)) for p in (pictures, pictures.transpose(0, 2, 1)) for k in range(4)
    ]
    best = np.max([np.einsum("iuv,juv->ij", pictures, t) for t in turns], axis=0)
    expected = {(i, j) for i in range(count) for j in range(i + 1, count) if best[i, j] > ALIKE}
    sure = {(i, j) for i, j in expected if best[i, j] > ALIKE + 1e-4}
    found = {(pair.first, pair.second) for pair in alike_pairs(pictures)}
    assert sure <= found
    assert all(best[i, j] > ALIKE - 1e-4 for i, j in found)


def test_blocks_miss_no_pair(monkeypatch):
    images = [cell(seed) for seed in (1, 2, 3, 1, 4, 2, 1)]
    whole = pairs_of(*images)
    monkeypatch.setattr(near_module, "BLOCK", 2)
    assert {(p.first, p.second) for p in pairs_of(*images)} == {(p.first, p.second) for p in whole}
    assert len(whole) == 4


@pytest.fixture
def dataset(tmp_path):
    root = write_cells(tmp_path / "set", subjects=3, per_subject=1)
    for name in ("l7_0", "l8_0"):
        cell(5).rotate(90 * (name == "l8_0")).save(root / "large" / f"{name}.png")
    cell(5).transpose(Image.Transpose.ROTATE_180).save(root / "large" / "l8_1.png")
    return load_dataset(root, subject_regex=r"([ls]\d+)_\d")


def find_near(dataset, **options):
    return find_near_duplicates(
        dataset.manifest, pixels=dataset.pixels, groups=dataset.groups, **options
    )


def test_pairs_across_subjects_are_listed_with_names_and_distance(dataset, tmp_path):
    near = find_near(dataset, cache_dir=tmp_path)
    assert (len(near.across), near.within) == (2, 1)
    text = describe_near(dataset.manifest, near)
    assert "across subjects: 2; 1 more within a subject" in text
    assert "large/l7_0.png ~ large/l8_0.png (subjects l7, l8)" in text
    assert "stay in the data" in text
    assert "… and 1 more" in describe_near(dataset.manifest, near, limit=1)


def test_descriptions_are_kept_by_pixels(dataset, tmp_path, monkeypatch):
    first = find_near(dataset, cache_dir=tmp_path)
    monkeypatch.setattr(near_module, "describe_picture", lambda _: pytest.fail("read again"))
    again = find_near(dataset, cache_dir=tmp_path)
    assert again == first


def test_damaged_descriptions_are_made_anew(dataset, tmp_path):
    first = find_near(dataset, cache_dir=tmp_path)
    (store,) = (tmp_path / "near").iterdir()
    store.write_bytes(store.read_bytes()[:100])
    again = find_near(dataset, cache_dir=tmp_path)
    assert len(again.across) == len(first.across)


@pytest.mark.parametrize("name", ["malaria", "pbc"])
def test_real_cells_are_not_alike(name, shared_dir):
    from fastleuk.data.images.decode import decode_rgb

    files = sorted(f for f in (shared_dir / "data" / name).rglob("*.[pj][np]g"))[::9][:300]
    assert files
    assert pairs_of(*(decode_rgb(file.read_bytes()) for file in files)) == []
