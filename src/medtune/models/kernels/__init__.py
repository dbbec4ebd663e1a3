"""Fused and packed replacements of single layers."""
