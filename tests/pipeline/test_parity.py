"""`medtune parity` on fakes: who stands in for whom."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import CommandLine

from medtune.core.schemas.compression import BUDGETS

WIDE = ("--loss", "0.07", "--agreement", "0.95")


def test_the_same_model_stands_in_for_itself(medtune: CommandLine) -> None:
    # Eighty questions exclude no loss below 5.7 points, and show no agreement above 95.5 %.
    found = medtune.record("parity", "fake:oracle", "fake:oracle", *WIDE)
    (row,) = found["rows"]
    assert row["agreement"]["value"] == 1
    assert (row["mean_drift"], row["broken"]) == (0, [])
    assert found["reference"]["accuracy"]["value"] == 1


def test_another_one_does_not_and_is_told_why(medtune: CommandLine) -> None:
    ask = ("parity", "fake:oracle", "fake:noisy", "fake:oracle", *WIDE, "--out", "p")
    code, out, err = medtune(*ask, "--json")
    assert code == 1
    assert "over budget: fake:noisy\n" in err
    noisy, oracle = json.loads(out)["rows"]
    assert len(noisy["broken"]) == 3
    assert oracle["broken"] == []
    page = Path("p/parity.html").read_text()
    assert "fake:noisy" in page
    # Given again it only reads what is there.
    _, _, err = medtune(*ask)
    assert err.count("still valid") == 3


def test_twenty_questions_do_not_show_that_it_is_fit(medtune: CommandLine) -> None:
    budget = BUDGETS["gguf-q4_1"]
    asked = (
        "--agreement", str(budget.agreement), "--loss", str(budget.loss),
        "--drift", str(budget.drift),
    )  # fmt: skip
    ask = ("parity", "fake:oracle", "fake:oracle", *asked, "--limit", "20")
    code, out, err = medtune(*ask, "--json")
    assert code == 1
    assert "over budget: fake:oracle" in err
    (row,) = json.loads(out)["rows"]
    assert row["broken"] == [
        "up to 20.0 points of accuracy may be lost, at most 3.0 allowed "
        "(156 questions or more can exclude it, not 20)"
    ]
    _, out, _ = medtune(*ask)
    assert "unfit: up to 20.0 points" in " ".join(out.split())


def test_free_answers_and_other_budgets_are_refused(medtune: CommandLine) -> None:
    code, _, err = medtune("parity", "fake:oracle", "fake:oracle", "--method", "generate")
    assert code == 2
    assert "no log-probabilities to compare" in err
    code, _, err = medtune("parity", "fake:oracle", "fake:oracle", "--agreement", "2")
    assert code == 2
    assert "--agreement" in err
