"""Quantize, merge and write models for other runtimes."""
