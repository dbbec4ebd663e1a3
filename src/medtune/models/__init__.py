"""Load, run, adapt, quantize and export answer models."""
