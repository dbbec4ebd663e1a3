from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtune.core.errors import EmptySplitError
from medtune.core.experiment import TrainingConfig
from medtune.core.progress import NoProgress
from medtune.core.prompt import PromptStyle, TrainingTarget
from medtune.core.protocols import Example
from medtune.core.records import Question
from medtune.training.epochs import build_weight_function, filter_by_length, plan_epoch

STYLE = PromptStyle()


class Said(NoProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def log_message(self, text: str) -> None:
        self.lines.append(text)


def question(number: int = 0, explanation: str | None = None, **own: Any) -> Question:
    return Question(
        id=f"q{number}",
        stem=f"stem {number}",
        options=("one", "two", "three"),
        answer=number % 3,
        explanation=explanation,
        **own,
    )


def settings(**own: Any) -> TrainingConfig:
    return TrainingConfig.model_validate(own)


def encoder(target: TrainingTarget = "text") -> Any:
    """One token a character of the stem and the answer."""

    def encode(q: Question) -> Example:
        answer = STYLE.render_target(q, target)
        return Example(tuple(map(ord, q.stem + answer)), len(q.stem))

    return encode


def fit(questions: Sequence[Question], config: TrainingConfig) -> tuple[list[Question], list[str]]:
    said = Said()
    return filter_by_length(questions, encoder(config.target), config, said), said.lines


def length(q: Question, target: TrainingTarget) -> int:
    return len(encoder(target)(q).tokens)


def test_what_is_too_long_is_left_out_and_counted() -> None:
    short, long = question(1), question(2).model_copy(update={"stem": "x" * 90})
    kept, said = fit([short, long], settings(max_tokens=60))
    assert kept == [short]
    assert said == ["1 of 2 examples exceed 60 tokens: left out"]


def test_an_example_may_be_as_long_as_the_limit() -> None:
    one = question(1)
    kept, said = fit([one], settings(max_tokens=length(one, "text")))
    assert (kept, said) == ([one], [])
    with pytest.raises(EmptySplitError, match="all 1 training examples exceed"):
        fit([one], settings(max_tokens=length(one, "text") - 1))


def test_an_explanation_is_cut_to_the_sentences_that_fit() -> None:
    full = question(1, "First it is so. Then it is! Why? Nobody knows.")
    wanted = full.model_copy(update={"explanation": "First it is so. Then it is!"})
    limit = length(wanted, "text+explanation")
    config = settings(target="text+explanation", max_tokens=limit)
    kept, said = fit([full, question(2, "Short.")], config)
    assert kept == [wanted, question(2, "Short.")]
    assert said == [f"1 of 2 explanations were cut to fit {limit} tokens"]


def test_an_explanation_of_one_long_sentence_goes_whole() -> None:
    full = question(1, "so " * 90)
    bare = full.model_copy(update={"explanation": None})
    config = settings(target="text+explanation", max_tokens=length(bare, "text+explanation"))
    assert fit([full], config)[0] == [bare]


def test_explanations_are_kept_whole_or_left_out_where_asked() -> None:
    config = settings(target="text+explanation", max_tokens=60, too_long="leave out")
    kept, said = fit([question(1, "so " * 90), question(2, "Short.")], config)
    assert kept == [question(2, "Short.")]
    assert said == ["1 of 2 examples exceed 60 tokens: left out"]


def test_an_epoch_is_a_function_of_seed_and_number() -> None:
    questions = [question(n) for n in range(20)]
    config = settings(batch_size=4)
    first, again = (plan_epoch(questions, encoder(), config, 3, 0) for _ in range(2))
    assert first == again
    assert plan_epoch(questions, encoder(), config, 3, 1) != first
    assert plan_epoch(questions, encoder(), config, 4, 0) != first


def test_permuted_options_keep_their_answer_and_others_stay() -> None:
    questions = [question(n) for n in range(20)]
    shown: list[Question] = []

    def encode(q: Question) -> Example:
        shown.append(q)
        example: Example = encoder()(q)
        return example

    plan_epoch(questions, encode, settings(permute_options=False), 0, 0)
    assert shown == questions
    shown.clear()
    plan_epoch(questions, encode, settings(permute_options=True), 0, 0)
    assert [q.answer_text for q in shown] == [q.answer_text for q in questions]
    assert [q.options for q in shown] != [q.options for q in questions]


@given(st.lists(st.sampled_from(["anatomy", "surgery", None]), min_size=1, max_size=30))
def test_every_subject_weighs_alike_and_the_mean_is_one(subjects: list[str | None]) -> None:
    questions = [question(n, subject=s) for n, s in enumerate(subjects)]
    weigh = build_weight_function(questions, settings(weigh_by="subject"))
    sums: dict[str | None, float] = {}
    for q in questions:
        sums[q.subject] = sums.get(q.subject, 0) + weigh(q)
    assert list(sums.values()) == pytest.approx([len(questions) / len(sums)] * len(sums))


def test_letters_weigh_alike_where_asked_and_all_do_otherwise() -> None:
    questions = [question(0), question(3), question(1)]
    weigh = build_weight_function(questions, settings(weigh_by="letter", permute_options=False))
    assert [weigh(q) for q in questions] == pytest.approx([0.75, 0.75, 1.5])
    assert [build_weight_function(questions, settings())(q) for q in questions] == [1.0] * 3
