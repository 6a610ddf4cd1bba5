"""``fastleuk report``: page, model card and methods of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastleuk.errors import ConfigError
from fastleuk.files import write_text
from fastleuk.personal_paths import paths_in, replace_paths
from fastleuk.report.answers import answers
from fastleuk.report.card import model_card
from fastleuk.report.checklist import checklists
from fastleuk.report.facts import data as facts
from fastleuk.report.facts import results as facts_results
from fastleuk.report.facts.decision import decision_sentence
from fastleuk.report.images import augmentation_sheet, cells, open_images
from fastleuk.report.methods import methods
from fastleuk.report.page import render, require_jinja
from fastleuk.report.protocol import protocol_html
from fastleuk.report.sections import data as data_section
from fastleuk.report.sections import results, training
from fastleuk.report.sections.evaluated import baselines, calibration, subject_figures
from fastleuk.report.sections.external import external
from fastleuk.report.sections.protocol import kind_of
from fastleuk.report.source import Source, read_source
from fastleuk.run_folder.place import writing_place
from fastleuk.run_log import result, say
from fastleuk.training.checkpoint.file import versions

PAGE, CARD = "report.html", "MODEL_CARD.md"

Report = Callable[[str], None]


def report_run(
    run_dir: Path,
    *,
    out: Path | None = None,
    data: str = "",
    images: bool = True,
    report: Report = say,
) -> Path:
    """Write ``report.html`` and ``MODEL_CARD.md`` of a tested run, or the page of a protocol.

    Args:
        run_dir: A folder that ``fastleuk train``, ``cv`` or ``paper`` made.
        out: Where to write; None: into the run folder.
        data: Where the run's data lie now, if they have moved.
        images: Show cells, heat and augmentation; they need the data and the weights.
        report: Takes what is printed.

    Returns:
        The page.

    Raises:
        MissingDependencyError: Jinja2 is not installed.
        CheckpointError: no tested run, or a damaged file in it.
        DataError: ``data`` that are not the run's, or a folder that can't be written.
    """
    require_jinja()
    kind = kind_of(run_dir)
    if kind is not None:
        html = protocol_html(run_dir, kind)
        place = writing_place(run_dir, out)
        write_text(place / PAGE, html)
        result(report, f"Report: {place / PAGE} ({len(html.encode()) / 1e6:.2f} MB)")
        return place / PAGE
    source = read_source(run_dir)
    place = writing_place(run_dir, out)
    page = _page(source, data=data, images=images, report=report)
    html = render("run.html", _without_paths(page, source))
    write_text(place / PAGE, html)
    write_text(place / CARD, _card(source, page["baselines"], page["external"]))
    for text in _untold(page, images=images):
        report(f"note: {text}")
    result(report, f"Report: {place / PAGE} ({len(html.encode()) / 1e6:.2f} MB)")
    result(report, f"Model card: {place / CARD}")
    return place / PAGE


def methods_run(run_dir: Path) -> str:
    """Return the methods paragraphs of a tested run.

    Raises:
        CheckpointError: no tested run, or a damaged file in it.
    """
    if kind_of(run_dir) is not None:
        raise ConfigError(
            f"--methods is of one run: name one of the folders in {run_dir / 'runs'}."
        )
    source = read_source(run_dir)
    return _without_paths(methods(source, baselines(source), external(source)), source)


def card_run(run_dir: Path) -> str:
    """Return the model card of a tested run.

    Raises:
        ConfigError: a folder of ``cv`` or ``paper``.
        CheckpointError: no tested run, or a damaged file in it.
    """
    if kind_of(run_dir) is not None:
        raise ConfigError(
            f"A model card is of one run: name one of the folders in {run_dir / 'runs'}."
        )
    source = read_source(run_dir)
    return _card(source, baselines(source), external(source))


def _card(source: Source, baselines: dict[str, Any], external: dict[str, Any]) -> str:
    """Return the model card without absolute paths."""
    return _without_paths(model_card(source, baselines, external), source)


def _without_paths(value: Any, source: Source) -> Any:
    """Replace absolute paths: page, card and methods are made to be sent."""
    name = source.run_dir.resolve().name
    own = {str(source.run_dir): name, str(source.run_dir.resolve()): name}
    return replace_paths(value, paths_in(source.config) | own, elsewhere="")


def _page(source: Source, *, data: str, images: bool, report: Report) -> dict[str, Any]:
    opened: Any = "they were left out (--no-images)"
    if images:
        opened = open_images(source, data, report)
    told = facts_results.warnings(source)
    page: dict[str, Any] = {
        "kind": "Test report of a classifier of single cells",
        "title": f"{facts.backbone(source)} on {facts.data_name(source)}",
        "subtitle": f"Run folder: {source.run_dir.resolve().name}. "
        f"Test part: {facts.part_sentence(source, 'test')}.",
        "research_use": facts.RESEARCH_USE,
        "warnings": told,
        "where": str(source.run_dir),
        "level": f"{source.intervals.get('level', 0.95):.0%}",
        "decision_sentence": decision_sentence(source),
        "headline": results.headline(source),
        "table": results.figures_table(source),
        "classes": results.classes_table(source),
        "confusion": results.confusion(source),
        "curves": results.curves(source),
        "baselines": baselines(source),
        "calibration": calibration(source),
        "external": external(source),
        "subjects": {**data_section.subjects(source), **subject_figures(source)},
        "data": data_section.data(source),
        "training": training.training(source),
        "repeatable": training.repeatable(source, versions()),
        "cells": cells(source, opened, report=report),
        "sheet": augmentation_sheet(source, opened, report=report),
        "cell_labels": [(name, name) for name in source.class_names],
    }
    page["checklists"] = checklists(answers(source, page))
    return page


_SECTIONS = {
    "table": "figures", "confusion": "confusion matrix", "curves": "curves",
    "baselines": "baselines", "calibration": "calibration", "subjects": "subjects",
    "cells": "cells", "external": "other data", "data": "split", "training": "training",
    "sheet": "augmentation sheet",
}  # fmt: skip


def _untold(page: dict[str, Any], *, images: bool) -> list[str]:
    """Return what the page could not show, but for images that were not wanted."""
    wanted = [key for key in _SECTIONS if images or key not in ("cells", "sheet")]
    return [f"{_SECTIONS[key]}: {page[key]['none']}" for key in wanted if page[key].get("none")]
