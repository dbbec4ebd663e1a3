"""Search the questions of an evaluation among those that a release was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from medtune.core.errors import InputError
from medtune.core.progress import Progress
from medtune.core.records import SplitDescription
from medtune.data.arrow_table import QuestionTable
from medtune.data.dedup.decontaminate import CleanedSource, decontaminate
from medtune.models.weights_card import WeightsCard, find_card
from medtune.releases.registry import SHORT_ID_LENGTH
from medtune.releases.schema import Release
from medtune.workflows.training_overlap import count_training_overlap


class EvidenceQuestions(Protocol):
    """Questions of a source or of a snapshot."""

    @property
    def questions(self) -> QuestionTable:
        """Labelled questions."""
        ...

    @property
    def description(self) -> SplitDescription:
        """Source and hash of the questions."""
        ...


def count_trained_on(
    candidate: Release,
    model: str,
    frozen: QuestionTable,
    reported: EvidenceQuestions,
    train: EvidenceQuestions | None,
    progress: Progress,
) -> int | None:
    """Count the frozen questions that a release was trained on; None where that is unknown.

    Without the train split only the hashes beside the weights are compared, which find identical
    texts but no near duplicates: a count above 0 is returned, a count of 0 means unknown unless the
    release is untrained.

    Raises:
        InputError: It was trained on other questions, or on what is reported on.
    """
    parts = {"suite": frozen, "reported": reported.questions}
    if train is None:
        found = {
            part: count_training_overlap(model, questions) or 0 for part, questions in parts.items()
        }
    elif candidate.data_hash == train.description.hash:
        found = count_overlap(train, parts, progress)
    else:
        raise InputError(
            f"{candidate.name} was not trained on {train.description.source} "
            f"({train.description.hash[:SHORT_ID_LENGTH]}), as far as its card says",
            expected=f"questions of hash {candidate.data_hash or 'none: it names no train split'}",
            fix="name the train split of its run: snapshot:RUN/data:train",
        )
    if found["reported"]:
        raise InputError(
            f"{candidate.name} was trained on {found['reported']} of the "
            f"{reported.description.n} questions of {reported.description.source}, or nearly",
            expected="questions that it was not trained on",
            fix="name others with --data",
        )
    # An untrained base saw none of it through medtune; its pretraining data are unknown.
    known = train or found["suite"] or is_untrained(candidate, find_card(model))
    return found["suite"] if known else None


def count_overlap(
    train: EvidenceQuestions, parts: Mapping[str, QuestionTable], progress: Progress
) -> dict[str, int]:
    """Count, in each set, the questions that were trained on, or their near duplicates."""
    others = [CleanedSource(name, questions) for name, questions in parts.items()]
    taught = CleanedSource("trained on", train.questions)
    found = decontaminate(taught, others, near=True, within=False, progress=progress)
    return {
        c.source: c.exact + c.near for c in found.counts if c.among == taught.source != c.source
    }


def is_untrained(candidate: Release, card: WeightsCard | None) -> bool:
    """Return whether a release was not trained by medtune: a base model, or a compressed one.

    An adapter or a model without a recorded train split does not count: its data are unknown.
    """
    if candidate.weights == "base":
        return True
    return (
        card is not None
        and (card.data_hash, candidate.data_hash) == (None, None)
        and card.made_from == card.base_fingerprint == candidate.base_fingerprint
    )
