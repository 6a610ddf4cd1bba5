"""The findings for a terminal, and as JSON for a bug report, without personal paths."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import platform
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import fastleuk
from fastleuk.data.user_cache.folder import cache_root
from fastleuk.doctor.finding import FAILED, WARNING, Finding, ready
from fastleuk.errors import ConfigError
from fastleuk.personal_paths import replace_paths


def line(finding: Finding) -> str:
    """Return a finding for a terminal: a line, and one for the remedy if there is any."""
    text = f"{finding.state:8} {finding.name:18} {finding.found}"
    return f"{text}\n{'':27} {finding.remedy}" if finding.remedy else text


def summary(findings: Sequence[Finding]) -> str:
    """Return the last line."""
    failed = [each.name for each in findings if each.state == FAILED]
    if failed:
        return f"fastleuk train can't run here: mend {', '.join(failed)}."
    warned = sum(each.state == WARNING for each in findings)
    more = f"; {warned} warning{'s' * (warned > 1)}, see above." if warned else "."
    return f"fastleuk train can run here{more}"


def as_json(findings: Sequence[Finding], places: Mapping[str, str] | None = None) -> str:
    """Return the findings as JSON, fit for a public bug report.

    Args:
        findings: What was found.
        places: See :func:`without_places`.
    """
    data = {
        "format": 1,
        "fastleuk": fastleuk.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()),
        "ready": ready(findings),
        "findings": [
            {"name": f.name, "state": f.state, "found": f.found, "remedy": f.remedy}
            for f in findings
        ],
    }
    hidden = known_places() if places is None else places
    return json.dumps(replace_paths(data, hidden), indent=1, ensure_ascii=False)


def known_places() -> dict[str, str]:
    """Return what is personal on this machine, and what stands for it."""
    found = {
        sys.prefix: "<environment>",
        str(Path(fastleuk.__file__).parent.parent): "<fastleuk>",
        str(Path.cwd()): "<here>",
        os.path.expanduser("~"): "~",  # "~" itself for a user without a home folder
        socket.gethostname(): "<host>",
    }
    with contextlib.suppress(ConfigError):  # a user without a home folder, as in a container
        found[str(cache_root())] = "<cache>"
    with contextlib.suppress(OSError, KeyError):  # likewise, without an entry
        found[getpass.getuser()] = "<user>"
    return {place: name for place, name in found.items() if len(place) > 1}
