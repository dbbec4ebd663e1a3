from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medtune.analysis.ask import option_probabilities
from medtune.analysis.exam import Exam, Shots
from medtune.analysis.examine import Sitting, count, examine, examined, summarize
from medtune.answers.parse import STRICT
from medtune.core.errors import DataError
from medtune.core.ledger import PREDICTIONS
from medtune.core.model import (
    ContinuationScore,
    Decoding,
    GenerateRequest,
    Generation,
    ScoreRequest,
)
from medtune.core.progress import Silent, Task
from medtune.core.prompt import PromptStyle
from medtune.core.records import (
    LETTERS,
    EvaluationRecord,
    Method,
    Normalization,
    Outcome,
    Prediction,
    Question,
    SplitDescription,
)
from medtune.data.load import load_split
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
) -> tuple[EvaluationRecord, list[Prediction]]:
    return examine(
        fake(kind, questions), exam(questions, method, **changes), kind, STRICT, Silent()
    )


def shown(questions: Sequence[Question], order: tuple[int, ...]) -> list[Question]:
    return [question.permuted(order) for question in questions]


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

    asked = exam(questions[:4], "generate", max_new_tokens=7)
    record, predictions = examine(Mute("oracle", {}), asked, "mute", STRICT, Silent())
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


@settings(max_examples=100, deadline=None)
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
    record = summarize(FakeModel("noisy", {}), exam([]), "base", STRICT, predictions, Sitting(2.0))
    assert count(predictions) == record.counts
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

    class Recorder(Silent):
        @contextmanager
        def task(self, name: str, total: int | None, done: int = 0) -> Iterator[Task]:
            assert total is not None
            seen.append((name, total))
            yield Bar()

    examine(fake("noisy", train), exam(train), "base", STRICT, Recorder())
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
    first = examined(model, exam(questions), "base", STRICT, tmp_path, Silent())
    again = examined(model, exam(questions), "base", STRICT, tmp_path, Silent())
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
    examined(model, exam(questions), "base", STRICT, tmp_path, Silent())
    examined(model, replace(exam(questions), **changes), "base", STRICT, tmp_path, Silent())
    assert model.scored == 2 * len(questions)


def test_shots_are_part_of_the_inputs(questions: tuple[Question, ...]) -> None:
    model = FakeModel("noisy", {})
    plain = exam(questions).inputs(model, 1)
    assert exam(questions).inputs(model, 1) == plain
    assert exam(questions, shots=Shots(questions, 1)).inputs(model, 1) != plain
    assert exam(questions).inputs(FakeModel("oracle", {}), 1) != plain


def test_only_what_a_method_uses_is_part_of_its_inputs(questions: tuple[Question, ...]) -> None:
    model = FakeModel("noisy", {})
    free = exam(questions, "generate")
    assert replace(free, normalization="sum").inputs(model, 1) == free.inputs(model, 1)
    assert replace(free, max_new_tokens=9).inputs(model, 1) != free.inputs(model, 1)
    cloze = exam(questions, "cloze")
    assert replace(cloze, normalization="sum").inputs(model, 1) != cloze.inputs(model, 1)
    assert replace(cloze, max_new_tokens=9).inputs(model, 1) == cloze.inputs(model, 1)


@pytest.mark.parametrize("damage", ["cut", "gone", "empty"])
def test_damaged_predictions_are_made_again(
    questions: tuple[Question, ...], tmp_path: Path, damage: str
) -> None:
    # "evaluate again" is what the error of a damaged file advises: it has to help.
    model = FakeModel("noisy", {})
    first, _ = examined(model, exam(questions), "base", STRICT, tmp_path, Silent())
    path = tmp_path / PREDICTIONS
    if damage == "gone":
        path.unlink()
    else:
        path.write_text("" if damage == "empty" else path.read_text()[:-30])
    again, predictions = examined(model, exam(questions), "base", STRICT, tmp_path, Silent())
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
    first = examined(model, exam(plain, method), "base", STRICT, tmp_path, Silent())
    assert examined(model, exam(plain, method), "base", STRICT, tmp_path, Silent()) == first
