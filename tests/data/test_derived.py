"""Masks and previews are left out, augmented copies stay in one part; other names mean nothing."""

import csv
import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from fastleuk.config import DataConfig
from fastleuk.data.dataset import load_dataset
from fastleuk.data.derived import MASK, PREVIEW, find_derived, find_versions
from fastleuk.data.discover import discover
from fastleuk.data.from_config import open_dataset
from fastleuk.data.split.make import make_split
from tests.makers.data_trees import picture, put


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


def mask(seed, kind="PNG"):
    """Encode a two-valued picture of 32 pixels."""
    y, x = np.mgrid[:32, :32]
    inside = (y - 16) ** 2 + (x - 16) ** 2 < (6 + seed % 5) ** 2
    stream = io.BytesIO()
    Image.fromarray((inside * 255).astype(np.uint8)).save(stream, kind)
    return stream.getvalue()


def put_masks(root, *names):
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(mask(i))


def never(path):
    raise AssertionError(f"{path} was read")


MASK_NAMES = (
    "{}_mask", "{}-mask", "{}.mask", "{} mask", "{}_MASK", "{}_mask_1", "{}_mask2", "{}_masks",
    "{}mask", "{}_seg", "{}_segmentation", "{}_gt", "{}_GT", "{}_label", "{}_labels",
    "{}_label_viz",
    "{}_annotation", "{}_annotations", "{}-groundtruth", "{}_ground_truth", "{}_cp_masks",
    "{}_outlines", "{}_overlay", "mask_{}", "gt_{}", "seg_{}", "label-{}",
)  # fmt: skip
PREVIEW_NAMES = ("{}_thumb", "{}-thumbnail", "thumb_{}", "{}.preview", "{}-150x150", "tn_{}")
MASK_FOLDERS = (
    "masks", "mask", "Masks", "GrTh", "GT", "gts", "ground truth", "groundtruth", "annotations",
    "labels", "segmentation", "segmentations", "SegmentationClass", "cell_masks", "hem masks",
)  # fmt: skip
STEMS = ("x", "benign (1)", "UID_H1_2_3_hem", "Im001_1", "P01.2")


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("name", [*MASK_NAMES, *PREVIEW_NAMES])
def test_a_mask_is_one_only_beside_its_image(name, stem):
    path = f"a/{name.format(stem)}.png"
    reason = MASK if name in MASK_NAMES else PREVIEW
    found = find_derived([f"a/{stem}.jpg", path, "b/other.png"], never)
    assert found.reasons == {path: (reason, f"a/{stem}.jpg")}
    assert find_derived([path, "a/other.png", f"b/{stem}.jpg"], never).reasons == {}


@pytest.mark.parametrize("folder", MASK_FOLDERS)
@pytest.mark.parametrize("name", ["{}", "{}_mask"])
@pytest.mark.parametrize(
    ("images", "masks"),
    [("{c}/", "{c}/{m}/"), ("{c}/images/", "{c}/{m}/"), ("images/{c}/", "{m}/{c}/"),
     ("{c}/", "{m}/{c}/"), ("train/{c}/", "train/{c}/{m}/")],
    ids=["inside", "beside-images", "top-of-images", "top", "parts"],
)  # fmt: skip
def test_folders_of_masks_are_left_out(folder, name, images, masks):
    there = [f"{images.format(c=c)}{c}{i}.png" for c in "ab" for i in range(3)]
    made = [
        f"{masks.format(c=c, m=folder)}{name.format(f'{c}{i}')}.png" for c in "ab" for i in range(3)
    ]
    found = find_derived([*there, *made], never)
    assert set(found.reasons) == set(made)


@pytest.mark.parametrize(
    "paths",
    [
        ("mask/1.png", "mask/2.png", "no_mask/3.png"),
        ("labels/1.png", "a/2.png"),
        ("seg/1.png", "band/2.png"),
        ("a/cell_mask.png", "a/label.png", "b/gt.png", "b/mask_2.png"),
        ("Segmented/a/1.png", "Original/a/1.png"),
        ("a/1.png", "a/1_2.png", "a/1-2.png", "a/1 (2).png"),
        ("a/thumb.png", "thumb/1.png", "finger/2.png"),
    ],
)
def test_legitimate_names_survive(paths):
    assert find_derived(paths, lambda _: picture(1, 32)).reasons == {}


def test_a_class_called_mask_is_judged_by_its_pixels(tmp_path):
    """Names are equal in both folders, as where each is numbered from 1."""
    names = [f"{c}/{i}.png" for c in ("ALL", "hem", "masks") for i in range(4)]
    put(tmp_path / "photos", *names)
    assert len(discover(tmp_path / "photos").manifest.class_names) == 3
    put(tmp_path / "masks", *names[:8])
    put_masks(tmp_path / "masks", *names[8:])
    found = discover(tmp_path / "masks")
    assert found.manifest.class_names == ("hem", "ALL")
    assert sum(item.reason == MASK for item in found.ignored) == 4


def test_a_class_called_thumbs_is_judged_by_its_pixels(tmp_path):
    for name in ("thumbs", "thumbnails"):
        root = tmp_path / name
        put(root, *(f"{c}/{c}{i}.png" for c in ("ALL", "hem") for i in range(4)))
        for i in range(4):
            file = root / name / f"ALL{i}.png"
            if name == "thumbs":
                put(root, f"{name}/ALL{i}.png")
            else:
                file.parent.mkdir(exist_ok=True)
                with Image.open(root / f"ALL/ALL{i}.png") as image:
                    image.resize((16, 16), Image.Resampling.NEAREST).save(file)
    assert len(discover(tmp_path / "thumbs").manifest.class_names) == 3
    found = discover(tmp_path / "thumbnails")
    assert found.manifest.class_names == ("hem", "ALL")
    assert sum(item.reason == PREVIEW for item in found.ignored) == 4


def test_masks_and_thumbnails_are_reported_with_number_and_example(tmp_path):
    put(tmp_path, *(f"{c}/{i}.png" for c in "ab" for i in range(6)), "a/0_thumb.jpg")
    put_masks(tmp_path, *(f"{c}/{i}_mask.png" for c in "ab" for i in range(6)))
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "0.txt").write_text("0 .5 .5 1 1")
    lines: list[str] = []
    dataset = open_dataset(DataConfig(data=str(tmp_path)), report=lines.append, hidden=True)
    assert len(dataset.manifest) == 12
    assert any(f"12 files: {MASK}, such as a/0_mask.png" in line for line in lines)
    assert any(f"1 file: {PREVIEW}, such as a/0_thumb.jpg" in line for line in lines)
    assert any("annotations without an image, such as labels/" in line for line in lines)


def test_masks_in_shards_of_other_tools_are_left_out(tmp_path):
    members = {}
    for i in range(4):
        members |= {f"{i}.png": picture(i, kind="PNG"), f"{i}.cls": b"%d" % (i % 2)}
        members |= {f"{i}_mask.png": mask(i), f"{i}_mask.cls": b"%d" % (i % 2)}
        members |= {f"{i}.seg.png": mask(i)}
    members["@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg"] = picture(9, kind="JPEG")
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    found = discover(tmp_path / "s.tar")
    assert found.manifest.paths == tuple(f"s.tar/{i}.png" for i in range(4))
    assert not found.bad
    assert sum(item.reason == MASK for item in found.ignored) == 8


COPIES = (
    ("{}_jpg.rf.0123456789abcdef0123456789abcdef", "{}_jpg.rf.fedcba9876543210fedcba9876543210"),
    ("{}_aug1", "{}_aug2"), ("{}", "{}_aug_1"), ("aug_1_{}", "aug_2_{}"), ("{}", "{}_flip"),
    ("{}", "{}_hflip"), ("{}-rot90", "{}-rot180"), ("{}", "{}_rotated_90_flip"),
    ("{}", "flipped_{}"),
    ("{}", "{}_bright2"), ("{}", "{}_original"), ("{}_original", "{}_segmented"),
    ("{}", "a_original_{}.png_01234567-0123-0123-0123-0123456789ab"),
)  # fmt: skip


@pytest.mark.parametrize("names", COPIES)
@pytest.mark.parametrize("stem", STEMS)
def test_copies_of_one_image_belong_together(names, stem):
    one, other = (f"a/{name.format(stem)}.png" for name in names)
    assert find_versions([one, "a/q.png", other]) == ((0, 2),)
    assert find_versions([one, f"b/{other[2:]}"]) == ()


def test_copies_without_their_original_are_tied_across_parts_and_others_are_not():
    assert find_versions(["train/a/x.rf.01234567.jpg", "test/a/x.rf.76543210.jpg"]) == ((0, 1),)
    assert find_versions(["train/a/x.png", "test/a/x_aug1.png"]) == ((0, 1),)
    numbered = [f"{part}/a/{name}.png" for part in ("train", "test") for name in ("1", "1_aug")]
    assert find_versions(numbered) == ((0, 1), (2, 3))
    assert find_versions([f"{part}/a/1_segmented.png" for part in ("train", "test")]) == ()
    assert find_versions(["a/x.png", "augmented/a/x.png"]) == ((0, 1),)
    assert find_versions(["a/original/x.png", "a/augmented/x.png", "a/y.png"]) == ((0, 1),)
    ordinary = ["a/carrot_1.png", "a/carrot_2.png", "a/august_3.png", "a/rotor.png", "a/x_1.png"]
    assert find_versions(ordinary) == ()


@pytest.mark.parametrize("split", ["subject", "folders"])
def test_no_two_parts_hold_copies_of_one_image(tmp_path, split):
    """Roboflow's export: three copies of each image, which its own parts may divide."""
    rng = np.random.default_rng(0)
    for c in "ab":
        for i in range(20):
            home = ("train", "train", "valid", "test")[i % 4]
            for k in range(3):
                drawn = rng.choice(["train", "valid", "test"]) if i < 5 else home
                part = f"{drawn}/" if split == "folders" else ""
                put(tmp_path, f"{part}{c}/cell{i}_jpg.rf.{k:032x}.jpg")
    dataset = open_dataset(
        DataConfig(data=str(tmp_path), split=split), report=lambda _: None, hidden=True
    )
    assert any("augmented copies" in remark and "of 40" in remark for remark in dataset.remarks)
    found = make_split(
        dataset.manifest, dataset.groups, mode=split, val_fraction=0.3, test_fraction=0.3
    )  # fmt: skip
    parts: dict[str, set[str]] = {}
    for name in ("train", "val", "test"):
        for i in found.indices(name):
            stem = dataset.manifest.paths[i].split("/", 1 + (split == "folders"))[-1]
            parts.setdefault(f"{dataset.manifest.labels[i]} {stem.split('_jpg')[0]}", set()).add(
                name
            )
    assert parts
    assert all(len(names) == 1 for names in parts.values())


def test_a_manifest_names_its_copies_too(tmp_path):
    names = [f"{c}{i}{k}.png" for c in "ab" for i in range(3) for k in ("", "_flip")]
    put(tmp_path, *names)
    with (tmp_path / "m.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(
            [("path", "label", "subject"), *((name, name[0], "") for name in names)]
        )
    dataset = load_dataset(tmp_path / "m.csv")
    assert len(set(dataset.groups)) == 6
    assert len(dataset.manifest) == 12
