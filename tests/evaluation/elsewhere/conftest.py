"""Other data than the run's: the disc cells drawn anew."""

import pytest

from tests.makers.cells import write_cells


@pytest.fixture(scope="session")
def others(tmp_path_factory):
    """36 images of other subjects, in folders ``Big`` and ``small``."""
    root = tmp_path_factory.mktemp("others") / "centre b"
    return write_cells(root, subjects=6, per_subject=3, seed=5, names=("Big", "small"))
