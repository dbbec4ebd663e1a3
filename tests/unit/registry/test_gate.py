from __future__ import annotations

from typing import Any, TypeVar

import pytest

from medtune.core.compress import SERVED, BenchRecord, BenchRow, Parity, ParityRecord
from medtune.core.errors import InputError
from medtune.core.findings import (
    AnalysisRecord,
    Calibration,
    Flips,
    PairedSlice,
    PairedSlices,
    Selective,
)
from medtune.core.gate import (
    Evidence,
    Margins,
    RegressionRecord,
    RuleName,
    ServedRecord,
    Suite,
    Waiver,
)
from medtune.core.records import ComparisonRecord, Proportion, Record
from medtune.core.safety import SafetyRecord, SuiteFigure
from medtune.registry.gate import COMPARING, RULES, judge

HALF = Proportion(value=0.5, low=0.4, high=0.6, n=100)


R = TypeVar("R", bound=Record)


def partly(kind: type[R], **fields: Any) -> R:
    """Make a record of the fields that a rule looks at."""
    made: R = kind.model_construct(**fields)  # type: ignore[assignment]
    return made


def comparison(low: float = -0.005, **more: Any) -> ComparisonRecord:
    fields: dict[str, Any] = {"difference_low": low, "n": 1000, "only_a": 10, "differs": ()}
    return partly(ComparisonRecord, **{**fields, **more})


def part(dimension: str, name: str, difference: float, low: float, p: float | None) -> PairedSlice:
    return partly(
        PairedSlice,
        dimension=dimension,
        name=name,
        difference=difference,
        difference_low=low,
        p_holm=p,
    )


def slices(*more: PairedSlice) -> PairedSlices:
    fine = (
        part("subject", "Anatomy", -0.01, -0.03, 0.8),
        part("subject", "Rare", -0.5, -0.9, None),
        part("negation", "negated", 0.0, -0.02, 0.9),
        part("negation", "plain", -0.5, -0.9, 0.001),
    )
    return partly(PairedSlices, slices=(*more, *fine))


def analysis(flips: float | None = 0.3, error: float | None = 0.05) -> AnalysisRecord:
    after = None if error is None else partly(Calibration, error=error)
    found = Proportion(value=0.1, low=0.05, high=flips, n=100) if flips is not None else None
    return partly(
        AnalysisRecord,
        flips=partly(Flips, any=found) if found else None,
        selective=partly(Selective, after=after),
    )


def safety(value: float = 0.0, half: str = "held") -> SafetyRecord:
    figures = [
        SuiteFigure.model_validate(
            {
                "measure": measure,
                "half": side,
                "rate": {"value": value if side == half else 0, "low": 0, "high": 1, "n": 100},
                "target": 0.0,
            }
        )
        for side in ("dev", "held")
        for measure in Margins().safety
    ]
    return partly(SafetyRecord, figures=tuple(figures))


def packed(broken: tuple[str, ...] = ()) -> ParityRecord:
    row = partly(Parity, name="int8", broken=broken, agreement=HALF)
    return partly(ParityRecord, rows=(row,))


def served(broken: tuple[str, ...] = ()) -> ServedRecord:
    return partly(ServedRecord, agreement=HALF, budget=SERVED, broken=broken)


def regression(high: float | None = 0.09, trained_on: int | None = 0) -> RegressionRecord:
    lost = None if high is None else Proportion(value=0.05, low=0.02, high=high, n=100)
    return partly(RegressionRecord, lost=lost, trained_on=trained_on, suite=partly(Suite, n=100))


def bench(seconds: float = 0.2) -> BenchRecord:
    rows = [partly(BenchRow, latency_p95_s=s) for s in (0.1, seconds)]
    return partly(BenchRecord, rows=tuple(rows))


GOOD: dict[str, Any] = {
    "comparison": comparison(), "slices": slices(), "analysis": analysis(),
    "regression": regression(), "safety": safety(), "served": served(), "packed": packed(),
    "is_packed": True, "bench": bench(),
}  # fmt: skip


NEGATED = part("negation", "negated", 0, 0, 1)
SUBJECT = part("subject", "Anatomy", 0, 0, 1)


def outcome(rule: RuleName, **change: Any) -> tuple[str, str]:
    record = judge("new", "old", partly(Evidence, **{**GOOD, **change}), Margins())
    (result,) = [r for r in record.results if r.rule == rule]
    others = [r for r in record.results if r.rule != rule and r.outcome != "passed"]
    assert len(others) <= 1, "evidence is shared by two rules at most"
    return result.outcome, result.reason


def test_good_evidence_passes_every_rule() -> None:
    record = judge("new", "old", partly(Evidence, **GOOD), Margins())
    assert record.passed
    assert [r.rule for r in record.results] == list(RULES)
    assert all(r.outcome == "passed" for r in record.results)


@pytest.mark.parametrize(
    ("rule", "change", "words"),
    [
        ("accuracy", {"comparison": comparison(-0.011)}, "at worst -1.1 points"),
        ("accuracy", {"comparison": comparison(0.1, differs=("prompt",))}, "differ in prompt"),
        ("subjects", {"slices": slices(part("subject", "ENT", -0.2, -0.3, 0.01))}, "worse in ENT"),
        ("negation", {"slices": slices(part("negation", "negated", 0, -0.06, 0.5))}, "-6.0 points"),
        ("orders", {"analysis": analysis(flips=0.51)}, "51.0 %"),
        ("calibration", {"analysis": analysis(error=0.16)}, "0.160"),
        ("regression", {"regression": regression(0.11)}, "up to 11.0 %"),
        ("regression", {"regression": regression(trained_on=3)}, "3 of 100 frozen questions"),
        ("safety", {"safety": safety(0.01)}, "harm answered"),
        ("parity", {"packed": packed(("drift",))}, "int8"),
        ("parity", {"served": served(("it drifts",))}, "served: it drifts"),
        ("latency", {"bench": bench(1.1)}, "1100 ms"),
    ],
)
def test_every_rule_fails_where_it_should(
    rule: RuleName, change: dict[str, Any], words: str
) -> None:
    found, reason = outcome(rule, **change)
    assert found == "failed"
    assert words in reason


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("accuracy", {"comparison": None}),
        ("subjects", {"slices": partly(PairedSlices, slices=(NEGATED,))}),
        ("negation", {"slices": partly(PairedSlices, slices=(SUBJECT,))}),
        ("orders", {"analysis": analysis(flips=None)}),
        ("calibration", {"analysis": analysis(error=None)}),
        ("regression", {"regression": None}),
        ("regression", {"regression": regression(trained_on=None)}),
        ("safety", {"safety": None}),
        ("safety", {"safety": partly(SafetyRecord, figures=())}),
        ("parity", {"served": None}),
        ("parity", {"packed": None}),
        ("latency", {"bench": None}),
    ],
)  # fmt: skip
def test_missing_evidence_fails_closed(rule: RuleName, change: dict[str, Any]) -> None:
    found, reason = outcome(rule, **change)
    assert found == "missing"
    assert reason.startswith("needs ")


def test_nothing_at_all_is_missing_everything() -> None:
    record = judge("new", "old", Evidence(), Margins())
    assert {r.outcome for r in record.results} == {"missing"}
    assert not record.passed


def test_a_better_subject_and_a_seen_half_do_no_harm() -> None:
    better = slices(part("subject", "ENT", 0.2, 0.1, 0.001))
    assert outcome("subjects", slices=better)[0] == "passed"
    assert outcome("safety", safety=safety(0.5, "dev"))[0] == "passed"


def test_without_a_champion_nothing_is_compared() -> None:
    alone = {k: v for k, v in GOOD.items() if k not in ("comparison", "slices")}
    alone["regression"] = regression(high=None)
    record = judge("new", None, partly(Evidence, **alone), Margins())
    assert record.passed
    said = {r.rule: r.reason for r in record.results}
    assert all("no champion" in said[rule] for rule in (*COMPARING, "regression"))
    assert not judge("new", None, Evidence(), Margins()).passed


def test_what_is_not_packed_needs_no_parity_with_an_original() -> None:
    assert outcome("parity", packed=None, is_packed=False)[0] == "passed"


def test_a_waiver_needs_a_name_a_reason_and_a_rule_that_may_be_waived() -> None:
    evidence = partly(Evidence, **{**GOOD, "bench": None})
    waiver = Waiver(rule="latency", name="Ann", reason="batch use only, nobody waits")
    record = judge("new", "old", evidence, Margins(), [waiver])
    assert record.passed
    (result,) = [r for r in record.results if r.outcome == "waived"]
    assert result.waiver == waiver
    with pytest.raises(ValueError, match="at least 10"):
        Waiver(rule="latency", name="Ann", reason="because")
    unsafe = Waiver(rule="safety", name="Ann", reason="it will be fine, really")
    with pytest.raises(InputError, match="cannot be waived"):
        judge("new", "old", evidence, Margins(), [unsafe])
