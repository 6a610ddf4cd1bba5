"""The lock files hold what pyproject.toml asks for, each with hashes."""

import re

import pytest
from packaging.requirements import Requirement

from tests.makers.cells import PROJECT
from tests.makers.project import pyproject

LOCKS = {
    "image.txt": ("bundled", "cpu"),
    "ci.txt": ("dev", "docs"),
}


def locked(name):
    """``{package: (version, hashes)}``."""
    text = (PROJECT / "requirements" / name).read_text()
    text = re.sub(r"\\\n\s*", "", text)
    found = {}
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            requirement = Requirement(line.split(" --hash=")[0])
            (specifier,) = requirement.specifier
            assert specifier.operator == "==", line
            found[normal(requirement.name)] = (specifier.version, line.count("--hash=sha256:"))
    return found


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def asked(extras):
    project = pyproject()["project"]
    texts = [*project["dependencies"], *pyproject()["build-system"]["requires"]]
    waiting = list(extras)
    while waiting:
        for text in project["optional-dependencies"][waiting.pop()]:
            requirement = Requirement(text)
            if requirement.name == "fastleuk":
                waiting += requirement.extras
            else:
                texts.append(text)
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize(("name", "extras"), LOCKS.items())
def test_all_that_is_asked_for_is_locked_and_within_bounds(name, extras):
    found = locked(name)
    for requirement in asked(extras):
        if requirement.marker is not None and not requirement.marker.evaluate(
            {"python_version": "3.12", "sys_platform": "linux", "platform_machine": "x86_64"}
        ):
            continue
        version, _ = found[normal(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement}: {version} is locked"


@pytest.mark.parametrize("name", LOCKS)
def test_everything_has_hashes(name):
    found = locked(name)
    assert len(found) > 40
    assert [package for package, (_, hashes) in found.items() if not hashes] == []


def test_the_locks_agree():
    image, ci = locked("image.txt"), locked("ci.txt")
    common = set(image) & set(ci)
    assert len(common) > 40
    assert {p for p in common if image[p][0] != ci[p][0]} == set()


def test_every_locked_package_has_its_licence_in_third_party():
    text = (PROJECT / "THIRD_PARTY.md").read_text()
    rows = dict(re.findall(r"^\| ([a-z]\S+) \| \d\S* \| (.+) \|$", text, re.MULTILINE))
    versions = dict(re.findall(r"^\| ([a-z]\S+) \| (\d\S*) \|", text, re.MULTILINE))
    other = {"colorama", "httpx2-jsfetch", "pyyaml-ft"}  # of other platforms
    found = locked("image.txt")
    assert set(rows) == set(found) - other
    assert {name: versions[name] for name in rows} == {name: found[name][0] for name in rows}
    assert [name for name, licence in rows.items() if licence == "not declared"] == []
