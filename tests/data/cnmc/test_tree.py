"""C-NMC in any of its layouts gives the same rows; what contradicts itself is named."""

import shutil
import struct
from pathlib import Path

import pytest

from fastleuk.data.cnmc.names import parse_name
from fastleuk.data.cnmc.tree import bmp_size, source_and_fold
from fastleuk.data.discover import discover
from fastleuk.errors import DataError
from tests.makers.data_trees import FINAL, LABELS, PRELIM, labels_csv, put, small_cnmc


def by_source(manifest):
    counts = {}
    for source in manifest.sources:
        counts[source] = counts.get(source, 0) + 1
    return counts


def reasons(found):
    return {item.path: item.reason for item in found.ignored}


FULL = {"train": 24, "prelim": 4, "final": 3}


def tcia(root):
    return small_cnmc(root / "PKG - C-NMC 2019")


def package(root):
    small_cnmc(root / "C-NMC 2019 (PKG)")
    return root


def kaggle(root):
    base = small_cnmc(root / "C-NMC_Leukemia")
    (base / "C-NMC_training_data").rename(base / "training_data")
    for folder in ("validation_data", "testing_data"):
        (base / folder).mkdir()
    shutil.move(base / PRELIM, base / "validation_data" / PRELIM)
    shutil.move(base / LABELS, base / "validation_data" / LABELS)
    shutil.move(base / FINAL, base / "testing_data" / FINAL)
    return root


def nested(root):
    base = tcia(root)
    (base / PRELIM).rename(base / "x")
    (base / PRELIM).mkdir()
    (base / "x").rename(base / PRELIM / PRELIM)
    return base


def folds_at_root(root):
    base = small_cnmc(root / "set")
    for fold in (base / "C-NMC_training_data").iterdir():
        shutil.move(fold, base / fold.name)
    return base


def labels_inside(root):
    base = tcia(root)
    shutil.move(base / LABELS, base / PRELIM / "labels.csv")
    return base


def shouted(root):
    base = tcia(root)
    for path in sorted(base.rglob("*"), reverse=True):
        if path.suffix == ".bmp":
            path.rename(path.with_suffix(".BMP"))
        elif path.name in ("all", "hem"):
            path.rename(path.with_name(path.name.upper()))
    return base


@pytest.mark.parametrize(
    "layout", [tcia, package, kaggle, nested, folds_at_root, labels_inside, shouted]
)
def test_every_cnmc_layout_gives_the_same_rows(tmp_path, layout):
    found = discover(layout(tmp_path))
    manifest = found.manifest
    assert manifest.layout == "cnmc"
    assert manifest.class_names == ("hem", "ALL")
    assert found.bad == ()
    assert by_source(manifest) == FULL
    for i, path in enumerate(manifest.paths):
        name = path.rsplit("/", 1)[-1].lower()
        if manifest.sources[i] == "train":
            cell = parse_name(name)
            assert manifest.subjects[i].lower() == cell.subject
            assert manifest.labels[i] == cell.label == int("_all." in name)
            assert f"fold_{manifest.folds[i]}" in path
    prelim = {
        p.rsplit("/", 1)[-1].lower(): (manifest.subjects[i], int(manifest.labels[i]))
        for i, p in enumerate(manifest.paths)
        if manifest.sources[i] == "prelim"
    }
    assert prelim == {
        "1.bmp": ("57", 1),
        "2.bmp": ("H57", 0),
        "3.bmp": ("57", 1),
        "4.bmp": ("H58", 0),
    }


def test_final_phase_is_unlabelled_in_numeric_order(tmp_path):
    manifest = discover(small_cnmc(tmp_path)).manifest
    final = [i for i, source in enumerate(manifest.sources) if source == "final"]
    assert [manifest.paths[i].rsplit("/", 1)[-1] for i in final] == ["1.bmp", "2.bmp", "10.bmp"]
    assert all(manifest.labels[i] == -1 for i in final)
    assert len(manifest.labelled) == 28


def test_final_images_of_600_pixels_are_cropped_to_450(tmp_path):
    root = small_cnmc(tmp_path)
    header = b"BM" + bytes(16) + struct.pack("<ii", 600, -600)
    (root / FINAL / "2.bmp").write_bytes(header)
    assert bmp_size(root / FINAL / "2.bmp") == (600, 600)
    assert bmp_size(root / LABELS) == (0, 0)
    manifest = discover(root).manifest
    cut = {p.rsplit("/", 1)[-1]: int(c) for p, c in zip(manifest.paths, manifest.crops, strict=True)
           if c}  # fmt: skip
    assert cut == {"2.bmp": 450}
    assert sum(manifest.crops > 0) == 1


def test_a_copy_nested_in_itself_counts_once_and_is_named(tmp_path):
    root = small_cnmc(tmp_path)
    shutil.copytree(root / PRELIM, root / "copy")
    shutil.move(root / "copy", root / PRELIM / PRELIM)
    found = discover(root)
    assert by_source(found.manifest) == FULL
    dropped = [p for p in reasons(found) if p.startswith(f"{PRELIM}/{PRELIM}/")]
    assert len(dropped) == 4
    assert "the same prelim image name" in reasons(found)[dropped[0]]


def test_prelim_with_original_names_needs_no_table(tmp_path):
    root = small_cnmc(tmp_path)
    shutil.rmtree(root / PRELIM)
    (root / LABELS).unlink()
    put(root / PRELIM, "UID_57_29_1_all.bmp", "UID_H57_29_1_hem.bmp")
    manifest = discover(root).manifest
    prelim = [i for i, s in enumerate(manifest.sources) if s == "prelim"]
    assert [(manifest.subjects[i], int(manifest.labels[i])) for i in prelim] == [
        ("57", 1),
        ("H57", 0),
    ]


def test_prelim_without_table_is_kept_unlabelled_and_said(tmp_path):
    root = small_cnmc(tmp_path)
    (root / LABELS).unlink()
    found = discover(root)
    assert by_source(found.manifest) == FULL
    assert len(found.manifest.labelled) == 24
    assert "unlabelled" in reasons(found)["4 preliminary images"]


def test_prelim_images_and_rows_without_partner_are_all_bad(tmp_path):
    root = small_cnmc(tmp_path)
    (root / PRELIM / "2.bmp").unlink()
    (root / PRELIM / "3.bmp").unlink()
    put(root / PRELIM, "77.bmp")
    bad = dict(discover(root).bad)
    assert set(bad) == {"2.bmp", "3.bmp", f"{PRELIM}/77.bmp"}
    assert "line 3" in bad["2.bmp"]
    assert LABELS in bad[f"{PRELIM}/77.bmp"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Patient_ID,new_names\nUID_1_1_1_all.bmp,1.bmp\n", "missing column(s) labels"),
        ("Patient_ID,new_names,labels\nUID_1_1_1_all.bmp,1.bmp,2\n", "neither 0"),
        ("Patient_ID,new_names,labels\nUID_1_1_1_all.bmp,1.bmp,0\n", "contradicts the name"),
        ("Patient_ID,new_names,labels\nbob.bmp,1.bmp,0\n", "is not UID_"),
        ("", "missing column(s)"),
    ],
)
def test_a_senseless_labels_table_is_refused(tmp_path, text, said):
    root = small_cnmc(tmp_path)
    (root / LABELS).write_text(text)
    with pytest.raises(DataError) as caught:
        discover(root)
    assert said in str(caught.value)
    assert LABELS in str(caught.value)


def test_all_senseless_rows_are_listed(tmp_path):
    root = small_cnmc(tmp_path)
    labels_csv(root / LABELS, [("UID_57_1_1_all.bmp", "1.bmp", 7), ("x", "2.bmp", 1)])
    with pytest.raises(DataError, match=r"(?s)line 2.*line 3"):
        discover(root)


def test_contradicting_tables_are_refused(tmp_path):
    root = small_cnmc(tmp_path)
    labels_csv(root / "other.csv", [("UID_99_1_1_all.bmp", "2.bmp", 1)])
    with pytest.raises(DataError, match=r"contradict.*\n.*2\.bmp"):
        discover(root)


def test_names_that_contradict_their_folder_are_bad_and_foreign_ones_left_out(tmp_path):
    root = small_cnmc(tmp_path)
    fold = root / "C-NMC_training_data/fold_0"
    put(fold, "all/UID_H9_1_1_hem.bmp", "hem/notes.bmp")
    found = discover(root)
    bad = dict(found.bad)
    assert list(bad) == ["C-NMC_training_data/fold_0/all/UID_H9_1_1_hem.bmp"]
    assert "contradicts the folder" in bad["C-NMC_training_data/fold_0/all/UID_H9_1_1_hem.bmp"]
    (foreign,) = found.ignored
    assert foreign.path == "C-NMC_training_data/fold_0/hem/notes.bmp"
    assert "subject is unknown" in foreign.reason
    assert foreign.lost_by == "hem"


@pytest.mark.parametrize(
    ("path", "root", "expected"),
    [
        ("fold_2/all/x.bmp", "", ("train", 2)),
        ("all/x.bmp", "fold_1", ("train", 1)),
        ("C-NMC_test_prelim_phase_data/C-NMC_test_prelim_phase_data/1.bmp", "", ("prelim", -1)),
        ("validation_data/1.bmp", "C-NMC_Leukemia", ("prelim", -1)),
        ("testing_data/C-NMC_test_final_phase_data/1.bmp", "", ("final", -1)),
        ("1.bmp", "C-NMC_test_prelim_phase_data", ("prelim", -1)),
        ("all/x.bmp", "final_project", ("", -1)),
    ],
)
def test_place(path, root, expected):
    assert source_and_fold(path, root) == expected


def test_root_that_is_the_prelim_folder_finds_the_table_beside_it(tmp_path):
    manifest = discover(small_cnmc(tmp_path) / PRELIM).manifest
    assert manifest.subjects == ("57", "H57", "57", "H58")
    assert manifest.labels.tolist() == [1, 0, 1, 0]


def test_upper_and_lower_h_and_bare_numbers_are_kept_apart():
    assert parse_name("UID_h3_4_1_hem.bmp").subject == "h3"
    assert parse_name("UID_H1_1_1_hem.bmp").subject == "H1"
    assert parse_name("UID_1_1_1_all.BMP").subject == "1"
    assert parse_name("UID_1_1_1_other.bmp") is None


def test_the_real_cells(shared_dir: Path):
    found = discover(shared_dir / "data" / "cnmc")
    manifest = found.manifest
    assert by_source(manifest) == {"train": 10, "prelim": 1}
    assert found.bad == ()
    assert set(manifest.subjects) == {"1", "2", "3", "53", "H1", "H10", "h3"}
    assert manifest.subjects[manifest.paths.index(f"{PRELIM}/1105.bmp")] == "53"
    assert bmp_size(manifest.file(0)) == (450, 450)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("sign", [";", "\t"])
def test_the_labels_csv_is_read_as_every_table(tmp_path, encoding, sign):
    first = discover(small_cnmc(tmp_path)).manifest
    table = tmp_path / LABELS
    head, *rows = table.read_text().replace(",", sign).splitlines()
    lines = [f"sep={sign}", head.upper(), *(f"{row}.0 " for row in rows)]
    if encoding == "utf-16":
        table.unlink()
        table = table.with_suffix(".tsv")
    table.write_bytes("\r\n".join(lines).encode(encoding))
    again = discover(tmp_path).manifest
    assert again.paths == first.paths
    assert again.subjects == first.subjects
    assert again.labels.tolist() == first.labels.tolist()
    assert by_source(again)["prelim"] == 4
