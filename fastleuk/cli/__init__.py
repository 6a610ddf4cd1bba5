"""The command line. Only this package imports typer; every command imports what it needs."""

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
