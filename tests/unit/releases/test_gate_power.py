"""The committed curves of the gate, and some of their cells computed in another way."""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.stats import multinomial
from tests.unit.releases.test_gate_rules import partly

from gate_power import DISCORDANCES, SIZES, percentile_bootstrap, rules
from medtune.core.records import ComparisonRecord, Proportion
from medtune.core.schemas.analysis import PairedSlice, PairedSlices
from medtune.releases.gate_rules import apply_rule, judge_accuracy, judge_negation
from medtune.releases.gate_schema import Evidence, Margins
from recount import RESULTS

NOMINAL = 0.025


@cache
def committed() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / "gate_power.json").read_bytes())
    return found


def row(rule: str, n: int, discordance: float) -> dict[str, Any]:
    rows = committed()["curves"][rule]
    (found,) = [r for r in rows if (r["n"], r["discordance"]) == (n, discordance)]
    return dict(found)


def passes(only_a: int, only_b: int, n: int) -> bool:
    """Ask the gate's accuracy rule itself, whatever its least number of questions."""
    record = partly(
        ComparisonRecord, only_a=only_a, only_b=only_b, n=n, differs=(), design_effect=None
    )
    margins = Margins()
    least = margins.least.model_copy(update={"accuracy": 1})
    evidence = partly(Evidence, comparison=record)
    changed = margins.model_copy(update={"least": least})
    return apply_rule("accuracy", judge_accuracy, evidence, changed).outcome == "passed"


def test_the_record_is_of_todays_margins_and_all_sizes() -> None:
    for name, (margin, least) in rules().items():
        assert committed()["rules"][name] == {"margin": margin, "least": least}
        cells = {(r["n"], r["discordance"]) for r in committed()["curves"][name]}
        assert cells >= {(n, d) for n in SIZES for d in DISCORDANCES if d >= margin}
    assert set(SIZES) >= {20, 50, 100, 300, 1000}


def test_no_cell_passes_a_loss_at_the_margin_more_often_than_is_nominal() -> None:
    for rows in committed()["curves"].values():
        for cell in rows:
            if "gate" in cell:
                assert cell["gate"] <= NOMINAL
                assert cell["false_pass"]["tango, half a question"] <= NOMINAL
    for cell in committed()["shares"]:
        assert cell["clopper_pearson"] <= NOMINAL
    worst = committed()["worst_false_pass"]
    assert worst["percentile bootstrap"] > 0.1, "the gate had this"
    assert worst["tango"] > NOMINAL, "why half a question is taken off"


@pytest.mark.parametrize(("n", "discordance"), [(20, 0.3), (100, 0.1), (300, 0.02), (1000, 0.02)])
def test_cells_computed_from_the_rule_itself(n: int, discordance: float) -> None:
    margin = Margins().accuracy
    lost, won = (discordance + margin) / 2, (discordance - margin) / 2
    most = math.ceil(n * lost + 9 * math.sqrt(n * lost) + 5)
    chance = 0.0
    for only_a in range(min(n, most) + 1):
        for only_b in range(min(n - only_a, most) + 1):
            if passes(only_a, only_b, n):
                counts = [only_a, only_b, n - only_a - only_b]
                chance += multinomial.pmf(counts, n, [lost, won, 1 - lost - won])
    found = row("accuracy", n, discordance)["false_pass"]["tango, half a question"]
    assert chance == pytest.approx(found, abs=2e-5)
    assert chance <= NOMINAL


def test_a_cell_simulated() -> None:
    n, discordance, margin = 100, 0.2, Margins().negation
    shares = [(discordance + margin) / 2, (discordance - margin) / 2, 1 - discordance]
    drawn = np.random.default_rng(1).multinomial(n, shares, size=200_000)
    tables, counts = np.unique(drawn[:, :2], axis=0, return_counts=True)
    passed = 0
    for (only_a, only_b), count in zip(tables, counts, strict=True):
        part = partly(
            PairedSlice, dimension="negation", name="negated", only_a=int(only_a),
            only_b=int(only_b), accuracy_b=Proportion(value=0.5, low=0, high=1, n=n),
        )  # fmt: skip
        evidence = partly(Evidence, slices=PairedSlices(slices=(part,)))
        result = apply_rule("negation", judge_negation, evidence, Margins())
        passed += int(count) * (result.outcome == "passed")
    # 200,000 draws: a standard error of 0.00035 at 2.5 %.
    assert passed / 200_000 == pytest.approx(row("negation", n, discordance)["gate"], abs=0.0012)


def test_the_bootstrap_that_the_gate_had() -> None:
    # What it said of one question won in ten, and of none: nothing is lost; the rule of three.
    assert percentile_bootstrap(0, 1, 10) == 0
    assert percentile_bootstrap(0, 0, 299) == -3 / 299
    found = {
        n: max(row("accuracy", n, d)["false_pass"]["percentile bootstrap"] for d in DISCORDANCES)
        for n in SIZES
    }
    assert found[20] > 0.1
    assert found[300] > 0.05
