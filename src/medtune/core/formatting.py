"""How numbers are written on pages and cards."""

from __future__ import annotations

from medtune.core.records import Proportion


def percent(value: float) -> str:
    """Write a proportion as a percentage with one decimal."""
    return f"{100 * value:.1f}"


def signed(value: float) -> str:
    """Write a difference of proportions in points, with its sign."""
    return f"{100 * value:+.1f}"


def count(value: int) -> str:
    """Write a count with its thousands parted."""
    return f"{value:,}"


def equation(p_value: float) -> str:
    """Write a p-value with the sign that stands behind its name: `= 0.0312`, `< 0.0001`."""
    return "< 0.0001" if p_value < 0.0001 else f"= {p_value:.4f}"


def interval(proportion: Proportion) -> str:
    """Write an interval as `low-high`, in per cent."""
    return f"{100 * proportion.low:.1f}–{100 * proportion.high:.1f}"
