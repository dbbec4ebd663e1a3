"""Analyse predictions: comparisons, calibration, selective prediction, failures."""
