"""Build the record of an imported evaluation: what the log does not tell is None."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medtune.analysis.outcome_summary import summarize_outcomes
from medtune.core.errors import PredictionsError
from medtune.core.predictions_io import Evaluation
from medtune.core.provenance import collect_provenance
from medtune.core.records import (
    EvaluationRecord,
    LogOrigin,
    Method,
    ModelDescription,
    Prediction,
    SplitDescription,
    content_hash,
)

UNKNOWN_MODEL = "unknown model"


def describe_model(
    name: str | None,
    *,
    fingerprint: str | None = None,
    parameters: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
) -> ModelDescription:
    """Describe the model of a log."""
    return ModelDescription(
        source=name or UNKNOWN_MODEL,
        fingerprint=fingerprint or None,
        parameters=parameters if parameters is not None and parameters > 0 else None,
        dtype=dtype or None,
        device=device or None,
    )


def make_imported_evaluation(
    predictions: list[Prediction],
    *,
    origin: LogOrigin,
    source: str,
    model: ModelDescription,
    method: Method,
    normalization: str | None,
    prompt_hash: str | None,
    shots: int | None,
    excluded: Mapping[str, int] | None = None,
) -> Evaluation:
    """Make an evaluation of the predictions of a log.

    Raises:
        PredictionsError: Two predictions have the same id.
    """
    refuse_duplicate_ids([p.id for p in predictions], origin.log)
    asked = content_hash([[p.id, p.stem, p.options, p.answer, p.subject] for p in predictions])
    answers = content_hash([[p.chosen, p.outcome, p.logprobs, p.text] for p in predictions])
    settings = {
        "origin": origin,
        "model": model,
        "data": SplitDescription(
            source=source, n=len(predictions), excluded=dict(excluded or {}), hash=asked
        ),
        "prompt_hash": prompt_hash,
        "method": method,
        "normalization": normalization,
        "shots": shots,
        "shots_by": "fixed" if shots else None,
    }
    described = [origin.model_dump(mode="json"), model.model_dump(mode="json")]
    record = EvaluationRecord(
        **settings,
        inputs=content_hash(
            # Unknown shots are hashed as 0, so that a log can be imported over an older record.
            [described, asked, answers, prompt_hash, method, normalization, shots or 0]
        ),
        label=short_model_name(model.source),
        **summarize_outcomes(predictions),
        duration_s=None,
        questions_per_s=None,
        provenance=collect_provenance(),
    )
    return Evaluation(record, predictions)


def short_model_name(name: str) -> str:
    """Return the last part of a model's name, as a label."""
    return name.rstrip("/").rpartition("/")[2].rpartition("__")[2] or name


def refuse_duplicate_ids(ids: Sequence[str], log: str) -> None:
    """Refuse questions that share an id.

    Raises:
        PredictionsError: Two do; the first is named.
    """
    if len(set(ids)) == len(ids):
        return
    seen: set[str] = set()
    twice = [one for one in ids if one in seen or seen.add(one)]  # type: ignore[func-returns-value]
    raise PredictionsError(
        f"{log}: {len(twice)} ids occur more than once, such as {twice[0]!r}",
        expected="every question once",
        fix="the log may hold two runs: evaluate again into an empty folder",
    )
