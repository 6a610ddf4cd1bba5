"""One manifest in many spellings: every command reads the same images, or says the same fault."""

import gzip
import os
import re
import unicodedata

import pytest

from fastleuk.data.discover import discover
from fastleuk.errors import DataError
from fastleuk.predict.inputs import Inputs
from tests.makers.data_trees import put

NAMES = ("ALL/Zürich 1.png", "ALL/2.bmp", "hem/3.jpg", "hem/4.png")
LABELS = ("ALL", "ALL", "hem", "hem")


@pytest.fixture
def root(tmp_path):
    put(tmp_path, *NAMES)
    return tmp_path


def lines(paths=NAMES, labels=LABELS, head="path,label,subject", extra=""):
    rows = [
        f"{p},{label},s{i}{extra}" for i, (p, label) in enumerate(zip(paths, labels, strict=True))
    ]
    return "\n".join([head, *rows]) + "\n"


def read_by_both(table):
    """Return the files that ``data`` and ``predict`` find, and what each remarks."""
    found = discover(table)
    assert found.bad == ()
    inputs = Inputs([str(table)])
    total, left_out = inputs.survey()
    items = list(inputs)
    assert [item.problem for item in items] == [""] * total
    predicted = {os.path.realpath(item.name) for item in items}
    trained = {os.path.realpath(found.manifest.file(i)) for i in range(len(found.manifest))}
    assert predicted == trained
    return found, left_out, items


def semicolons(text):
    return text.replace(",", ";")


SPELLINGS = {
    "plain": (lines(), "m.csv"),
    "columns": (lines(head="Path, LABEL ,Subject"), "m.csv"),
    "windows": (lines([name.replace("/", "\\") for name in NAMES]), "m.csv"),
    "dots": (lines([f".\\{name}".replace("/", "\\") for name in NAMES]), "m.csv"),
    "blanks": (lines([f"{name}  " for name in NAMES]), "m.csv"),
    "blanks in front": (lines([f" {name}" for name in NAMES]), "m.csv"),
    "quotes": (lines([f' "{name}"' for name in NAMES], [f' "{x}"' for x in LABELS]), "m.csv"),
    "semicolons": (semicolons(lines()), "m.csv"),
    "sep": ("sep=;\r\n" + semicolons(lines()), "m.csv"),
    "pipes": (lines().replace(",", "|"), "m.CSV"),
    "tabs": (lines().replace(",", "\t"), "m.tsv"),
    "packed": (gzip.compress(lines().encode()), "m.csv.gz"),
    "packed tabs": (gzip.compress(lines().replace(",", "\t").encode()), "m.tsv.gz"),
    "utf-16": (lines().encode("utf-16"), "m.csv"),
    "utf-16-le": (lines().replace(",", "\t").encode("utf-16-le"), "m.tsv"),
    "utf-16-be": (semicolons(lines()).encode("utf-16-be"), "m.csv"),
    "mark": (lines().encode("utf-8-sig"), "m.csv"),
    "cp1252": (lines().encode("cp1252"), "m.csv"),
    "returns": (lines().replace("\n", "\r"), "m.csv"),
    "decomposed": (lines([unicodedata.normalize("NFD", name) for name in NAMES]), "m.csv"),
    "case": (lines([name.upper() for name in NAMES]), "m.csv"),
    "folder": (lines([name.replace("ALL", "all") for name in NAMES]), "m.csv"),
    "ending": (lines([name.replace(".jpg", ".JPEG") for name in NAMES]), "m.csv"),
    "no ending": (lines([os.path.splitext(name)[0] for name in NAMES]), "m.csv"),
    "index": (
        lines([f"{i},{name}" for i, name in enumerate(NAMES)], head=",path,label,subject"),
        "m.csv",
    ),
    "surplus": (lines(extra=",,"), "m.csv"),
    "blank lines": (f"\n{lines()},,\n\n".replace("hem/3", "\nhem/3"), "m.csv"),
    "floats": (lines(head="path,label,subject,fold,crop", extra=",1.0,20.0"), "m.csv"),
    "decimal comma": (
        semicolons(lines(head="path,label,subject,crop", extra=",20")).replace(";20", ";20,0"),
        "m.csv",
    ),
    "missing": (lines(head="path,label,subject,fold,crop", extra=",NA,nan"), "m.csv"),
}  # fmt: skip
RESPELLED = {"decomposed": 1, "case": 4, "folder": 2, "ending": 1, "no ending": 4}


@pytest.mark.parametrize("kind", SPELLINGS)
def test_every_command_reads_every_spelling(root, kind):
    data, name = SPELLINGS[kind]
    (root / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    found, left_out, items = read_by_both(root / name)
    assert sorted(found.manifest.paths) == sorted(NAMES)
    assert found.manifest.class_names == ("hem", "ALL")
    if kind in ("floats", "decimal comma"):
        assert found.manifest.crops.tolist() == [20] * 4 == [item.crop for item in items]
    if kind in ("floats", "missing"):
        assert set(found.manifest.folds.tolist()) == {1 if kind == "floats" else -1}
    count = RESPELLED.get(kind)
    told = [remark for remark in found.remarks if "differ from the file's name" in remark]
    assert told == [remark for remark in left_out.remarks if "differ from" in remark]
    assert len(told) == bool(count)
    if count:
        assert f"{count} paths" in told[0]


def test_a_name_that_is_there_is_taken_before_one_that_is_spelled_otherwise(tmp_path):
    put(tmp_path, "a/x.png", "a/X.png", "a/x.PNG", "b/y.jpg", "b/y.jpeg")
    text = "path,label,subject\na/x.png,1,p\na/X.png,1,q\nb/y.jpeg,2,r\n"
    (tmp_path / "m.csv").write_text(text)
    found, left_out, _ = read_by_both(tmp_path / "m.csv")
    assert found.manifest.paths == ("a/X.png", "a/x.png", "b/y.jpeg")
    assert left_out.remarks == []


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("a/X.png", r"no such file; a/x\.PNG, a/x\.png are there"),
        ("a/z.bmp", r"no such file; a/z\.png is there"),
        ("a/gone.png", "no such file"),
        ("none/x.png", "no such file"),
        ("C:\\set\\x.png", "an absolute path of Windows: write it relative to the root"),
        ("", "empty path"),
        (" ", "empty path"),
        ("a/z\0.png", "a NUL character in a cell"),
        ("a/z,b.png", "more cells than the first line names"),
        ("a", "no such file"),
        ("x" * 300, "no such file"),
    ],
)
def test_every_command_says_the_same_fault(tmp_path, cell, says):
    put(tmp_path, "a/x.png", "a/x.PNG", "a/z.png", "b/1.png")
    text = f"path,label,subject\na/z.png,1,p\nb/1.png,2,q\n{cell},1,r\n"
    (tmp_path / "m.csv").write_text(text)
    ((_, reason),) = discover(tmp_path / "m.csv").bad
    items = list(Inputs([str(tmp_path / "m.csv")]))
    assert [bool(item.problem) for item in items] == [False, False, True]
    assert items[-1].problem == reason
    assert reason.endswith("(line 4 of m.csv)")
    assert re.search(says, reason)


def test_a_manifest_without_a_usable_row_is_refused_by_every_command(tmp_path):
    put(tmp_path, "a/x.png")
    (tmp_path / "m.csv").write_text("path,label,subject\ngone/1.png,1,p\ngone/2.png,2,q\n")
    for read in (discover, lambda table: Inputs([str(table)]).survey()):
        with pytest.raises(DataError, match=r"no row can be used.*--root") as caught:
            read(tmp_path / "m.csv")
        assert "gone/2.png: no such file (line 3 of m.csv)" in str(caught.value)


def test_paths_lead_out_of_the_root_for_predictions_only(tmp_path):
    put(tmp_path, "outside.png", "set/1.png", "set/2.png")
    text = "path,label,subject\n1.png,a,p\n2.png,b,q\n../outside.png,a,r\n"
    text += f"{tmp_path}/outside.png,a,r\n"
    (tmp_path / "set/m.csv").write_text(text)
    assert ["outside the root" in reason for _, reason in discover(tmp_path / "set/m.csv").bad] == [
        True, True,
    ]  # fmt: skip
    assert not any(item.problem for item in Inputs([str(tmp_path / "set/m.csv")]))


def test_another_spelling_does_not_lead_out_of_the_root(tmp_path):
    put(tmp_path, "Outside.png", "set/1.png", "set/2.png")
    (tmp_path / "set/Link.png").symlink_to(tmp_path / "Outside.png")
    text = "path,label,subject\n1.png,a,p\n2.png,b,q\n../outside.png,a,r\nlink.png,a,r\n"
    (tmp_path / "set/m.csv").write_text(text)
    (_, first), (_, second) = discover(tmp_path / "set/m.csv").bad
    assert first.startswith("outside the root")
    assert second.startswith("a link that leads outside the root")


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".csv.gz"])
def test_root_and_names_of_sets_take_every_ending(tmp_path, ending):
    from fastleuk.config import DataConfig
    from fastleuk.data.from_config import open_dataset
    from fastleuk.evaluation.elsewhere.place import set_name

    put(tmp_path / "set", *NAMES)
    table = tmp_path / f"m{ending}"
    data = lines().encode()
    table.write_bytes(gzip.compress(data) if ending.endswith(".gz") else data)
    said = []
    config = DataConfig(data=str(table), root=str(tmp_path / "set"))
    assert len(open_dataset(config, report=said.append, hidden=True).manifest) == 4
    assert not any("has no effect" in line for line in said)
    assert len(list(Inputs([str(table)], root=str(tmp_path / "set")))) == 4
    assert set_name(str(table)) == "m"


def test_a_file_name_that_is_not_utf8_is_found_by_its_text(tmp_path):
    put(tmp_path, "a/1.png", "b/2.png")
    os.rename(tmp_path / "a/1.png", os.fsencode(tmp_path) + b"/a/F\xe4rbung.png")
    text = "path,label,subject\na/Färbung.png,1,p\nb/2.png,2,q\n"
    (tmp_path / "m.csv").write_text(text, encoding="utf-8")
    found, _, _ = read_by_both(tmp_path / "m.csv")
    assert found.manifest.paths == ("a/F\udce4rbung.png", "b/2.png")
    assert any("1 paths differ from the file's name by case, encoding" in r for r in found.remarks)
    (tmp_path / "m.csv").write_bytes(text.encode("cp1252"))
    assert read_by_both(tmp_path / "m.csv")[0].manifest.paths == found.manifest.paths


def test_a_workbook_is_refused_with_the_remedy(tmp_path):
    for name in ("m.xlsx", "m.csv"):
        (tmp_path / name).write_bytes(b"PK\x03\x04" + bytes(100))
        for read in (discover, lambda table: Inputs([str(table)]).survey()):
            with pytest.raises(DataError, match="Save the table as CSV in UTF-8"):
                read(tmp_path / name)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (("0.0", "0.0", "1.0", "1.0"), ("0", "1")),
        (("1.00", "unlabelled", "2.00", "2.00"), ("1", "2")),
        (("0.5", "0.5", "1.0", "1.0"), ("0.5", "1.0")),
    ],
)
def test_labels_that_are_whole_numbers_lose_their_decimals(root, labels, classes):
    (root / "m.csv").write_text(lines(labels=labels))
    found = discover(root / "m.csv")
    assert found.manifest.class_names == classes
    remark = (
        f"m.csv: each label is a whole number with decimals: {labels[0]} is read as {classes[0]}"
    )
    assert any(remark in text for text in found.remarks) == (classes[0] != "0.5")


ODD = ["=1+1.png", "-12/@x.png", "+a.png", "'=b.png", "''=c.png", "'d.png", " e.png", "\tf.png",
       "g\r.png", "\rh.png", "i;j.png", "k|l.png", "\uff1dm.png"]  # fmt: skip


def test_names_that_begin_like_formulas_come_back_from_our_own_manifest(tmp_path):
    put(tmp_path, *(f"x/{name}" for name in ODD), *ODD, "y/1.png")
    names = [*(f"x/{name}" for name in ODD), *ODD, "y/1.png"]
    text = "path,label,subject\n"
    text += "".join(f'"{name}",{i % 2},-{i}\n' for i, name in enumerate(names))
    with (tmp_path / "hand.csv").open("w", newline="") as file:
        file.write(text)
    first = discover(tmp_path / "hand.csv")
    assert first.bad == ()
    assert set(first.manifest.paths) == set(names)
    for excel in (False, True):
        first.manifest.write_csv(tmp_path / "m.csv", excel=excel)
        data = (tmp_path / "m.csv").read_bytes()
        assert data.startswith(b"\xef\xbb\xbf") == excel
        again, _, _ = read_by_both(tmp_path / "m.csv")
        assert again.manifest.paths == first.manifest.paths
        assert again.manifest.subjects == first.manifest.subjects


def test_a_manifest_for_excel_begins_with_the_mark(root, tmp_path_factory, fastleuk):
    out = tmp_path_factory.mktemp("out")
    code, _, _ = fastleuk("data", root, "--manifest", out / "m.csv", "--excel")
    assert code == 0
    assert (out / "m.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    assert len(discover(out / "m.csv").manifest) == 4
    code, _, error = fastleuk("data", root, "--excel")
    assert code == 2
    assert "--excel is for the CSV of --manifest" in error
