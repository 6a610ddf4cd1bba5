"""Simulate how often the intervals over subjects hold the truth.

    python benchmarks/interval_coverage.py [--draws 400] [--resamples 200] \
        [--json benchmarks/results/interval_coverage.json] [--docs docs/honesty.md]

Each draw is a test part: n subjects of each of two classes, each with a probability of its own
that an image of it is right (beta distributed, with the given mean and intraclass correlation),
and its images. Scores follow the labels that are right or wrong, so that AUC, macro-F1, accuracy
and sensitivity all have the same known truth. Differences are between two classifiers whose
subjects are hard for both in part.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastleuk.evaluation.intervals.resampling import Plan, interval, replicate
from fastleuk.evaluation.intervals.totals import Answers
from fastleuk.tables import markdown_table

FIGURES = {"auc": "AUC", "f1_macro": "macro-F1", "accuracy": "accuracy",
           "sensitivity": "sensitivity"}  # fmt: skip
SUBJECTS = (5, 10, 20, 40)
MARKS = "<!-- interval-coverage -->\n", "<!-- end -->"


@dataclass(frozen=True, slots=True)
class Population:
    """Subjects whose images are right with probabilities of their own.

    Attributes:
        truth: Mean share of the images that are right, equal to all figures.
        icc: Intraclass correlation of being right.
        images: Of each subject; 0: lognormal, 20 in the median, with a deviation of e.
    """

    truth: float
    icc: float
    images: int

    @property
    def title(self) -> str:
        """For a table."""
        images = self.images or "1 to 200"
        return f"{self.truth}, icc {self.icc}, {images} images a subject"

    def sizes(self, rng: np.random.Generator, subjects: int) -> np.ndarray:
        """Draw the number of images of each subject, int64 ``(subjects,)``."""
        if self.images:
            return np.full(subjects, self.images)
        return np.clip(np.round(20 * np.exp(rng.normal(0, 1, subjects))), 1, 200).astype(np.int64)


POPULATIONS = (
    Population(0.85, 0.15, 20),
    Population(0.95, 0.15, 20),
    Population(0.85, 0.15, 0),
    Population(0.95, 0.5, 20),
    Population(0.99, 0.05, 30),
    Population(0.99, 0.3, 6),
)
PAIRS = ((0.85, 0.85, 0.15, 20), (0.97, 0.90, 0.3, 20), (0.99, 0.95, 0.3, 6))
"""Differences: truth of the first and of the second, icc, images a subject."""


def classifier(
    rng: np.random.Generator, labels: np.ndarray, groups: np.ndarray, chances: np.ndarray
) -> Answers:
    """Draw a classifier's answers.

    Args:
        rng: Random numbers.
        labels: int64 ``(N,)``.
        groups: int64 ``(N,)``.
        chances: float64 ``(G,)``, of each subject's images to be right.
    """
    right = rng.random(len(labels)) < chances[groups]
    predicted = np.where(right, labels, 1 - labels)
    score = np.where(predicted == 1, 0.9, 0.1)
    return Answers(labels, np.stack([1 - score, score], axis=1), predicted, groups, 1)


def draw_images(
    rng: np.random.Generator, population: Population, subjects: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw labels and groups, int64 ``(N,)``, of so many subjects a class."""
    sizes = population.sizes(rng, 2 * subjects)
    return np.repeat(np.repeat([0, 1], subjects), sizes), np.repeat(np.arange(2 * subjects), sizes)


def coverage(
    population: Population, subjects: int, *, draws: int, resamples: int, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Return, by figure, the share of the intervals that hold the truth.

    Returns:
        ``inside``, ``above`` and ``below`` (intervals that lie above or below the truth), and the
        median ``width``.
    """
    rng = np.random.default_rng([seed, subjects, *_whole(population)])
    a, b = _beta(population.truth, population.icc)
    ends: dict[str, list[tuple[float, float]]] = {name: [] for name in FIGURES}
    for _ in range(draws):
        labels, groups = draw_images(rng, population, subjects)
        answers = classifier(rng, labels, groups, rng.beta(a, b, 2 * subjects))
        plan = Plan(answers.counts.strata, resamples, seed)
        for name, each in replicate(answers, plan, list(FIGURES)).items():
            found = interval(each, plan)
            ends[name].append((found.low, found.high))
    return {name: summary(values, population.truth) for name, values in ends.items()}


def coverage_of_difference(
    pair: tuple[float, float, float, int], subjects: int, *, draws: int, resamples: int,
    seed: int = 0,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Return the same of the difference of two classifiers; half of the subjects are alike."""
    from scipy.stats import beta

    first, second, icc, images = pair
    population = Population(first, icc, images)
    rng = np.random.default_rng([seed, subjects, *_whole(population), round(1000 * second)])
    ends: dict[str, list[tuple[float, float]]] = {name: [] for name in FIGURES}
    for _ in range(draws):
        labels, groups = draw_images(rng, population, subjects)
        ranks = rng.random((2, 2 * subjects))
        ranks[1] = np.where(rng.random(2 * subjects) < 0.5, ranks[0], ranks[1])
        both = [
            classifier(rng, labels, groups, beta.ppf(rank, *_beta(truth, icc)))
            for truth, rank in zip((first, second), ranks, strict=True)
        ]
        plan = Plan(both[0].counts.strata, resamples, seed)
        figures = [replicate(each, plan, list(FIGURES)) for each in both]
        for name, values in ends.items():
            found = interval(figures[1][name] - figures[0][name], plan)
            values.append((found.low, found.high))
    return {name: summary(values, second - first) for name, values in ends.items()}


def _whole(population: Population) -> tuple[int, int, int]:
    return round(1000 * population.truth), round(1000 * population.icc), population.images


def _beta(mean: float, icc: float) -> tuple[float, float]:
    size = 1 / icc - 1
    return mean * size, (1 - mean) * size


def summary(ends: Sequence[tuple[float, float]], truth: float) -> dict[str, float]:
    """Count the intervals that hold the truth."""
    low, high = np.array(ends).T
    return {
        "inside": float(((low <= truth) & (truth <= high)).mean()),
        "above": float((low > truth).mean()),
        "below": float((high < truth).mean()),
        "width": round(float(np.median(high - low)), 4),
    }


def table(document: dict[str, Any]) -> str:
    """Return the table of a document for docs/honesty.md."""
    rows = []
    for each in document["results"]:
        cells = [
            " / ".join(f"{100 * found[name]['inside']:.0f}" for name in FIGURES)
            for found in each["by_subjects"].values()
        ]
        rows.append([each["title"], *cells])
    head = ["truth", *(f"{count} a class" for count in document["subjects"])]
    return markdown_table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--docs", type=Path, help="page whose table is replaced")
    options = parser.parse_args()
    how = {"draws": options.draws, "resamples": options.resamples, "seed": options.seed}
    results = []
    for population in POPULATIONS:
        found = {str(n): coverage(population, n, **how) for n in SUBJECTS}
        results.append({"title": population.title, "by_subjects": found})
        print(results[-1]["title"], flush=True)
    for pair in PAIRS:
        title = f"difference: {pair[1]} − {pair[0]}, icc {pair[2]}, {pair[3]} images a subject"
        found = {str(n): coverage_of_difference(pair, n, **how) for n in SUBJECTS}
        results.append({"title": title, "by_subjects": found})
        print(title, flush=True)
    document = {"command": "interval_coverage", **how, "subjects": SUBJECTS, "results": results}
    print(table(document))
    if options.json:
        options.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    if options.docs:
        text = options.docs.read_text(encoding="utf-8")
        before, _, rest = text.partition(MARKS[0])
        after = rest.partition(MARKS[1])[2]
        text = f"{before}{MARKS[0]}{table(document)}\n{MARKS[1]}{after}"
        options.docs.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
