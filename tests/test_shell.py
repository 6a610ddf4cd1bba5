"""What a command prints as the next command works when it is pasted into a shell."""

import ast
import re
import shlex
import subprocess
from pathlib import Path

import pytest

import fastleuk
from fastleuk.config import DataConfig
from fastleuk.data.discover import discover
from fastleuk.data.from_config import open_dataset
from fastleuk.errors import DataError
from fastleuk.shell import quoted
from tests.makers.data_trees import put

PACKAGE = Path(fastleuk.__file__).parent
WORDS = ("a b", "it's", 'say "x"', "$HOME", "`id`", "[site]", "a*b", "{a,b}", "-x", "--data", "~",
         "a;b", "a&b", "tab\t", "line\nend", "#1", "!1", "Zürich", "a\\b", "(1)")  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_a_shell_reads_a_quoted_word_as_it_was(word):
    result = subprocess.run(
        ["bash", "-c", f"printf %s {quoted(word)}"], capture_output=True, text=True, check=True
    )
    assert result.stdout == (f"./{word}" if word.startswith("-") else word)


@pytest.mark.parametrize("word", [word for word in WORDS if word not in ("~", "line\nend")])
def test_the_commands_about_data_read_the_data(tmp_path, word, monkeypatch):
    monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    root = tmp_path / word
    put(root, *(f"{c}/{c}{i}_1.png" for c in "ab" for i in range(3)))
    (root / "a" / "notes.txt").write_text("x")
    lines: list[str] = []
    config = DataConfig(data=f"./{word}", subject_regex="(.)_'?")
    open_dataset(config, report=lines.append, hidden=True)
    command = next(line for line in lines if line.startswith("Left out")).partition("; list: ")[2]
    assert shlex.split(command) == [
        "fastleuk", "data", f"./{word}", "--subject-regex", "(.)_'?"
    ]  # fmt: skip
    empty = tmp_path / f"{word} shards"
    empty.mkdir()
    (empty / "x.tar").touch()
    with pytest.raises(DataError) as caught:
        discover(empty)
    hint = str(caught.value).partition(", give ")[2].partition(". Ignored")[0]
    assert shlex.split(hint) == [f"{empty}/*.tar"]


COMMAND = re.compile(r"fastleuk (?!reads)[a-z-]+( (--[a-z-]+|[A-Z…]+))* '?$")
PLAIN = {"kind", "self.tta", "decision.rule"}
"""Values that are one of a few words."""


def unquoted(tree):
    """Yield placeholders of f-strings that stand in a command and are not quoted."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.JoinedStr):
            continue
        text = ""
        for part in node.values:
            if isinstance(part, ast.Constant):
                text += part.value
            else:
                source = ast.unparse(part.value)
                call = part.value.func if isinstance(part.value, ast.Call) else None
                done = call is not None and ast.unparse(call) in ("quoted", "shlex.quote")
                if COMMAND.search(text) and not done and source not in PLAIN:
                    yield f"{text[-60:]}{{{source}}}"
                text += "X"


def test_paths_in_printed_commands_are_quoted():
    trees = (ast.parse(file.read_text(encoding="utf-8")) for file in PACKAGE.rglob("*.py"))
    assert [found for tree in trees for found in unquoted(tree)] == []
