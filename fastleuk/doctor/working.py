"""Whether decoding and augmentation give the right pixels here, in the words of the report."""

from __future__ import annotations

from fastleuk.doctor.finding import FAILED, OK, WARNING, Finding
from fastleuk.doctor.probe import Answer

APPLIERS = ("compiled", "fused", "exact")


def decoding(answer: Answer, device: str) -> Finding:
    """Judge the probe ``decoding``.

    Args:
        answer: What it said.
        device: ``cpu`` or ``cuda:N``, where DALI calls it ``mixed``.
    """
    on_gpu = device != "cpu"
    name = "decoding (mixed)" if on_gpu else "decoding (CPU)"
    wrong = [f"{row['format']}: {row['found']}" for row in answer.rows if row["found"]]
    if answer.failure:
        wrong.append(answer.failure)
    if not wrong:
        formats = ", ".join(row["format"] for row in answer.rows)
        return Finding(name, OK, f"DALI decodes {formats} as PIL does")
    remedy = (
        "Train with --loader torchvision. If the line `DALI and torch` names two versions of CUDA, "
        "install the DALI for torch's."
        if on_gpu
        else "Install DALI anew, or train with --loader torchvision."
    )
    return Finding(name, WARNING if on_gpu else FAILED, "; ".join(wrong), remedy)


def appliers(answer: Answer, device: str) -> list[Finding]:
    """Judge the probe ``appliers``.

    Args:
        answer: What it said, one row for each of :data:`APPLIERS` unless it failed.
        device: ``cpu`` or ``cuda:N``.
    """
    where = "CPU" if device == "cpu" else "GPU"
    rows = {row["applier"]: row for row in answer.rows}
    return [_applier(name, rows.get(name), answer.failure, where) for name in APPLIERS]


def _applier(name: str, row: dict | None, failure: str, where: str) -> Finding:
    title = f"{name} ({where})"
    others = " or ".join(other for other in APPLIERS if other != name)
    remedy = f"Train with --applier {others.partition(' or ')[0]}, and report this output."
    if row is None:
        return Finding(title, WARNING, f"self-test {failure or 'gave no answer'}", remedy)
    if row["passed"]:
        return Finding(title, OK, row["found"])
    if row["missing"]:
        return Finding(title, WARNING, row["found"], f"Or train with --applier {others}.")
    return Finding(title, WARNING, row["found"], remedy)
