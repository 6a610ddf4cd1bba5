"""Which applier a run takes on a GPU, and in what its images are made."""

import dataclasses

import pytest
import torch

from fastleuk.augment import PAPER
from fastleuk.augment.gpu import verdicts
from fastleuk.augment.gpu.selftest import Verdict
from fastleuk.config import Config
from fastleuk.errors import FastleukError
from fastleuk.models.device import Precision
from fastleuk.training.applier import image_dtype, with_applier
from fastleuk.training.distributed.ranks import ALONE

GPU = torch.device("cuda", 0)


def run(
    applier="auto", loader="dali", asked="auto", device=GPU, passes=verdicts.ORDER, ranks=ALONE
):
    """The applier of a run where these pass their self-test, and what was said."""
    config = Config()
    config = dataclasses.replace(
        config,
        augment=dataclasses.replace(config.augment, applier=applier),
        loader=dataclasses.replace(config.loader, loader=loader),
    )
    lines = []

    def verdict(name, *_):
        return Verdict(name, name in passes, "gives wrong pixels")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verdicts, "remembered", verdict)
        patch.setattr(verdicts, "_sound", set())
        chosen = with_applier(config, PAPER, device, asked=asked, ranks=ranks, report=lines.append)
    return chosen.augment.applier, lines


@pytest.mark.parametrize(
    ("passes", "taken"),
    [(verdicts.ORDER, "compiled"), (("fused", "exact"), "fused"), (("exact",), "exact")],
)
def test_a_run_takes_the_first_that_passes_and_keeps_it(passes, taken):
    applier, lines = run(passes=passes)
    assert applier == taken
    assert len(lines) == 3 - len(passes)


def test_without_dali_the_kernels_take_the_place_of_torchvision_unless_it_was_asked_for():
    assert run(loader="torchvision") == ("compiled", [])
    assert run(loader="torchvision", asked="torchvision") == ("auto", [])
    applier, lines = run(loader="torchvision", passes=())
    assert applier == "auto"  # torchvision's own
    assert "wrong pixels" in lines[0]
    assert run("compiled", loader="torchvision", asked="torchvision") == ("compiled", [])
    assert run(loader="torchvision", device=torch.device("cpu")) == ("auto", [])


@pytest.mark.parametrize("applier", verdicts.ORDER)
def test_one_by_name_fails_if_it_does_not_pass(applier):
    assert run(applier) == (applier, [])
    with pytest.raises(FastleukError, match=f"{applier} was asked for"):
        run(applier, passes=())


def test_the_first_process_chooses_for_all():
    class Second:
        first = False

        def shared(self, value):
            assert value is None
            return "fused"

    assert run(ranks=Second(), passes=()) == ("fused", [])


@pytest.mark.parametrize(
    ("applier", "device", "dtype", "made"),
    [
        ("compiled", GPU, torch.float16, "float16"),
        ("compiled", GPU, torch.bfloat16, "bfloat16"),
        ("compiled", GPU, torch.float32, "float32"),
        ("fused", GPU, torch.float16, "float32"),
        ("compiled", torch.device("cpu"), torch.bfloat16, "float32"),
    ],
)
def test_the_kernels_make_images_in_the_precision_of_the_network(applier, device, dtype, made):
    assert image_dtype(applier, Precision(device, dtype)) == made
