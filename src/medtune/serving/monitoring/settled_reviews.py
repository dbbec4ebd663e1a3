"""What reviewers settled, as rows to train on; what askers said is counted, and labels nothing."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from medtune.core.records import Question
from medtune.core.schemas.corrections import AskersRecord, CorrectionOrigin
from medtune.data.training_only import correction_id
from medtune.guardrails.privacy.identifiers import SIGNS
from medtune.serving.schemas import Feedback, Reviewed

CONFLICTING = "conflicting answers"
REJECTED = "rejected"
NO_OPTION = "no option chosen"
_MARK = re.compile(rf"\[(?:{'|'.join(sorted({sign.kind for sign in SIGNS}))}) \d+\]")


@dataclass(frozen=True, slots=True)
class SettledItem:
    """An item with an option that reviewers hold to be right."""

    reviewed: Reviewed
    id: str
    """Of the question that it asks."""
    answer: int
    """Index of the option."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """Decided items, sorted by whether they teach anything."""

    kept: tuple[SettledItem, ...]
    """The oldest first; a question may be asked by several, all with one answer."""
    left_out: tuple[tuple[str, str], ...]
    """(request id, reason)"""

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Write every question once, with the request that asked it first as its place."""
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


def settle(reviewed: Sequence[Reviewed]) -> Settlement:
    """Take what reviewers decided: the option that they approved of, or gave instead.

    Where the same question was settled in two ways nobody knows which holds, and all its items go.

    Args:
        reviewed: Decided items, the oldest first.
    """
    found: list[SettledItem] = []
    left_out: list[tuple[str, str]] = []
    answers = defaultdict[str, set[int]](set)
    for one in reviewed:
        answer = chosen(one)
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


def chosen(reviewed: Reviewed) -> int | None:
    """Tell which option reviewers settled on; None where there is none, or not yet."""
    index = reviewed.answer
    return index if index is not None and index < len(reviewed.item.options) else None


def hear(said: Sequence[Feedback], reviewed: Sequence[Reviewed]) -> AskersRecord:
    """Count what askers said, and hold their corrections against what reviewers settled on."""
    settled = {one.item.request_id: chosen(one) for one in reviewed}
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


def origin(one: SettledItem, said: Feedback | None) -> CorrectionOrigin:
    """Say where a question comes from: no names, no notes, no texts."""
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


def is_marked(question: Question) -> bool:
    """Tell whether privacy put a mark, "[name 1]", into a question."""
    return any(map(_MARK.search, (question.stem, *question.options)))
