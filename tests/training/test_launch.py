"""Who started this process beside others is read from the environment, and nothing else."""

import pytest

from fastleuk.errors import ConfigError
from fastleuk.training.distributed.launch import Launch, find_launch, first_host

TORCHRUN = {
    "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "a", "MASTER_PORT": "1",
}  # fmt: skip
SRUN = {
    "SLURM_STEP_ID": "0", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_NTASKS": "9", "SLURM_STEP_NODELIST": "gpu[03,07]", "SLURM_JOB_ID": "123456",
}  # fmt: skip


def test_torchrun():
    assert find_launch(TORCHRUN) == Launch(
        rank=5, world_size=8, local_rank=1, sharing=4, launcher="torchrun", address=None
    )


def test_srun():
    assert find_launch(SRUN) == Launch(
        rank=3, world_size=4, local_rank=1, launcher="srun", address=("gpu03", 23456)
    )


def test_srun_meets_where_it_is_told():
    found = find_launch(SRUN | {"MASTER_ADDR": "other", "MASTER_PORT": "2222"})
    assert found.address == ("other", 2222)


def test_torchrun_inside_of_srun_is_torchrun():
    assert find_launch(SRUN | TORCHRUN).launcher == "torchrun"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WORLD_SIZE": "1"},
        {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"},
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"},  # the batch script itself
        SRUN | {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"},
    ],
)
def test_alone(environment):
    assert find_launch(environment) == Launch()


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({"WORLD_SIZE": "4"}, "RANK is not set"),
        (TORCHRUN | {"RANK": "8"}, "process 8 of 8"),
        (TORCHRUN | {"RANK": "first"}, "'first'"),
        (TORCHRUN | {"LOCAL_RANK": "-1"}, "LOCAL_RANK is '-1'"),
        (SRUN | {"MASTER_PORT": "http"}, "MASTER_PORT is 'http'"),
    ],
)
def test_contradictions_are_refused(environment, names):
    with pytest.raises(ConfigError, match=names):
        find_launch(environment)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("n1", "n1"), ("n1,n2", "n1"), ("n[1-3]", "n1"), ("n[08,10]x,m2", "n08x"), ("", "")],
)
def test_the_first_of_slurms_hosts(nodes, first):
    assert first_host(nodes) == first
