"""The command line. Only this package imports typer; every command imports what it needs."""

import sys

from fastleuk.os_errors import missing_package

try:
    from fastleuk.cli import (
        data,
        doctor,
        evaluate,
        explain,
        export,
        gpu,
        pipeline,
        predict,
        protocols,
        push,
        report,
        runs,
        serve,
        train,
    )
    from fastleuk.cli.app import app, main
except ModuleNotFoundError as error:  # typer, or one that typer needs
    missing = missing_package(error)
    if missing is None:
        raise
    print(f"error: {missing}", file=sys.stderr)
    sys.exit(missing.exit_code)

__all__ = [
    "app",
    "data",
    "doctor",
    "evaluate",
    "explain",
    "export",
    "gpu",
    "main",
    "pipeline",
    "predict",
    "protocols",
    "push",
    "report",
    "runs",
    "serve",
    "train",
]
