"""The command line. Only this package imports typer; every command imports what it needs."""

from fastleuk.cli import data, evaluate, explain, gpu, pipeline, protocols, report, runs, train
from fastleuk.cli.app import app, main

__all__ = [
    "app",
    "data",
    "evaluate",
    "explain",
    "gpu",
    "main",
    "pipeline",
    "protocols",
    "report",
    "runs",
    "train",
]
