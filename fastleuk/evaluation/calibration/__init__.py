"""Calibration, thresholds, and what they are chosen on: the validation part, never the test."""
