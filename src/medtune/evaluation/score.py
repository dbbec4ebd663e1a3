"""Ask a model a chunk of questions and turn its answers into predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from medtune.core.choice import choose_option
from medtune.core.errors import ModelError
from medtune.core.option_logprobs import (
    ContinuationScores,
    option_logprobs,
    option_probabilities,
)
from medtune.core.prompt import FormName, PromptStyle, form_for_method, visible_stem
from medtune.core.protocols import (
    AnswerModel,
    GenerateRequest,
    ModelIdentity,
    Parser,
    ScoreRequest,
)
from medtune.core.records import (
    Method,
    OrderAnswer,
    Outcome,
    Prediction,
    Question,
)
from medtune.evaluation.exam import NO_SHOTS, Exam, Shots, normalization_for_method
from medtune.evaluation.pride import remove_prior
from medtune.retrieval.evidence import EvidenceFinder

PositionPrior = Mapping[int, tuple[float, ...]]
"""PriDe: prior probability of each position, by number of options."""


def answer_questions(
    model: AnswerModel,
    exam: Exam,
    questions: Sequence[Question],
    parser: Parser,
    prior: PositionPrior,
) -> list[Prediction]:
    """Answer questions with a model, by the method of the exam.

    Args:
        model: The model.
        exam: Method, orders and prompt; its questions are not used.
        questions: Labelled questions.
        parser: Parser of free answers.
        prior: Position prior for PriDe; empty otherwise.

    Raises:
        ModelError: The model fails, gives scores that are not numbers, or cannot read a prompt that
            is this long.
    """
    _refuse_what_does_not_fit(model, exam, questions)
    if exam.method == "generate":
        return _generate_predictions(model, exam, questions, parser)
    form = form_for_method(exam.method, exam.target)
    asked = score_orders(
        model,
        exam.style,
        form,
        questions,
        exam.shots,
        exam.evidence,
        all_orders=exam.orders == "cyclic",
    )
    return [
        _make_prediction(question, rounds, exam, prior)
        for question, rounds in zip(questions, asked, strict=True)
    ]


def score_options(
    model: AnswerModel,
    style: PromptStyle,
    method: Method,
    questions: Sequence[Question],
    evidence: EvidenceFinder | None = None,
) -> list[tuple[tuple[float, ...], float | None]]:
    """Score the options of questions in their given order; labels are not needed.

    Args:
        model: The model.
        style: The prompt style.
        method: letter or cloze.
        questions: The questions.
        evidence: Finds the passages of an open-book prompt.

    Returns:
        For each question the probabilities of its options, which add up to 1, and for the letter
        method the total probability of all letters, else None; also None where each option is
        scored behind passages of its own.

    Raises:
        ModelError: The model fails, or gives scores that are not numbers.
    """
    normalization = normalization_for_method(method)
    assert normalization is not None, "they are scored, not answered freely"
    form = form_for_method(method, "text")
    asked = score_orders(model, style, form, questions, evidence=evidence)
    has_mass = method == "letter" and not (evidence is not None and evidence.per_option)
    return [
        (
            option_probabilities(scores, normalization),
            _total_probability(scores) if has_mass else None,
        )
        for (scores,) in asked
    ]


def render_prompts(model: ModelIdentity, exam: Exam) -> list[tuple[str, tuple[str, ...]]]:
    """Render the prompts of a closed-book exam, with the options in the given order.

    Returns:
        For each question the text that the model reads, and the continuations that it scores;
        none where it answers freely.
    """
    form = form_for_method(exam.method, exam.target)
    prompts: list[tuple[str, tuple[str, ...]]] = []
    for question in exam.questions:
        messages = exam.style.build_messages(question, form, exam.shots.select_shots(question))
        text = model.render(messages)
        continuations: tuple[str, ...] = ()
        if exam.method != "generate":
            lead, continuations = exam.style.split_continuations(question, form)
            text += lead
        prompts.append((text, continuations))
    return prompts


def cyclic_orders(options: int) -> list[tuple[int, ...]]:
    """Return the cyclic orders of n options: in order r, position i shows option i + r."""
    return [tuple((i + r) % options for i in range(options)) for r in range(options)]


def score_orders(
    model: AnswerModel,
    style: PromptStyle,
    form: FormName,
    questions: Sequence[Question],
    shots: Shots = NO_SHOTS,
    evidence: EvidenceFinder | None = None,
    *,
    all_orders: bool = False,
) -> list[list[ContinuationScores]]:
    """Score every question in all cyclic orders of its options, or in the given order only.

    With passages for each option, every option is a request of its own, behind its passages.

    Returns:
        `[question][order][position]`, in cyclic order of the options.

    Raises:
        ModelError: A score is not finite, for instance after an overflow.
    """
    per_option = evidence is not None and evidence.per_option
    requests: list[ScoreRequest] = []
    rounds: list[int] = []
    for question in questions:
        given = tuple(range(len(question.options)))
        orders = cyclic_orders(len(given)) if all_orders else [given]
        examples = shots.select_shots(question)
        passages = _find_passages(evidence, question)
        for order in orders:
            shown = question.permute_options(order) if all_orders else question
            lead, continuations = style.split_continuations(shown, form)
            # One option at a time behind its own passages, or all of them at once.
            parts = [given[at : at + 1] for at in given] if per_option else [given]
            for part in parts:
                read = passages[order[part[0]]]
                requests.append(
                    ScoreRequest(
                        question.id,
                        visible_stem(question),
                        tuple(shown.options[at] for at in part),
                        style.build_messages(shown, form, examples, read),
                        lead,
                        tuple(continuations[at] for at in part),
                    )
                )
        rounds.append(len(orders))
    found = model.score(requests)
    for request, scores in zip(requests, found, strict=True):
        check_finite(model, request, scores)
    rest = iter(found)

    def next_order(options: int) -> ContinuationScores:
        rows = options if per_option else 1
        return tuple(score for scores in islice(rest, rows) for score in scores)

    return [
        [next_order(len(question.options)) for _ in range(count)]
        for question, count in zip(questions, rounds, strict=True)
    ]


def _find_passages(
    evidence: EvidenceFinder | None, question: Question
) -> tuple[tuple[str, ...], ...]:
    """Find the passages behind which each option is scored; none for a closed book."""
    if evidence is None:
        return ((),) * len(question.options)
    return evidence.find(visible_stem(question), question.options)


def _refuse_what_does_not_fit(
    model: AnswerModel, exam: Exam, questions: Sequence[Question]
) -> None:
    """Refuse prompts that are longer than a model can read: its answers would be noise.

    Only models with a method `beyond` state their limit; prompts of others are not checked.

    Raises:
        ModelError: A prompt is too long; the first such question is named.
    """
    beyond: Any = getattr(model, "beyond", lambda _: None)
    form = form_for_method(exam.method, exam.target)
    for question in questions:
        shots = exam.shots.select_shots(question)
        longest = max(
            {*_find_passages(exam.evidence, question)}, key=lambda read: sum(map(len, read))
        )
        found = beyond(exam.style.build_messages(question, form, shots, longest))
        if found is not None:
            tokens, most = found
            raise ModelError(
                f"question {question.id} makes a prompt of {tokens:,} tokens",
                expected=f"at most {most:,}, which is what {model.describe().source} reads",
                fix="shorten it or leave it out, or show fewer worked examples or passages",
            )


def check_finite(model: AnswerModel, request: ScoreRequest, scores: ContinuationScores) -> None:
    """Refuse scores that are not finite.

    Raises:
        ModelError: One is not, for instance after an overflow.
    """
    if all(math.isfinite(score.logprob) for score in scores):
        return
    given = ", ".join(f"{score.logprob:.4g}" for score in scores)
    raise ModelError(
        f"{model.describe().source} gives scores that are not numbers: "
        f"question {request.id}, {given}",
        expected="a finite log-probability for every option",
        fix="evaluate it with --dtype float32; if that does not help, its weights are damaged",
    )


def _make_prediction(
    question: Question, rounds: Sequence[ContinuationScores], exam: Exam, prior: PositionPrior
) -> Prediction:
    """Make a prediction from a question's scores in one or more orders."""
    assert exam.effective_normalization is not None, "free text is not scored"
    first, orders = rounds[0], None
    probabilities = option_probabilities(first, exam.effective_normalization)
    if exam.orders == "pride":
        logs = option_logprobs(first, exam.effective_normalization)
        probabilities = remove_prior(logs, prior[len(question.options)])
    elif exam.orders == "cyclic":
        orders = tuple(
            _reorder_by_content(
                question, order, option_probabilities(scores, exam.effective_normalization)
            )
            for order, scores in zip(cyclic_orders(len(question.options)), rounds, strict=True)
        )
        columns = zip(*(answer.probabilities for answer in orders), strict=True)
        probabilities = tuple(math.fsum(column) / len(orders) for column in columns)
    chosen = choose_option(probabilities, question.stem, question.options)
    masses = [_total_probability(scores) for scores in rounds]
    per_option = exam.evidence is not None and exam.evidence.per_option
    return Prediction(
        **_question_fields(question),
        chosen=chosen,
        outcome=Outcome.CORRECT if chosen == question.answer else Outcome.WRONG,
        logprobs=tuple(s.logprob for s in first),
        tokens=tuple(s.tokens for s in first),
        bytes=tuple(s.bytes for s in first),
        probabilities=probabilities,
        orders=orders,
        mass=math.fsum(masses) / len(masses)
        if exam.method == "letter" and not per_option
        else None,
    )


def _total_probability(scores: ContinuationScores) -> float:
    """Return the total probability of all continuations."""
    return min(1.0, math.fsum(math.exp(score.logprob) for score in scores))


def _reorder_by_content(
    question: Question, order: tuple[int, ...], shown: Sequence[float]
) -> OrderAnswer:
    """Reorder probabilities by position into the given order of the options."""
    given = [0.0] * len(order)
    for position, option in enumerate(order):
        given[option] = shown[position]
    return OrderAnswer(
        order=order,
        chosen=choose_option(given, question.stem, question.options),
        probabilities=tuple(given),
    )


def _generate_predictions(
    model: AnswerModel, exam: Exam, questions: Sequence[Question], parser: Parser
) -> list[Prediction]:
    form = exam.target
    requests = []
    for question in questions:
        shots = exam.shots.select_shots(question)
        (passages, *_) = _find_passages(exam.evidence, question)
        messages = exam.style.build_messages(question, form, shots, passages)
        choices = None
        if exam.constrained:
            places = range(len(question.options))
            choices = tuple(exam.style.render_answer(question, i, form) for i in places)
        requests.append(
            GenerateRequest(
                question.id, visible_stem(question), question.options, messages, choices
            )
        )
    answers = model.generate(requests, exam.decoding)
    predictions = []
    for question, answer in zip(questions, answers, strict=True):
        reading = parser.read(answer.text, question.options)
        outcome = Outcome.UNPARSED
        if reading.chosen is not None:
            outcome = Outcome.CORRECT if reading.chosen == question.answer else Outcome.WRONG
        predictions.append(
            Prediction(
                **_question_fields(question),
                chosen=reading.chosen,
                outcome=outcome,
                text=answer.text,
                written=answer.tokens,
                stopped=answer.stopped,
                reason=reading.reason,
            )
        )
    return predictions


def _question_fields(question: Question) -> dict[str, Any]:
    """Return the fields of a question that its prediction repeats."""
    assert question.answer is not None, "unlabelled questions are refused before"
    names = ("id", "stem", "subject", "topic", "group", "options", "answer")
    return {name: getattr(question, name) for name in names}
