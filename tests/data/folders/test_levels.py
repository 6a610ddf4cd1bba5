"""Classes below patients, variants or magnifications: refused with each reading, or read."""

import io
import re
import tarfile

import pytest

from fastleuk.config import DataConfig
from fastleuk.data.dataset import load_dataset
from fastleuk.data.discover import discover
from fastleuk.data.folders.levels import inner_classes
from fastleuk.data.from_config import open_dataset
from fastleuk.data.pack import write_shards
from fastleuk.errors import ConfigError, DataError
from tests.makers.data_trees import picture, put, small_cnmc


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


def tree(tops, inner, each=2):
    return [f"{top}/{name}/{top}_{i}.png" for top in tops for name in inner for i in range(each)]


PATIENTS = ("8863", "8864", "8913", "8914", "8916", "8917")
INNER = {
    "patient": tree(PATIENTS, ("0", "1")),
    "patient, one lacks a class": tree(PATIENTS, ("0", "1"))[:-2],
    "patient of one class": [f"P{i}/{'ALL' if i % 2 else 'hem'}/{k}.png"
                             for i in range(8) for k in range(2)],
    "variant": tree(("Original", "Segmented"), ("Benign", "Early", "Pre", "Pro")),
    "magnification": tree(("40X", "100X", "200X"), ("benign", "malignant")),
    "center": tree(("Delhi", "Bonn"), ("hem", "ALL")),
    "slide": tree(("slide_1", "slide_2", "slide_3"), ("blast", "lymphocyte")),
    "stain": tree(("HE", "Giemsa"), ("blast", "lymphocyte")),
    "case of names": ["a/X/1.png", "a/y/1.png", "b/x/2.png", "b/Y/2.png"],
}  # fmt: skip
OUTER = {
    "plain": ["a/1.png", "b/1.png"],
    "different subfolders": ["a/P1/1.png", "a/P2/1.png", "b/P3/1.png", "b/P4/1.png"],
    "one common subfolder": tree(("a", "b", "c"), ("images",)),
    "subfolders of one class": ["a/P1/1.png", "a/P2/1.png", "b/1.png", "b/2.png"],
    "class/magnification": tree(("benign", "malignant"), ("40X", "100X")),
    "class/variant": tree(("blast", "lymphocyte"), ("original", "segmented")),
    "class/patient with both classes": tree(("uninfected", "parasitized"), ("P1", "P2", "P3")),
    "class/part": tree(("a", "b"), ("train", "test")),
    "class/patient/slide": [f"{c}/{c}{p}/slide{s}/1.png" for c in "ab" for p in (1, 2)
                            for s in (1, 2)],
    "class/center": ["basophil/A/1.png", "blast/A/1.png", "smudge/B/1.png"],
}  # fmt: skip


@pytest.mark.parametrize("name", INNER)
def test_an_inner_level_that_may_be_the_classes_is_refused_with_every_reading(tmp_path, name):
    put(tmp_path, *INNER[name])
    with pytest.raises(DataError) as caught:
        discover(tmp_path)
    text = str(caught.value)
    for options in (
        "--class-level 2 --subject-level 1: ",
        "--class-level 2: ",
        "--class-level 1: ",
    ):
        assert options in text
    inner = {path.split("/")[1].casefold() for path in INNER[name]}
    outer = {path.split("/")[0] for path in INNER[name]}
    if name != "case of names":
        below = discover(tmp_path, class_level=2).manifest
        assert {c.casefold() for c in below.class_names} == inner
        assert below.subject_is_image
        whose = discover(tmp_path, class_level=2, subject_level=1)
        assert set(whose.manifest.subjects) == outer
        assert any("Subjects by the folders of level 1" in remark for remark in whose.remarks)
    for options in ({"class_level": 1}, {"layout": "folders"}):
        assert set(discover(tmp_path, **options).manifest.class_names) == outer
    if name == "case of names":
        return  # spellings that differ by case only are refused, for classes and subjects
    both = discover(tmp_path, class_level=1, subject_level=2).manifest
    assert {subject.casefold() for subject in both.subjects} == inner
    assert set(both.class_names) == outer
    assert discover(tmp_path, subject_level=2).manifest.subjects == both.subjects


@pytest.mark.parametrize("name", OUTER)
def test_the_first_level_stays_the_classes(tmp_path, name):
    put(tmp_path, *OUTER[name])
    manifest = discover(tmp_path).manifest
    assert set(manifest.class_names) == {path.split("/")[0] for path in OUTER[name]}
    assert len(manifest) == len(OUTER[name])


def test_cnmc_and_parts_are_read_as_before(tmp_path):
    assert discover(small_cnmc(tmp_path / "cnmc")).manifest.class_names == ("hem", "ALL")
    with pytest.raises(ConfigError, match=r"--subject-level 2.*C-NMC names tell"):
        discover(tmp_path / "cnmc", subject_level=2)
    put(tmp_path / "parts", *(f"{p}/{c}/{p}{c}.png" for p in ("train", "test") for c in "ab"))
    with pytest.raises(DataError, match="ready-made split"):
        discover(tmp_path / "parts")
    manifest = discover(tmp_path / "parts", layout="parts").manifest
    assert manifest.class_names == ("a", "b")


def test_levels_below_the_parts(tmp_path):
    names = [f"{part}/{patient}/{c}/{patient}{c}.png"
             for part, patients in (("train", "1234"), ("test", "5678"))
             for patient in patients for c in ("0", "1")]  # fmt: skip
    put(tmp_path, *names)
    with pytest.raises(
        DataError, match=r"(?s)--class-level 3 --subject-level 2: 2 classes \(0, 1\)"
    ):
        discover(tmp_path, layout="parts")
    found = discover(tmp_path, layout="parts", class_level=3, subject_level=2).manifest
    assert found.class_names == ("0", "1")
    assert set(zip(found.sources, found.subjects, strict=True)) == {
        (part, patient)
        for part, those in (("train", "1234"), ("test", "5678"))
        for patient in those
    }
    config = DataConfig(data=str(tmp_path), split="folders", class_level=3, subject_level=2)
    dataset = open_dataset(config, report=lambda _: None, hidden=True)
    assert set(dataset.manifest.sources) == {"train", "test"}


def test_one_extra_folder_around(tmp_path):
    put(tmp_path, *(f"data/{name}" for name in INNER["patient"]))
    with pytest.raises(DataError, match=r"(?s)only one class, 'data'.*--class-level 3 --subject-l"):
        discover(tmp_path)
    found = discover(tmp_path, class_level=3, subject_level=2).manifest
    assert found.class_names == ("0", "1")
    assert len(set(found.subjects)) == len(PATIENTS)
    with pytest.raises(DataError, match="hold the same folders"):
        discover(tmp_path / "data")


def test_variants_of_one_cell_stay_in_one_part(tmp_path):
    root = tmp_path / "set"
    put(root, *(f"{v}/{c}/{c}{i}.png" for v in ("A", "B", "C") for c in "xy" for i in range(4)))
    lines: list[str] = []
    config = DataConfig(data=str(root), class_level=2)
    dataset = open_dataset(config, report=lines.append, hidden=True)
    groups = dict(zip(dataset.manifest.paths, dataset.groups, strict=True))
    assert len(set(groups.values())) == 8
    for path, group in groups.items():
        assert group == groups[f"A/{path[2:]}"]
    assert set(dataset.manifest.sources) == {"A", "B", "C"}
    assert any("count as 8 cells" in line for line in lines)
    dataset.manifest.write_csv(tmp_path / "m.csv")  # a manifest and shards keep what ties them
    write_shards(dataset, tmp_path / "shards")
    for place in (tmp_path / "m.csv", tmp_path / "shards" / "*.tar"):
        again = load_dataset(place)
        assert len(again.manifest) == 24
        assert len(set(again.groups)) == 8
    put(root, "x/y")  # the command that lists what is left out reads the set likewise
    lines.clear()
    open_dataset(config, report=lines.append, hidden=True)
    assert any(line.endswith("--class-level 2") for line in lines)


def test_images_that_are_not_so_deep(tmp_path):
    put(tmp_path, *INNER["center"], "Bonn/loose.png", "hem.png")
    found = discover(tmp_path, class_level=2)
    assert sorted(item.path for item in found.ignored) == ["Bonn/loose.png", "hem.png"]
    with pytest.raises(DataError, match=r"--subject-level 3: 8 of 8 images don't lie so deep"):
        discover(tmp_path, class_level=2, subject_level=3)
    with pytest.raises(DataError, match=r"--class-level 5: no image lies so deep"):
        discover(tmp_path, class_level=5)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"class_level": -1}, "--class-level -1"),
        ({"class_level": 99}, "--class-level 99"),
        ({"class_level": 2, "subject_level": 2}, "one folder can't be both"),
        ({"subject_level": 1}, "Give --class-level"),
        ({"subject_level": 2, "subject_regex": "(a)"}, "both name the subject"),
    ],
)
def test_levels_that_make_no_sense(tmp_path, options, reason):
    put(tmp_path, *INNER["center"])
    with pytest.raises(ConfigError, match=re.escape(reason)):
        discover(tmp_path, **options)


def test_a_manifest_takes_no_levels(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "m.csv").write_text("path,label,subject\na/1.png,a,1\nb/1.png,b,2\n")
    with pytest.raises(ConfigError, match="--class-level 2: for class folders"):
        discover(tmp_path / "m.csv", class_level=2)


def test_shards_take_the_levels_of_their_members(tmp_path):
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for number, name in enumerate(INNER["patient"]):
            content = picture(number, kind="PNG")
            info = tarfile.TarInfo(f"set/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with pytest.raises(DataError, match="--class-level N"):
        discover(tmp_path / "s.tar")
    found = discover(tmp_path / "s.tar", class_level=3, subject_level=2)
    assert found.manifest.class_names == ("0", "1")
    assert set(found.manifest.subjects) == set(PATIENTS)
    assert any("Classes by folders of level 3: 0, 1" in remark for remark in found.remarks)


def test_inner_classes_by_table():
    assert inner_classes([]) is None
    assert inner_classes([["a"], ["b"]]) is None
    assert inner_classes([[p, c] for p in PATIENTS for c in "01"]) == (2, ("0", "1"))
    deep = [[site, f"{site}{p}", c] for site in "AB" for p in range(3) for c in ("hem", "ALL")]
    assert inner_classes(deep) == (3, ("ALL", "hem"))
