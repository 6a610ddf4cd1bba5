"""What a run keeps of a backbone that isn't timm's own, so that it can be built without the hub."""

from __future__ import annotations

from pathlib import Path

from fastleuk.files import write_text
from fastleuk.models.backbone_build import config_file
from fastleuk.models.backbone_name import FOLDER, source_of
from fastleuk.run_folder.names import BACKBONE


def keep_backbone(run_dir: Path, backbone: str) -> None:
    """Copy the ``config.json`` of a backbone of the hub or of a folder into the run folder.

    timm's own names need none.

    Args:
        run_dir: The run folder.
        backbone: Name, see :func:`fastleuk.models.backbone_build.check_backbone`.

    Raises:
        WeightsError: the hub's can't be had.
        OSError: it can't be read or written.
    """
    file = config_file(backbone)
    if file is not None:
        (run_dir / BACKBONE).mkdir(exist_ok=True)
        write_text(run_dir / BACKBONE / file.name, file.read_text(encoding="utf-8"))


def kept_backbone(run_dir: Path, backbone: str) -> str:
    """Return the name by which a run's backbone is built: of what it kept, if it kept something.

    Runs of earlier versions did not; theirs is ``backbone``, which the hub or its cache must know.
    """
    kept = run_dir / BACKBONE
    there = source_of(backbone)[0] and (kept / "config.json").is_file()
    return f"{FOLDER}{kept}" if there else backbone
