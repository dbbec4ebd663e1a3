"""Run quantized models without transformers."""
