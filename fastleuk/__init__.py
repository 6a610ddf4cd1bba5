"""Leukemia cell classifiers trained at the speed of the GPU.

``import fastleuk`` is cheap: it imports neither torch nor DALI. The rooms are
``fastleuk.data``, ``fastleuk.augment``, ``fastleuk.loading``, ``fastleuk.training``
and ``fastleuk.evaluation``.
"""

__version__ = "0.1.0"
