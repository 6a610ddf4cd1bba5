"""Metrics, predictions and pictures of a run."""
