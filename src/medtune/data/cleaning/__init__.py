"""Normalize, validate and clean rows."""
