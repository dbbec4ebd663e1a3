"""Data pipeline that builds a snapshot in a scratch folder.

clean -> decontaminate train -> split off validation and calibration -> curate -> draw
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medtune.core.errors import DataError, EmptySplitError
from medtune.core.experiment import ColumnMapping, DataConfig
from medtune.core.progress import Progress
from medtune.core.schemas.dataset import BalanceRecord, CurationStep, Exclusion, Role, SourceRecord
from medtune.data.arrow_table import QuestionTable
from medtune.data.cleaning.clean import Cleaned
from medtune.data.dedup.decontaminate import CleanedSource, Decontaminated, decontaminate
from medtune.data.load import clean_source, limit_size, resolve_split, source_identity
from medtune.data.sampling.balance import BalancedDraw, draw_balanced
from medtune.data.sampling.curate import curate
from medtune.data.sampling.split import cluster_questions, stratified_group_split
from medtune.data.sources.sources import DataRef, SourceIdentity, parse_data_ref, resolve_columns
from medtune.data.training_only import is_correction, refuse_corrections

NOT_DRAWN = "not drawn"


@dataclass(frozen=True, slots=True)
class DataSource:
    """A source of an experiment."""

    ref: DataRef
    columns: ColumnMapping
    identity: SourceIdentity


@dataclass(frozen=True, slots=True)
class BuiltSnapshot:
    """A snapshot in memory, not yet written."""

    sources: tuple[SourceRecord, ...]
    separated: Decontaminated
    clusters: int
    curation: tuple[CurationStep, ...]
    balance: tuple[BalanceRecord, ...]
    excluded: tuple[Exclusion, ...]
    splits: tuple[tuple[Role, str, QuestionTable, dict[str, int]], ...]
    """(role, source, questions, exclusion counts)"""


def list_sources(data: DataConfig) -> list[DataSource]:
    """Return the sources of an experiment, train first.

    Raises:
        DataError: Two evaluated splits are the same, or a source does not exist.
    """
    found = []
    for number, source in enumerate((data.train, *data.evaluate)):
        ref = resolve_split(parse_data_ref(source), for_training=number == 0)
        columns = resolve_columns(ref, data.mappings.get(source, data.columns))
        found.append(DataSource(ref, columns, source_identity(ref)))
    names = [str(source.ref) for source in found[1:]]
    if len(set(names)) < len(names):
        raise DataError(f"an evaluated split is named twice: {', '.join(names)}")
    return found


def build_snapshot(
    data: DataConfig, seed: int, sources: list[DataSource], work: Path, progress: Progress
) -> BuiltSnapshot:
    """Run all steps of the data pipeline on the sources, train first, in a scratch folder.

    Raises:
        DataError: A source cannot be used, an evaluated source is for training only, or no
            question is left to train on.
    """
    cleaned = [
        clean_source(
            source.ref, source.columns, progress, work / f"{number}.arrow", for_training=number == 0
        )
        for number, source in enumerate(sources)
    ]
    (name, *evaluated_names), (train, *evaluated) = [str(s.ref) for s in sources], cleaned
    parts = [
        CleanedSource(str(source.ref), part.questions)
        for source, part in zip(sources, cleaned, strict=True)
    ]
    separated = _remove_overlap(parts, data, progress)
    kept = train.questions.take(separated.kept)
    clusters = cluster_questions(separated.alike, kept.read_column("group"))
    rest, cut = _split_off_validation(kept, clusters, data, seed, name)
    drawn, curation, curated = select_pool(kept.take(rest), data, seed, name)
    excluded = [*_contract_exclusions(name, train), *separated.excluded, *curated]
    counts = dict(Counter(exclusion.reason for exclusion in excluded).most_common())
    counts |= {f"cut off for {role}": len(places) for role, places in cut.items()}
    if drawn.left:
        counts[NOT_DRAWN] = drawn.left
    splits: list[tuple[Role, str, QuestionTable, dict[str, int]]] = [
        ("train", name, drawn.questions, counts),
        *((role, f"{name}#{role}", kept.take(places), {}) for role, places in cut.items()),
    ]
    size, sample_seed = data.evaluate_size, None if data.sample == "first" else seed
    for source, part in zip(evaluated_names, evaluated, strict=True):
        chosen = part.questions
        if size is not None:
            chosen = limit_size(chosen, size, source, sample_seed)
        left = len(part.questions) - len(chosen)
        out = part.exclusion_counts | ({NOT_DRAWN: left} if left else {})
        splits.append(("evaluated", source, chosen, out))
        excluded += _contract_exclusions(source, part)
    return BuiltSnapshot(
        sources=tuple(_source_record(s, c, data) for s, c in zip(sources, cleaned, strict=True)),
        separated=separated,
        clusters=int(clusters.max()) + 1,
        curation=curation,
        balance=drawn.balance,
        excluded=tuple(excluded),
        splits=tuple(splits),
    )


def _remove_overlap(
    parts: Sequence[CleanedSource], data: DataConfig, progress: Progress
) -> Decontaminated:
    """Decontaminate the first part.

    Raises:
        EmptySplitError: No question is left to train on.
    """
    train, *evaluated = parts
    separated = decontaminate(
        train,
        evaluated,
        near=data.overlap.near,
        within=data.overlap.within_train == "remove",
        progress=progress,
    )
    if not len(separated.kept):
        reasons = Counter(exclusion.reason for exclusion in separated.excluded)
        raise EmptySplitError(
            f"{train.source}: no question is left to train on: "
            + ", ".join(f"{count} × {reason}" for reason, count in reasons.most_common()),
            expected="questions that are not evaluated",
            fix="train and evaluate on different splits",
        )
    return separated


def _split_off_validation(
    kept: QuestionTable, clusters: NDArray[np.int64], data: DataConfig, seed: int, name: str
) -> tuple[NDArray[np.int64], dict[Role, NDArray[np.int64]]]:
    """Split off validation and calibration; clusters with a correction stay in train.

    Raises:
        DataError: There are too few questions, or only corrections.
    """
    wanted: dict[Role, int] = {
        "validation": data.validation_size,
        "calibration": data.calibration_size,
    }
    sizes = {role: size for role, size in wanted.items() if size}
    marked = np.fromiter(map(is_correction, kept.ids), dtype=bool, count=len(kept))
    taught = np.isin(clusters, clusters[marked])
    if not taught.any():
        return stratified_group_split(kept, clusters, sizes, seed, name)
    free = np.flatnonzero(~taught)
    if not len(free):
        for role in sizes:
            refuse_corrections(kept.ids, f"{name}#{role}", f"set data.{role}_size = 0")
    source = f"{name} without corrections"
    rest, parts = stratified_group_split(kept.take(free), clusters[free], sizes, seed, source)
    left = np.sort(np.concatenate([free[rest], np.flatnonzero(taught)]))
    return left, {role: free[places] for role, places in parts.items()}


def select_pool(
    pool: QuestionTable, data: DataConfig, seed: int, name: str
) -> tuple[BalancedDraw, tuple[CurationStep, ...], tuple[Exclusion, ...]]:
    """Curate a pool of questions of a source and draw `train_size` of them.

    Returns:
        The draw, and the record and the exclusions of the curation.

    Raises:
        DataError: There are too few questions.
    """
    kept, curation, excluded = curate(pool, data.curation, seed, name)
    return draw_balanced(kept, data, seed, name), curation, excluded


def _contract_exclusions(source: str, cleaned: Cleaned) -> list[Exclusion]:
    return [Exclusion(source=source, id=name, reason=why) for name, why in cleaned.excluded]


def _source_record(source: DataSource, cleaned: Cleaned, data: DataConfig) -> SourceRecord:
    return SourceRecord(
        source=str(source.ref),
        fingerprint=source.identity.fingerprint,
        revision=source.identity.revision,
        licence=source.identity.licence or data.licence or None,
        columns=source.columns,
        answer_base=cleaned.answer_base,
        rows=cleaned.rows,
        usable=len(cleaned.questions),
        excluded=cleaned.exclusion_counts,
        normalised=cleaned.normalised,
    )
