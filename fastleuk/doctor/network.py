"""Whether timm's weights can be fetched; asked only with ``--network``."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from fastleuk.doctor.finding import OK, WARNING, Finding

HUB = "https://huggingface.co"
FILE = "timm/efficientnet_b3.ra2_in1k/resolve/main/config.json"
_REMEDY = (
    "Train with --weights bundled or --weights FILE, or set HF_ENDPOINT to a mirror and "
    "HTTPS_PROXY to a proxy."
)

Open = Callable[..., Any]


def hub(
    environ: Mapping[str, str] = os.environ, open_url: Open = urllib.request.urlopen
) -> Finding:
    """Ask the hub for a small file of timm's.

    Args:
        environ: ``HF_ENDPOINT`` is another hub, ``HF_HUB_OFFLINE`` forbids it.
        open_url: ``urllib.request.urlopen``.
    """
    if environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return Finding(
            "hub",
            WARNING,
            "HF_HUB_OFFLINE forbids it",
            "Unset it, or train with --weights bundled or --weights FILE.",
        )
    base = environ.get("HF_ENDPOINT") or HUB
    try:
        request = urllib.request.Request(f"{base.rstrip('/')}/{FILE}", method="HEAD")
        with open_url(request, timeout=10):
            return Finding("hub", OK, f"{base} answers")
    except urllib.error.HTTPError as error:
        return Finding("hub", WARNING, f"{base} answers {error.code} {error.reason}", _REMEDY)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Finding("hub", WARNING, f"{base} can't be reached: {reason}", _REMEDY)
