from __future__ import annotations

import errno
import itertools
import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medtune.analysis.outcome_summary import count_outcomes
from medtune.core.errors import DataError, FolderError, ModelError, PredictionsError
from medtune.core.formatting import format_share
from medtune.core.intervals import wilson_interval
from medtune.core.option_logprobs import option_probabilities
from medtune.core.predictions_io import (
    DRAFT_FILE,
    PREDICTIONS_FILE,
    RECORD_FILE,
    Evaluation,
    PredictionsDraft,
    read_evaluation,
)
from medtune.core.progress import NoProgress, ProgressTask
from medtune.core.prompt import HIDDEN_STEM, PromptStyle
from medtune.core.protocols import (
    ContinuationScore,
    Decoding,
    GenerateRequest,
    Generation,
    ScoreRequest,
)
from medtune.core.records import (
    LETTERS,
    EvaluationRecord,
    Method,
    Normalization,
    Orders,
    Outcome,
    Prediction,
    Question,
    SplitDescription,
)
from medtune.core.run_folder import translate_disk_errors
from medtune.data.load import load_split
from medtune.evaluation.exam import Exam, Shots
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import (
    ExamResult,
    evaluate_model,
    evaluate_or_reuse,
    make_evaluation_record,
)
from medtune.models.fake import FakeModel

ORDERS = list(itertools.permutations(range(4)))
METHODS: list[Method] = ["letter", "cloze", "generate"]


@pytest.fixture(scope="module")
def questions() -> tuple[Question, ...]:
    return tuple(load_split("starter:recall").questions)


def fake(kind: str, questions: Sequence[Question]) -> FakeModel:
    return FakeModel(kind, {q.id: q.answer_text for q in questions if q.answer is not None})


def exam(questions: Sequence[Question], method: Method = "letter", **changes: Any) -> Exam:
    data = SplitDescription(source="starter:recall", n=len(questions), excluded={}, hash="h")
    made = Exam(questions, data, PromptStyle(), method, "byte")
    return replace(made, **changes)


def run(
    kind: str, questions: Sequence[Question], method: Method = "letter", **changes: Any
) -> Evaluation:
    return evaluate_model(
        fake(kind, questions), exam(questions, method, **changes), kind, STRICT_PARSER, NoProgress()
    )


def shown(questions: Sequence[Question], order: tuple[int, ...]) -> list[Question]:
    return [question.permute_options(order) for question in questions]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("split", ["starter:train", "starter:recall", "starter:transfer"])
def test_the_oracle_is_right_on_every_question(split: str, method: Method) -> None:
    record, predictions = run("oracle", load_split(split).questions, method)
    wrong = [p for p in predictions if p.outcome is not Outcome.CORRECT]
    assert wrong == []
    assert record.accuracy.value == 1.0
    assert record.answer_rate.value == 1.0


@pytest.mark.parametrize(
    ("method", "normalization"),
    [
        ("letter", "byte"),
        ("cloze", "sum"),
        ("cloze", "token"),
        ("cloze", "byte"),
        ("generate", "sum"),
    ],
)
def test_the_oracle_is_right_in_every_order(
    questions: tuple[Question, ...], method: Method, normalization: Normalization
) -> None:
    few = questions[::10]
    for order in ORDERS:
        record, _ = run("oracle", shown(few, order), method, normalization=normalization)
        assert record.counts.correct == len(few), order


@pytest.mark.parametrize("method", METHODS)
def test_the_constant_model_gives_a_and_scores_the_share_of_a(
    questions: tuple[Question, ...], method: Method
) -> None:
    for order in ORDERS[::5]:
        asked = shown(questions, order)
        record, predictions = run("constant", asked, method)
        assert record.letters_chosen == {"A": len(asked)}
        assert {p.chosen for p in predictions} == {0}
        assert record.counts.correct == sum(q.answer == 0 for q in asked)
        assert record.counts.correct == record.letters_right["A"]


def test_over_all_cyclic_orders_the_constant_model_is_right_once_a_question(
    questions: tuple[Question, ...],
) -> None:
    cycles = [tuple((start + place) % 4 for place in range(4)) for start in range(4)]
    right = [run("constant", shown(questions, order))[0].counts.correct for order in cycles]
    assert sum(right) == len(questions)


@pytest.mark.parametrize("method", METHODS)
def test_the_noisy_model_chooses_the_same_text_in_every_order(
    questions: tuple[Question, ...], method: Method
) -> None:
    few = questions[::10]
    chosen: dict[str, set[str]] = {question.id: set() for question in few}
    for order in ORDERS:
        for prediction in run("noisy", shown(few, order), method)[1]:
            assert prediction.chosen is not None
            chosen[prediction.id].add(prediction.options[prediction.chosen])
    assert {len(texts) for texts in chosen.values()} == {1}


def test_the_noisy_model_is_at_chance_and_the_biased_one_leans_to_a() -> None:
    train = load_split("starter:train").questions
    noisy, biased = run("noisy", train)[0], run("biased", train)[0]
    assert noisy.accuracy.low < 0.25 < noisy.accuracy.high
    given = [biased.letters_chosen.get(letter, 0) for letter in "ABCD"]
    assert given == sorted(given, reverse=True)
    assert given[0] > len(train) / 2


def test_unlabelled_questions_are_refused(questions: tuple[Question, ...]) -> None:
    blind = [q.model_copy(update={"answer": None}) for q in questions[:3]]
    with pytest.raises(DataError, match="starter:recall: 3 questions have no label"):
        run("oracle", [*questions[3:6], *blind])


def test_predictions_keep_the_order_and_the_texts(questions: tuple[Question, ...]) -> None:
    _, predictions = run("noisy", questions, "cloze")
    for question, prediction in zip(questions, predictions, strict=True):
        assert prediction.id == question.id
        assert prediction.options == question.options
        assert prediction.answer == question.answer
        assert prediction.subject == question.subject
        assert prediction.bytes == tuple(len(text.encode()) for text in question.options)
        assert prediction.probabilities is not None
        assert sum(prediction.probabilities) == pytest.approx(1.0)
        assert prediction.mass is None
        assert prediction.text is None


def test_letter_mass_is_the_probability_on_the_letters(questions: tuple[Question, ...]) -> None:
    record, predictions = run("noisy", questions)
    assert record.mean_mass == pytest.approx(1.0)  # a fake says nothing but letters
    for prediction in predictions:
        assert prediction.logprobs is not None
        assert prediction.mass == pytest.approx(math.fsum(map(math.exp, prediction.logprobs)))


def test_free_answers_carry_text_and_reason(questions: tuple[Question, ...]) -> None:
    record, predictions = run("constant", questions[:5], "generate")
    assert predictions[0].text == f"The answer is: {questions[0].options[0]}"
    assert predictions[0].reason == "option text"
    assert predictions[0].stopped is True
    assert record.stop_rate is not None
    assert record.stop_rate.value == 1.0
    assert record.normalization is None
    assert record.mean_mass is None


def test_unreadable_free_answers_are_unparsed_and_not_correct(
    questions: tuple[Question, ...],
) -> None:
    class Mute(FakeModel):
        def generate(
            self, requests: Sequence[GenerateRequest], decoding: Decoding
        ) -> list[Generation]:
            assert decoding.max_new_tokens == 7
            return [Generation("", 0, False) for _ in requests]

    asked = exam(questions[:4], "generate", decoding=Decoding(7))
    record, predictions = evaluate_model(
        Mute("oracle", {}), asked, "mute", STRICT_PARSER, NoProgress()
    )
    assert record.counts.unparsed == 4
    assert record.accuracy.value == 0.0
    assert record.answer_rate.value == 0.0
    assert record.letters_chosen == {}
    assert record.stop_rate is not None
    assert record.stop_rate.value == 0.0
    assert {p.reason for p in predictions} == {"empty"}


def test_the_letter_form_compares_sums_and_says_so(questions: tuple[Question, ...]) -> None:
    record, predictions = run("noisy", questions[:4], "letter", normalization="byte")
    for prediction in predictions:
        assert prediction.logprobs is not None
        assert prediction.chosen == prediction.logprobs.index(max(prediction.logprobs))
    assert record.normalization == "sum"


@pytest.mark.parametrize(
    ("normalization", "expected"),
    [
        # ln 1/2, ln 1/4, ln 1/4: as they are
        ("sum", (0.5, 0.25, 0.25)),
        # per token: ln 2 times -1/1, -2/2, -2/1, so weights 1/2, 1/2, 1/4 of 5/4
        ("token", (0.4, 0.4, 0.2)),
        # per byte: ln 2 times -1/1, -2/4, -2/2, so weights 1/2, 0.7071068, 1/2 of 1.7071068
        ("byte", (0.2928932, 0.4142136, 0.2928932)),
    ],
)
def test_option_probabilities_by_hand(
    normalization: Normalization, expected: tuple[float, ...]
) -> None:
    scores = [
        ContinuationScore(math.log(1 / 2), tokens=1, bytes=1),
        ContinuationScore(math.log(1 / 4), tokens=2, bytes=4),
        ContinuationScore(math.log(1 / 4), tokens=1, bytes=2),
    ]
    found = option_probabilities(tuple(scores), normalization)
    assert found == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("normalization", ["sum", "token", "byte"])
def test_an_empty_continuation_does_not_divide_by_zero(normalization: Normalization) -> None:
    scores = (ContinuationScore(-1.0, 0, 0), ContinuationScore(-2.0, 1, 1))
    # softmax(-1, -2) = 1 / (1 + e^-1) = 0.7310586
    assert option_probabilities(scores, normalization)[0] == pytest.approx(0.7310586)


@pytest.mark.parametrize("logprob", [-800.0, -1e6, -1e300])
def test_huge_negative_logprobs_do_not_underflow(logprob: float) -> None:
    scores = (ContinuationScore(logprob, 1, 1), ContinuationScore(logprob, 1, 1))
    assert option_probabilities(scores, "sum") == (0.5, 0.5)
    far = (ContinuationScore(logprob, 1, 1), ContinuationScore(2 * logprob, 1, 1))
    assert option_probabilities(far, "sum") == (1.0, 0.0)


@settings(max_examples=100)
@given(
    st.lists(
        st.builds(ContinuationScore, st.floats(-5000, 0), st.integers(0, 40), st.integers(0, 200)),
        min_size=2,
        max_size=10,
    ),
    st.sampled_from(["sum", "token", "byte"]),
)
def test_option_probabilities_add_up_to_one(
    scores: list[ContinuationScore], normalization: Normalization
) -> None:
    probabilities = option_probabilities(tuple(scores), normalization)
    assert math.fsum(probabilities) == pytest.approx(1.0)
    assert all(0 <= p <= 1 for p in probabilities)


def test_majority_letter_and_chance_with_mixed_numbers_of_options() -> None:
    sizes = [(2, 0), (3, 1), (4, 1), (5, 4)]
    mixed = [
        Question(id=f"q{size}", stem="Which?", options=tuple("PQRST"[:size]), answer=answer)
        for size, answer in sizes
    ]
    record, _ = run("constant", mixed)
    # (1/2 + 1/3 + 1/4 + 1/5) / 4 = (30 + 20 + 15 + 12) / 60 / 4 = 77 / 240
    assert record.chance == pytest.approx(77 / 240)
    assert record.majority_letter == "B"
    assert record.majority.value == 0.5
    assert record.letters_right == {"A": 1, "B": 2, "E": 1}
    assert record.letters_chosen == {"A": 4}
    assert record.accuracy.value == 0.25
    assert record.accuracy.n == 4


def test_summarize_counts_every_outcome() -> None:
    outcomes = [Outcome.CORRECT] * 3 + [Outcome.WRONG] * 2 + [Outcome.UNPARSED, Outcome.ABSTAINED]
    predictions = [
        Prediction(
            stem="Why?",
            id=str(n),
            subject=None,
            options=("Yes", "No"),
            answer=0,
            chosen={Outcome.CORRECT: 0, Outcome.WRONG: 1}.get(outcome),
            outcome=outcome,
            mass=mass,
        )
        for n, (outcome, mass) in enumerate(
            zip(outcomes, [0.5, 0.25, 0.75, None, None, None, None], strict=True)
        )
    ]
    record = make_evaluation_record(
        FakeModel("noisy", {}), exam([]), "base", STRICT_PARSER, predictions, ExamResult(2.0)
    )
    assert count_outcomes(predictions) == record.counts
    assert record.counts.model_dump() == {
        "n": 7,
        "correct": 3,
        "wrong": 2,
        "unparsed": 1,
        "abstained": 1,
    }
    assert record.accuracy.value == pytest.approx(3 / 7)
    assert record.answer_rate.value == pytest.approx(5 / 7)
    assert record.mean_mass == pytest.approx(0.5)  # (0.5 + 0.25 + 0.75) / 3
    assert record.stop_rate is None
    assert record.questions_per_s == 3.5
    assert record.letters_chosen == {"A": 3, "B": 2}


def test_letters_right_are_the_answers_letters(questions: tuple[Question, ...]) -> None:
    record, _ = run("noisy", questions)
    answers = Counter(LETTERS[q.answer] for q in questions if q.answer is not None)
    assert record.letters_right == dict(answers)
    assert record.majority.value == max(answers.values()) / len(questions)


def test_progress_counts_every_question() -> None:
    train = load_split("starter:train").questions  # 320: more than one chunk
    seen: list[tuple[str, int]] = []

    class Bar:
        def advance(self, amount: int = 1, **figures: str) -> None:
            assert figures["speed"].endswith(" questions/s")
            seen.append(("advance", amount))

    class Recorder(NoProgress):
        @contextmanager
        def task(self, name: str, total: int | None, done: int = 0) -> Iterator[ProgressTask]:
            assert total is not None
            seen.append((name, total))
            yield Bar()

    evaluate_model(fake("noisy", train), exam(train), "base", STRICT_PARSER, Recorder())
    assert seen[0] == ("base · starter:recall · letter", 320)
    assert sum(amount for name, amount in seen if name == "advance") == 320
    assert len(seen) > 2


class Counting(FakeModel):
    def __init__(self, kind: str, key: dict[str, str]) -> None:
        super().__init__(kind, key)
        self.scored = 0

    def score(self, requests: Sequence[ScoreRequest]) -> list[tuple[ContinuationScore, ...]]:
        self.scored += len(requests)
        return super().score(requests)


def test_an_examination_that_is_still_valid_is_not_held_again(
    questions: tuple[Question, ...], tmp_path: Path
) -> None:
    model = Counting("noisy", {})
    first = evaluate_or_reuse(model, exam(questions), "base", STRICT_PARSER, tmp_path, NoProgress())
    again = evaluate_or_reuse(model, exam(questions), "base", STRICT_PARSER, tmp_path, NoProgress())
    assert model.scored == len(questions)
    assert again == first


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "cloze"},
        {"style": PromptStyle(system="Answer.")},
        {"data": SplitDescription(source="starter:recall", n=80, excluded={}, hash="other")},
    ],
)
def test_a_changed_examination_is_held_again(
    questions: tuple[Question, ...], tmp_path: Path, changes: dict[str, Any]
) -> None:
    model = Counting("noisy", {})
    evaluate_or_reuse(model, exam(questions), "base", STRICT_PARSER, tmp_path, NoProgress())
    evaluate_or_reuse(
        model, replace(exam(questions), **changes), "base", STRICT_PARSER, tmp_path, NoProgress()
    )
    assert model.scored == 2 * len(questions)


def test_shots_are_part_of_the_inputs(questions: tuple[Question, ...]) -> None:
    model = FakeModel("noisy", {})
    plain = exam(questions).hash_inputs(model, 1)
    assert exam(questions).hash_inputs(model, 1) == plain
    assert exam(questions, shots=Shots(questions, 1)).hash_inputs(model, 1) != plain
    assert exam(questions).hash_inputs(FakeModel("oracle", {}), 1) != plain


def test_only_what_a_method_uses_is_part_of_its_inputs(questions: tuple[Question, ...]) -> None:
    model = FakeModel("noisy", {})
    free = exam(questions, "generate")
    assert replace(free, normalization="sum").hash_inputs(model, 1) == free.hash_inputs(model, 1)
    assert replace(free, decoding=Decoding(9)).hash_inputs(model, 1) != free.hash_inputs(model, 1)
    cloze = exam(questions, "cloze")
    assert replace(cloze, normalization="sum").hash_inputs(model, 1) != cloze.hash_inputs(model, 1)
    assert replace(cloze, decoding=Decoding(9)).hash_inputs(model, 1) == cloze.hash_inputs(model, 1)


@pytest.mark.parametrize("damage", ["cut", "gone", "empty"])
def test_damaged_predictions_are_made_again(
    questions: tuple[Question, ...], tmp_path: Path, damage: str
) -> None:
    # "evaluate again" is what the error of a damaged file advises: it has to help.
    model = FakeModel("noisy", {})
    first, _ = evaluate_or_reuse(
        model, exam(questions), "base", STRICT_PARSER, tmp_path, NoProgress()
    )
    path = tmp_path / PREDICTIONS_FILE
    if damage == "gone":
        path.unlink()
    else:
        path.write_text("" if damage == "empty" else path.read_text()[:-30])
    again, predictions = evaluate_or_reuse(
        model, exam(questions), "base", STRICT_PARSER, tmp_path, NoProgress()
    )
    assert again.counts == first.counts
    assert len(predictions) == len(questions)


@pytest.mark.parametrize("method", METHODS)
def test_an_evaluation_survives_its_folder(tmp_path: Path, method: Method) -> None:
    plain = [
        Question(id=f"q{n}", stem="Which?", options=("Yes", "No"), answer=n % 2) for n in range(4)
    ]

    class Vague(FakeModel):
        def generate(
            self, requests: Sequence[GenerateRequest], decoding: Decoding
        ) -> list[Generation]:
            return [Generation("Perhaps.", 1, True) for _ in requests]

    model = Vague("oracle", {})
    first = evaluate_or_reuse(
        model, exam(plain, method), "base", STRICT_PARSER, tmp_path, NoProgress()
    )
    assert (
        evaluate_or_reuse(model, exam(plain, method), "base", STRICT_PARSER, tmp_path, NoProgress())
        == first
    )


# Orders


def mixed(n: int) -> list[Question]:
    """Questions with 4, 4 and 3 options in turn."""
    words = ("red", "blue", "green", "white")
    return [
        Question(
            id=f"m{number}",
            stem=f"Which colour is number {number}?",
            options=tuple(f"{word} {number}" for word in words[: 3 if number % 3 == 2 else 4]),
            answer=number % 3,
        )
        for number in range(n)
    ]


PUSH = (1.5, -0.5, 0.25, -1.25)


class Leaning(Counting):
    """log P = what it thinks of the option + what it thinks of its place."""

    def _logits(self, identity: str, options: Sequence[str]) -> list[float]:
        contents = random.Random(identity)
        order = sorted(options)
        thought = dict(zip(order, (contents.gauss(0, 1.5) for _ in order), strict=True))
        return [thought[text] + PUSH[place] for place, text in enumerate(options)]


def thoughts(question: Question) -> list[float]:
    logits = Leaning("leaning", {})._logits(question.id, question.options)
    return [logit - PUSH[place] for place, logit in enumerate(logits)]


@pytest.mark.parametrize("method", ["letter", "cloze"])
def test_over_all_orders_the_oracle_never_flips(
    questions: tuple[Question, ...], method: Method
) -> None:
    record, predictions = run("oracle", questions, method, orders="cyclic")
    assert (record.orders, record.accuracy.value) == ("cyclic", 1.0)
    for prediction in predictions:
        assert prediction.orders is not None
        assert len(prediction.orders) == 4
        assert {answer.chosen for answer in prediction.orders} == {prediction.answer}


def test_the_mean_over_all_orders_of_a_constant_is_no_opinion(
    questions: tuple[Question, ...],
) -> None:
    record, predictions = run("constant", questions, orders="cyclic")
    assert {p.probabilities for p in predictions} == {(0.25, 0.25, 0.25, 0.25)}
    assert record.ties == len(questions)
    # A lot for each, and none for the letter: 20 of 80, 5 standard deviations are 19.
    assert set(record.letters_chosen) == set("ABCD")
    assert max(record.letters_chosen.values()) < 40
    assert record.mean_mass == pytest.approx(1.0)


def test_ties_are_counted_where_there_are_scores(questions: tuple[Question, ...]) -> None:
    for kind in ("oracle", "constant", "noisy"):
        assert run(kind, questions)[0].ties == 0
    assert run("oracle", questions, "generate")[0].ties is None


@pytest.mark.parametrize("orders", ["given", "cyclic", "pride"])
def test_orders_cost_what_they_cost(orders: Orders) -> None:
    model = Leaning("leaning", {})
    asked = mixed(900)  # 600 of four options, 300 of three
    evaluate_model(model, exam(asked, orders=orders), "leaning", STRICT_PARSER, NoProgress())
    # For the prior 5 % of each kind: 30 questions in 4 orders, and not 15 but 20 in 3.
    extra = {"given": 0, "cyclic": 600 * 3 + 300 * 2, "pride": 30 * 4 + 20 * 3}[orders]
    assert model.scored == 900 + extra


@pytest.mark.parametrize("n", [1, 3, 19, 60])
def test_pride_takes_a_preference_among_places_out_exactly(n: int) -> None:
    asked = mixed(n)
    model = Leaning("leaning", {})
    record, predictions = evaluate_model(
        model, exam(asked, orders="pride"), "l", STRICT_PARSER, NoProgress()
    )
    assert record.prior is not None
    assert set(record.prior) == {len(q.options) for q in asked}
    for size, prior in record.prior.items():
        total = sum(map(math.exp, PUSH[:size]))
        assert prior == pytest.approx([math.exp(push) / total for push in PUSH[:size]])
    for question, prediction in zip(asked, predictions, strict=True):
        weights = [math.exp(thought) for thought in thoughts(question)]
        assert prediction.probabilities == pytest.approx([w / sum(weights) for w in weights])
    # Fewer than 20 questions of a kind are all asked in every order.
    if n == 19:
        assert model.scored == 19 + 13 * 4 + 6 * 3
    plain = evaluate_model(model, exam(asked), "l", STRICT_PARSER, NoProgress())[0]
    assert plain.prior is None
    assert plain.inputs != record.inputs


def test_the_prior_does_not_look_at_the_key() -> None:
    asked = mixed(60)
    other = [q.model_copy(update={"answer": ((q.answer or 0) + 1) % len(q.options)}) for q in asked]
    model = Leaning("leaning", {})
    one, two = (
        evaluate_model(model, exam(some, orders="pride"), "l", STRICT_PARSER, NoProgress())
        for some in (asked, other)
    )
    assert one[0].prior == two[0].prior
    assert [p.chosen for p in one[1]] == [p.chosen for p in two[1]]


def test_orders_and_prior_survive_their_folder(tmp_path: Path) -> None:
    for orders in ("cyclic", "pride"):
        place, model = tmp_path / orders, Leaning("leaning", {})
        held = exam(mixed(30), orders=orders)
        first = evaluate_or_reuse(model, held, "l", STRICT_PARSER, place, NoProgress())
        asked = model.scored
        assert evaluate_or_reuse(model, held, "l", STRICT_PARSER, place, NoProgress()) == first
        assert model.scored == asked


# The baseline without stems


class Watching(FakeModel):
    """Remembers every request."""

    def __init__(self, kind: str, key: dict[str, str]) -> None:
        super().__init__(kind, key)
        self.seen: list[ScoreRequest] = []

    def score(self, requests: Sequence[ScoreRequest]) -> list[tuple[ContinuationScore, ...]]:
        self.seen += requests
        return super().score(requests)


@pytest.mark.parametrize(
    ("n", "most", "asked"),
    [(80, 500, 80), (80, 80, 80), (80, 79, 79), (80, 40, 40), (80, 7, 7), (80, 1, 1), (5, 2, 2)],
)
def test_at_most_so_many_questions_are_asked_without_their_stem(
    questions: tuple[Question, ...], n: int, most: int, asked: int
) -> None:
    model = Watching("oracle", {q.id: q.answer_text for q in questions if q.answer is not None})
    record, _ = evaluate_model(
        model, exam(questions[:n], options_only=most), "o", STRICT_PARSER, NoProgress()
    )
    assert record.options_only is not None
    # The oracle needs no stem: it knows the question by its id.
    assert (record.options_only.value, record.options_only.n) == (1.0, asked)
    assert len(model.seen) == n + asked
    places = {question.id: place for place, question in enumerate(questions)}
    steps = [places[request.id] for request in model.seen[n:]]
    assert steps[0] == 0
    gaps = {after - before for before, after in itertools.pairwise([*steps, n])}
    assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize("method", ["letter", "cloze"])
@pytest.mark.parametrize("orders", ["given", "cyclic", "pride"])
def test_the_baseline_never_shows_a_stem(
    questions: tuple[Question, ...], method: Method, orders: Orders
) -> None:
    model = Watching("noisy", {})
    pool = mixed(2)
    asked = exam(questions, method, orders=orders, options_only=10, shots=Shots(pool, 2))
    record, predictions = evaluate_model(model, asked, "n", STRICT_PARSER, NoProgress())
    blind = [r for r in model.seen if HIDDEN_STEM in r.messages[-1].content]
    assert record.options_only is not None
    assert len(blind) == record.options_only.n == 10
    stems = {q.id: q.stem for q in questions}
    options = {q.id: q.options for q in questions}
    for request in blind:
        assert not any(stems[request.id] in message.content for message in request.messages)
        assert request.options == options[request.id]  # in the given order alone
        assert len(request.messages) == 6  # with both worked examples
    assert all(HIDDEN_STEM not in p.stem for p in predictions)


class StemReader(FakeModel):
    """Knows every answer, but where the stem is hidden it gives A."""

    def _scores(self, request: ScoreRequest) -> tuple[ContinuationScore, ...]:
        if HIDDEN_STEM not in request.messages[-1].content:
            return super()._scores(request)
        return tuple(ContinuationScore(-float(i), 1, 1) for i in range(len(request.options)))


@pytest.mark.parametrize("orders", ["given", "cyclic"])
def test_with_and_without_the_stem_the_same_questions_are_paired(
    questions: tuple[Question, ...], orders: Orders
) -> None:
    key = {q.id: q.answer_text for q in questions if q.answer is not None}
    model = StemReader("oracle", key)
    record, _ = evaluate_model(
        model, exam(questions, orders=orders, options_only=40), "o", STRICT_PARSER, NoProgress()
    )
    at_a = sum(questions[2 * place].answer == 0 for place in range(40))
    effect = record.stem_effect
    assert effect is not None
    assert record.options_only == wilson_interval(at_a, 40)
    assert effect.with_stem == wilson_interval(40, 40)
    assert (effect.only_with, effect.only_without) == (40 - at_a, 0)
    assert effect.p_value == pytest.approx(2 * 0.5 ** (40 - at_a))


def test_without_a_baseline_nothing_is_asked_twice(questions: tuple[Question, ...]) -> None:
    model = Counting("noisy", {})
    record, _ = evaluate_model(model, exam(questions), "n", STRICT_PARSER, NoProgress())
    assert (record.options_only, model.scored) == (None, 80)


def test_free_answers_have_no_baseline(questions: tuple[Question, ...]) -> None:
    record, _ = run("oracle", questions[:4], "generate", options_only=4)
    assert record.options_only is None


def test_the_baseline_is_part_of_the_inputs(
    questions: tuple[Question, ...], tmp_path: Path
) -> None:
    model = Counting("noisy", {})
    evaluate_or_reuse(model, exam(questions), "n", STRICT_PARSER, tmp_path, NoProgress())
    record, _ = evaluate_or_reuse(
        model, exam(questions, options_only=8), "n", STRICT_PARSER, tmp_path, NoProgress()
    )
    assert record.options_only is not None
    assert model.scored == 80 + 80 + 8


# Interrupted and gone on with


class Mortal(Leaning):
    """Dies with the request after so many."""

    def __init__(self, lives: int) -> None:
        super().__init__("leaning", {})
        self.lives = lives

    def score(self, requests: Sequence[ScoreRequest]) -> list[tuple[ContinuationScore, ...]]:
        if self.scored + len(requests) > self.lives:
            raise ModelError("out of memory")
        return super().score(requests)

    def generate(self, requests: Sequence[GenerateRequest], decoding: Decoding) -> list[Generation]:
        if self.scored + len(requests) > self.lives:
            raise ModelError("out of memory")
        self.scored += len(requests)
        return super().generate(requests, decoding)


def drafted(folder: Path) -> int:
    """Count the predictions of a draft; each of them is a whole line."""
    text = (folder / DRAFT_FILE).read_text()
    assert text.endswith("\n")
    return text.count("\n") - 1


def alike(record: EvaluationRecord) -> dict[str, Any]:
    """Leave out what differs between two runs of one exam: times, and where it went on."""
    return record.model_dump(exclude={"duration_s", "questions_per_s", "provenance", "resumed_at"})


@pytest.mark.parametrize(
    ("method", "orders", "per_question", "prior"),
    [
        ("letter", "given", 1, 0),
        ("cloze", "cyclic", 4, 0),
        ("letter", "pride", 1, 35 * 4),  # 5 % of 700; estimated again, for the record has it
        ("generate", "given", 1, 0),
    ],
)
@pytest.mark.parametrize("chunks", [0, 1, 2])
def test_an_examination_goes_on_where_it_died(
    tmp_path: Path, method: Method, orders: Orders, per_question: int, prior: int, chunks: int
) -> None:
    asked = [q for q in mixed(1050) if len(q.options) == 4]  # 700: two chunks of 256, and 188
    baseline = 0 if method == "generate" else 50
    held = exam(asked, method, orders=orders, options_only=baseline)
    whole = evaluate_or_reuse(
        Leaning("leaning", {}), held, "l", STRICT_PARSER, tmp_path / "whole", NoProgress()
    )

    place, kept = tmp_path / "died", 256 * chunks
    first = Mortal(prior + (kept + 180) * per_question)
    with pytest.raises(ModelError, match="out of memory"):
        evaluate_or_reuse(first, held, "l", STRICT_PARSER, place, NoProgress())
    assert drafted(place) == kept
    assert sorted(path.name for path in place.iterdir()) == [DRAFT_FILE]

    second = Mortal(10_000)
    record, predictions = evaluate_or_reuse(second, held, "l", STRICT_PARSER, place, NoProgress())
    assert second.scored == prior + (700 - kept) * per_question + baseline
    assert record.resumed_at == kept
    assert predictions == whole[1]
    assert alike(record) == alike(whole[0])
    assert sorted(path.name for path in place.iterdir()) == [PREDICTIONS_FILE, RECORD_FILE]
    assert (place / PREDICTIONS_FILE).read_bytes() == (
        tmp_path / "whole" / PREDICTIONS_FILE
    ).read_bytes()
    assert whole[0].resumed_at == 0


def test_an_examination_that_died_in_its_baseline_asks_the_baseline_alone(tmp_path: Path) -> None:
    held = exam(mixed(300), options_only=300)
    with pytest.raises(ModelError):
        evaluate_or_reuse(Mortal(300), held, "l", STRICT_PARSER, tmp_path, NoProgress())
    assert drafted(tmp_path) == 300
    model = Mortal(10_000)
    record, _ = evaluate_or_reuse(model, held, "l", STRICT_PARSER, tmp_path, NoProgress())
    assert (model.scored, record.resumed_at, record.counts.n) == (300, 300, 300)
    assert record.questions_per_s == 0


def test_a_drafts_progress_is_told(tmp_path: Path) -> None:
    seen: list[object] = []

    class Recorder(NoProgress):
        def log_message(self, text: str) -> None:
            seen.append(text)

        @contextmanager
        def task(self, name: str, total: int | None, done: int = 0) -> Iterator[ProgressTask]:
            seen.append((name, total, done))
            yield self

    held = exam(mixed(300))
    with pytest.raises(ModelError):
        evaluate_or_reuse(Mortal(256), held, "l", STRICT_PARSER, tmp_path, Recorder())
    assert seen == [("l · starter:recall · letter", 300, 0)]
    seen.clear()
    record, _ = evaluate_or_reuse(Mortal(999), held, "l", STRICT_PARSER, tmp_path, Recorder())
    assert seen == [
        "l: resumes after the 256 questions that were answered before",
        ("l · starter:recall · letter", 300, 256),
        f"l · starter:recall · letter: {format_share(record.accuracy)} right",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "cloze"},
        {"options_only": 3},
        {"style": PromptStyle(system="")},
        {"data": SplitDescription(source="starter:recall", n=300, excluded={}, hash="other")},
    ],
)
def test_a_draft_of_another_examination_is_not_gone_on_with(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    held = exam(mixed(300))
    with pytest.raises(ModelError):
        evaluate_or_reuse(Mortal(256), held, "l", STRICT_PARSER, tmp_path, NoProgress())
    record, _ = evaluate_or_reuse(
        Mortal(999), replace(held, **changes), "l", STRICT_PARSER, tmp_path, NoProgress()
    )
    assert record.resumed_at == 0


def test_a_folder_that_cannot_be_written_is_found_before_anything_is_asked(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    model = Leaning("leaning", {})
    with pytest.raises(FolderError, match=r"part of the path is a file|stands where"):
        evaluate_or_reuse(
            model, exam(mixed(3)), "l", STRICT_PARSER, tmp_path / "file" / "e", NoProgress()
        )
    assert model.scored == 0


def test_a_full_disk_loses_nothing_that_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, calls = exam(mixed(600)), []
    add = PredictionsDraft.append

    def full(self: PredictionsDraft, predictions: Sequence[Prediction]) -> None:
        calls.append(len(predictions))
        with translate_disk_errors(tmp_path):
            if len(calls) == 2:
                raise OSError(errno.ENOSPC, "full")
        add(self, predictions)

    monkeypatch.setattr(PredictionsDraft, "append", full)
    with pytest.raises(FolderError, match="the disk is full"):
        evaluate_or_reuse(Leaning("leaning", {}), held, "l", STRICT_PARSER, tmp_path, NoProgress())
    assert drafted(tmp_path) == 256
    model = Leaning("leaning", {})
    record, _ = evaluate_or_reuse(model, held, "l", STRICT_PARSER, tmp_path, NoProgress())
    assert (record.resumed_at, model.scored) == (256, 344)


def test_a_disk_that_fills_up_at_the_end_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An older evaluation lies in the folder; its record must not vouch for newer predictions.
    evaluate_or_reuse(
        Leaning("leaning", {}), exam(mixed(30), "cloze"), "l", STRICT_PARSER, tmp_path, NoProgress()
    )
    held = exam(mixed(30))
    with monkeypatch.context() as patch:

        def full(path: Path, record: object) -> None:
            raise FolderError(f"cannot write {path}: the disk is full")

        patch.setattr("medtune.core.predictions_io.write_record", full)
        with pytest.raises(FolderError):
            evaluate_or_reuse(
                Leaning("leaning", {}), held, "l", STRICT_PARSER, tmp_path, NoProgress()
            )
    with pytest.raises(PredictionsError, match="holds no evaluation"):
        read_evaluation(tmp_path)
    model = Leaning("leaning", {})
    record, _ = evaluate_or_reuse(model, held, "l", STRICT_PARSER, tmp_path, NoProgress())
    assert (record.resumed_at, model.scored) == (30, 0)
    assert read_evaluation(tmp_path)[0] == record


@pytest.mark.parametrize("orders", ["given", "cyclic", "pride"])
def test_scores_that_are_no_numbers_keep_what_was_asked_before(
    tmp_path: Path, orders: Orders
) -> None:
    class Overflown(Leaning):
        def _logits(self, identity: str, options: Sequence[str]) -> list[float]:
            return [math.nan] * 4 if identity == "m298" else super()._logits(identity, options)

    held = exam([q.model_copy(update={"id": f"m{n}"}) for n, q in enumerate(mixed(300))])
    held = replace(held, orders=orders)
    with pytest.raises(ModelError, match="question m298, nan") as caught:
        evaluate_or_reuse(
            Overflown("leaning", {}), held, "l", STRICT_PARSER, tmp_path, NoProgress()
        )
    assert "float32" in caught.value.fix
    # PriDe may meet it in its sample already, before the first chunk.
    assert drafted(tmp_path) in ((256,) if orders != "pride" else (0, 256))


# Constrained free answers


@pytest.mark.parametrize("target", ["letter", "text"])
def test_constrained_answers_are_all_read(
    questions: tuple[Question, ...], target: Literal["letter", "text"]
) -> None:
    record, predictions = run("noisy", questions, "generate", constrained=True, target=target)
    assert record.constrained
    assert record.answer_rate.value == 1.0
    scored = run("noisy", questions)[1]
    assert [p.chosen for p in predictions] == [p.chosen for p in scored]
    assert not run("noisy", questions, "generate")[0].constrained
