"""The doctor's look at versions, with installations that don't go together."""

from importlib import metadata

import pytest

from fastleuk.doctor import packages
from fastleuk.doctor.finding import FAILED, OK, WARNING
from fastleuk.doctor.probe import Answer


class Installed:
    """A stand-in for importlib.metadata.distribution: ``{name: (version, requirements)}``."""

    def __init__(self, **there):
        self.there = {name.replace("_", "-"): value for name, value in there.items()}

    def __call__(self, name):
        if name not in self.there:
            raise metadata.PackageNotFoundError(name)
        version, *requires = self.there[name]
        return type("Found", (), {"version": version, "requires": requires})


def test_python():
    assert packages.python_version((3, 9, 18)).state == FAILED
    assert packages.python_version((3, 10, 0)).state == OK


def test_torchvision_of_another_torch():
    found = packages.together(Installed(torch=["2.9.1"], torchvision=["0.20.0", "torch==2.5.0"]))
    assert [f.state for f in found] == [WARNING]
    assert found[0].found == "torchvision needs torch==2.5.0, but 2.9.1 is installed"
    assert "torch==2.5.0" in found[0].remedy


def test_what_a_requirement_requires_counts_too():
    there = Installed(
        numba=["0.60", "llvmlite<0.44"], llvmlite=["0.43", "numpy<2"], numpy=["2.1.0"]
    )
    assert [f.found for f in packages.together(there)] == [
        "llvmlite needs numpy<2, but 2.1.0 is installed"
    ]


def test_extras_and_other_platforms_do_not_count():
    there = Installed(torch=["2.9.1", "opt-einsum; extra == 'opt'", "x; sys_platform == 'plan9'"])
    assert [f.state for f in packages.together(there)] == [OK]


def test_a_requirement_that_is_missing():
    found = packages.together(Installed(torch=["2.9.1", "sympy>=1.13"]))
    assert found[0].found == "torch needs sympy>=1.13, which is not installed"


def test_a_local_version_fits_its_public_one():
    there = Installed(torch=["2.9.1+cu130"], torchvision=["0.24.1", "torch==2.9.1"])
    assert packages.together(there)[0].state == OK


def test_this_environment_goes_together():
    assert [f.state for f in packages.together()] == [OK]


def test_both_wheels_of_dali():
    there = Installed(nvidia_dali_cuda120=["2.4.0"], nvidia_dali_cuda130=["2.4.0"])
    found = packages.dali_and_torch(packages.dali_wheels(there), "13.0")
    assert found.state == WARNING
    assert "pip uninstall -y nvidia-dali-cuda120 nvidia-dali-cuda130" in found.remedy


@pytest.mark.parametrize(
    ("wheel", "cuda", "gpu", "state"),
    [
        ("nvidia-dali-cuda120", "13.0", True, WARNING),
        ("nvidia-dali-cuda120", "13.0", False, OK),
        ("nvidia-dali-cuda120", "12.6", True, OK),
        ("nvidia-dali-cuda130", "13.0", True, OK),
        ("nvidia-dali-cuda110", "12.6", True, WARNING),
        ("nvidia-dali-cuda120", None, True, OK),
    ],
)
def test_dali_beside_torch(wheel, cuda, gpu, state):
    found = packages.dali_and_torch({wheel: "2.4.0"}, cuda, gpu=gpu)
    assert found.state == state
    if state == WARNING:
        assert f"nvidia-dali-cuda{cuda[:2]}0" in found.remedy


class Answers:
    """Imports some modules, fails at some, and crashes at one."""

    def __init__(self, errors=(), crash=""):
        self.errors, self.crash = dict(errors), crash

    def __call__(self, modules):
        rows = []
        for module in modules:
            if module == self.crash:
                return Answer(rows, "crashed with signal 11")
            error = self.errors.get(module)
            rows.append({"module": module, **({"error": error} if error else {"version": "1"})})
        return Answer(rows)


def states(found):
    return {f.name: f.state for f in found}


def test_everything_imports():
    assert set(states(packages.imports(Answers())).values()) == {OK}


@pytest.mark.parametrize("module", list(packages.IMPORTED))
def test_a_crash_does_not_hide_the_others(module):
    found = packages.imports(Answers(crash=module))
    assert [f.name for f in found] == list(packages.IMPORTED.values())
    bad = [f for f in found if f.state != OK]
    assert [f.name for f in bad] == [packages.IMPORTED[module]]
    assert "signal 11" in bad[0].found
    assert bad[0].remedy


def test_what_is_not_needed_may_be_missing():
    missing = {m: f"ModuleNotFoundError: No module named '{m}'" for m in packages.IMPORTED}
    missing["nvidia.dali"] = "ModuleNotFoundError: No module named 'nvidia'"
    found = packages.imports(Answers(missing))
    assert {f.found for f in found} == {"not installed"}
    assert states(found) == {
        "torch": FAILED, "torchvision": FAILED, "timm": FAILED,
        "DALI": WARNING, "Triton": WARNING, "numba": WARNING,
    }  # fmt: skip


def test_a_broken_dali_stops_training_a_missing_part_of_it_too():
    broken = Answers({"nvidia.dali": "ModuleNotFoundError: No module named 'astunparse'"})
    assert states(packages.imports(broken))["DALI"] == FAILED
