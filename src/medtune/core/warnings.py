"""Caveats that are shown with the figures of an evaluation."""

from __future__ import annotations

from medtune.core.model_names import is_search_model
from medtune.core.records import EvaluationRecord


def accuracy_caveats(record: EvaluationRecord) -> list[str]:
    """Return caveats on an evaluation: questions that were trained on, ties, an unfitted search."""
    found = []
    place = f"{record.label} on {record.data.source}, {record.method}"
    if record.origin is not None:
        found += [f"{place}: {note}" for note in record.origin.notes]
    if record.trained_on:
        found.append(
            f"{place}: the model was trained on {record.trained_on} of these {record.counts.n} "
            "questions; on them its accuracy measures memory."
        )
    if record.ties:
        found.append(
            f"{place}: on {record.ties} of {record.counts.n} questions two or more options have "
            "exactly the highest score; the tie is broken by a hash."
        )
    if is_search_model(record.model.source) and not record.model.parameters:
        found.append(
            f"{place}: no scorer was fitted to the index, so its probabilities are not calibrated."
        )
    return found
