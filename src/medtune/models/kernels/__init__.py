"""Faster replacements of single layers: attention, LoRA, RMSNorm, rotary, packing."""
