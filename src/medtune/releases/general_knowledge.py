"""Compare what a trained release knows besides medicine with its base model."""

from __future__ import annotations

from pathlib import Path

from medtune.core.errors import HubError, UnknownModelError
from medtune.core.progress import Progress
from medtune.core.records import ForgettingRecord, content_hash
from medtune.models.open_model import find_unloaded_model, open_model
from medtune.models.weights_card import resolve_prompt_defaults
from medtune.releases.registry import SHORT_ID_LENGTH
from medtune.releases.schema import Release
from medtune.workflows.forgetting import (
    FOLDER,
    GeneralExam,
    GeneralKnowledge,
    compare_general_knowledge,
)


def measure_forgetting(
    candidate: Release, name: str, work: Path, progress: Progress
) -> ForgettingRecord | None:
    """Compare what a trained candidate knows besides medicine with its base model.

    Returns:
        The comparison; None where the base model is not on this machine, or has changed.
    """
    exam = GeneralExam.plan(candidate.style)
    progress.log_message("general questions and plain texts: the base model, then the release")
    try:
        base = _ask_general(exam, candidate.base, "base", candidate, work, progress)
    except (UnknownModelError, HubError) as error:
        progress.log_message(f"not asked, because {candidate.base} cannot be opened: {error}")
        return None
    if base.text.model.fingerprint != candidate.base_fingerprint:
        progress.log_message(
            f"{candidate.base} is no longer what {candidate.name} was trained from"
        )
        return None
    tuned = _ask_general(exam, name, candidate.name, candidate, work, progress)
    return compare_general_knowledge(base, tuned)


def _ask_general(
    exam: GeneralExam,
    name: str,
    label: str,
    candidate: Release,
    work: Path,
    progress: Progress,
) -> GeneralKnowledge:
    """Ask a model the general questions; its weights are loaded unless the results are valid."""
    stem = work / FOLDER / content_hash([name, candidate.prompt_hash])[:SHORT_ID_LENGTH]
    unloaded = find_unloaded_model(name, None, "auto", progress)
    if unloaded is not None and (known := exam.find(unloaded, label, stem)) is not None:
        return known
    model = open_model(
        name,
        questions=exam.exams[0].questions,
        style=candidate.style,
        progress=progress,
        retrieval=resolve_prompt_defaults(name).retrieval,
    )
    return exam.measure(model, label, stem, progress)
