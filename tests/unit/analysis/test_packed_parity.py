from __future__ import annotations

import math
import statistics
from pathlib import Path

import pytest

from medtune.analysis.packed_parity import measure_parity
from medtune.analysis.pareto import dominates, make_bench_rows
from medtune.core.errors import PredictionsError
from medtune.core.intervals import wilson_interval
from medtune.core.predictions_io import Evaluation
from medtune.core.progress import NoProgress
from medtune.core.prompt import PromptStyle
from medtune.core.provenance import collect_provenance
from medtune.core.records import ModelDescription, Outcome, Prediction
from medtune.core.schemas.compression import (
    BUDGETS,
    SERVED_BUDGET,
    BenchRecord,
    BenchRow,
    Budget,
    ParityRecord,
    Scheme,
    budget_violations,
)
from medtune.data.load import load_split
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_model
from medtune.models.fake import FakeModel
from medtune.reports.bench import write_bench
from medtune.reports.parity import write_parity

BUDGET = Budget(agreement=0.9, loss=0.07, drift=0.1)


def sat(method: str = "letter", kind: str = "noisy") -> Evaluation:
    split = load_split("starter:recall")
    key = {q.id: q.answer_text for q in split.questions}
    exam = Exam(split.questions, split.description, PromptStyle(), method, "sum")  # type: ignore[arg-type]
    return evaluate_model(FakeModel(kind, key), exam, "original", STRICT_PARSER, NoProgress())


def changed(some: Evaluation, count: int, by: float) -> Evaluation:
    """Move the likeliest option of the first few questions down, so that another is chosen."""
    record, predictions = some
    moved = []
    for place, p in enumerate(predictions):
        assert p.logprobs is not None
        assert p.chosen is not None
        logs = list(p.logprobs)
        chosen = p.chosen
        if place < count:
            logs[p.chosen] -= by
            chosen = (p.chosen + 1) % len(logs)
        right = Outcome.CORRECT if chosen == p.answer else Outcome.WRONG
        moved.append(
            p.model_copy(update={"logprobs": tuple(logs), "chosen": chosen, "outcome": right})
        )
    return Evaluation(record, moved)


def test_the_same_answers_are_fit_and_nothing_moved() -> None:
    original = sat()
    row = measure_parity("same", original, original, BUDGET)
    assert row.agreement.value == 1
    assert (row.mean_drift, row.max_drift, row.calibration_shift) == (0, 0, 0)
    assert row.comparison.difference == 0
    assert row.meets_budget


def test_agreement_and_drift_are_counted_by_hand() -> None:
    original = sat()
    n = len(original[1])
    options = sum(len(p.options) for p in original[1])
    row = measure_parity("moved", original, changed(original, 4, 0.5), BUDGET, file_bytes=7)
    assert row.agreement == wilson_interval(n - 4, n)
    assert row.mean_drift == pytest.approx(4 * 0.5 / options)
    # Four questions of four options with 0.5 in one of them, the others without; by question.
    per_question = [0.125] * 4 + [0.0] * (n - 4)
    error = statistics.stdev(per_question) / math.sqrt(n)
    assert row.drift_high == pytest.approx(row.mean_drift + 1.959964 * error, abs=1e-7)
    assert row.max_drift == pytest.approx(0.5)
    assert row.file_bytes == 7


def test_texts_are_counted_per_token() -> None:
    original = sat("cloze")
    tokens = original[1][0].tokens
    assert tokens is not None
    chosen = original[1][0].chosen
    assert chosen is not None
    row = measure_parity("moved", original, changed(original, 1, 3.0), BUDGET)
    assert row.max_drift == pytest.approx(3.0 / max(1, tokens[chosen]))


@pytest.mark.parametrize(
    ("budget", "broken"),
    [
        ({"agreement": 0.99}, "the same option on"),
        ({"loss": 0.001}, "points of accuracy may be lost"),
        ({"drift": 0.001}, "nats a token on average"),
    ],
)
def test_every_budget_can_be_broken_alone(budget: dict[str, float], broken: str) -> None:
    original = sat()
    wide = {"agreement": 0.0, "loss": 1.0, "drift": 9.0}
    row = measure_parity("moved", original, changed(original, 8, 1.0), Budget(**{**wide, **budget}))
    assert not row.meets_budget
    (said,) = row.broken
    assert broken in said


def test_a_loss_that_few_questions_cannot_exclude_counts() -> None:
    record, predictions = sat()
    few = predictions[:10]
    original = Evaluation(record, few)
    row = measure_parity("same", original, original, Budget(agreement=0, loss=0.01, drift=1))
    # Without a disagreement in ten questions Tango's interval excludes no loss below 34.5 points.
    assert row.broken == (
        "up to 34.5 points of accuracy may be lost, at most 1.0 allowed "
        "(476 questions or more can exclude it, not 10)",
    )


def test_one_question_won_in_twenty_is_no_proof_that_none_is_lost() -> None:
    record, predictions = sat()
    wrong = next(place for place, p in enumerate(predictions) if p.outcome is Outcome.WRONG)
    twenty = [predictions[wrong], *[p for p in predictions if p is not predictions[wrong]][:19]]
    won = twenty[0].model_copy(update={"chosen": twenty[0].answer, "outcome": Outcome.CORRECT})
    row = measure_parity(
        "gguf-q4_1",
        Evaluation(record, twenty),
        Evaluation(record, [won, *twenty[1:]]),
        BUDGETS["gguf-q4_1"],
    )
    # The percentile bootstrap never drew a loss: "points lost, at most 0.0", and fit.
    assert (row.comparison.only_a, row.comparison.only_b) == (0, 1)
    assert row.comparison.difference_low < -0.1
    assert not row.meets_budget


@pytest.mark.parametrize("scheme", BUDGETS)
def test_no_scheme_is_fit_by_twenty_questions_that_all_agree(scheme: Scheme) -> None:
    record, predictions = sat()
    original = Evaluation(record, predictions[:20])
    assert not measure_parity(scheme, original, original, BUDGETS[scheme]).meets_budget
    assert not measure_parity(
        scheme,
        Evaluation(record, predictions[:1]),
        Evaluation(record, predictions[:1]),
        SERVED_BUDGET,
    ).meets_budget


def test_one_question_of_one_shows_no_agreement() -> None:
    budget = Budget(agreement=0.98, loss=1.0, drift=0.05)
    (said,) = budget_violations(budget, wilson_interval(1, 1), 0.0, "nats")
    assert said == (
        "the same option on 2.5 % at least, 98.0 wanted (183 questions or more can show it, not 1)"
    )
    assert budget_violations(budget, wilson_interval(183, 183), 0.0, "nats") == ()
    assert (
        "too few for an interval"
        in budget_violations(budget, wilson_interval(183, 183), None, "nats")[0]
    )


def test_a_drift_that_a_few_questions_may_hide_is_over_budget() -> None:
    original = sat()
    n = len(original[1])
    row = measure_parity("moved", original, changed(original, 4, 1.0), BUDGET)
    assert row.drift_high is not None
    # Between the mean and its upper end: not shown to be within.
    between = Budget(agreement=0.0, loss=1.0, drift=(row.mean_drift + row.drift_high) / 2)
    assert n > 4
    assert measure_parity("moved", original, changed(original, 4, 1.0), between).broken == (
        f"log-probabilities move by up to {row.drift_high:.3f} nats a token on average, "
        f"at most {between.drift:.3f} allowed",
    )


def test_free_answers_have_nothing_to_compare() -> None:
    original = sat("generate", "oracle")
    with pytest.raises(PredictionsError, match="no log-probabilities"):
        measure_parity("free", original, original, BUDGET)


def test_other_questions_are_refused() -> None:
    record, predictions = sat()
    with pytest.raises(PredictionsError, match="the same questions"):
        measure_parity(
            "fewer", Evaluation(record, predictions), Evaluation(record, predictions[1:]), BUDGET
        )


def test_the_page_tells_who_is_unfit_and_why(tmp_path: Path) -> None:
    original = sat()
    rows = (
        measure_parity("merge", original, original, BUDGET, file_bytes=269_000_000),
        measure_parity("gguf-q4_1", original, changed(original, 40, 2.0), BUDGET),
    )
    record = ParityRecord(reference=original[0], rows=rows, provenance=collect_provenance())
    assert record.names_over_budget == ("gguf-q4_1",)
    page = tmp_path / "parity.html"
    write_parity(page, record)
    text = page.read_text()
    assert "unfit: the same option on 38.6 % at least, 90.0 wanted" in text
    assert ">269<" in text
    assert "gguf-q4_1: " in text
    assert "<svg" in text


def row(name: str, speed: float, peak: int, right: int) -> BenchRow:
    model = ModelDescription(
        source=name, fingerprint=name, parameters=1, dtype="int8", device="cpu"
    )
    return BenchRow(
        name=name,
        model=model,
        load_s=1.0,
        questions_per_s=speed,
        latency_p50_s=0.05,
        latency_p95_s=0.09,
        latency_n=50,
        threads=2,
        peak_memory_bytes=peak,
        file_bytes=None,
        accuracy=wilson_interval(right, 100),
        agreement=wilson_interval(100, 100),
    )


def test_who_is_better_in_everything_beats() -> None:
    fast = row("fast", 20.0, 500, 40)
    assert dominates(fast, row("slow", 10.0, 500, 40))
    assert not dominates(fast, row("small", 10.0, 400, 40))
    assert not dominates(fast, row("right", 10.0, 500, 41))
    assert not dominates(fast, fast)


def test_agreement_is_with_the_first_and_the_front_is_marked(
    tmp_path: Path,
) -> None:
    _, predictions = sat()
    others: list[Prediction] = list(changed(sat(), 20, 1.0)[1])
    rows = make_bench_rows(
        [
            (row("first", 10.0, 500, 40), predictions),
            (row("second", 20.0, 400, 40), others),
        ]
    )
    n = len(predictions)
    assert [r.agreement for r in rows] == [wilson_interval(n, n), wilson_interval(n - 20, n)]
    assert [r.pareto for r in rows] == [False, True]
    data = sat()[0].data
    record = BenchRecord(data=data, method="letter", rows=rows, provenance=collect_provenance())
    page = tmp_path / "bench.html"
    write_bench(page, record)
    assert "second: 20.0 questions/s in 0 MB, 40.0 % right" in page.read_text()
