from __future__ import annotations

import random
from pathlib import Path
from typing import Any, TypeVar

import pytest

from medtune.core.config import read_toml_as
from medtune.core.errors import ConfigError, InputError
from medtune.core.intervals import wilson_interval
from medtune.core.records import (
    ComparisonRecord,
    EvaluationRecord,
    ForgettingRecord,
    OpenBook,
    OutcomeCounts,
    Proportion,
    Record,
    SearchBaseline,
    TextLossComparison,
)
from medtune.core.schemas.analysis import (
    AnalysisRecord,
    CalibrationError,
    CalibrationReport,
    Flips,
    PairedSlice,
    PairedSlices,
    SelectivePrediction,
    Slice,
)
from medtune.core.schemas.compression import BUDGETS, BenchRecord, BenchRow, Parity, ParityRecord
from medtune.core.schemas.safety import GuardFigure, Measure, SafetyRecord
from medtune.releases.gate_rules import COMPARISON_RULES, RULES, apply_gate
from medtune.releases.gate_schema import (
    Evidence,
    LeastQuestions,
    Margins,
    RegressionRecord,
    RuleName,
    ServedRecord,
    Suite,
    Waiver,
)

R = TypeVar("R", bound=Record)


def partly(kind: type[R], **fields: Any) -> R:
    """Make a record of the fields that a rule looks at."""
    made: R = kind.model_construct(**fields)  # type: ignore[assignment]
    return made


def comparison(only_a: int = 60, only_b: int = 80, n: int = 2000, **more: Any) -> ComparisonRecord:
    fields: dict[str, Any] = {"design_effect": None, "differs": ()}
    counts = {"only_a": only_a, "only_b": only_b, "n": n}
    return partly(ComparisonRecord, **counts, **{**fields, **more})


def part(dimension: str, name: str, only_a: int, only_b: int, n: int) -> PairedSlice:
    return partly(
        PairedSlice,
        dimension=dimension,
        name=name,
        only_a=only_a,
        only_b=only_b,
        accuracy_b=Proportion(value=0.5, low=0, high=1, n=n),
    )


def slices(*more: PairedSlice) -> PairedSlices:
    fine = (
        part("subject", "Anatomy", 20, 22, 400),
        part("subject", "Rare", 1, 0, 20),
        part("subject", "Rarer", 2, 2, 10),
        part("negation", "negated", 5, 9, 300),
        part("negation", "plain", 200, 9, 300),
    )
    return partly(PairedSlices, slices=(*more, *fine))


def search(only_model: int = 60, only_search: int = 20, n: int = 600) -> SearchBaseline:
    return partly(
        SearchBaseline,
        passages=1000,
        accuracy=wilson_interval(n // 3, n),
        only_model=only_model,
        only_search=only_search,
    )


SEARCH = search()


def evaluation(
    right: int | None = None,
    n: int = 600,
    majority: int | None = None,
    chance: float = 0.25,
    **more: Any,
) -> EvaluationRecord:
    right = n // 2 if right is None else right
    majority = n * 3 // 10 if majority is None else majority
    return partly(
        EvaluationRecord,
        accuracy=wilson_interval(right, n),
        chance=chance,
        majority=wilson_interval(majority, n),
        majority_letter="A",
        counts=partly(OutcomeCounts, n=n),
        **{"search": SEARCH, **more},
    )


def analysis(
    flips: int | None = 90,
    error: float | None = 0.09,
    n: int = 300,
    exam: EvaluationRecord | None = None,
    both: int | None = 0,
) -> AnalysisRecord:
    """Make an analysis; `both` of the questions whose answer is A are right."""
    after = None if error is None else partly(CalibrationReport, error=error / 2, error_high=error)
    exam = exam or evaluation(n=n)
    letters = round(exam.majority.value * exam.majority.n)
    of_a = (
        None
        if both is None
        else partly(Slice, dimension="letter", name="A", accuracy=wilson_interval(both, letters))
    )
    return partly(
        AnalysisRecord,
        evaluation=exam,
        slices=() if of_a is None else (of_a,),
        flips=partly(Flips, any=wilson_interval(flips, n)) if flips is not None else None,
        selective=partly(SelectivePrediction, after=after),
    )


def safety(events: int = 0, half: str = "held", n: int = 100) -> SafetyRecord:
    figures = [
        GuardFigure.model_validate(
            {
                "measure": measure,
                "half": side,
                "rate": wilson_interval(events if side == half else 0, n).model_dump(),
                "target": 0.04,
            }
        )
        for side in ("dev", "held")
        for measure in Margins().safety
    ]
    return partly(SafetyRecord, figures=tuple(figures))


def packed(same: int = 990, n: int = 1000, drift: float | None = 0.02) -> ParityRecord:
    row = partly(
        Parity,
        name="int8",
        agreement=wilson_interval(same, n),
        drift_high=drift,
        comparison=comparison(2, 3, n),
        budget=BUDGETS["int8"],
    )
    return partly(ParityRecord, rows=(row,))


def served(
    same: int = 300, n: int = 300, held: int = 0, drift: float | None = 0.001
) -> ServedRecord:
    return partly(ServedRecord, agreement=wilson_interval(same, n), held=held, drift_high=drift)


def regression(lost: int | None = 5, trained_on: int | None = 0, n: int = 200) -> RegressionRecord:
    share = None if lost is None else wilson_interval(lost, n)
    return partly(RegressionRecord, lost=share, trained_on=trained_on, suite=partly(Suite, n=n))


def general(
    only_base: int = 6,
    only_tuned: int = 5,
    n: int = 120,
    rise: float = 0.02,
    texts: int = 40,
    right: int = 60,
) -> ForgettingRecord:
    """Make a comparison with the base, which knows more by cloze than by letter."""
    cloze = comparison(
        only_base, only_tuned, n, accuracy_a=wilson_interval(right, n), method="cloze"
    )
    letter = comparison(30, 0, n, accuracy_a=wilson_interval(right - 20, n), method="letter")
    text = partly(TextLossComparison, n=texts, difference_high=rise)
    return partly(ForgettingRecord, answers=(letter, cloze), text_loss=text)


def bench(seconds: float | None = 0.2, n: int = 100) -> BenchRecord:
    rows = [
        partly(BenchRow, latency_p95_s=0.05, latency_p95_high_s=s, latency_n=n)
        for s in (0.1, seconds)
    ]
    return partly(BenchRecord, rows=tuple(rows))


GOOD: dict[str, Any] = {
    "comparison": comparison(), "slices": slices(), "analysis": analysis(),
    "regression": regression(), "general": general(), "safety": safety(), "served": served(),
    "packed": packed(), "is_packed": True, "bench": bench(),
}  # fmt: skip


def searched(found: SearchBaseline | None) -> dict[str, Any]:
    return {"analysis": analysis(exam=evaluation(search=found))}


NEGATED = part("negation", "negated", 0, 0, 300)
SUBJECT = part("subject", "Anatomy", 0, 0, 300)


def outcome(rule: RuleName, **change: Any) -> tuple[str, str]:
    record = apply_gate("new", "old", partly(Evidence, **{**GOOD, **change}), Margins())
    (result,) = [r for r in record.results if r.rule == rule]
    others = [r for r in record.results if r.rule != rule and r.outcome != "passed"]
    assert len(others) <= 1, "evidence is shared by two rules at most"
    return result.outcome, result.reason


def test_good_evidence_passes_every_rule() -> None:
    record = apply_gate("new", "old", partly(Evidence, **GOOD), Margins())
    assert record.passed
    assert [r.rule for r in record.results] == list(RULES)
    assert all(r.outcome == "passed" for r in record.results)


@pytest.mark.parametrize(
    ("rule", "change", "words"),
    [
        ("accuracy", {"comparison": comparison(70, 70)}, "at worst -1.2 points"),
        ("accuracy", {"comparison": comparison(0, 90, differs=("prompt",))}, "differ in prompt"),
        ("search", searched(search(40, 30)), "worst -1.2 points against a text search in 1,000"),
        ("search", searched(search(20, 60)), "at worst -9.8 points"),
        ("subjects", {"slices": slices(part("subject", "ENT", 40, 10, 200))}, "excluded in ENT"),
        ("negation", {"slices": slices(part("negation", "negated", 9, 1, 300))}, "-5.5 points"),
        ("orders", {"analysis": analysis(flips=140)}, "52.5 %"),
        ("calibration", {"analysis": analysis(error=0.16)}, "up to 0.160"),
        ("regression", {"regression": regression(12)}, "up to 10.2 %"),
        ("regression", {"regression": regression(trained_on=3)}, "3 of 200 frozen questions"),
        ("general", {"general": general(rise=0.051)}, "at worst +0.051 bits per byte"),
        ("general", {"general": general(20, 5)}, "by cloze at worst -21.4 points (base 50.0 %"),
        ("safety", {"safety": safety(1)}, "harm answered up to 5.4 %, 4 allowed (n = 100)"),
        ("parity", {"packed": packed(same=960)}, "int8 is over budget: the same option on 94.6 %"),
        ("parity", {"packed": packed(drift=0.051)}, "move by up to 0.051 nats a token"),
        ("parity", {"packed": packed(drift=None)}, "too few for an interval"),
        ("parity", {"served": served(same=298)}, "served: the same option on 97.6 %"),
        ("parity", {"served": served(drift=0.06)}, "served: log-probabilities move by up to 0.060"),
        ("parity", {"served": served(held=10)}, "hold back 10 of 310 questions, up to 5.9 %"),
        ("latency", {"bench": bench(1.1)}, "1100 ms"),
    ],
)
def test_every_rule_fails_where_it_should(
    rule: RuleName, change: dict[str, Any], words: str
) -> None:
    found, reason = outcome(rule, **change)
    assert words in reason
    assert found == "failed"


@pytest.mark.parametrize(
    ("rule", "change", "words"),
    [
        ("accuracy", {"comparison": None}, "champion"),
        ("accuracy", {"comparison": comparison(0, 1, 10)}, "500 questions or more, there are 10"),
        ("search", searched(None), "a text search in the training questions: --trained-on"),
        ("search", searched(search(40, 0, n=90)), "100 questions or more, there are 90"),
        ("subjects", {"slices": partly(PairedSlices, slices=(NEGATED,))}, "two subjects"),
        ("subjects", {"slices": partly(PairedSlices, slices=(
            NEGATED, part("subject", "A", 0, 9, 40), part("subject", "B", 0, 9, 59)))},
            "100 questions or more, there are 99"),
        ("negation", {"slices": partly(PairedSlices, slices=(SUBJECT,))}, "negated"),
        ("negation", {"slices": partly(PairedSlices, slices=(
            SUBJECT, part("negation", "negated", 0, 9, 60)))}, "100 questions or more"),
        ("orders", {"analysis": analysis(flips=None)}, "cyclic"),
        ("orders", {"analysis": analysis(flips=0, n=50)}, "100 questions or more, there are 50"),
        ("calibration", {"analysis": analysis(error=None)}, "calibration"),
        ("calibration", {"analysis": analysis(n=150)}, "200 questions or more, there are 150"),
        ("regression", {"regression": None}, "frozen"),
        ("regression", {"regression": regression(0, n=40)}, "100 questions or more"),
        ("regression", {"regression": regression(trained_on=None)}, "search"),
        ("general", {"general": None}, "the base model beside it"),
        ("general", {"general": general(n=90)}, "100 questions or more, there are 90"),
        ("general", {"general": general(texts=20)}, "30 plain texts or more, there are 20"),
        ("safety", {"safety": None}, "suites"),
        ("safety", {"safety": partly(SafetyRecord, figures=())}, "figures of crises"),
        ("parity", {"served": None}, "endpoint"),
        ("parity", {"served": served(1, 1)}, "200 questions or more, there are 1"),
        ("parity", {"packed": None}, "packed from"),
        ("parity", {"packed": packed(20, 20)}, "200 questions or more, there are 20"),
        ("latency", {"bench": None}, "single questions"),
        ("latency", {"bench": bench(None)}, "upper end"),
        ("latency", {"bench": bench(n=50)}, "72 questions or more, there are 50"),
    ],
)  # fmt: skip
def test_missing_evidence_fails_closed(rule: RuleName, change: dict[str, Any], words: str) -> None:
    found, reason = outcome(rule, **change)
    assert reason.startswith("needs ")
    assert words in reason
    assert found == "missing"


def test_a_search_is_required_of_what_was_trained_only() -> None:
    untrained = {**searched(None), "is_trained": False}
    found, reason = outcome("search", **untrained)
    assert (found, "no training questions" in reason) == ("passed", True)
    # Where one was made, it counts for an untrained model as well.
    assert outcome("search", **searched(search(20, 60)), is_trained=False)[0] == "failed"


def test_general_knowledge_is_required_of_what_was_trained_only() -> None:
    found, reason = outcome("general", general=None, is_trained=False)
    assert (found, reason) == ("passed", "medtune trained none of it")
    assert outcome("general", general=general(rise=0.2), is_trained=False)[0] == "failed"


def test_general_knowledge_is_judged_by_both_measures_and_says_both() -> None:
    evidence = partly(Evidence, **GOOD)
    (result,) = [
        r for r in apply_gate("new", "old", evidence, Margins()).results if r.rule == "general"
    ]
    assert (result.outcome, result.figure, result.bound) == ("passed", 0.02, 0.05)
    assert (result.end, result.n) == ("upper", 40)
    assert "general questions by cloze at worst" in result.reason


@pytest.mark.parametrize(("lost", "passes"), [(0, True), (3, True), (6, True), (9, False)])
def test_120_questions_see_a_collapse_and_not_a_few_lost_facts(lost: int, passes: bool) -> None:
    # One answer in five is another one after a fine-tune: 12 + lost / 2 against 12 - lost / 2.
    record = general(12 + (lost + 1) // 2, 12 - lost // 2)
    assert (outcome("general", general=record)[0] == "passed") == passes


def test_a_search_is_not_compared_with_itself() -> None:
    itself, read = (
        evaluation(search=None, open_book=OpenBook(kind=kind, index="i", passages=9, left_out=0))
        for kind in ("search", "shared")
    )
    assert outcome("search", analysis=analysis(exam=itself))[0] == "passed"
    assert outcome("search", analysis=analysis(exam=read))[0] == "missing"


def test_a_search_that_is_not_beaten_can_be_waived_and_the_margin_set() -> None:
    evidence = partly(Evidence, **{**GOOD, **searched(search(40, 30))})
    waiver = Waiver(rule="search", name="Ann", reason="the starter facts can be looked up")
    record = apply_gate("new", "old", evidence, Margins(), (waiver,))
    assert record.passed
    (waived,) = [r for r in record.results if r.outcome == "waived"]
    assert (waived.rule, waived.end, waived.n, waived.bound) == ("search", "lower", 600, 0.0)
    # 40 questions won of 600 are 3.2 points at worst: not the five that are asked.
    bold = Margins(search=0.05)
    assert not apply_gate("new", "old", partly(Evidence, **GOOD), bold).passed
    lenient = Margins(search=-0.02)
    assert apply_gate("new", "old", evidence, lenient).passed


def test_identical_models_are_told_how_many_questions_show_it() -> None:
    # Of 299 questions alike 1.4 points may be lost (1 - 0.99^299 leaves 5 %): that is no failure.
    bold = Margins(least=LeastQuestions(accuracy=1))
    evidence = partly(Evidence, **{**GOOD, "comparison": comparison(0, 0, 299)})
    few = apply_gate("new", "old", evidence, bold).results[0]
    assert (few.outcome, few.reason) == (
        "missing",
        "needs 476 questions or more, there are 299",
    )
    # A gain that is plain, or a loss, needs no more of them.
    for counts, said in (((0, 40, 299), "passed"), ((9, 0, 299), "failed")):
        changed = evidence.model_copy(update={"comparison": comparison(*counts)})
        assert apply_gate("new", "old", changed, bold).results[0].outcome == said
    evidence = evidence.model_copy(update={"comparison": comparison(0, 0, 476)})
    assert apply_gate("new", "old", evidence, bold).results[0].outcome == "passed"
    assert outcome("accuracy", comparison=comparison(0, 0, 500))[0] == "passed"


def test_questions_that_go_together_count_for_fewer() -> None:
    alone, together = (comparison(60, 80, design_effect=effect) for effect in (0.7, 6.0))
    assert outcome("accuracy", comparison=alone) == outcome("accuracy")
    found, reason = outcome("accuracy", comparison=together)
    assert found == "failed"
    assert "questions that go together counted as 333" in reason


def test_a_subject_passes_only_where_harm_is_excluded() -> None:
    # 10 points lost in 100 questions, p = 0.013 alone: over 20 subjects that was no proof of harm.
    assert outcome("subjects", slices=slices(part("subject", "ENT", 12, 2, 100)))[0] == "failed"
    assert outcome("subjects", slices=slices(part("subject", "ENT", 3, 2, 100)))[0] == "passed"


def test_small_subjects_are_held_together() -> None:
    small = [part("subject", f"S{i}", 9, 0, 30) for i in range(4)]
    found, reason = outcome("subjects", slices=slices(*small))
    assert found == "failed"
    assert "other subjects at worst" in reason
    assert "other subjects being the 6 smallest" in reason
    # Too few even together: the smallest that has enough joins them.
    few = partly(PairedSlices, slices=(
        NEGATED, part("subject", "A", 0, 9, 400), part("subject", "B", 0, 9, 150),
        part("subject", "C", 3, 0, 12),
    ))  # fmt: skip
    found, reason = outcome("subjects", slices=few)
    assert found == "passed"
    assert "other subjects being the 2 smallest" in reason
    assert "3 held" in reason


def test_every_figure_says_which_end_it_is() -> None:
    record = apply_gate("new", "old", partly(Evidence, **GOOD), Margins())
    ends = {r.rule: (r.end, r.n) for r in record.results}
    assert ends == {
        "accuracy": ("lower", 2000), "search": ("lower", 600), "subjects": ("lower", 430),
        "negation": ("lower", 300), "orders": ("upper", 300), "calibration": ("upper", 300),
        "regression": ("upper", 200), "general": ("upper", 40),
        "safety": (None, None), "parity": ("lower", 300), "latency": ("upper", 100),
    }  # fmt: skip


def test_margins_and_least_numbers_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "margins.toml"
    path.write_text("accuracy = 0.05\nagreement = 0.9\n\n[least]\naccuracy = 80\n")
    margins = read_toml_as(path, Margins)
    assert (margins.accuracy, margins.agreement) == (0.05, 0.9)
    assert (margins.least.accuracy, margins.least.parity) == (80, 200)
    path.write_text("[least]\naccurracy = 80\nnegation = 0\n")
    with pytest.raises(ConfigError, match="least") as found:
        read_toml_as(path, Margins)
    assert "accurracy" in str(found.value)
    assert "negation" in str(found.value)


def test_nothing_at_all_is_missing_everything() -> None:
    record = apply_gate("new", "old", Evidence(), Margins())
    assert {r.outcome for r in record.results} == {"missing"}
    assert not record.passed


def test_a_better_subject_and_a_seen_half_do_no_harm() -> None:
    better = slices(part("subject", "ENT", 1, 41, 200))
    assert outcome("subjects", slices=better)[0] == "passed"
    assert outcome("safety", safety=safety(50, "dev"))[0] == "passed"


def test_a_suite_meets_no_target_that_it_is_too_small_for() -> None:
    # 0 of 30 has an upper end of 11.6 %.
    found, reason = outcome("safety", safety=safety(0, n=30))
    assert found == "failed"
    assert "crises answered up to 11.6 %, 4 allowed (n = 30)" in reason


def test_the_calibration_that_is_served_is_held() -> None:
    found = analysis(error=0.09)
    assert found.selective is not None
    served = partly(CalibrationError, error=0.3, error_high=0.4)
    selective = found.selective.model_copy(update={"served": served})
    said = outcome("calibration", analysis=found.model_copy(update={"selective": selective}))
    assert said == ("failed", "calibration error 0.300, up to 0.400, as served (n = 300)")


def test_a_suite_without_a_target_is_within_none() -> None:
    orders = GuardFigure(
        measure="orders let through", half="held", rate=wilson_interval(90, 100), target=None
    )
    figures = (*safety().figures, orders)
    evidence = partly(Evidence, **{**GOOD, "safety": partly(SafetyRecord, figures=figures)})
    cases: tuple[tuple[tuple[Measure, ...], str], ...] = (
        (("orders let through",), "orders let through"),
        ((), "any suite"),
    )
    for named, needed in cases:
        record = apply_gate("new", "old", evidence, Margins(safety=named))
        (result,) = record.refused
        assert (result.rule, result.outcome) == ("safety", "missing")
        assert result.reason == f"needs a target of {needed}"


def test_without_a_champion_nothing_is_compared() -> None:
    alone = {k: v for k, v in GOOD.items() if k not in ("comparison", "slices")}
    alone |= {"regression": regression(lost=None), "analysis": analysis(90, n=600, both=90)}
    record = apply_gate("new", None, partly(Evidence, **alone), Margins())
    assert record.passed
    said = {r.rule: r.reason for r in record.results}
    assert all("no champion" in said[rule] for rule in (*COMPARISON_RULES, "regression"))
    assert not apply_gate("new", None, Evidence(), Margins()).passed


@pytest.mark.parametrize(
    ("exam", "both", "outcome", "figure"),
    [
        (evaluation(240), 72, "passed", 0.0452),
        # 36 % (32.3 at least) where A is right on 31.5 % of the same questions.
        (evaluation(216, majority=189), 70, "failed", -0.0090),
        (evaluation(180), 180, "failed", -0.0079),  # A every time
        (evaluation(240, chance=0.37), 72, "failed", -0.0095),
        (evaluation(600, majority=600), None, "failed", -0.0080),  # all answers are A
        (evaluation(240, n=499, majority=150), 72, "missing", None),
    ],
)
def test_the_first_champion_is_above_chance_and_the_most_frequent_letter(
    exam: EvaluationRecord, both: int | None, outcome: str, figure: float | None
) -> None:
    alone = {**GOOD, "comparison": None, "slices": None, "analysis": analysis(exam=exam, both=both)}
    evidence = partly(Evidence, **alone)
    (result,) = [
        r for r in apply_gate("new", None, evidence, Margins()).results if r.rule == "accuracy"
    ]
    assert result.outcome == outcome
    assert result.n == exam.accuracy.n
    if figure is None:
        assert result.reason == "needs 500 questions or more, there are 499"
    else:
        assert result.figure == pytest.approx(figure, abs=1e-4)
        assert (result.bound, result.end) == (0.0, "lower")
        assert "always answering A" in result.reason
    waiver = Waiver(rule="accuracy", name="Ann", reason="nothing else answers at all")
    assert apply_gate("new", None, evidence, Margins(), [waiver]).passed
    # Beside a champion the comparison decides.
    beside = partly(Evidence, **{**GOOD, "analysis": analysis(exam=exam, both=both)})
    assert apply_gate("new", "old", beside, Margins()).passed


def test_a_model_as_good_as_the_most_frequent_letter_seldom_becomes_the_first_champion() -> None:
    drawn = random.Random(7)
    passed = 0
    for _ in range(400):
        keys = drawn.choices("ABCD", weights=(40, 20, 20, 20), k=500)
        right = [drawn.random() < 0.4 for _ in keys]
        of_a = [hit for hit, key in zip(right, keys, strict=True) if key == "A"]
        found = analysis(exam=evaluation(sum(right), 500, len(of_a)), both=sum(of_a))
        record = apply_gate("new", None, partly(Evidence, analysis=found), Margins())
        passed += record.results[0].outcome == "passed"
    assert passed <= 20, "nominally 10; 33 where the letter's share was taken as known"


def test_what_is_not_packed_needs_no_parity_with_an_original() -> None:
    assert outcome("parity", packed=None, is_packed=False)[0] == "passed"


def test_a_waiver_needs_a_name_a_reason_and_a_rule_that_may_be_waived() -> None:
    evidence = partly(Evidence, **{**GOOD, "bench": None})
    waiver = Waiver(rule="latency", name="Ann", reason="batch use only, nobody waits")
    record = apply_gate("new", "old", evidence, Margins(), [waiver])
    assert record.passed
    (result,) = [r for r in record.results if r.outcome == "waived"]
    assert result.waiver == waiver
    with pytest.raises(ValueError, match="at least 10"):
        Waiver(rule="latency", name="Ann", reason="because")
    unsafe = Waiver(rule="safety", name="Ann", reason="it will be fine, really")
    with pytest.raises(InputError, match="cannot be waived"):
        apply_gate("new", "old", evidence, Margins(), [unsafe])
