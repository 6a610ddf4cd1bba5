"""The 15,114 names of C-NMC 2019, as empty files, and their published hashes."""

import csv
from pathlib import Path

import numpy as np
import pytest

from fastleuk.data.cnmc.names import compare
from fastleuk.data.copies.identical import find_identical, subject_groups, tied_subjects
from fastleuk.data.dataset import DataSet
from fastleuk.data.discover import discover
from fastleuk.data.report import describe
from fastleuk.data.split.make import make_split
from fastleuk.data.split.parts import PARTS, check_split

PRELIM_HEM, PRELIM_ALL = 648, 1219


def made_up_labels(path: Path) -> None:
    """Write a labels table of the official counts: the real one isn't at hand.

    13 ALL and 15 hem subjects, none of them in the training folds; the numbers are ours.
    """
    with open(path, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("Patient_ID", "new_names", "labels"))
        for i in range(PRELIM_ALL + PRELIM_HEM):
            ill = i < PRELIM_ALL
            who = f"{100 + i % 13}" if ill else f"H{100 + i % 15}"
            name = f"UID_{who}_{i}_1_{'all' if ill else 'hem'}.bmp"
            writer.writerow((name, f"{i + 1}.bmp", int(ill)))


@pytest.fixture(scope="module")
def real(shared_dir, tmp_path_factory):
    """Return the manifest, found from names alone, and the hash of each file.

    The hashes are of files, not of pixels, which nobody has published: sets of equal files are
    sets of equal pixels, but copies between files of different headers don't show here.
    """
    root = tmp_path_factory.mktemp("real")
    with open(shared_dir / "data" / "cnmc-names-sha256.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for folder in {Path(row["path"]).parent for row in rows}:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for row in rows:
        if row["path"].endswith(".csv"):
            made_up_labels(root / row["path"])
        else:
            (root / row["path"]).touch()
    found = discover(root)
    assert found.bad == ()
    assert found.ignored == ()
    digest = {row["path"]: row["sha256"] for row in rows}
    return found.manifest, [digest[path] for path in found.manifest.paths]


@pytest.fixture(scope="module")
def kept(real):
    """Return the data set as it would be loaded: copies dropped, groups made before that."""
    manifest, sha256 = real
    identical = find_identical(sha256, manifest)
    drop = {i for same in identical for i in same.surplus}
    keep = np.array([i for i in range(len(manifest)) if i not in drop])
    return DataSet(
        manifest=manifest.take(keep),
        groups=subject_groups(manifest, [same.indices for same in identical])[keep],
        sha256=tuple(sha256[i] for i in keep),
        sizes=np.zeros((len(keep), 2), np.int64),
        identical=identical,
        bad=(),
        ignored=(),
        found=manifest,
    )


def test_counts_are_the_official_ones(real):
    manifest, _ = real
    assert len(manifest) == 15_114
    rows = compare(manifest)
    assert [row for row in rows if row.found != row.official] == []
    assert {row.verdict for row in rows} == {"matches"}
    labels = manifest.labels
    assert (int((labels == 0).sum()), int((labels == 1).sum())) == (4037, 8491)


def test_quirks_of_the_subjects(real):
    manifest, _ = real
    h3 = [i for i, subject in enumerate(manifest.subjects) if subject == "h3"]
    assert len(h3) == 36
    assert {int(manifest.folds[i]) for i in h3} == {2}
    one = {int(manifest.labels[i]) for i, s in enumerate(manifest.subjects) if s == "1"}
    healthy_one = {int(manifest.labels[i]) for i, s in enumerate(manifest.subjects) if s == "H1"}
    assert (one, healthy_one) == ({1}, {0})


def test_final_phase_is_in_numeric_order(real):
    manifest, _ = real
    final = [p for p, s in zip(manifest.paths, manifest.sources, strict=True) if s == "final"]
    assert [int(Path(p).stem) for p in final] == list(range(1, 2587))


def test_identical_files_are_the_known_pairs(real, shared_dir):
    manifest, sha256 = real
    identical = find_identical(sha256, manifest)
    with open(shared_dir / "data" / "cnmc-identical-files.csv", newline="") as stream:
        known = {frozenset(row[1:]) for row in csv.reader(stream)}
    assert {frozenset(same.paths) for same in identical} == known
    assert len(identical) == 106
    assert sum(same.across_folds for same in identical) == 94
    assert not any(same.conflicting for same in identical)


def test_identical_files_tie_their_subjects(real):
    manifest, sha256 = real
    groups = subject_groups(manifest, [s.indices for s in find_identical(sha256, manifest)])
    tied = {frozenset(names) for names in tied_subjects(manifest, groups)}
    assert tied == {
        frozenset({"20", "21"}),
        frozenset({"51", "75", "78"}),
        frozenset({"H10", "h3"}),
        frozenset({"H6", "H2", "H4", "H5"}),
    }


def test_the_final_phase_stays_whole(kept):
    assert sum(source == "final" for source in kept.manifest.sources) == 2586
    assert len(kept.manifest.labelled) == 12_528 - 104


@pytest.mark.parametrize("seed", range(5))
def test_subject_split_at_true_size(kept, seed):
    manifest, groups = kept.manifest, kept.groups
    split = make_split(manifest, groups, mode="subject", seed=seed)
    by_part = {part: split.indices(part) for part in PARTS}
    assert sum(len(by_part[part]) for part in PARTS[1:]) == len(manifest.labelled)
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not set(groups[by_part[a]]) & set(groups[by_part[b]])
        people = [{manifest.subjects[i] for i in by_part[part]} for part in (a, b)]
        assert not people[0] & people[1]
        assert not {kept.sha256[i] for i in by_part[a]} & {kept.sha256[i] for i in by_part[b]}
    for code in (0, 1):
        total = int((manifest.labels == code).sum())
        for part in ("val", "test"):
            chosen = by_part[part][manifest.labels[by_part[part]] == code]
            assert abs(len(chosen) / total - 0.1) < 0.02, (part, code, len(chosen))
            assert len(set(groups[chosen])) >= 3


def test_seeds_give_different_splits_and_one_seed_the_same(kept):
    splits = [make_split(kept.manifest, kept.groups, seed=seed).parts for seed in (0, 1, 0)]
    assert not np.array_equal(splits[0], splits[1])
    np.testing.assert_array_equal(splits[0], splits[2])


@pytest.mark.parametrize("fold", [0, 1, 2])
def test_fold_split_at_true_size(kept, fold):
    manifest, groups = kept.manifest, kept.groups
    split = make_split(manifest, groups, mode=f"fold:{fold}", seed=3)
    test = split.indices("test")
    np.testing.assert_array_equal(test, np.flatnonzero(manifest.folds == fold))
    train_val = np.concatenate([split.indices("train"), split.indices("val")])
    assert {manifest.sources[i] for i in train_val} == {"train"}
    assert not set(groups[train_val]) & set(groups[test])
    tied = {manifest.subjects[i] for i in split.indices("unused") if manifest.sources[i] == "train"}
    assert (
        tied
        == {
            0: {"21", "H2", "H4", "H5"},
            1: {"75", "78", "h3"},
            2: {"20", "51", "H6", "H10"},
        }[fold]
    )
    assert any(f"of {len(tied)} subject(s) outside the test fold" in n for n in split.notes)
    assert any("1867 labelled images in no fold" in note for note in split.notes)


def test_image_split_is_the_papers_and_says_that_it_leaks(kept):
    manifest = kept.manifest
    split = make_split(manifest, kept.groups, mode="image")
    counts = np.bincount(manifest.labels[split.indices("test")])
    totals = np.bincount(manifest.labels[manifest.labelled])
    assert counts.tolist() == [int(n * 0.1 + 0.5) for n in totals]
    assert any("leaks subjects" in note and "of the" in note for note in split.notes)
    check_split(split, manifest, kept.groups)


def test_report_at_true_size(kept):
    text = describe(kept)
    assert "15114 images found, 15010 used, 104 left out" in text
    assert "106 sets, 94 of them across folds; 104 surplus copies" in text
    assert "13 of 13 figures match" in text
    assert "51 ~ 75 ~ 78" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["train", "3389", "7272", "0", "10661"] in lines
    assert ["prelim", "648", "1219", "0", "1867"] in lines
    assert ["final", "0", "0", "2586", "2586"] in lines
    assert ["2", "1096", "14", "2457", "17"] in lines
