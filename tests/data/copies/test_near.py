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
    SAME,
    SIDE,
    SMALL_CELL,
    alike_across,
    alike_pairs,
    describe_near,
    describe_picture,
    find_near_duplicates,
    tie_lines,
)
from fastleuk.data.dataset import load_dataset
from fastleuk.data.report import describe
from fastleuk.data.split.make import make_split
from tests.makers.cells import PROJECT, write_cells
from tests.makers.data_trees import manifest_of


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
    "white background": lambda i: on(i, (255, 255, 255)),
    "grey background, saved with losses": lambda i: jpeg(on(i, (190, 185, 200)), 80),
}


def on(image, color):
    """Replace the black background."""
    pixels = np.array(image)
    pixels[pixels.max(axis=2) == 0] = color
    return Image.fromarray(pixels)


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


@pytest.mark.parametrize("cells", [1 << 25, 20])
def test_copies_of_known_pictures_are_found_and_nothing_within_a_set(cells, monkeypatch):
    monkeypatch.setattr(near_module, "CELLS", cells)
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


SMALL_COPIES = {
    **{how: COPIES[how] for how in ("turned", "brightened", "white background")},
    "larger": lambda i: i.resize((round(i.width * 1.3), round(i.height * 1.3))),
}


@pytest.mark.parametrize("how", SMALL_COPIES)
def test_copies_of_small_cells_are_found(how):
    """Outlines mix with the background where a cell is resized or laid on another one."""
    cells = [cell(seed, side=50) for seed in range(12)]
    assert cells[0].width < SMALL_CELL
    pairs = [pair for c in cells for pair in pairs_of(c, SMALL_COPIES[how](c))]
    assert len(pairs) >= 9


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
    monkeypatch.setattr(near_module, "CELLS", 14)
    assert {(p.first, p.second) for p in pairs_of(*images)} == {(p.first, p.second) for p in whole}
    assert len(whole) == 4


@pytest.fixture
def dataset(tmp_path):
    root = write_cells(tmp_path / "set", subjects=3, per_subject=1)
    for name in ("l7_0", "l8_0"):
        cell(5).rotate(90 * (name == "l8_0")).save(root / "large" / f"{name}.png")
    cell(5).transpose(Image.Transpose.ROTATE_180).save(root / "large" / "l8_1.png")
    return load_dataset(root, subject_regex=r"([ls]\d+)_\d")


def test_subjects_of_one_picture_are_tied_and_reported(dataset):
    near = dataset.near
    assert (len(near.same), len(near.alike), len(near.within)) == (2, 0, 1)
    place = {subject: i for i, subject in enumerate(dataset.manifest.subjects)}
    assert dataset.groups[place["l7"]] == dataset.groups[place["l8"]]
    assert len(set(dataset.groups)) == len(place) - 1
    (line,) = tie_lines(dataset.manifest, near, dataset.groups)
    assert "2 pairs of near-identical pictures under two names" in line
    assert "l7 ~ l8" in line
    text = describe(dataset)
    assert "Near-identical pictures of different subjects: 2" in text
    assert "large/l7_0.png ~ large/l8_0.png (subjects l7, l8)" in text
    assert "Subjects that count as one in every split\n  l7 ~ l8" in text


def test_a_tie_that_would_be_a_guess_is_reported_instead():
    described = np.stack([describe_picture(cell(seed)).reshape(-1) for seed in (1, 2)])
    mixed = described[0] + 0.25 * described[1]
    described = np.stack([*described, mixed / np.linalg.norm(mixed)])
    near = find_near_duplicates(described, np.arange(3))
    ((pair,), same) = near.alike, near.same
    assert (pair.first, pair.second, same) == (0, 2, ())
    assert ALIKE <= pair.correlation < SAME
    manifest = manifest_of(PROJECT, [0, 1, 0], ["a", "b", "c"])
    (line,) = tie_lines(manifest, near, np.arange(3))
    assert "1 more pairs of pictures of different subjects look alike" in line
    assert "a guess" in line
    text = describe_near(manifest, near)
    assert "across subjects: 1\n  distance 0.0" in text
    assert "(subjects a, c)" in text
    assert near.between(np.array([1, 1, 3])) == [pair]
    assert near.between(np.array([1, 1, 0])) == near.between(np.array([1, 3, 1])) == []


def test_one_picture_with_two_labels_is_reported(tmp_path):
    root = write_cells(tmp_path / "set", subjects=2, per_subject=1)
    cell(5).save(root / "large" / "l7_0.png")
    cell(5).rotate(180).save(root / "small" / "s7_0.png")
    dataset = load_dataset(root, subject_regex=r"([ls]\d+)_\d")
    lines = tie_lines(dataset.manifest, dataset.near, dataset.groups)
    assert "WARNING: 1 of these pairs have two different labels" in lines[1]


def test_descriptions_are_cached_and_damaged_ones_computed_again(dataset, tmp_path, monkeypatch):
    def load():
        return load_dataset(
            dataset.manifest.root, subject_regex=r"([ls]\d+)_\d", cache_dir=tmp_path
        )

    first = load()
    with monkeypatch.context() as patch:
        patch.setattr(near_module, "describe_picture", lambda _: pytest.fail("read again"))
        again = load()
    assert again.near == first.near
    np.testing.assert_array_equal(again.described, first.described)
    (store,) = (tmp_path / "near").iterdir()
    store.write_bytes(store.read_bytes()[:100])
    assert load().near == first.near


def test_cells_of_cnmc_under_two_names_are_tied(shared_dir, tmp_path):
    dataset = load_dataset(shared_dir / "data" / "cnmc-pairs", cache_dir=tmp_path)
    subjects = dataset.manifest.subjects
    pairs = {frozenset((subjects[p.first], subjects[p.second])) for p in dataset.near.same}
    assert pairs == {frozenset({"H6", "H2"}), frozenset({"H10", "h3"})}
    assert not dataset.near.alike
    split = make_split(dataset.manifest, dataset.groups, mode="fold:1", val_fraction=0.3)
    used = {subjects[i] for part in ("train", "val") for i in split.indices(part)}
    assert "h3" not in used
    assert any("near-identical picture ties" in note for note in split.notes)


@pytest.mark.parametrize("name", ["malaria", "pbc"])
def test_real_cells_are_not_alike(name, shared_dir):
    from fastleuk.data.images.decode import decode_rgb

    files = sorted(f for f in (shared_dir / "data" / name).rglob("*.[pj][np]g"))[::9][:300]
    assert files
    assert pairs_of(*(decode_rgb(file.read_bytes()) for file in files)) == []


def test_discs_of_many_subjects_are_not_one_picture(tmp_path):
    """Described without place and size they correlate at .98 and above."""
    rng, (y, x) = np.random.default_rng(0), np.mgrid[:48, :48]
    for i in range(24):
        pixels = rng.integers(200, 230, (48, 48, 3)).astype(float)
        center, radius = rng.uniform(20, 28, 2), 10 * rng.uniform(0.9, 1.1)
        pixels[(x - center[0]) ** 2 + (y - center[1]) ** 2 < radius**2] = (
            120,
            40 + 40 * (i % 2),
            140,
        )
        place = tmp_path / "ab"[i % 2] / f"P{i}_0.png"
        place.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(place)
    dataset = load_dataset(tmp_path, subject_regex=r"(P\d+)_")
    assert dataset.near.alike, "they do look alike"
    assert dataset.near.same == ()
    assert len(set(dataset.groups.tolist())) == 24
