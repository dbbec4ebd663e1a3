"""Export review items as Label Studio tasks (https://labelstud.io/guide/tasks)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medtune.core.records import LETTERS
from medtune.serving.schemas import AnswerReviewItem, Reviewed, ReviewerDecision

CONFIG = """\
<View>
  <Text name="stem" value="$stem"/>
  <Header value="What is to be done with the model's answer?"/>
  <Choices name="decision" toName="stem" choice="single" required="true">
    <Choice value="approve"/>
    <Choice value="edit"/>
    <Choice value="reject"/>
  </Choices>
  <Header value="Which answer is given?"/>
  <Choices name="answer" toName="stem" choice="single" value="$options"/>
  <Header value="Note"/>
  <TextArea name="note" toName="stem" rows="3" maxSubmissions="1"/>
</View>
"""
"""The labelling interface of the Label Studio project."""


def build_review_tasks(reviewed: Sequence[Reviewed]) -> list[dict[str, Any]]:
    """Build tasks with the question, the model's proposal and the reviewers' opinions.

    Label Studio ties annotations to its own users, so the reviewers are listed in the data, in the
    order of their annotations.
    """
    return [
        {
            "data": {
                "request_id": one.item.request_id,
                "stem": one.item.stem,
                "options": [{"value": text} for text in _lettered_options(one.item)],
                "subject": one.item.subject,
                "topic": one.item.topic,
                "reviewers": [opinion.reviewer for opinion in one.opinions],
            },
            "predictions": _predictions(one.item),
            "annotations": [
                _annotation(
                    one.item, opinion, final=bool(one.final) and opinion is one.opinions[-1]
                )
                for opinion in one.opinions
            ],
        }
        for one in reviewed
    ]


def _lettered_options(item: AnswerReviewItem) -> list[str]:
    """Return the options with their letters: redacted texts may be equal."""
    return [f"{letter}. {text}" for letter, text in zip(LETTERS, item.options, strict=False)]


def _predictions(item: AnswerReviewItem) -> list[dict[str, Any]]:
    if item.proposed is None:
        return []
    prediction: dict[str, Any] = {
        "model_version": item.release,
        "result": [_choice(item, "answer", _lettered_options(item)[item.proposed])],
    }
    if item.probabilities is not None:
        prediction["score"] = item.probabilities[item.proposed]
    return [prediction]


def _annotation(item: AnswerReviewItem, opinion: ReviewerDecision, final: bool) -> dict[str, Any]:
    decision = opinion.decision
    answer = item.proposed if decision.kind == "approve" else decision.chosen
    result = [_choice(item, "decision", decision.kind)]
    if answer is not None:
        result.append(_choice(item, "answer", _lettered_options(item)[answer]))
    if decision.note:
        value = {"text": [decision.note]}
        result.append(_result(item, "note", "textarea", value))
    return {
        "created_at": opinion.time.isoformat(),
        "ground_truth": final,
        "was_cancelled": False,
        "result": result,
    }


def _choice(item: AnswerReviewItem, name: str, value: str) -> dict[str, Any]:
    return _result(item, name, "choices", {"choices": [value]})


def _result(item: AnswerReviewItem, name: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"{item.request_id}-{name}",
        "from_name": name,
        "to_name": "stem",
        "type": kind,
        "value": value,
    }
