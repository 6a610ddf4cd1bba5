"""What a benchmark measures in these tests."""

import pytest

from fastleuk.bench.spec import BenchSpec
from tests.makers.cells import SUBJECT_REGEX


@pytest.fixture(scope="session")
def spec(cells, tmp_path_factory):
    return BenchSpec(
        method="torchvision-pil",
        data=str(cells),
        subject_regex=SUBJECT_REGEX,
        size=48,
        batch_size=16,
        workers=0,
        device="cpu",
        cache=str(tmp_path_factory.mktemp("bench-cache")),
        backbone="test_resnet",
        amp=False,
    )
