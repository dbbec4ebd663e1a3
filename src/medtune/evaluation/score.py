"""Questions to a model, answers to predictions: one chunk of an examination."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from medtune.core.answer_parser import Parser
from medtune.core.choice import choose
from medtune.core.errors import ModelError
from medtune.core.prompt import PromptStyle, form_of
from medtune.core.protocols import (
    AnswerModel,
    ContinuationScore,
    GenerateRequest,
    ScoreRequest,
)
from medtune.core.records import (
    Method,
    Normalization,
    OrderAnswer,
    Outcome,
    Prediction,
    Question,
    SplitDescription,
)
from medtune.evaluation.exam import Exam
from medtune.evaluation.pride import without_prior

Scores = tuple[ContinuationScore, ...]
Prior = Mapping[int, tuple[float, ...]]
"""PriDe's probability of each position, by number of options."""


def ask(
    model: AnswerModel, exam: Exam, questions: Sequence[Question], parser: Parser, prior: Prior
) -> list[Prediction]:
    """Ask some questions as the exam says.

    Args:
        model: Any model.
        exam: Method, orders and prompt; its own questions are not looked at.
        questions: All labelled.
        parser: For free answers.
        prior: For PriDe; empty otherwise.

    Raises:
        ModelError: The model fails, gives scores that are not numbers, or reads no prompt as long.
    """
    _refuse_what_does_not_fit(model, exam, questions)
    if exam.method == "generate":
        return _generated(model, exam, questions, parser)
    asked = rotated_scores(model, exam, questions, all_orders=exam.orders == "cyclic")
    return [
        _scored(question, rounds, exam, prior)
        for question, rounds in zip(questions, asked, strict=True)
    ]


def likelihoods(
    model: AnswerModel, style: PromptStyle, method: Method, questions: Sequence[Question]
) -> list[tuple[tuple[float, ...], float | None]]:
    """Score questions once, as given; they need no label.

    Args:
        model: Any model.
        style: The prompt.
        method: letter or cloze.
        questions: To ask.

    Returns:
        For each question the options' probabilities, which add up to 1, and by letter the
        probability of all letters together, else None.

    Raises:
        ModelError: The model fails, or gives scores that are not numbers.
    """
    nothing = SplitDescription(source="asked", n=len(questions), excluded={}, hash="")
    exam = Exam.plain(questions, nothing, style, method)
    assert exam.compared is not None, "they are scored, not answered freely"
    asked = rotated_scores(model, exam, questions, all_orders=False)
    return [
        (
            option_probabilities(scores, exam.compared),
            _mass(scores) if method == "letter" else None,
        )
        for (scores,) in asked
    ]


def rotations(options: int) -> list[tuple[int, ...]]:
    """List the cyclic orders of some options: in order r, position i shows option i + r."""
    return [tuple((i + r) % options for i in range(options)) for r in range(options)]


def rotated_scores(
    model: AnswerModel, exam: Exam, questions: Sequence[Question], all_orders: bool
) -> list[list[Scores]]:
    """Score every question in every cyclic order, or in the given one alone.

    Returns:
        `[question][order][position]`; orders as `rotations` lists them.

    Raises:
        ModelError: A score is not a finite number, as where an arithmetic overflows.
    """
    form = form_of(exam.method, exam.target)
    requests: list[ScoreRequest] = []
    rounds: list[int] = []
    for question in questions:
        orders = rotations(len(question.options)) if all_orders else [None]
        shots = exam.shots.before(question)
        for order in orders:
            shown = question if order is None else question.permuted(order)
            lead, continuations = exam.style.continuations(shown, form)
            messages = exam.style.messages(shown, form, shots)
            requests.append(ScoreRequest(question.id, shown.options, messages, lead, continuations))
        rounds.append(len(orders))
    found = model.score(requests)
    for request, scores in zip(requests, found, strict=True):
        _refuse_what_is_no_number(model, request, scores)
    rest = iter(found)
    return [list(islice(rest, count)) for count in rounds]


def _refuse_what_does_not_fit(
    model: AnswerModel, exam: Exam, questions: Sequence[Question]
) -> None:
    """Refuse prompts beyond what a model was made to read, where it tells: answers would be noise.

    Raises:
        ModelError: Naming the first question of which that is so.
    """
    beyond: Any = getattr(model, "beyond", lambda _: None)
    form = form_of(exam.method, exam.target)
    for question in questions:
        found = beyond(exam.style.messages(question, form, exam.shots.before(question)))
        if found is not None:
            tokens, most = found
            raise ModelError(
                f"question {question.id} makes a prompt of {tokens:,} tokens",
                expected=f"at most {most:,}, which is what {model.describe().source} reads",
                fix="shorten it or leave it out, or show fewer worked examples",
            )


def _refuse_what_is_no_number(model: AnswerModel, request: ScoreRequest, scores: Scores) -> None:
    if all(math.isfinite(score.logprob) for score in scores):
        return
    given = ", ".join(f"{score.logprob:.4g}" for score in scores)
    raise ModelError(
        f"{model.describe().source} gives scores that are not numbers: "
        f"question {request.id}, {given}",
        expected="a finite log-probability for every option",
        fix="examine it with --dtype float32; if that does not help, its weights are damaged",
    )


def option_logs(scores: Scores, normalization: Normalization) -> tuple[float, ...]:
    """Turn continuation scores into log-probabilities over the options.

    Args:
        scores: One per option.
        normalization: sum compares log-probabilities as they are, token and byte their means
            (lm-evaluation-harness: acc, and acc_norm for byte).

    Returns:
        Log-softmax of the compared values; their exponentials add up to 1.
    """
    sizes = {
        "sum": [1] * len(scores),
        "token": [max(1, s.tokens) for s in scores],
        "byte": [max(1, s.bytes) for s in scores],
    }[normalization]
    values = [s.logprob / size for s, size in zip(scores, sizes, strict=True)]
    top = max(values)
    total = top + math.log(math.fsum(math.exp(value - top) for value in values))
    return tuple(value - total for value in values)


def option_probabilities(scores: Scores, normalization: Normalization) -> tuple[float, ...]:
    """Turn continuation scores into probabilities over the options; they add up to 1."""
    weights = [math.exp(log) for log in option_logs(scores, normalization)]
    return tuple(weight / math.fsum(weights) for weight in weights)


def _scored(question: Question, rounds: Sequence[Scores], exam: Exam, prior: Prior) -> Prediction:
    """Make a prediction of a question's scores in one or more orders."""
    assert exam.compared is not None, "free text is not scored"
    first, orders = rounds[0], None
    probabilities = option_probabilities(first, exam.compared)
    if exam.orders == "pride":
        logs = option_logs(first, exam.compared)
        probabilities = without_prior(logs, prior[len(question.options)])
    elif exam.orders == "cyclic":
        orders = tuple(
            _by_content(question, order, option_probabilities(scores, exam.compared))
            for order, scores in zip(rotations(len(question.options)), rounds, strict=True)
        )
        columns = zip(*(answer.probabilities for answer in orders), strict=True)
        probabilities = tuple(math.fsum(column) / len(orders) for column in columns)
    chosen = choose(probabilities, question.stem, question.options)
    masses = [_mass(scores) for scores in rounds]
    return Prediction(
        **_copied(question),
        chosen=chosen,
        outcome=Outcome.CORRECT if chosen == question.answer else Outcome.WRONG,
        logprobs=tuple(s.logprob for s in first),
        tokens=tuple(s.tokens for s in first),
        bytes=tuple(s.bytes for s in first),
        probabilities=probabilities,
        orders=orders,
        mass=math.fsum(masses) / len(masses) if exam.method == "letter" else None,
    )


def _mass(scores: Scores) -> float:
    """Return the probability of all continuations together."""
    return min(1.0, math.fsum(math.exp(score.logprob) for score in scores))


def _by_content(question: Question, order: tuple[int, ...], shown: Sequence[float]) -> OrderAnswer:
    """Bring probabilities by position back to the options in their given order."""
    given = [0.0] * len(order)
    for position, option in enumerate(order):
        given[option] = shown[position]
    return OrderAnswer(
        order=order,
        chosen=choose(given, question.stem, question.options),
        probabilities=tuple(given),
    )


def _generated(
    model: AnswerModel, exam: Exam, questions: Sequence[Question], parser: Parser
) -> list[Prediction]:
    form = exam.target
    requests = []
    for question in questions:
        messages = exam.style.messages(question, form, exam.shots.before(question))
        choices = None
        if exam.constrained:
            places = range(len(question.options))
            choices = tuple(exam.style.answer(question, i, form) for i in places)
        requests.append(GenerateRequest(question.id, question.options, messages, choices))
    answers = model.generate(requests, exam.decoding)
    predictions = []
    for question, answer in zip(questions, answers, strict=True):
        reading = parser.read(answer.text, question.options)
        outcome = Outcome.UNPARSED
        if reading.chosen is not None:
            outcome = Outcome.CORRECT if reading.chosen == question.answer else Outcome.WRONG
        predictions.append(
            Prediction(
                **_copied(question),
                chosen=reading.chosen,
                outcome=outcome,
                text=answer.text,
                written=answer.tokens,
                stopped=answer.stopped,
                reason=reading.reason,
            )
        )
    return predictions


def _copied(question: Question) -> dict[str, Any]:
    """Copy what a prediction keeps of its question."""
    assert question.answer is not None, "examine refuses unlabelled questions"
    names = ("id", "stem", "subject", "topic", "group", "options", "answer")
    return {name: getattr(question, name) for name in names}
