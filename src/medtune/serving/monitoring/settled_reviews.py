"""Turn reviewers' decisions into training rows, and summarize callers' feedback."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from medtune.core.records import Question
from medtune.core.schemas.corrections import AskersRecord, CorrectionOrigin
from medtune.data.training_only import correction_id
from medtune.guardrails.privacy.identifiers import IDENTIFIER_KINDS
from medtune.serving.schemas import Feedback, Reviewed

CONFLICTING = "conflicting answers"
REJECTED = "rejected"
NO_OPTION = "no option chosen"
_REDACTION_MARK = re.compile(rf"\[(?:{'|'.join(IDENTIFIER_KINDS)}) \d+\]")


@dataclass(frozen=True, slots=True)
class SettledItem:
    """A review item with an option that reviewers consider right."""

    reviewed: Reviewed
    id: str
    """Id of the question."""
    answer: int
    """Index of the option."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """Decided items, split into training rows and rejected items."""

    kept: tuple[SettledItem, ...]
    """The oldest first; several items may share a question and its answer."""
    left_out: tuple[tuple[str, str], ...]
    """Request id and reason of each item left out."""

    def training_rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield one row per question, with the id of the first request that asked it."""
        first: dict[str, SettledItem] = {}
        for one in self.kept:
            first.setdefault(one.id, one)
        for one in first.values():
            item = one.reviewed.item
            yield (
                item.request_id,
                {
                    "id": one.id,
                    "stem": item.stem,
                    "options": list(item.options),
                    "answer": one.answer,
                    "subject": item.subject,
                },
            )


def settle_reviews(reviewed: Sequence[Reviewed]) -> Settlement:
    """Collect the options that reviewers approved or gave instead, from the oldest item on.

    If the same question was settled in two ways, all its items are left out.
    """
    found: list[SettledItem] = []
    left_out: list[tuple[str, str]] = []
    answers = defaultdict[str, set[int]](set)
    for one in reviewed:
        answer = settled_option(one)
        if answer is None:
            rejected = one.final is not None and one.final.kind == "reject"
            left_out.append((one.item.request_id, REJECTED if rejected else NO_OPTION))
            continue
        settled = SettledItem(one, correction_id(one.item.stem, one.item.options), answer)
        answers[settled.id].add(answer)
        found.append(settled)
    left_out += [
        (one.reviewed.item.request_id, CONFLICTING) for one in found if len(answers[one.id]) > 1
    ]
    return Settlement(
        kept=tuple(one for one in found if len(answers[one.id]) == 1), left_out=tuple(left_out)
    )


def settled_option(reviewed: Reviewed) -> int | None:
    """Return the index of the option that reviewers settled on; None without one."""
    index = reviewed.answer
    return index if index is not None and index < len(reviewed.item.options) else None


def summarize_feedback(said: Sequence[Feedback], reviewed: Sequence[Reviewed]) -> AskersRecord:
    """Count the feedback, and compare corrections with the settled options."""
    settled = {one.item.request_id: settled_option(one) for one in reviewed}
    thumbs = [one.helpful for one in said if one.helpful is not None]
    corrected = [one for one in said if one.corrected is not None]
    judged = [
        one.corrected == answer
        for one in corrected
        if (answer := settled.get(one.request_id)) is not None
    ]
    return AskersRecord(
        said=len(said),
        helpful=sum(thumbs),
        unhelpful=len(thumbs) - sum(thumbs),
        corrected=len(corrected),
        confirmed=sum(judged),
        contradicted=len(judged) - sum(judged),
        unconfirmed=len(corrected) - len(judged),
    )


def correction_origin(one: SettledItem, said: Feedback | None) -> CorrectionOrigin:
    """Return the provenance of a correction: no names, notes or texts."""
    item, final = one.reviewed.item, one.reviewed.final
    assert final is not None, "it is settled"
    assert final.kind != "reject", "an option was chosen"
    named = said.corrected if said is not None else None
    return CorrectionOrigin(
        id=one.id,
        request_id=item.request_id,
        release=item.release,
        decision=final.kind,
        opinions=len(one.reviewed.opinions),
        asker_agrees=None if named is None else named == one.answer,
    )


def has_redaction_mark(question: Question) -> bool:
    """Return whether a question contains a redaction mark such as "[name 1]"."""
    return any(map(_REDACTION_MARK.search, (question.stem, *question.options)))
