"""Networks by every name that timm takes: its own, of the model hub, of a folder."""

from __future__ import annotations

import difflib
import json
import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fastleuk.errors import ConfigError, WeightsError
from fastleuk.models.backbone_name import FOLDER, HUB, source_of

if TYPE_CHECKING:
    from torch import nn


def check_backbone(backbone: str) -> None:
    """Refuse a name that timm does not know.

    Of a name of the hub only its form is looked at: what it stands for, the hub says
    (:func:`build`).

    Raises:
        ConfigError: unknown name; the message lists the near ones.
    """
    import timm

    source, name = source_of(backbone)
    if source == HUB and not re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", name):
        raise ConfigError(
            f"--backbone {backbone!r}: a name of the model hub is {HUB}OWNER/NAME, such as "
            f"{HUB}1aurent/vit_small_patch14_224.dinobloom."
        )
    if source == FOLDER and not (Path(name) / "config.json").is_file():
        raise ConfigError(
            f"--backbone {backbone!r}: {Path(name) / 'config.json'} is missing. The folder must "
            "hold a model of the hub: its config.json and its weights."
        )
    if source:
        return
    plain, _, tag = name.partition(".")
    if timm.is_model(plain) and "/" not in name:
        _check_tag(plain, tag)
        return
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise ConfigError(
            f"timm knows no backbone {backbone!r}. For a model of the hub write --backbone "
            f"{HUB}{name}, for one in a folder {FOLDER}{name}."
        )
    near = difflib.get_close_matches(
        plain.lower().replace("-", "_"), timm.list_models(), n=5, cutoff=0.5
    )
    hint = f"Near names: {', '.join(near)}." if near else "See timm.list_models()."
    raise ConfigError(f"timm knows no backbone {backbone!r}. {hint}")


def _check_tag(plain: str, tag: str) -> None:
    import timm

    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{plain}.*")]
    if tag and tag not in tags:
        known = f"one of {', '.join(tags)}, or leave it out" if tags else "none: leave it out"
        raise ConfigError(f"timm knows no weights {tag!r} of {plain}. The tag is {known}.")


def build(backbone: str, *, num_classes: int, **arguments: Any) -> nn.Module:
    """Build a network with random weights, or with timm's where ``pretrained`` is passed.

    Args:
        backbone: Name, see :func:`check_backbone`.
        num_classes: Logits of the last layer.
        arguments: Go to ``timm.create_model``, such as ``img_size``.

    Raises:
        WeightsError: the hub, which alone knows what its names stand for, can't be reached.
    """
    import timm

    source, name = source_of(backbone)
    if not source:
        return timm.create_model(name, num_classes=num_classes, **arguments)
    with offline_where_unreachable() if source == HUB else nullcontext():
        architecture = _architecture(hub_config(name) if source == HUB else folder_config(name))
        if not timm.is_model(str(architecture)):
            raise ConfigError(
                f"--backbone {backbone}: its config.json names the architecture {architecture!r}, "
                "which this timm does not know. It may be no timm model, or pip install -U timm."
            )
        return timm.create_model(f"{source}{name}", num_classes=num_classes, **arguments)


def config_file(backbone: str) -> Path | None:
    """Return the ``config.json`` of a backbone of the hub or of a folder; None for timm's own.

    Raises:
        WeightsError: the hub's can't be had.
    """
    source, name = source_of(backbone)
    if source == HUB:
        with offline_where_unreachable():
            return hub_config(name)
    return folder_config(name) if source else None


def hub_config(name: str) -> Path:
    """Return the hub's ``config.json``, from the hub or its cache.

    Args:
        name: ``OWNER/NAME`` or ``OWNER/NAME@REVISION``.

    Raises:
        WeightsError: neither has it.
    """
    from huggingface_hub import constants, hf_hub_download

    repository, _, revision = name.partition("@")
    try:
        return Path(hf_hub_download(repository, "config.json", revision=revision or None))
    except Exception as error:  # the hub's client raises from several libraries
        raise WeightsError(
            f"What {HUB}{name} is could not be asked: neither {constants.ENDPOINT} nor the hub's "
            f"cache here ({constants.HF_HUB_CACHE}) gave config.json of {repository}: "
            f"{first_line(error)}\n"
            f"Ways on: check the name at {constants.ENDPOINT}/{repository}; connect to the "
            "internet once, after which the cache serves without it; or bring config.json and "
            f"model.safetensors into a folder and name that: --backbone {FOLDER}FOLDER. "
            "--weights FILE alone is not enough, unless --backbone is a plain timm name."
        ) from error


def folder_config(folder: str) -> Path:
    """Return the ``config.json`` of a folder that holds a model of the hub."""
    return Path(folder) / "config.json"


def _architecture(file: Path) -> str | None:
    """Return the architecture that a ``config.json`` names.

    Raises:
        ConfigError: it can't be read.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} can't be read: {error}.") from error
    return found.get("architecture") if isinstance(found, Mapping) else None


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its kind where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def offline_where_unreachable() -> Iterator[None]:
    """Spare the user the hub client's minute of retries: without a route, its cache alone."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    proxied = any(name.lower() in ("https_proxy", "all_proxy") for name in os.environ)
    if not proxied:
        address = urlsplit(constants.ENDPOINT)
        try:
            socket.create_connection((address.hostname, address.port or 443), timeout=5).close()
        except OSError:
            constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
