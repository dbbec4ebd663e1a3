"""What a reader of an examination must be told beside its figures, wherever they are shown."""

from __future__ import annotations

from medtune.core.records import EvaluationRecord


def remarks(record: EvaluationRecord) -> list[str]:
    """Say in sentences what an examination's accuracy rests on beside what the model knows."""
    found = []
    place = f"{record.label} on {record.data.source}, {record.method}"
    if record.trained_on:
        found.append(
            f"{place}: the model was trained on {record.trained_on} of these {record.counts.n} "
            "questions; on them its accuracy measures memory."
        )
    if record.ties:
        found.append(
            f"{place}: on {record.ties} of {record.counts.n} questions two or more options have "
            "exactly the highest score; one of them is drawn by lot."
        )
    return found
