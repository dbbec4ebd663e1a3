from __future__ import annotations

import itertools
import math
from collections import Counter as Tallied
from collections.abc import Sequence
from typing import Any

import pytest

from medtune.analysis.compare import mcnemar_exact
from medtune.core.errors import InputError, PredictionsError
from medtune.core.intervals import wilson_interval
from medtune.core.predictions_io import Evaluation
from medtune.core.provenance import collect_provenance
from medtune.core.records import (
    LETTERS,
    EvaluationRecord,
    Outcome,
    OutcomeCounts,
    Prediction,
    SplitDescription,
)
from medtune.core.schemas.dataset import NO_SUBJECT
from medtune.models.fake import FakeModel
from medtune.studies.test_size.analysis import (
    build_sample_size_record,
    count_subjects,
    required_questions,
)
from medtune.studies.test_size.schema import SamplePlan, SampleSizeRecord


def evaluation(
    label: str, right: Sequence[bool], subjects: Sequence[str | None] = (), **changes: Any
) -> Evaluation:
    """Answer questions whose right letters are A, B, C, D, A, ..."""
    named = subjects or [None] * len(right)
    predictions = [
        Prediction(
            id=f"q{n}",
            stem="Which?",
            subject=subject,
            options=("one", "two", "three", "four"),
            answer=n % 4,
            chosen=n % 4 if yes else (n + 1) % 4,
            outcome=Outcome.CORRECT if yes else Outcome.WRONG,
        )
        for n, (yes, subject) in enumerate(zip(right, named, strict=True))
    ]
    n, correct = len(right), sum(right)
    letters = Tallied(LETTERS[p.answer] for p in predictions)
    record = EvaluationRecord(
        inputs="i",
        label=label,
        model=FakeModel("noisy", {}).describe(),
        data=SplitDescription(source="starter:recall", n=n, excluded={}, hash="h"),
        prompt_hash="p",
        method="letter",
        normalization="byte",
        counts=OutcomeCounts(n=n, correct=correct, wrong=n - correct, unparsed=0, abstained=0),
        accuracy=wilson_interval(correct, n),
        answer_rate=wilson_interval(n, n),
        chance=0.25,
        majority=wilson_interval(letters["A"], n),
        majority_letter="A",
        letters_chosen={},
        letters_right=dict(letters),
        duration_s=1.0,
        questions_per_s=float(n),
        provenance=collect_provenance(),
    )
    return Evaluation(record.model_copy(update=changes), predictions)


def pair(both: int, only_a: int, only_b: int, neither: int) -> tuple[Evaluation, Evaluation]:
    a = [True] * both + [True] * only_a + [False] * only_b + [False] * neither
    b = [True] * both + [False] * only_a + [True] * only_b + [False] * neither
    return evaluation("base", a), evaluation("tuned", b)


def kept(record: SampleSizeRecord) -> dict[str, Any]:
    return record.model_dump(exclude={"provenance"})


def test_the_full_split_stands_last_and_larger_sizes_are_named() -> None:
    a = evaluation("base", [True] * 30 + [False] * 70)
    record = build_sample_size_record(a, None, SamplePlan(sizes=(20, 50, 100, 200, 500), draws=100))
    assert [size.n for size in record.evaluations[0].sizes] == [20, 50, 100]
    assert record.left_out == (200, 500)
    assert (record.n, record.draws, record.seed) == (100, 100, 0)
    assert record.difference is None
    assert record.subjects is None
    assert record.subjects_verdict is None


def test_the_full_split_is_what_it_is() -> None:
    a = evaluation("base", [True] * 30 + [False] * 70)
    (exam,) = build_sample_size_record(a, None, SamplePlan(sizes=(20,), draws=100)).evaluations
    full = exam.sizes[-1]
    assert full.n == 100
    assert full.spread.deviation == full.standard_error_finite == 0
    assert full.spread.mean == full.spread.low == full.spread.most == 0.3
    # sqrt(0.3 * 0.7 / 100)
    assert full.standard_error == pytest.approx(0.0458258, abs=1e-6)
    bound = wilson_interval(30, 100)
    assert full.half_width == pytest.approx((bound.high - bound.low) / 2)
    # The interval, 21.9 to 39.6 %, holds 30 % and chance and always A, each 25 %.
    assert (full.coverage, full.excludes_chance, full.excludes_majority) == (1, 0, 0)


def test_theory_by_hand() -> None:
    a = evaluation("base", [True] * 100 + [False] * 100)
    (exam,) = build_sample_size_record(a, None, SamplePlan(sizes=(50,), draws=4_000)).evaluations
    size = exam.sizes[0]
    # sqrt(0.25 / 50) = 0.0707107; times sqrt(150 / 199) = 0.868207: 0.0613915
    assert size.standard_error == pytest.approx(0.0707107, abs=1e-6)
    assert size.standard_error_finite == pytest.approx(0.0613915, abs=1e-6)
    # A deviation of 4,000 draws is within 1 / sqrt(8000) = 1.1 % of the truth, four times over.
    assert size.spread.deviation == pytest.approx(0.0613915, rel=0.045)


def test_coverage_is_what_the_interval_promises() -> None:
    a = evaluation("base", [True] * 1_200 + [False] * 2_800)
    (exam,) = build_sample_size_record(a, None, SamplePlan(sizes=(20, 50, 100, 200))).evaluations
    for size in exam.sizes[:-1]:
        # Wilson's coverage swings around 95 % by about 2 points at these n; 2,000 draws add 0.5.
        assert 0.925 <= size.coverage <= 0.98


def test_coverage_counts_subsamples_exactly() -> None:
    # 3 of 20 drawn, 10 of them right: 0 or 3 right are 2 * C(10, 3) / C(20, 3) = 240 / 1140.
    a = evaluation("base", [True] * 10 + [False] * 10, chance=0.5)
    (exam,) = build_sample_size_record(a, None, SamplePlan(sizes=(3,), draws=20_000)).evaluations
    size = exam.sizes[0]
    # Wilson of 0, 1, 2, 3 of 3: 0-56.2, 6.1-79.2, 20.8-93.9, 43.9-100 %: all hold 50 %, here
    # chance too; only the last leaves out 25 %, always A: 120 / 1140.
    assert (size.coverage, size.excludes_chance) == (1, 0)
    assert size.excludes_majority == pytest.approx(120 / 1140, abs=5 * 0.0022)


def test_power_is_that_of_all_subsamples() -> None:
    # 2 both, 0 only a, 12 only b, 7 neither; every subsample of 10 by its number k of only b.
    # p = 2 / 2^k < 0.05 from k = 6 on.
    both, only_b, neither = 2, 12, 7
    a, b = pair(both, 0, only_b, neither)
    record = build_sample_size_record(a, b, SamplePlan(sizes=(10,), draws=20_000))
    assert record.difference is not None
    size = record.difference.sizes[0]
    exact = sum(
        math.comb(only_b, k) * math.comb(both + neither, 10 - k) for k in range(6, 11)
    ) / math.comb(21, 10)
    assert size.power == pytest.approx(exact, abs=5 * math.sqrt(exact * (1 - exact) / 20_000))
    assert size.wrong_sign == 0
    # Fresh: k is binomial.
    rate = only_b / 21
    fresh = sum(math.comb(10, k) * rate**k * (1 - rate) ** (10 - k) for k in range(6, 11))
    assert size.power_fresh == pytest.approx(fresh, abs=5 * 0.0036)


def test_power_with_both_kinds_of_disagreement() -> None:
    n, only_a, only_b, same = 12, 9, 14, 7
    power = wrong = 0.0
    for x, y in itertools.product(range(only_a + 1), range(only_b + 1)):
        if 0 <= n - x - y <= same:
            ways = math.comb(only_a, x) * math.comb(only_b, y) * math.comb(same, n - x - y)
            share = ways / math.comb(only_a + only_b + same, n)
            found = mcnemar_exact(x, y) < 0.05
            power += share * found
            wrong += share * (found and x > y)
    assert power > wrong > 0
    record = build_sample_size_record(
        *pair(3, only_a, only_b, 4), SamplePlan(sizes=(n,), draws=200_000)
    )
    assert record.difference is not None
    size = record.difference.sizes[0]
    assert size.power == pytest.approx(power, abs=5 * math.sqrt(power / 200_000))
    assert size.wrong_sign == pytest.approx(wrong, abs=5 * math.sqrt(wrong / 200_000))


def test_the_difference_spreads_as_theory_says() -> None:
    record = build_sample_size_record(*pair(40, 5, 25, 30), SamplePlan(sizes=(40,), draws=4_000))
    assert record.difference is not None
    size = record.difference.sizes[0]
    # sqrt((0.30 - 0.20^2) / 40) = 0.0806226; times sqrt(60 / 99) = 0.778499: 0.0627646
    assert size.standard_error == pytest.approx(0.0806226, abs=1e-6)
    assert size.standard_error_finite == pytest.approx(0.0627646, abs=1e-6)
    assert size.spread.deviation == pytest.approx(0.0627646, rel=0.045)
    assert size.spread.mean == pytest.approx(0.20, abs=0.005)


def test_the_full_split_finds_what_it_finds() -> None:
    for cells, found in (((40, 5, 25, 30), 1.0), ((40, 10, 12, 38), 0.0)):
        record = build_sample_size_record(*pair(*cells), SamplePlan(sizes=(20,), draws=100))
        assert record.difference is not None
        full = record.difference.sizes[-1]
        assert full.power == found
        assert 0 < full.power_fresh < 1
        assert full.spread.mean == pytest.approx(record.difference.comparison.difference)


@pytest.mark.parametrize(("n", "points"), [(20, 35), (200, 11), (1000, 4.9), (4183, 2.4)], ids=str)
def test_detectable_at_31_percent_discordance(n: int, points: float) -> None:
    # 1297 of 4183 disagree: 31.0 %
    record = build_sample_size_record(
        *pair(1500, 600, 697, 1386), SamplePlan((20, 200, 1000), draws=100)
    )
    assert record.difference is not None
    assert record.difference.discordance == pytest.approx(0.31, abs=1e-3)
    found = {size.n: size.minimum_detectable for size in record.difference.sizes}
    assert 100 * found[n] == pytest.approx(points, abs=0.15 if n == 20 else 0.05)


def test_needed_by_hand() -> None:
    record = build_sample_size_record(*pair(40, 5, 25, 30), SamplePlan(draws=100))
    assert record.difference is not None
    # (1.959964 + 0.841621)^2 * 0.30 / 0.20^2 = 58.87
    assert record.difference.needed == 59
    comparison = record.difference.comparison
    low = comparison.difference_low
    assert low > 0
    assert record.difference.needed_if_smaller == math.ceil(7.848880 * 0.30 / low**2)
    assert required_questions(comparison, comparison.minimum_detectable) == comparison.n
    assert required_questions(comparison, -comparison.minimum_detectable / 2) == 4 * comparison.n


def test_the_needed_number_finds_it_four_times_out_of_five() -> None:
    a, b = pair(300, 100, 160, 440)
    first = build_sample_size_record(a, b, SamplePlan(draws=100)).difference
    assert first is not None
    assert first.needed is not None
    assert first.needed < 1000
    at = build_sample_size_record(a, b, SamplePlan(sizes=(first.needed,), draws=4_000)).difference
    assert at is not None
    # The exact test is a little conservative.
    assert 0.74 <= at.sizes[0].power_fresh <= 0.84
    assert at.sizes[0].minimum_detectable <= abs(first.comparison.difference)


def test_no_difference_needs_no_number() -> None:
    record = build_sample_size_record(*pair(10, 6, 6, 8), SamplePlan(draws=100))
    assert record.difference is not None
    assert record.difference.needed is None
    assert record.difference.needed_if_smaller is None
    assert all(size.wrong_sign is None for size in record.difference.sizes)
    assert "No difference was observed" in record.verdict


def test_a_model_against_itself() -> None:
    a, _ = pair(10, 6, 0, 8)
    record = build_sample_size_record(a, a, SamplePlan(sizes=(5,), draws=100))
    assert record.difference is not None
    assert record.difference.discordance == 0
    for size in record.difference.sizes:
        assert size.power == size.power_fresh == size.spread.deviation == size.standard_error == 0
        assert 0 < size.minimum_detectable <= 1


def test_accuracies_of_a_pair_are_their_own() -> None:
    record = build_sample_size_record(*pair(40, 5, 25, 30), SamplePlan(sizes=(20,), draws=2_000))
    base, tuned = record.evaluations
    assert (base.label, tuned.label) == ("base", "tuned")
    assert base.sizes[-1].spread.mean == pytest.approx(0.45)
    assert tuned.sizes[-1].spread.mean == pytest.approx(0.65)
    assert base.sizes[0].spread.mean == pytest.approx(0.45, abs=0.01)
    assert tuned.sizes[0].spread.mean == pytest.approx(0.65, abs=0.01)


def test_drawing_by_subject_where_subjects_decide() -> None:
    # Two subjects of 100, all right and all wrong: by subject nothing varies.
    a = evaluation("base", [True] * 100 + [False] * 100, ["ENT"] * 100 + ["Skin"] * 100)
    lots = {20: {"ENT": 10, "Skin": 10}, 200: {"ENT": 100, "Skin": 100}}
    record = build_sample_size_record(a, None, SamplePlan(sizes=(20,), draws=200), lots)
    first, full = record.evaluations[0].sizes
    assert record.subjects == 2
    assert first.stratified is not None
    assert first.stratified.spread.deviation == first.stratified.standard_error == 0
    assert first.stratified.ratio == first.stratified.ratio_high == 0
    assert first.stratified.subjects_missed == 0
    assert full.stratified is not None
    assert full.stratified.ratio is None
    assert record.subjects_verdict is not None
    assert (
        "on 20 questions has by theory 0.000 times the standard deviation"
        in record.subjects_verdict
    )


def test_drawing_by_subject_where_subjects_do_not_matter() -> None:
    # Every subject half right: by theory sqrt(100 / 99 * 199 / 200) = 1.002522 times as wide.
    a = evaluation("base", [True, False] * 100, ["ENT"] * 100 + ["Skin"] * 100)
    lots = {20: {"ENT": 10, "Skin": 10}, 200: {"ENT": 100, "Skin": 100}}
    record = build_sample_size_record(a, None, SamplePlan(sizes=(20,)), lots)
    size = record.evaluations[0].sizes[0]
    assert size.stratified is not None
    assert size.stratified.standard_error / size.standard_error_finite == pytest.approx(
        1.002522, abs=1e-6
    )
    assert size.stratified.ratio is not None
    assert size.stratified.ratio == pytest.approx(1.0, abs=0.08)
    assert size.stratified.ratio_low is not None
    assert size.stratified.ratio_high is not None
    assert size.stratified.ratio_low < size.stratified.ratio < size.stratified.ratio_high


def test_subjects_that_are_not_drawn_are_counted() -> None:
    a = evaluation("base", [True, False] * 10 + [True], ["ENT"] * 20 + ["Skin"])
    lots = {20: {"ENT": 20, "Skin": 0}, 21: {"ENT": 20, "Skin": 1}}
    record = build_sample_size_record(a, None, SamplePlan(sizes=(20,), draws=100), lots)
    found = [size.stratified for size in record.evaluations[0].sizes]
    assert [made.subjects_missed for made in found if made] == [1, 0]
    # ENT's 20 alone: half right, against 11 of 21
    assert found[0] is not None
    assert found[0].spread.mean == 0.5


def test_the_same_seed_shows_the_same() -> None:
    exams = pair(40, 5, 25, 30)
    plan = SamplePlan(sizes=(20, 50), draws=300, seed=4)
    once = kept(build_sample_size_record(*exams, plan))
    assert kept(build_sample_size_record(*exams, plan)) == once
    assert kept(build_sample_size_record(*exams, SamplePlan((20, 50), 300, 5))) != once
    # What one size shows does not depend on the others.
    alone = kept(build_sample_size_record(*exams, SamplePlan((50,), 300, 4)))
    assert alone["evaluations"][0]["sizes"][0] == once["evaluations"][0]["sizes"][1]
    # Nor does the order of the lines in the files.
    a, (record, predictions) = exams
    assert kept(build_sample_size_record(a, Evaluation(record, predictions[::-1]), plan)) == once


def test_the_verdict_of_one() -> None:
    a = evaluation("base", [True] * 30 + [False] * 70)
    record = build_sample_size_record(a, None, SamplePlan(sizes=(20,)))
    # Wilson of 30 of 100: 21.9 to 39.6
    assert record.verdict.startswith(
        "With 100 questions the 95 % interval of base's accuracy (30.0 %) is ±8.8 points; "
        "with 20 it is ±"
    )
    assert ", and 95 % of such subsamples have an accuracy of " in record.verdict
    assert record.verdict.endswith(" %.")
    only = build_sample_size_record(a, None, SamplePlan(sizes=(200,), draws=100))
    assert only.verdict == (
        "With 100 questions the 95 % interval of base's accuracy (30.0 %) is ±8.8 points."
    )


def test_the_verdict_of_two() -> None:
    shown = build_sample_size_record(*pair(40, 5, 25, 30), SamplePlan(draws=100)).verdict
    assert "as the observed +20.0 points with 80 % power you need about 59" in shown
    assert "if it is as small as its 95 % interval allows." in shown
    unsure = build_sample_size_record(*pair(40, 10, 12, 38), SamplePlan(draws=100)).verdict
    assert "observed +2.0 points with 80 % power you need about 4,317 questions" in unsure
    assert unsure.endswith("but there may be no difference at all: its 95 % interval includes 0.")


@pytest.mark.parametrize("sizes", [(), (0, 20), (-5,), (50, 20), (20, 20)])
def test_sizes_that_do_not_ascend_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"(?s)sizes .*expected: whole numbers from 1 on"):
        SamplePlan(sizes=sizes)


@pytest.mark.parametrize("draws", [-1, 0, 99, 1_000_001])
def test_too_few_or_too_many_draws_are_refused(draws: int) -> None:
    with pytest.raises(InputError, match="draws"):
        SamplePlan(draws=draws)
    assert SamplePlan(draws=100).draws == 100


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(InputError, match="seed -1"):
        SamplePlan(seed=-1)


def test_fewer_than_twenty_questions_are_refused() -> None:
    with pytest.raises(PredictionsError, match="base answered 19 questions"):
        build_sample_size_record(evaluation("base", [True] * 19), None, SamplePlan())
    assert (
        build_sample_size_record(evaluation("base", [True] * 20), None, SamplePlan(draws=100)).n
        == 20
    )


def test_a_question_that_is_there_twice_is_refused() -> None:
    record, predictions = evaluation("base", [True] * 25)
    with pytest.raises(PredictionsError, match="twice"):
        build_sample_size_record(
            Evaluation(record, [*predictions[1:], predictions[1]]), None, SamplePlan()
        )


def test_other_questions_are_refused() -> None:
    a, b = evaluation("base", [True] * 30), evaluation("tuned", [True] * 31)
    with pytest.raises(PredictionsError, match="30 are the same"):
        build_sample_size_record(a, b, SamplePlan())


def test_another_method_is_refused() -> None:
    a, b = evaluation("base", [True] * 30), evaluation("tuned", [True] * 30, method="cloze")
    with pytest.raises(PredictionsError, match="one method for both"):
        build_sample_size_record(a, b, SamplePlan())


def test_subjects_are_counted_and_those_without_stand_together() -> None:
    _, predictions = evaluation("base", [True] * 5, ["ENT", None, "Skin", " ", "ENT"])
    assert count_subjects(predictions) == {"ENT": 2, NO_SUBJECT: 2, "Skin": 1}


@pytest.mark.parametrize("name", [None, "", "  "])
def test_no_subjects_at_all_are_refused(name: str | None) -> None:
    _, predictions = evaluation("base", [True] * 25, [name] * 25)
    with pytest.raises(PredictionsError, match=r"(?s)no question has a subject.*--by-subject"):
        count_subjects(predictions)
