"""Format numbers for pages and model cards."""

from __future__ import annotations

from collections.abc import Iterable

from medtune.core.records import Proportion


def format_percent(value: float) -> str:
    """Format a proportion as a percentage with one decimal."""
    return f"{100 * value:.1f}"


def format_signed_points(value: float) -> str:
    """Format a difference of proportions in percentage points, with its sign."""
    return f"{100 * value:+.1f}"


def format_count(value: int) -> str:
    """Format a count with thousands separators."""
    return f"{value:,}"


def format_p_value(p_value: float) -> str:
    """Format a p-value with its relation sign: `= 0.0312`, `< 0.0001`."""
    return "< 0.0001" if p_value < 0.0001 else f"= {p_value:.4f}"


def format_interval(proportion: Proportion) -> str:
    """Format an interval as `low–high`, in per cent."""
    return f"{100 * proportion.low:.1f}–{100 * proportion.high:.1f}"


def format_share(share: Proportion) -> str:
    """Format a proportion in per cent, with its interval and n."""
    return f"{format_percent(share.value)} % ({format_interval(share)}, n = {share.n:,})"


def join_words(parts: Iterable[str]) -> str:
    """Join parts to "a, b and c"."""
    *some, last = [*parts] or [""]
    return f"{', '.join(some)} and {last}" if some else last
