from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from medtune.analysis.compare import (
    compare_evaluations,
    comparison_verdict,
    differing_aspects,
    mcnemar_exact,
    minimum_detectable_difference,
)
from medtune.core.errors import PredictionsError
from medtune.core.intervals import tango_interval, wilson_interval
from medtune.core.predictions_io import Evaluation
from medtune.core.prompt import PromptStyle
from medtune.core.records import (
    LogOrigin,
    Method,
    Outcome,
    Prediction,
    SearchBaseline,
    SplitDescription,
)
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import ExamResult, make_evaluation_record
from medtune.models.fake import FakeModel
from medtune.reports.comparison_folder import apply_holm_correction


def evaluation(
    label: str, right: Sequence[bool], method: Method = "letter", **changes: Any
) -> Evaluation:
    predictions = []
    for number, correct in enumerate(right):
        prediction = Prediction(
            stem="Why?",
            id=f"q{number}",
            subject=None,
            options=("Yes", "No"),
            answer=0,
            chosen=0 if correct else 1,
            outcome=Outcome.CORRECT if correct else Outcome.WRONG,
        )
        predictions.append(prediction.model_copy(update=changes))
    exam = Exam(
        questions=(),
        data=SplitDescription(source="starter:recall", n=len(right), excluded={}, hash="h"),
        style=PromptStyle(),
        method=method,
        normalization="byte",
    )
    record = make_evaluation_record(
        FakeModel("noisy", {}), exam, label, STRICT_PARSER, predictions, ExamResult(1.0)
    )
    return Evaluation(record, predictions)


def pair(both: int, only_a: int, only_b: int, neither: int) -> tuple[Evaluation, Evaluation]:
    a = [True] * (both + only_a) + [False] * (only_b + neither)
    b = [True] * both + [False] * only_a + [True] * only_b + [False] * neither
    return evaluation("base", a), evaluation("tuned", b)


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [
        (0, 0, 1.0),
        (3, 3, 1.0),  # the two tails together are everything
        (1, 0, 1.0),  # 2 * 1/2
        (0, 5, 0.0625),  # 2 * 1/32
        (0, 6, 0.03125),  # 2 * 1/64
        (1, 5, 0.21875),  # 2 * (1 + 6) / 64
        (1, 9, 0.021484375),  # 2 * (1 + 10) / 1024
        (2, 8, 0.109375),  # 2 * (1 + 10 + 45) / 1024
    ],
)
def test_mcnemar_by_hand(only_a: int, only_b: int, p: float) -> None:
    assert mcnemar_exact(only_a, only_b) == pytest.approx(p, abs=1e-12)
    assert mcnemar_exact(only_b, only_a) == pytest.approx(p, abs=1e-12)


def test_mcnemar_parity() -> None:
    for a in range(12):
        for b in range(12):
            if a + b == 0:
                continue
            tail = sum(math.comb(a + b, k) for k in range(min(a, b) + 1)) / 2 ** (a + b)
            assert mcnemar_exact(a, b) == pytest.approx(min(1.0, 2 * tail), abs=1e-12)
            assert mcnemar_exact(a, b) == pytest.approx(binomtest(b, a + b).pvalue, abs=1e-12)


def test_mcnemar_is_finite_for_whole_splits() -> None:
    assert 0 < mcnemar_exact(600, 697) < 0.01
    assert mcnemar_exact(0, 4183) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("only_a", "only_b", "n"), [(8, 20, 100), (3, 12, 60), (60, 80, 500)])
def test_the_interval_agrees_with_resampling_questions_where_many_are_discordant(
    only_a: int, only_b: int, n: int
) -> None:
    # The plain paired bootstrap: draw n questions with replacement, take the mean difference.
    differences = np.array([-1] * only_a + [1] * only_b + [0] * (n - only_a - only_b))
    rng = np.random.default_rng(7)
    means = differences[rng.integers(0, n, size=(10_000, n))].mean(axis=1)
    error = math.sqrt((only_a + only_b) / n / n)
    # Half a question's correction, and the score's skew, which falls with n.
    assert tango_interval(only_a, only_b, n) == pytest.approx(
        tuple(np.quantile(means, [0.025, 0.975])), abs=0.3 * error + 1 / n
    )


def test_one_question_won_in_ten_excludes_no_loss() -> None:
    # The percentile bootstrap said 0 to 0.3: it never draws a question that was lost.
    record = compare_evaluations(*pair(both=5, only_a=0, only_b=1, neither=4))
    assert record.difference_low < -0.2
    assert record.difference_high > 0.4


def test_identical_answers_have_an_interval_that_shrinks_with_their_number() -> None:
    lows = [
        compare_evaluations(*pair(n // 2, 0, 0, n - n // 2)).difference_low for n in (10, 299, 500)
    ]
    assert lows == sorted(lows)
    assert lows[1] < -0.01 < lows[2]


def together(rights: Sequence[bool], size: int) -> Evaluation:
    """Answer topics of `size` questions, all of a topic alike."""
    record, predictions = evaluation("x", [right for right in rights for _ in range(size)])
    named = [
        p.model_copy(update={"topic": f"topic {place // size}"})
        for place, p in enumerate(predictions)
    ]
    return Evaluation(record, named)


def test_questions_that_go_together_widen_the_variance_by_their_number() -> None:
    a, b = [True] * 40 + [False] * 10, [True] * 35 + [False] * 5 + [True] * 8 + [False] * 2
    alone, five = (compare_evaluations(together(a, size), together(b, size)) for size in (1, 5))
    assert alone.design_effect is None, "no two questions share a topic"
    # Of fifty clusters, and Student's t with 49 degrees: 2.00958 for 1.95996.
    assert five.design_effect == pytest.approx(5 * 50 / 49 * (2.00958 / 1.95996) ** 2, rel=1e-4)
    few = compare_evaluations(together(a[36:44], 5), together(b[36:44], 5)).design_effect
    assert few == pytest.approx(5 * 8 / 7 * (2.36462 / 1.95996) ** 2, rel=1e-4)
    same = compare_evaluations(together(a, 5), together(a, 5))
    assert same.design_effect is None, "there is no variance to widen"


@pytest.mark.parametrize(
    ("n", "points"),
    # (1.959964 + 0.841621) * sqrt(0.31 / n): 2.801585 * 0.556776 = 1.559856; / sqrt(n)
    # 20: 0.3488, 200: 0.1103, 1000: 0.04933, 4183: 0.02412
    [(200, 11.0), (1000, 4.9), (4183, 2.4)],
)
def test_minimum_detectable_at_31_percent_discordance(n: int, points: float) -> None:
    assert 100 * minimum_detectable_difference(round(0.31 * n), n) == pytest.approx(
        points, abs=0.05
    )


def test_minimum_detectable_of_the_notebooks_twenty() -> None:
    # 31 % of 20 is no whole number: 6 give 2.801585 * sqrt(0.30 / 20) = 34.3 points, 7 give 37.1;
    # scaled from n = 100, 31 % give 35.
    assert 100 * minimum_detectable_difference(6, 20) == pytest.approx(34.3, abs=0.05)
    assert 100 * minimum_detectable_difference(7, 20) == pytest.approx(37.1, abs=0.05)
    assert 100 * minimum_detectable_difference(31, 100) * math.sqrt(5) == pytest.approx(35, abs=0.2)


def test_minimum_detectable_without_disagreement_takes_the_rule_of_three() -> None:
    # 3 / 100: 2.801585 * sqrt(0.03 / 100) = 0.048525
    assert minimum_detectable_difference(0, 100) == pytest.approx(0.048525, abs=1e-6)
    assert minimum_detectable_difference(0, 2) == 1.0


def test_minimum_detectable_falls_with_power() -> None:
    # (1.959964 + 1.281552) * sqrt(0.2 / 100) = 0.144964
    assert minimum_detectable_difference(20, 100, power=0.9) == pytest.approx(0.144964, abs=1e-6)


def test_the_detectable_difference_is_found_with_80_percent_power() -> None:
    # Simulate: discordance 0.3, n = 400, true difference as the formula says.
    n, rate = 400, 0.3
    gap = minimum_detectable_difference(round(rate * n), n)
    draws = np.random.default_rng(5).multinomial(
        n, [(rate - gap) / 2, (rate + gap) / 2, 1 - rate], size=600
    )
    found = np.mean([mcnemar_exact(int(a), int(b)) < 0.05 for a, b, _ in draws])
    # Exact tests are a little conservative; 600 draws have a standard error of 1.6 %.
    assert 0.70 <= found <= 0.87


def test_compare_by_hand() -> None:
    a, b = pair(both=40, only_a=5, only_b=25, neither=30)
    record = compare_evaluations(a, b)
    assert (record.both, record.only_a, record.only_b, record.neither) == (40, 5, 25, 30)
    assert record.n == 100
    assert (record.a, record.b) == ("base", "tuned")
    assert (record.split, record.method) == ("starter:recall", "letter")
    assert record.accuracy_a.value == 0.45
    assert record.accuracy_b.value == 0.65
    assert record.difference == pytest.approx(0.20)
    assert record.difference_low < 0.20 < record.difference_high
    # 2 * sum(C(30, k), k = 0..5) / 2^30 = 2 * 174437 / 1073741824 = 0.000324915
    assert record.p_value == pytest.approx(0.000324915, abs=1e-9)
    # 2.801585 * sqrt(0.30 / 100) = 0.153449
    assert record.minimum_detectable == pytest.approx(0.153449, abs=1e-6)


def test_compare_is_antisymmetric() -> None:
    a, b = pair(10, 3, 9, 8)
    there, back = compare_evaluations(a, b), compare_evaluations(b, a)
    assert there.difference == -back.difference
    assert there.p_value == back.p_value
    assert (there.only_a, there.only_b) == (back.only_b, back.only_a)


def test_a_model_against_itself() -> None:
    a, _ = pair(10, 5, 0, 5)
    record = compare_evaluations(a, a)
    assert (record.only_a, record.only_b, record.difference, record.p_value) == (0, 0, 0.0, 1.0)
    assert record.verdict.startswith("No detectable change")


def test_the_order_of_the_lines_does_not_count() -> None:
    a, b = pair(10, 3, 9, 8)
    assert compare_evaluations(a, Evaluation(b[0], b[1][::-1])) == compare_evaluations(a, b)


def test_unparsed_counts_as_not_right() -> None:
    a = evaluation("base", [True] * 4)
    b = evaluation("tuned", [True] * 4, chosen=None, outcome=Outcome.UNPARSED)
    record = compare_evaluations(a, b)
    assert (record.only_a, record.accuracy_b.value) == (4, 0.0)


def test_different_questions_are_refused() -> None:
    a, b = evaluation("base", [True] * 5), evaluation("tuned", [True] * 6)
    with pytest.raises(PredictionsError, match=r"(?s)5 questions, tuned 6; 5 are the same"):
        compare_evaluations(a, b)


@pytest.mark.parametrize(
    "changes", [{"options": ("No", "Yes"), "answer": 1}, {"answer": 1}, {"options": ("Yes", "Nay")}]
)
def test_another_order_or_another_key_is_another_question(changes: dict[str, Any]) -> None:
    a, b = evaluation("base", [True] * 5), evaluation("tuned", [True] * 5, **changes)
    with pytest.raises(PredictionsError, match="0 are the same"):
        compare_evaluations(a, b)


def test_different_methods_are_refused() -> None:
    a, b = evaluation("base", [True] * 5), evaluation("tuned", [True] * 5, method="cloze")
    with pytest.raises(PredictionsError, match="base was evaluated by letter, tuned by cloze"):
        compare_evaluations(a, b)


@pytest.mark.parametrize(
    ("counts", "start"),
    [
        ((40, 5, 25, 30), "tuned is better than base by 20.0 points (95 % interval +"),
        ((40, 25, 5, 30), "tuned is worse than base by 20.0 points (95 % interval -"),
        ((40, 10, 12, 38), "No detectable change: tuned is +2.0 points from base (95 % interval -"),
        ((40, 12, 10, 38), "No detectable change: tuned is -2.0 points from base (95 % interval -"),
    ],
)
def test_verdict_sentences(counts: tuple[int, int, int, int], start: str) -> None:
    sentence = compare_evaluations(*pair(*counts)).verdict
    assert sentence.startswith(start)
    assert sentence.endswith(".")
    assert "n = 100" in sentence
    assert "exact McNemar p" in sentence
    # 2.801585 * sqrt(0.22 / 100) = 13.1 points
    power = "80 % power only for true differences of 13.1 points or more"
    assert (power in sentence) == (sum(counts[1:3]) == 22)


def test_the_verdict_writes_small_p_values_as_a_bound() -> None:
    tiny = comparison_verdict("base", "tuned", 0.5, 0.4, 0.6, 0.00001, 0.1, 80)
    assert tiny == (
        "tuned is better than base by 50.0 points "
        "(95 % interval +40.0 to +60.0, exact McNemar p < 0.0001, n = 80)."
    )
    assert "p = 0.0500" in comparison_verdict("base", "tuned", 0.5, 0.4, 0.6, 0.05, 0.1, 80)


def test_significance_starts_below_five_percent() -> None:
    assert comparison_verdict("a", "b", 0.1, 0, 0.2, 0.0499, 0.1, 9).startswith("b is better")
    assert comparison_verdict("a", "b", 0.1, 0, 0.2, 0.05, 0.1, 9).startswith(
        "No detectable change"
    )


# What else differs


def changed(given: Evaluation, **changes: Any) -> Evaluation:
    return Evaluation(given[0].model_copy(update=changes), given[1])


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({}, []),
        ({"prompt_hash": "other"}, ["prompt"]),
        ({"orders": "cyclic"}, ["orders of the options"]),
        ({"shots": 2, "shots_by": "fixed"}, ["worked examples"]),
        ({"constrained": True}, ["constraint on the answers"]),
        ({"parser": 7}, ["version of the parser"]),
        ({"label": "tuned", "duration_s": 9.0, "resumed_at": 3, "inputs": "j"}, []),
        (
            {"parser": 7, "prompt_hash": "other", "orders": "pride"},
            ["prompt", "orders of the options", "version of the parser"],
        ),
    ],
)
def test_what_differs_beside_the_model_is_named(
    changes: dict[str, Any], differs: list[str]
) -> None:
    a, b = pair(10, 3, 9, 8)
    other = changed(b, **changes)
    assert differing_aspects(a[0], other[0]) == differs
    record = compare_evaluations(a, other)
    assert record.differs == tuple(differs)
    assert record.model_copy(update={"differs": (), "b": "tuned"}) == compare_evaluations(a, b)


def test_another_choice_of_as_many_examples_differs() -> None:
    a, b = pair(1, 1, 1, 1)
    fixed = changed(a, shots=2, shots_by="fixed")
    assert compare_evaluations(fixed, changed(b, shots=2, shots_by="random")).differs == (
        "worked examples",
    )
    assert compare_evaluations(fixed, changed(b, shots=2, shots_by="fixed")).differs == ()


@pytest.mark.parametrize("other", [0, 3, None])
def test_unknown_worked_examples_neither_differ_nor_agree(other: int | None) -> None:
    a, b = pair(1, 1, 1, 1)
    origin = LogOrigin(harness="inspect_ai", version="0.3", task="t", metric="choice", log="l")
    record = compare_evaluations(changed(a, shots=other), changed(b, origin=origin, shots=None))
    assert "worked examples" not in record.differs
    assert any("agree in prompt and worked examples is unknown" in n for n in record.notes)


def test_another_arithmetic_differs_but_another_model_does_not() -> None:
    a, b = pair(1, 1, 1, 1)
    halved = a[0].model.model_copy(update={"dtype": "float16"})
    assert compare_evaluations(a, changed(b, model=halved)).differs == ("arithmetic",)
    tuned = a[0].model.model_copy(update={"adapter": "f" * 64, "fingerprint": "x", "device": "y"})
    assert compare_evaluations(a, changed(b, model=tuned)).differs == ()


@pytest.mark.parametrize(
    ("a", "b"), [("plain", "options-only"), ("stem-injection", "option-injection")]
)
def test_different_variants_are_refused(a: str, b: str) -> None:
    base, tuned = pair(10, 3, 9, 8)
    with pytest.raises(PredictionsError) as caught:
        compare_evaluations(changed(base, variant=a), changed(tuned, variant=b))
    assert caught.value.found == f"base was asked {a} questions, tuned {b} ones"
    assert "medtune study robustness" in caught.value.fix


def test_the_same_variant_is_compared() -> None:
    base, tuned = pair(10, 3, 9, 8)
    both = [changed(one, variant="options-only") for one in (base, tuned)]
    assert compare_evaluations(both[0], both[1]) == compare_evaluations(base, tuned)


def test_different_normalizations_are_refused() -> None:
    a, b = evaluation("base", [True] * 5), evaluation("tuned", [True] * 5)
    with pytest.raises(PredictionsError, match="base was scored per sum, tuned per byte"):
        compare_evaluations(a, changed(b, normalization="byte"))


@pytest.mark.parametrize("gone", [slice(1, None), slice(None, -1), slice(0, 1)])
def test_missing_questions_are_refused_on_either_side(gone: slice) -> None:
    a, b = pair(10, 3, 9, 8)
    for one, other in (
        (a, Evaluation(b[0], b[1][gone])),
        (Evaluation(a[0], a[1][gone]), b),
    ):
        with pytest.raises(PredictionsError, match=f"{len(b[1][gone])} are the same"):
            compare_evaluations(one, other)


# What must be read with a verdict


def blinded(given: Evaluation, right: int, n: int = 100) -> Evaluation:
    record, predictions = given
    # Of 4 options, for chance to be 25 %; the majority letter in the middle.
    changes = {
        "options_only": wilson_interval(right, n),
        "chance": 0.25,
        "majority": wilson_interval(30, 100),
    }
    return Evaluation(record.model_copy(update=changes), predictions)


def test_a_gain_that_is_there_without_the_stem_is_said() -> None:
    base, tuned = pair(25, 0, 40, 35)
    record = compare_evaluations(blinded(base, 26), blinded(tuned, 62))
    first, second = record.notes
    assert first.startswith(
        "tuned on starter:recall, letter: without the stem 62.0 % (52.2–70.9, n = 100)"
    )
    assert "always giving A gives 30.0 %" in first
    assert second == (
        "Without the stem the difference is +36.0 points (base 26.0 %, tuned 62.0 %, n = 100), "
        "with it +40.0."
    )


def test_where_the_options_tell_nothing_there_is_no_note() -> None:
    base, tuned = pair(25, 0, 40, 35)
    assert compare_evaluations(blinded(base, 26), blinded(tuned, 33)).notes == ()
    assert compare_evaluations(base, tuned).notes == ()


def test_several_p_values_are_corrected_and_those_that_fall_are_named() -> None:
    strong, weak, none = (
        compare_evaluations(*pair(*counts))
        for counts in ((40, 0, 30, 30), (40, 1, 8, 51), (40, 10, 11, 39))
    )
    assert weak.p_value == pytest.approx(0.0390625)
    a, b, c = apply_holm_correction([strong, weak, none])
    assert a.p_holm == pytest.approx(3 * strong.p_value)
    assert b.p_holm == pytest.approx(0.078125)
    assert c.p_holm == 1.0
    assert a.notes == c.notes == ()
    assert b.notes == (
        "This does not stand Holm's correction over the 3 comparisons of the run (p = 0.0781).",
    )


def test_a_single_comparison_needs_no_correction() -> None:
    alone = compare_evaluations(*pair(40, 1, 8, 51))
    assert apply_holm_correction([alone]) == [alone]
    assert alone.p_holm is None


def beside_search(only_model: int, only_search: int) -> SearchBaseline:
    return SearchBaseline(
        index="i",
        passages=320,
        accuracy=wilson_interval(30, 60),
        only_model=only_model,
        only_search=only_search,
        p_value=mcnemar_exact(only_search, only_model),
    )


def test_a_gain_that_a_text_search_beats_is_said_to_be_none() -> None:
    base = evaluation("base", [False] * 60)
    record, predictions = evaluation("tuned", [True] * 20 + [False] * 40)
    for search, words in (
        (beside_search(0, 10), "the model does not beat a text search"),
        (beside_search(3, 2), "the model is not shown to beat a text search"),
    ):
        tuned = record.model_copy(update={"search": search})
        found = compare_evaluations(base, Evaluation(tuned, predictions))
        assert found.p_value < 0.05 < found.difference
        assert (found.search_a, found.search_b) == (None, search)
        assert found.search_verdict is not None
        assert words in found.search_verdict
        assert found.search_verdict == found.notes[0], "before all other notes"
        assert not found.is_success


def test_a_search_that_is_beaten_is_no_caveat() -> None:
    record, predictions = evaluation("tuned", [True] * 60)
    tuned = record.model_copy(update={"search": beside_search(30, 0)})
    found = compare_evaluations(evaluation("base", [False] * 60), Evaluation(tuned, predictions))
    assert found.search_verdict is not None
    assert "the model beats a text search" in found.search_verdict
    assert found.notes == ()
    assert found.is_success
    assert (
        compare_evaluations(Evaluation(tuned, predictions), Evaluation(tuned, predictions)).search_a
        == tuned.search
    )
    without = compare_evaluations(Evaluation(tuned, predictions), evaluation("base", [False] * 60))
    assert (without.search_b, without.search_verdict) == (None, None)
