"""How scores become labels, in plain sentences."""

from __future__ import annotations

from fastleuk.errors import ConfigError
from fastleuk.evaluation.calibration.thresholds import COST, FIXED, SENSITIVITY, YOUDEN, parse_rule
from fastleuk.report.facts.data import counted
from fastleuk.report.numbers import number, plural
from fastleuk.report.source import Source


def decision_sentence(source: Source) -> str:
    """Return what is done with the scores, and where it was chosen."""
    decision = source.decision
    if decision.threshold is None:
        text, chosen = "An image is given its most probable class", []
    else:
        kind, why = _rule(decision.rule, decision.positive or "")
        text = f"An image is called {decision.positive} from a probability of "
        text += f"{decision.threshold:.4g} on{why}"
        chosen = ["threshold"] if kind != FIXED else []
    if decision.temperature != 1.0:
        text += f"; logits are divided by a temperature of {number(decision.temperature)} first"
        chosen.append("temperature")
    if not chosen:
        return f"{text}."
    what = "Both were" if len(chosen) == 2 else f"The {chosen[0]} was"
    return f"{text}. {what} chosen on {_where(source)}; the test part decided nothing."


def _rule(rule: str, positive: str) -> tuple[str, str]:
    """Return the kind of a rule and what it asks for."""
    try:
        found = parse_rule(rule)
    except ConfigError:  # of a version with other rules
        return rule, f" ({rule})"
    told = {
        YOUDEN: ", where sensitivity plus specificity is largest (Youden's index)",
        SENSITIVITY: f", the highest that keeps a sensitivity of {found.value:g}",
        COST: f", where a missed {positive} image counts as much as {found.value:g} false "
        f"alarm{'' if found.value == 1 else 's'}",
    }
    return found.kind, told.get(found.kind, "")


def _where(source: Source) -> str:
    chosen = source.decision.chosen_on
    part = {"val": "validation"}.get(chosen.get("part", ""), chosen.get("part", "unknown"))
    images, counts = chosen.get("images"), chosen.get("subjects_by_class") or {}
    if images is None:
        return f"the {part} part"
    people = ""
    if counts and chosen.get("over", "subjects") == "subjects":
        people = f" of {plural(sum(counts.values()), 'subject')}: {counted(counts, tuple(counts))}"
    return f"the {part} part ({plural(images, 'image')}{people})"
