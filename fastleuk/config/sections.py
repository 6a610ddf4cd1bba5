"""The sections of a configuration: every field is a key of the TOML file and an option.

Defaults are those of "Transfer Learning with EfficientNet for Accurate Leukemia Cell
Classification" (Ahmed, 2025) unless the docstring under a field says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastleuk.config.option import device_name, expand_paths, one_of, option, require
from fastleuk.config.recipes import RECIPES
from fastleuk.files import expand_home

LOADERS = ("auto", "dali", "torchvision")
APPLIERS = ("auto", "compiled", "compiled-host", "fused", "exact")
DEVICES = ("auto", "cpu", "cuda")
AMP_DTYPES = ("auto", "bf16", "fp16")
OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULERS = ("none", "cosine")
LARGEST = 8192
"""Pixels: an image of that side takes 0.8 GB in float32."""
CLASS_WEIGHTS = ("none", "balanced")
LAYOUTS = ("auto", "folders", "cnmc", "parts")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Which images, and how they are divided."""

    data: str = option(
        "", "Folder, manifest CSV or tar shards; without it, a synthetic demo set.", path=True
    )
    root: str = option(
        "", "Folder that a manifest's paths are relative to; else as it says.", path=True
    )
    layout: str = option(
        "auto", "Of a folder: folders (its folders are classes), cnmc (UID_ names), parts, auto."
    )
    """``parts``: folders such as train and test with the classes in them, merged, unless the split
    is ``folders``. ``auto`` refuses what can be read in two ways."""
    class_level: int = option(0, "Level of the folders that are classes, from 1; 0: find out.")
    """``2`` for ``patient/class/image`` and ``magnification/class/image``. In tar shards: of the
    members' names."""
    subject_level: int = option(0, "Level of the folders that are subjects, from 1; 0: none.")
    subject_regex: str = option("", "Group = subject; searched in the path, or else the file name.")
    """For class folders: in each path relative to ``data``, or, where some don't match, in each
    file's name. The group named ``subject`` counts, or else the first."""
    split: str = option(
        "subject",
        "subject, fold:K, kfold:I/K, folders (train, test) or image (the paper's; leaks).",
    )
    val_fraction: float = option(0.1, "For early stopping.")
    test_fraction: float = option(0.1, "Held out.")
    positive: str = option("", "Positive class; else the one that isn't named as healthy.")
    """Whose precision, recall and F1 are headlines, and whose recall is the sensitivity. Empty: of
    two classes, one of which means healthy (``hem``, ``normal``, ``control``), the other; where
    the names don't tell, none. It changes figures only, never the training."""
    skip_bad: bool = option(False, "Train without unusable files instead of stopping at them.")

    def __post_init__(self) -> None:
        one_of("layout", self.layout, LAYOUTS)
        for name in ("class_level", "subject_level"):
            value = getattr(self, name)
            require(0 <= value <= 20, name, value, "must be from 0 (none) to 20")
        for name in ("val_fraction", "test_fraction"):
            value = getattr(self, name)
            require(0 < value < 1, name, value, "must lie between 0 and 1")
        expand_paths(self)
        held, fixed = self.val_fraction + self.test_fraction, "fold:" in self.split
        require(
            held < 1 or fixed,
            "test_fraction",
            self.test_fraction,
            f"with --val-fraction {self.val_fraction} nothing is left to train on: both together "
            "must be below 1",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentConfig:
    """What is drawn for an epoch."""

    augment: str = option(
        "paper", "paper, flips-rotations, stain, none, or a policy's TOML file.", path=True
    )
    per_class: str = option(
        "off", "Samples a class and epoch: a number (paper: 10000), auto (as the largest), off."
    )
    """Reached by augmented copies beside the un-augmented originals; ``off``: every image once.
    The default departs from the paper: where one class has a larger share of augmented samples
    than another, a network learns the class from the augmentation."""
    originals: float = option(0.5, "Un-augmented share of an epoch with --per-class off.")
    """Chosen anew in each epoch. Without any, batch normalisation knows augmented images only, and
    its statistics are wrong for the un-augmented ones of validation and test. (The paper's share
    is 0.56.)"""
    frozen_augmentation: bool = option(False, "Same augmentations in every epoch, as from a disk.")
    applier: str = option(
        "auto", "compiled, compiled-host, fused, exact or auto: how DALI augments."
    )
    """``compiled``: one kernel, numba's on a CPU, Triton's on a GPU; ``compiled-host``: the CPU's,
    for a GPU. ``auto``: on a GPU the first of ``compiled``, ``fused`` and ``exact`` that passes its
    self-test there; on a CPU ``compiled``, or ``fused`` without numba; ``exact`` (one operator a
    step, torchvision's rounding) where the policy interpolates by ``nearest``."""

    def __post_init__(self) -> None:
        expand_paths(self)
        one_of("applier", self.applier, APPLIERS)
        require(0 <= self.originals <= 1, "originals", self.originals, "must be from 0 to 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoaderConfig:
    """How images reach the model."""

    loader: str = option("auto", "dali, torchvision, or auto: DALI where it is installed.")
    size: int = option(224, "Input side in pixels.")
    batch_size: int = option(32, "Images a step.")
    workers: int = option(0, "Loading threads (DALI) or processes; 0: one a core, at most 16.")
    prefetch: int = option(2, "Batches made ahead.")
    cache: str = option(
        "auto", "Decoded images: auto, gpu (held there), off, or a folder.", path=True
    )
    """``auto``: the user's cache folder, built where it is not too large."""

    def __post_init__(self) -> None:
        expand_paths(self)
        one_of("loader", self.loader, LOADERS)
        require(self.size >= 16, "size", self.size, "must be at least 16 pixels")
        require(self.size <= LARGEST, "size", self.size, f"must be at most {LARGEST} pixels")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "must be at least 1")
        require(self.workers >= 0, "workers", self.workers, "must be 0 (automatic) or more")
        require(self.prefetch >= 1, "prefetch", self.prefetch, "must be at least 1")
        require(bool(self.cache), "cache", self.cache, "must be auto, gpu, off or a folder")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Which network, and where its weights come from."""

    backbone: str = option("efficientnet_b3", "Any timm model, or hf-hub:OWNER/NAME.")
    weights: str = option(
        "hub", "hub (timm's pretrained), bundled, none, or a weights file.", path=True
    )

    def __post_init__(self) -> None:
        expand_paths(self)
        source, _, folder = self.backbone.partition(":")
        if folder.startswith("~"):
            folder = str(expand_home(folder, "--backbone"))
            object.__setattr__(self, "backbone", f"{source}:{folder}")


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimConfig:
    """How the model is trained."""

    epochs: int = option(50, "At most.")
    patience: int = option(15, "Epochs without better validation macro-F1.")
    lr: float = option(1e-4, "Learning rate: the head's, and the highest of a schedule.")
    amp: bool = option(False, "Mixed precision.")
    amp_dtype: str = option("auto", "bf16, fp16 (GPU only), or auto: what the device has.")
    optimizer: str = option("adam", "adam, adamw or sgd.")
    weight_decay: float = option(0.0, "Of the weights; norms and biases have none.")
    momentum: float = option(0.9, "Of sgd (Nesterov's); 0: plain SGD.")
    scheduler: str = option("none", "none (constant) or cosine over all --epochs.")
    warmup_epochs: float = option(0.0, "Linear warm-up; a fraction is allowed.")
    min_lr: float = option(0.0, "Where the cosine ends.")
    layer_decay: float = option(1.0, "Learning rate of each layer over that of the next; 1: off.")
    freeze_epochs: int = option(0, "Train only the head for so long, then everything.")
    accumulate: int = option(1, "Batches whose gradients make one update.")
    clip_grad: float = option(0.0, "Largest norm of the gradient; 0: off.")
    label_smoothing: float = option(0.0, "Share of the target given to all classes alike.")
    class_weights: str = option("none", "none, or balanced: the loss weighs rare classes up.")
    """``balanced`` is scikit-learn's: samples / (classes * samples of the class)."""
    mixup: float = option(0.0, "Alpha of mixup; 0: off.")
    ema: float = option(0.0, "Decay of averaged weights, which are then what counts; 0: off.")
    """Validation, the best weights and the test use the average."""
    sync_bn: bool = option(False, "Batch norm over the batches of all processes (GPUs).")
    """Else each process normalises by its own batch, and the statistics are averaged."""
    keep_best: int = option(1, "From 2 on: keep the weights of so many best epochs, best-N.")

    def __post_init__(self) -> None:
        one_of("amp_dtype", self.amp_dtype, AMP_DTYPES)
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("scheduler", self.scheduler, SCHEDULERS)
        one_of("class_weights", self.class_weights, CLASS_WEIGHTS)
        require(0 < self.lr < 10, "lr", self.lr, "must lie between 0 and 10")
        for name in ("epochs", "patience", "accumulate", "keep_best"):
            value = getattr(self, name)
            require(value >= 1, name, value, "must be at least 1")
        for name in ("weight_decay", "warmup_epochs", "min_lr", "freeze_epochs", "clip_grad"):
            value = getattr(self, name)
            require(0 <= value < float("inf"), name, value, "must be 0 or more")
        for name in ("momentum", "label_smoothing", "ema"):
            value = getattr(self, name)
            require(0 <= value < 1, name, value, "must be 0 or more and below 1")
        require(0 <= self.mixup <= 100, "mixup", self.mixup, "must be from 0 to 100")
        require(
            0 < self.layer_decay <= 1, "layer_decay", self.layer_decay, "must be above 0, at most 1"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """Where and on what the run happens, and what it leaves."""

    recipe: str = option("paper", "Defaults that --config and options override: paper or strong.")
    out: str = option("", "Run folder (runs/DATE-BACKBONE).", path=True)
    seed: int = option(0, "Of split, order, augmentation, model.")
    device: str = option("auto", "auto, cpu, cuda or cuda:N.")
    deterministic: bool = option(False, "Only algorithms that repeat bit for bit, on a GPU too.")
    compile: bool = option(False, "torch.compile the model.")
    grad_checkpointing: bool = option(False, "Less memory, slower: activations computed twice.")
    checkpoint_every: float = option(10.0, "Minutes between checkpoints; 0: at epochs' ends only.")
    profile: int = option(0, "Profile so many steps: profile.json (trace) and profile.txt.")
    tensorboard: bool = option(False, "Write TensorBoard events.")
    wandb: bool = option(False, "Log to Weights & Biases.")

    def __post_init__(self) -> None:
        expand_paths(self)
        one_of("recipe", self.recipe, RECIPES)
        require(0 <= self.seed < 2**63, "seed", self.seed, "must be from 0 to 2**63 - 1")
        object.__setattr__(self, "device", device_name(self.device))
        require(
            self.device in DEVICES or self.device.startswith("cuda:"),
            "device",
            self.device,
            f"must be one of {DEVICES} or cuda:N",
        )
        require(
            0 <= self.checkpoint_every < float("inf"),
            "checkpoint_every",
            self.checkpoint_every,
            "must be 0 or more minutes",
        )
        require(0 <= self.profile <= 1000, "profile", self.profile, "must be from 0 to 1000 steps")
