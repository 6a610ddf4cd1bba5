"""fastleuk's command line, in the test's own process."""

import os
import sys
from collections.abc import Callable

from fastleuk.cli.app import DEBUG
from fastleuk.run_log import QUIET

CommandLine = Callable[..., tuple[int, str, str]]


def command_line(monkeypatch, capsys) -> CommandLine:
    """Return a function that takes words and returns exit code, stdout and stderr.

    What ``--quiet`` and ``--debug`` set for good is set back before each command, and after the
    test.
    """
    from fastleuk.cli import main

    for name in (QUIET, DEBUG):
        monkeypatch.setenv(name, "")

    def run(*words) -> tuple[int, str, str]:
        os.environ[QUIET] = os.environ[DEBUG] = ""
        monkeypatch.setattr(sys, "argv", ["fastleuk", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
