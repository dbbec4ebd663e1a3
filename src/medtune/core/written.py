"""How numbers are written on pages and cards."""

from __future__ import annotations


def percent(value: float) -> str:
    """Write a proportion as a percentage with one decimal."""
    return f"{100 * value:.1f}"


def signed(value: float) -> str:
    """Write a difference of proportions in points, with its sign."""
    return f"{100 * value:+.1f}"


def count(value: int) -> str:
    """Write a count with its thousands parted."""
    return f"{value:,}"
