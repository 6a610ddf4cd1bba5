"""What timm builds for the loop: the optimiser, its learning rates, the averaged weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fastleuk.config import OptimConfig
from fastleuk.errors import ConfigError

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
"""``nn.SyncBatchNorm`` is none of them: its statistics are the same in every process."""


def build_optimizer(
    model: nn.Module, config: OptimConfig, device: torch.device
) -> torch.optim.Optimizer:
    """Make the optimiser: fused where torch has that, no weight decay on norms and biases.

    With ``layer_decay`` below 1 there is a parameter group for each layer, whose ``lr_scale`` the
    schedule multiplies its learning rate by: 1 at the head, ``layer_decay`` in front of it, and so
    on. The layers are timm's (``model.group_matcher``).

    ``sgd`` has Nesterov's momentum; with ``momentum`` 0 there is none, and it is plain SGD.
    """
    from timm.optim import create_optimizer_v2

    kernels: dict[str, Any] = {"foreach": True}
    if device.type in ("cuda", "cpu"):
        kernels = {"fused": True}
    # timm's "sgd" is Nesterov's, which torch refuses without momentum; its "momentum" is not.
    plain = config.optimizer == "sgd" and config.momentum == 0
    return create_optimizer_v2(
        model,
        opt="momentum" if plain else config.optimizer,
        lr=config.lr,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
        layer_decay=None if config.layer_decay == 1 else config.layer_decay,
        **kernels,
    )


def build_schedule(
    optimizer: torch.optim.Optimizer, config: OptimConfig, *, updates_per_epoch: int
) -> Any:
    """Make timm's schedule, stepped by updates: warm-up, then constant or a cosine.

    With W updates of warm-up, update t (from 0) of the warm-up has lr·(t+1)/(W+1). The cosine
    falls over what is left of ``epochs``, from ``lr`` to ``min_lr``. A schedule is a pure function
    of the number of updates.

    Returns:
        A ``timm.scheduler.Scheduler``; ``step_update(n)`` sets the learning rate of update n.
    """
    from timm.scheduler import CosineLRScheduler, StepLRScheduler

    total = config.epochs * updates_per_epoch
    warmup = min(round(config.warmup_epochs * updates_per_epoch), total)
    common: dict[str, Any] = {
        "warmup_t": warmup,
        "warmup_lr_init": config.lr / (warmup + 1),
        "warmup_prefix": True,
        "t_in_epochs": False,
    }
    if config.scheduler == "cosine":
        falling = max(total - warmup, 1)
        schedule: Any = CosineLRScheduler(optimizer, falling, lr_min=config.min_lr, **common)
    else:
        schedule = StepLRScheduler(optimizer, decay_t=total + 1, decay_rate=1.0, **common)
    schedule.step_update(0)
    return schedule


def build_average(model: nn.Module, decay: float) -> Any:
    """Make timm's moving average of ``model``, or None where ``decay`` is 0.

    Batch normalisation's statistics are averaged like the weights whose activations they describe;
    integer buffers are copied. The decay is reached gradually, 1 - (1 + updates)**(-2/3) at first,
    so that the random head of the first steps is forgotten on a small data set too.
    """
    from timm.utils import ModelEmaV3

    return ModelEmaV3(model, decay=decay, use_warmup=True) if decay else None


def synchronise_norms(model: nn.Module) -> nn.Module:
    """Let batch normalisation see the batches of all processes (``--sync-bn``); names stay."""
    from timm.layers import convert_sync_batchnorm

    return convert_sync_batchnorm(model)


def has_batch_norm(model: nn.Module) -> bool:
    """Say whether ``model`` has batch normalisation, timm's fused kinds included."""
    return any(isinstance(module, BATCH_NORMS) for module in model.modules())


def head_of(model: nn.Module) -> nn.ModuleList:
    """Return a timm model's classifier, which may consist of several modules.

    Raises:
        ConfigError: it has none with parameters.
    """
    found = model.get_classifier() if hasattr(model, "get_classifier") else None  # type: ignore[operator]
    parts = found if isinstance(found, (tuple, list)) else [found]
    head = nn.ModuleList([part for part in parts if isinstance(part, nn.Module)])
    if not any(True for _ in head.parameters()):
        raise ConfigError(
            f"--freeze-epochs: timm knows no head of {type(model).__name__} that could be trained "
            "alone. Use 0."
        )
    return head


def train_mode(model: nn.Module, *, head_only: bool) -> None:
    """Put ``model`` into training mode; with ``head_only`` all but its classifier stays as it is.

    Frozen layers get no gradient and are in evaluation mode, so the statistics of batch
    normalisation remain those of the pretraining.
    """
    model.train(not head_only)
    for parameter in model.parameters():
        parameter.requires_grad_(not head_only)
    if head_only:
        head_of(model).train().requires_grad_(True)


def update_share(step: int, steps: int, accumulate: int) -> tuple[float, bool]:
    """Return what a batch's gradient counts for in its update, and whether it is the last of it.

    ``accumulate`` batches make an update; those that are left over at the end of an epoch make a
    smaller one.

    >>> [update_share(step, 5, 2) for step in range(5)]
    [(0.5, False), (0.5, True), (0.5, False), (0.5, True), (1.0, True)]
    """
    first = step - step % accumulate
    count = min(accumulate, steps - first)
    return 1 / count, step == first + count - 1
