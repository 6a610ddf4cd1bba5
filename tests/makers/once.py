"""Work whose result all workers of one run of the tests share."""

import os

from fastleuk.locks import locked


def once(tmp_path_factory, name, make):
    """Return a file that ``make(path)`` writes: in the first of pytest-xdist's workers to ask."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    file = folder / name
    with locked(file.with_name(f"{file.name}.lock")):
        if not file.exists():
            unfinished = file.with_name(f"unfinished-{name}")
            make(unfinished)
            unfinished.rename(file)
    return file
