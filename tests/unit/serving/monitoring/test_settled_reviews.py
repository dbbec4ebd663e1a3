from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from tests.unit.serving.store_cases import START, item

from medtune.core.records import Question
from medtune.core.schemas.corrections import AskersRecord
from medtune.core.schemas.guardrails import Inquiry
from medtune.data.training_only import correction_id
from medtune.guardrails.privacy.identifiers import redact_inquiry
from medtune.serving.monitoring.settled_reviews import (
    correction_origin,
    has_redaction_mark,
    settle_reviews,
    settled_option,
    summarize_feedback,
)
from medtune.serving.schemas import Decision, Feedback, Reviewed, ReviewerDecision

APPROVE, REJECT = Decision(kind="approve"), Decision(kind="reject")


def edit(index: int) -> Decision:
    return Decision(kind="edit", chosen=index)


def reviewed(request_id: str, *decisions: Decision, **changes: Any) -> Reviewed:
    """Make an item on which reviewers decided, one after the other."""
    opinions = tuple(
        ReviewerDecision(
            request_id=request_id,
            reviewer=f"r{number}",
            time=START + timedelta(minutes=number),
            decision=decision,
            second=number > 0,
        )
        for number, decision in enumerate(decisions)
    )
    return Reviewed(
        item=item(request_id, state="decided", **changes),
        opinions=opinions,
        final=decisions[-1] if decisions else None,
    )


def said(request_id: str, **what: Any) -> Feedback:
    return Feedback(request_id=request_id, time=START, **what)


# What is settled


def test_an_approval_takes_the_proposal_and_an_edit_its_own() -> None:
    found = settle_reviews(
        [
            reviewed("a", APPROVE),  # of option 0
            reviewed("b", edit(2), stem="Which drug slows the heart?"),
        ]
    )
    assert [(one.reviewed.item.request_id, one.answer) for one in found.kept] == [
        ("a", 0),
        ("b", 2),
    ]
    assert found.left_out == ()
    rows = dict(found.training_rows())
    assert rows["b"] == {
        "id": correction_id("Which drug slows the heart?", ("Oxytocin", "Warfarin", "Digoxin")),
        "stem": "Which drug slows the heart?",
        "options": ["Oxytocin", "Warfarin", "Digoxin"],
        "answer": 2,
        "subject": "Obstetrics",
    }


def test_what_teaches_nothing_is_left_out_with_its_reason() -> None:
    found = settle_reviews(
        [
            reviewed("a", REJECT),
            reviewed("b"),  # nobody decided
            reviewed("c", APPROVE, proposed=None),
            reviewed("d", edit(7)),
        ]
    )
    assert found.kept == ()
    assert found.left_out == (
        ("a", "rejected"),
        ("b", "no option chosen"),
        ("c", "no option chosen"),
        ("d", "no option chosen"),
    )


def test_the_last_opinion_holds() -> None:
    assert settled_option(reviewed("a", APPROVE, edit(1), edit(2))) == 2
    assert settled_option(reviewed("a", APPROVE, edit(1), REJECT)) is None


def test_the_same_question_is_one_row_and_both_items_stay() -> None:
    found = settle_reviews([reviewed("a", APPROVE), reviewed("b", edit(0), proposed=1)])
    assert [one.reviewed.item.request_id for one in found.kept] == ["a", "b"]
    assert [place for place, _ in found.training_rows()] == ["a"]


def test_a_question_settled_in_two_ways_goes_with_all_its_items() -> None:
    found = settle_reviews(
        [reviewed("a", APPROVE), reviewed("b", edit(1)), reviewed("c", APPROVE, stem="Another?")]
    )
    assert [one.reviewed.item.request_id for one in found.kept] == ["c"]
    assert found.left_out == (("a", "conflicting answers"), ("b", "conflicting answers"))


# What askers said


def test_only_what_reviewers_settled_is_held_against_the_askers() -> None:
    items = [reviewed("a", APPROVE), reviewed("b", edit(2)), reviewed("c", REJECT)]
    heard = summarize_feedback(
        [
            said("a", helpful=True, corrected=0),
            said("b", helpful=False, corrected=1),
            said("c", corrected=1),  # rejected: nobody says what is right
            said("d", helpful=False, corrected=3),  # answered at once, no reviewer saw it
            said("e", helpful=True),
        ],
        items,
    )
    assert heard == AskersRecord(
        said=5, helpful=2, unhelpful=2, corrected=4, confirmed=1, contradicted=1, unconfirmed=2
    )


def test_counts_that_do_not_add_up_are_no_record() -> None:
    with pytest.raises(ValidationError, match="do not add up"):
        AskersRecord(
            said=1, helpful=0, unhelpful=0, corrected=1, confirmed=1, contradicted=1, unconfirmed=0
        )


@pytest.mark.parametrize(
    ("feedback", "agrees"),
    [
        (None, None),
        (said("a", helpful=True), None),
        (said("a", corrected=2), True),
        (said("a", corrected=0), False),
    ],
)
def test_an_origin_says_whether_the_asker_agrees(feedback: Feedback | None, agrees: Any) -> None:
    (one,) = settle_reviews([reviewed("a", APPROVE, edit(2), edit(2))]).kept
    found = correction_origin(one, feedback)
    assert (found.decision, found.opinions, found.release) == ("edit", 3, "r-1")
    assert found.asker_agrees is agrees


def test_an_origin_names_no_reviewer_and_quotes_no_note() -> None:
    noted = Decision(kind="edit", chosen=1, note="as Mr Peter Smith said")
    (one,) = settle_reviews([reviewed("a", noted)]).kept
    text = correction_origin(one, None).model_dump_json()
    assert "Smith" not in text
    assert "r0" not in text


# Privacy marks


@pytest.mark.parametrize("kind", ["name", "address", "phone", "record", "email"])
def test_marks_of_every_kind_are_seen(kind: str) -> None:
    question = Question(id="q", stem=f"Lives at [{kind} 1]?", options=("a", "b"), answer=0)
    assert has_redaction_mark(question)


def test_the_marks_are_those_that_privacy_writes() -> None:
    asked = Inquiry(
        stem="Mr John Fletcher, MRN 4432198, has a cough; ring 0151 496 0123. Which drug?",
        options=("Codeine", "Dr Alan Grant's mixture"),
    )
    clean = redact_inquiry(asked)
    assert clean != asked
    question = Question(id="q", stem=clean.stem, options=clean.options, answer=0)
    assert has_redaction_mark(question)
    assert has_redaction_mark(question.model_copy(update={"stem": "Which drug?"})) == (
        "[name" in clean.options[1]
    )


@pytest.mark.parametrize("stem", ["Which drug [1]?", "What is [Na+]?", "[name]", "[age 4] and up"])
def test_other_brackets_are_no_marks(stem: str) -> None:
    assert not has_redaction_mark(Question(id="q", stem=stem, options=("a", "b"), answer=0))
