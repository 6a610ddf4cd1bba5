import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastleuk.data.copies.identical import find_identical, subject_groups
from fastleuk.data.dataset import load_dataset
from fastleuk.errors import DataError
from tests.makers.data_trees import FINAL, manifest_of, picture, put, small_cnmc


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


def test_sets_of_equal_hash(tmp_path):
    manifest = manifest_of(tmp_path, [0, 1, 0, 0, 1, 1], list("abcdef"), [0, 1, 1, -1, 2, 2])
    identical = find_identical(["x", "y", "x", "", "", "y"], manifest)
    assert [same.indices for same in identical] == [(0, 2), (1, 5)]
    assert [same.across_folds for same in identical] == [True, True]
    assert [same.conflicting for same in identical] == [False, False]
    assert identical[0].subjects == ("a", "c")
    assert identical[0].surplus == (2,)


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 9)), min_size=1, max_size=40),
)
def test_groups_are_the_connected_components(rows, tmp_path_factory):
    subjects = [f"s{who}" for who, _ in rows]
    hashes = [f"h{what}" for _, what in rows]
    manifest = manifest_of(tmp_path_factory.getbasetemp(), [0] * len(rows), subjects)
    groups = subject_groups(manifest, [s.indices for s in find_identical(hashes, manifest)])
    # Spread the smallest number along shared subjects and shared hashes until nothing changes.
    expected = list(range(len(rows)))
    for _ in rows:
        for i, _a in enumerate(rows):
            for j, _b in enumerate(rows):
                if subjects[i] == subjects[j] or hashes[i] == hashes[j]:
                    expected[i] = expected[j] = min(expected[i], expected[j])
    _, numbered = np.unique(expected, return_inverse=True)
    assert groups.tolist() == numbered.tolist()


def test_copies_are_dropped_but_still_tie_their_subjects(tmp_path):
    root = small_cnmc(tmp_path)
    train = root / "C-NMC_training_data"
    twin = train / "fold_1/all/UID_11_1_1_all.bmp"
    twin.write_bytes((train / "fold_0/all/UID_1_1_1_all.bmp").read_bytes())
    (root / FINAL / "2.bmp").write_bytes(twin.read_bytes())
    dataset = load_dataset(root)
    manifest = dataset.manifest
    assert len(manifest) == len(dataset.found) - 1
    assert str(twin.relative_to(root)) not in manifest.paths
    assert sum(source == "final" for source in manifest.sources) == 3
    (same,) = dataset.identical
    assert len(same.paths) == 3
    one, eleven, two = (
        {int(dataset.groups[i]) for i, s in enumerate(manifest.subjects) if s == who}
        for who in ("1", "11", "2")
    )
    assert one == eleven
    assert len(one) == 1
    assert one != two


def test_an_unlabelled_first_copy_does_not_take_the_labelled_ones_place(tmp_path):
    manifest = manifest_of(tmp_path, [-1, 0, 0, -1], ["u", "a", "b", "v"])
    (same,) = find_identical(["x"] * 4, manifest)
    assert same.surplus == (2,)
    assert not same.conflicting


def test_only_case_differs_counts_as_one_in_cnmc(tmp_path):
    root = small_cnmc(tmp_path)
    put(root, "C-NMC_training_data/fold_2/hem/UID_h1_9_1_hem.bmp")
    dataset = load_dataset(root)
    spelled = {dataset.groups[i] for i, s in enumerate(dataset.manifest.subjects)
               if s in ("h1", "H1")}  # fmt: skip
    assert len(spelled) == 1
    bare = {dataset.groups[i] for i, s in enumerate(dataset.manifest.subjects) if s == "1"}
    assert not bare & spelled


def test_same_pixels_with_two_labels_are_refused_or_both_dropped(tmp_path):
    put(tmp_path, "a/1.png", "a/2.png", "b/1.png", "b/2.png")
    for name in ("a/3.png", "b/3.png"):
        (tmp_path / name).write_bytes(picture(1, 9))
    with pytest.raises(DataError) as caught:
        load_dataset(tmp_path)
    assert "a/3.png: labelled a, but identical to b/3.png (b)" in str(caught.value)
    assert "b/3.png: labelled b, but identical to a/3.png (a)" in str(caught.value)
    dataset = load_dataset(tmp_path, skip_bad=True)
    assert dataset.manifest.paths == ("a/1.png", "a/2.png", "b/1.png", "b/2.png")
    assert [path for path, _ in dataset.bad] == ["a/3.png", "b/3.png"]
