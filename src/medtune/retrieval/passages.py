"""Make passages of training questions."""

from __future__ import annotations

from collections.abc import Iterable

from medtune.core.records import Question
from medtune.retrieval.schema import Passage


def passages_from_questions(
    questions: Iterable[Question], source: str, licence: str | None
) -> list[Passage]:
    """Make one passage per labelled question: stem, right answer and explanation.

    Args:
        questions: Questions of a training split; unlabelled ones are left out.
        source: Their source, as on the command line.
        licence: Licence of the source.
    """
    return [
        Passage(
            id=question.id,
            text=question.explanation or "",
            question=question.stem,
            answer=question.answer_text,
            options=question.options,
            source=source,
            licence=licence,
        )
        for question in questions
        if question.answer is not None
    ]
