"""Merge the parts of an evaluation that several machines made (`medtune evaluate --shard`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from medtune.analysis.compare import mcnemar_exact
from medtune.analysis.outcome_summary import summarize_outcomes
from medtune.analysis.similarity import accuracy_without_most_similar
from medtune.core.errors import PredictionsError
from medtune.core.intervals import wilson_interval
from medtune.core.predictions_io import Evaluation
from medtune.core.provenance import collect_provenance
from medtune.core.records import (
    EvaluationRecord,
    OpenBook,
    Prediction,
    Proportion,
    SearchBaseline,
    Shard,
    StemEffect,
)

Number = TypeVar("Number", int, float)


def merge_shards(shards: Sequence[Evaluation]) -> Evaluation:
    """Return the evaluation of all questions, as one machine would have made it.

    Accuracy, baselines and their paired tests are counted anew; the duration is the sum of all
    machines' seconds.

    Args:
        shards: Every part once, in any order.

    Raises:
        PredictionsError: A part is missing, there twice, of another evaluation, or no part at all.
    """
    parts = _sort_parts(shards)
    of, records = len(parts), [part.record for part in parts]
    first, shard = records[0], _shard_of(parts[0])
    predictions: list[Prediction] = [
        parts[place % of].predictions[place // of] for place in range(shard.data.n)
    ]
    duration = _sum(record.duration_s for record in records)
    resumed_at = sum(record.resumed_at for record in records)
    merged = first.model_copy(
        update={
            **summarize_outcomes(predictions),
            "inputs": shard.inputs,
            "data": shard.data,
            "shard": None,
            "options_only": _merge_proportions(record.options_only for record in records),
            "stem_effect": _merge_stem_effects([r.stem_effect for r in records if r.stem_effect]),
            "trained_on": _sum(record.trained_on for record in records),
            "search": _merge_searches(records),
            "open_book": _merge_open_books(records, predictions),
            "resumed_at": resumed_at,
            "duration_s": duration,
            "questions_per_s": (shard.data.n - resumed_at) / max(duration or 0.0, 1e-9),
            "provenance": collect_provenance(first.provenance.gpu),
        }
    )
    return Evaluation(merged, predictions)


def _sort_parts(shards: Sequence[Evaluation]) -> list[Evaluation]:
    """Return the parts in order, and check that they are all of one evaluation."""
    if not shards:
        raise PredictionsError("no parts to merge", expected="the folders of all parts")
    wanted = _shard_of(shards[0])
    by_number: dict[int, Evaluation] = {}
    for one in shards:
        shard = _shard_of(one)
        if (shard.inputs, shard.of) != (wanted.inputs, wanted.of):
            raise PredictionsError(
                f"{_place(one)} is part {shard.number} of {shard.of} of another evaluation than "
                f"{_place(shards[0])}",
                expected="the same model, questions, method and settings in every part",
                fix="evaluate the part again with the command of the others",
            )
        if (same := by_number.get(shard.number)) is not None:
            raise PredictionsError(
                f"{_place(one)} and {_place(same)} are both part {shard.number} of {shard.of}",
                expected="every part once",
            )
        by_number[shard.number] = one
    if missing := sorted({*range(1, wanted.of + 1)} - {*by_number}):
        raise PredictionsError(
            f"part {', '.join(map(str, missing))} of {wanted.of} is missing",
            expected="every part once",
            fix=f"evaluate with --shard {missing[0]}/{wanted.of}",
        )
    return [by_number[number] for number in sorted(by_number)]


def _shard_of(evaluation: Evaluation) -> Shard:
    if (shard := evaluation.record.shard) is None:
        raise PredictionsError(
            f"{_place(evaluation)} is a whole evaluation",
            expected="a part, as medtune evaluate --shard 1/4 makes it",
        )
    return shard


def _place(evaluation: Evaluation) -> Path | str:
    return evaluation.folder or evaluation.record.label


def _sum(values: Iterable[Number | None]) -> Number | None:
    """Return the sum; None where one is unknown."""
    total: Number | None = None
    for value in values:
        if value is None:
            return None
        total = value if total is None else total + value
    return total


def _merge_proportions(parts: Iterable[Proportion | None]) -> Proportion | None:
    """Count anew what was measured on some questions of every part; None where on none."""
    known = [part for part in parts if part is not None]
    if not known:
        return None
    return wilson_interval(sum(map(_count, known)), sum(part.n for part in known))


def _count(share: Proportion) -> int:
    return round(share.value * share.n)


def _merge_stem_effects(parts: Sequence[StemEffect]) -> StemEffect | None:
    seen = _merge_proportions(part.with_stem for part in parts)
    if seen is None:
        return None
    gained, lost = sum(p.only_with for p in parts), sum(p.only_without for p in parts)
    p_value = mcnemar_exact(lost, gained)
    return StemEffect(with_stem=seen, only_with=gained, only_without=lost, p_value=p_value)


def _merge_searches(records: Sequence[EvaluationRecord]) -> SearchBaseline | None:
    parts = [record.search for record in records if record.search is not None]
    accuracy = _merge_proportions(part.accuracy for part in parts)
    if accuracy is None or len(parts) < len(records):
        return None
    alone, search = sum(part.only_model for part in parts), sum(part.only_search for part in parts)
    changes = {
        "accuracy": accuracy,
        "only_model": alone,
        "only_search": search,
        "p_value": mcnemar_exact(search, alone),
    }
    return parts[0].model_copy(update=changes)


def _merge_open_books(
    records: Sequence[EvaluationRecord], predictions: Sequence[Prediction]
) -> OpenBook | None:
    parts = [record.open_book for record in records if record.open_book is not None]
    if not parts:
        return None
    changes = {
        "cut": sum(part.cut for part in parts),
        "without": sum(part.without for part in parts),
        "less_similar": accuracy_without_most_similar(predictions),
    }
    return parts[0].model_copy(update=changes)
