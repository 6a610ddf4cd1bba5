"""Figures published for the paper's table."""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = (
    '"Transfer Learning with EfficientNet for Accurate Leukemia Cell Classification" '
    "(Ahmed, 2025), Table 7"
)


@dataclass(frozen=True, slots=True)
class Published:
    """A row of the paper's Table 7: C-NMC 2019, split by image, figures between 0 and 1.

    The text calls them macro averages, but F1 = 2PR / (P + R) of a row fits only one class's
    precision and recall, so they are taken as those of the ALL class.
    """

    name: str
    accuracy: float
    precision: float
    recall: float
    f1: float
    auc: float


PUBLISHED = {
    "resnet50": Published("ResNet50", 0.9058, 0.9037, 0.9634, 0.9327, 0.9438),
    "resnet101": Published("ResNet101", 0.8986, 0.8974, 0.9599, 0.9274, 0.9343),
    "efficientnet_b0": Published("EfficientNet-B0", 0.9122, 0.9127, 0.9622, 0.9368, 0.9514),
    "efficientnet_b1": Published("EfficientNet-B1", 0.9082, 0.9076, 0.9622, 0.9338, 0.9514),
    "efficientnet_b3": Published("EfficientNet-B3", 0.9202, 0.9136, 0.9740, 0.9430, 0.9479),
}
"""By timm's names, in the paper's order."""
