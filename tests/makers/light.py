"""What a run fits and draws beside its network, made light: a fifth of the tests' time else."""


def lighten() -> None:
    """Give the forest of colours fewer trees, and pictures fewer pixels, in this process."""
    from fastleuk.evaluation import plots
    from fastleuk.evaluation.baselines import classifiers

    classifiers.TREES, plots.DPI = 20, 30
