"""How often the gate passes what it should not, and what it should; one JSON record.

    python benchmarks/gate_power.py [--json-out results/gate_power.json]

For every number of questions, discordance and true change of accuracy the chance of a pass is
summed over all tables (only the champion right, only the candidate right): binomial numbers of
discordant pairs, and of those won among them, where one more that is won never passes less.

A true loss of exactly the margin is a false pass, nominally 2.5 % at most; no change, or a gain, is
power.  Three intervals stand beside each other: the percentile bootstrap that the gate had (10,000
draws, a fixed seed, the rule of three where nothing is discordant), Tango's as published, and
Tango's with half a question's correction, which the gate has; `gate` asks for the rule's least
number of questions as well.  Shares are held by Clopper and Pearson's end, and Wilson's stands
beside it.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from bisect import bisect_left
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binom

from medtune.core.intervals import (
    clopper_pearson_interval,
    min_pairs_for_margin,
    tango_interval,
    wilson_interval,
)
from medtune.core.provenance import collect_provenance
from medtune.releases.gate_schema import Margins

SIZES = (20, 50, 100, 300, 1000)
LARGE = (500, 2000, 4000)
"""Sizes at which only power is of interest."""
DISCORDANCES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
GAINS = (0.0, 0.01, 0.02)
NEGLIGIBLE = 1e-9
"""Numbers of discordant pairs that are rarer are left out."""
DRAWS = 10_000

SUBJECTS = (1318, 369, 337, 336, 295, 243, 234, 234, 224, 171, 171, 129, 122)
"""Questions by subject of MedMCQA's validation file, those of fewer than 100 together (336)."""

Holds = Callable[[int, int, int, float], bool]
"""Whether a table (only a, only b, n) excludes a loss of the margin."""


def passing(holds: Holds, n: int, discordance: float, change: float, margin: float) -> float:
    """Return the chance that a loss of the margin is excluded.

    Args:
        holds: The interval.
        n: Pairs.
        discordance: Share of pairs that only one of the two has right.
        change: Accuracy of b minus that of a.
        margin: Of the rule.
    """
    won = (discordance + change) / 2 / discordance
    total = 0.0
    for discordant in range(n + 1):
        chance = float(binom.pmf(discordant, n, discordance))
        if chance >= NEGLIGIBLE:
            least = fewest_won(holds, discordant, n, margin)
            total += chance * float(binom.sf(least - 1, discordant, won))
    return total


@cache
def fewest_won(holds: Holds, discordant: int, n: int, margin: float) -> int:
    """Find from how many discordant pairs won the loss is excluded; one more than all for never."""
    return bisect_left(
        range(discordant + 1), True, key=lambda won: holds(discordant - won, won, n, margin)
    )


@cache
def percentile_bootstrap(only_a: int, only_b: int, n: int) -> float:
    """Return the lower end that the gate had: a percentile of multinomial draws, seed 0."""
    if not only_a + only_b:
        return -min(1.0, 3 / n)
    shares = [only_a / n, only_b / n, 1 - (only_a + only_b) / n]
    drawn = np.random.default_rng(0).multinomial(n, shares, size=DRAWS)
    return float(np.quantile((drawn[:, 1] - drawn[:, 0]) / n, 0.025))


def by_bootstrap(a: int, b: int, n: int, margin: float) -> bool:
    """Hold the end that the gate had."""
    return percentile_bootstrap(a, b, n) >= -margin


def as_published(a: int, b: int, n: int, margin: float) -> bool:
    """Hold Tango's end without a correction."""
    return tango_interval(a, b, n, correction=0.0)[0] >= -margin


def corrected(a: int, b: int, n: int, margin: float) -> bool:
    """Hold the end that the gate holds."""
    return tango_interval(a, b, n)[0] >= -margin


INTERVALS: dict[str, Holds] = {
    "percentile bootstrap": by_bootstrap,
    "tango": as_published,
    "tango, half a question": corrected,
}


def rules() -> dict[str, tuple[float, int]]:
    """Give each comparing rule's margin and least number of questions."""
    margins = Margins()
    return {
        name: (margin, max(least, min_pairs_for_margin(margin)))
        for name, margin, least in (
            ("accuracy", margins.accuracy, margins.least.accuracy),
            ("negation", margins.negation, margins.least.negation),
            ("subjects", margins.subjects, margins.least.subjects),
        )
    }


def curve(rule: str) -> list[dict[str, Any]]:
    """Measure one comparing rule."""
    margin, least = rules()[rule]
    rows = []
    for n in (*SIZES, *LARGE):
        for discordance in DISCORDANCES:
            if discordance < margin:
                continue
            row: dict[str, Any] = {"n": n, "discordance": discordance}
            if n in SIZES:
                false = {
                    name: passing(holds, n, discordance, -margin, margin)
                    for name, holds in INTERVALS.items()
                }
                row["false_pass"] = {name: round(value, 5) for name, value in false.items()}
                row["gate"] = round(false["tango, half a question"], 5) if n >= least else 0.0
            row["power"] = {
                f"{100 * gain:+.0f} points": round(
                    passing(corrected, n, discordance, gain, margin) if n >= least else 0.0, 4
                )
                for gain in GAINS
                if gain <= discordance
            }
            rows.append(row)
    return rows


def all_subjects() -> list[dict[str, Any]]:
    """Give the chance that every subject passes, by margin: the product of their chances."""
    rows = []
    for margin in (0.1, 0.15, 0.2):
        for discordance in (0.05, 0.1, 0.2, 0.3):
            for gain in (0.0, 0.02):
                chances = [passing(corrected, n, discordance, gain, margin) for n in SUBJECTS]
                rows.append(
                    {
                        "margin": margin,
                        "discordance": discordance,
                        "gain": gain,
                        "power": round(math.prod(chances), 4),
                    }
                )
    return rows


def shares() -> list[dict[str, Any]]:
    """Measure the rules that hold a share, at a true share of exactly the margin."""
    margins, rows = Margins(), []
    for rule, bound in (
        ("orders", margins.flips),
        ("regression", margins.regression),
        ("agreement", 1 - margins.agreement),
        ("withheld", margins.withheld),
    ):
        for n in SIZES:
            row: dict[str, Any] = {"rule": rule, "bound": round(bound, 4), "n": n}
            for name, interval in (
                ("wilson", wilson_interval),
                ("clopper_pearson", clopper_pearson_interval),
            ):
                held = [k for k in range(n + 1) if interval(k, n).high <= bound]
                row[name] = round(float(binom.cdf(max(held), n, bound)) if held else 0.0, 5)
            rows.append(row)
    return rows


def main() -> None:
    """Measure, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json-out", type=Path)
    asked = parser.parse_args()
    start = time.perf_counter()
    curves = {rule: curve(rule) for rule in rules()}
    found = {
        "benchmark": "gate_power",
        "nominal": 0.025,
        "rules": {
            name: {"margin": margin, "least": least} for name, (margin, least) in rules().items()
        },
        "worst_false_pass": {
            name: max(
                row["false_pass"][name]
                for rows in curves.values()
                for row in rows
                if "false_pass" in row
            )
            for name in INTERVALS
        },
        "worst_false_pass_gate": max(
            row["gate"] for rows in curves.values() for row in rows if "gate" in row
        ),
        "curves": curves,
        "shares": shares(),
        "all_subjects": all_subjects(),
        "duration_s": round(time.perf_counter() - start, 1),
        "provenance": collect_provenance().model_dump(mode="json"),
    }
    if asked.json_out:
        asked.json_out.write_text(json.dumps(found, indent=1) + "\n")
    print(
        json.dumps(
            {
                key: found[key]
                for key in found
                if not isinstance(found[key], list) and key != "curves"
            }
        )
    )


if __name__ == "__main__":
    main()
