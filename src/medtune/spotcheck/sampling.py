"""Draw a stratified sample of outputs for a spot check.

The strata are the ways in which the parser read the outputs. Doubtful strata are oversampled, but
every stratum is drawn from, and the sampling probabilities are known: results can be weighted to
all outputs (Horvitz and Thompson 1952; Cochran 1977, chapter 5).
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from medtune.core.errors import PredictionsError
from medtune.core.provenance import collect_provenance
from medtune.core.records import EvaluationRecord, Prediction, content_hash
from medtune.spotcheck.folder import hash_text, to_json_lines
from medtune.spotcheck.schema import (
    DrawnItem,
    SampledEvaluation,
    SpotCheckItem,
    SpotCheckSample,
    Stratum,
)

CERTAIN_READINGS = frozenset({"option text", "letter", "empty"})
"""Reasons of certain readings; all others are doubtful."""
DOUBT_FACTOR = 3
"""Factor by which doubtful outputs are oversampled, before rounding."""
MIN_PER_STRATUM = 2
"""Least number of items per stratum, if it has as many."""


@dataclass(frozen=True)
class EvaluationSource:
    """An evaluation to draw from."""

    folder: str
    record: EvaluationRecord
    predictions: Sequence[Prediction]

    def describe(self) -> SampledEvaluation:
        """Describe the evaluation in the sample's record."""
        record = self.record
        return SampledEvaluation(
            folder=self.folder,
            label=record.label,
            source=record.data.source,
            inputs=record.inputs,
            n=record.counts.n,
            correct=record.counts.correct,
        )


@dataclass(frozen=True)
class _Output:
    evaluation: int
    prediction: Prediction
    scored: int | None

    @property
    def stratum(self) -> tuple[str, bool]:
        """Name of the stratum, and whether it is doubtful."""
        reason = self.prediction.reason or "no rule named"
        if self.prediction.chosen is None:
            return f"unread: {reason}", reason not in CERTAIN_READINGS
        if self.scored not in (None, self.prediction.chosen):
            return f"read: {reason}, scored otherwise", True
        return f"read: {reason}", reason not in CERTAIN_READINGS

    def to_item(self, item_id: str) -> SpotCheckItem:
        """Make the blind item."""
        asked = self.prediction
        return SpotCheckItem(
            id=item_id, stem=asked.stem, options=asked.options, text=asked.text or ""
        )

    def to_ledger(self, item_id: str, stratum: int, probability: float) -> DrawnItem:
        """Make the hidden data of the item."""
        asked = self.prediction
        return DrawnItem(
            id=item_id,
            evaluation=self.evaluation,
            prediction=asked.id,
            stratum=stratum,
            probability=probability,
            answer=asked.answer,
            chosen=asked.chosen,
            reason=asked.reason or "",
            scored=self.scored,
        )


def draw_sample(
    sources: Sequence[EvaluationSource], n: int, seed: int, against: EvaluationSource | None = None
) -> tuple[SpotCheckSample, list[SpotCheckItem], list[DrawnItem]]:
    """Draw the outputs of a spot check.

    Args:
        sources: Evaluations of free answers.
        n: Items to draw.
        seed: Seed of the sample and of the order of the items.
        against: A scored evaluation of the same questions; if it chose another option than the
            parser read, the reading is doubtful.

    Returns:
        The sample's record, the blind items in order, and the hidden data of each.

    Raises:
        PredictionsError: An evaluation has no texts, parsers differ, or n is too large or small.
    """
    _check_sources(sources, against)
    outputs = _collect_outputs(sources, against)
    strata: dict[tuple[str, bool], list[_Output]] = defaultdict(list)
    for output in outputs:
        strata[output.stratum].append(output)
    names = sorted(strata)
    sizes = [len(strata[name]) for name in names]
    counts = allocate_to_strata(sizes, [doubtful for _, doubtful in names], n)
    rng = random.Random(f"review {seed}")
    picked = [
        (index, output)
        for index, (name, count) in enumerate(zip(names, counts, strict=True))
        for output in rng.sample(strata[name], count)
    ]
    rng.shuffle(picked)
    inputs = content_hash([[s.record.inputs for s in sources], [n, seed], names, sizes])
    items, drawn = [], []
    for number, (index, output) in enumerate(picked, 1):
        item_id = f"{inputs[:6]}-{number:03d}"
        items.append(output.to_item(item_id))
        drawn.append(output.to_ledger(item_id, index, counts[index] / sizes[index]))
    sample = SpotCheckSample(
        inputs=inputs,
        seed=seed,
        parser=sources[0].record.parser,
        evaluations=tuple(source.describe() for source in sources),
        against=against.folder if against else None,
        population=len(outputs),
        n=n,
        strata=tuple(
            Stratum(
                name=name, read=name.startswith("read"), doubtful=doubtful, size=size, drawn=count
            )
            for (name, doubtful), size, count in zip(names, sizes, counts, strict=True)
        ),
        items_hash=hash_text(to_json_lines(items)),
        ledger_hash=hash_text(to_json_lines(drawn)),
        provenance=collect_provenance(),
    )
    return sample, items, drawn


def allocate_to_strata(sizes: Sequence[int], doubtful: Sequence[bool], n: int) -> list[int]:
    """Allocate n items to strata: a minimum each, then by size, with doubtful ones oversampled.

    Raises:
        PredictionsError: n exceeds the number of outputs, or is below the minimum of all strata.
    """
    counts = [min(MIN_PER_STRATUM, size) for size in sizes]
    if n > sum(sizes):
        raise PredictionsError(
            f"{n} items wanted, but there are {sum(sizes)} outputs", fix=f"--n {sum(sizes)}"
        )
    if n < sum(counts):
        raise PredictionsError(
            f"{n} items wanted, but the outputs were read in {len(sizes)} ways",
            expected=(
                f"at least {MIN_PER_STRATUM} of each, so that the sample represents all outputs"
            ),
            fix=f"--n {sum(counts)} or more",
        )
    for _ in range(n - sum(counts)):
        # D'Hondt's method: the next item goes to the stratum with the largest quotient.
        claims = [
            size * (DOUBT_FACTOR if doubt else 1) / (count + 1) if count < size else 0.0
            for size, doubt, count in zip(sizes, doubtful, counts, strict=True)
        ]
        counts[claims.index(max(claims))] += 1
    return counts


def _check_sources(sources: Sequence[EvaluationSource], against: EvaluationSource | None) -> None:
    for source in sources:
        if any(p.text is None for p in source.predictions):
            raise PredictionsError(
                f"{source.folder} holds scores of the options, no texts to read "
                f"(--method {source.record.method})",
                expected="an evaluation of --method generate",
            )
    if len({source.folder for source in sources}) < len(sources):
        raise PredictionsError("an evaluation is named twice", expected="each once")
    versions = {source.folder: source.record.parser for source in sources}
    if len(set(versions.values())) > 1:
        said = ", ".join(f"{folder} {version}" for folder, version in versions.items())
        raise PredictionsError(
            f"the evaluations were read by different versions of the parser: {said}",
            fix="evaluate again, so that one parser reads all",
        )
    if against and against.record.method == "generate":
        raise PredictionsError(
            f"{against.folder} holds free answers, no scores of the options",
            expected="--against an evaluation of --method letter or cloze",
        )


def _collect_outputs(
    sources: Sequence[EvaluationSource], against: EvaluationSource | None
) -> list[_Output]:
    scored = {p.id: p for p in against.predictions} if against else {}
    outputs = []
    for number, source in enumerate(sources):
        for prediction in source.predictions:
            twin = scored.get(prediction.id)
            # The scored evaluation may have shown the options in another order.
            text = twin.options[twin.chosen] if twin and twin.chosen is not None else None
            other = prediction.options.index(text) if text in prediction.options else None
            outputs.append(_Output(number, prediction, other))
    if scored and all(output.scored is None for output in outputs):
        raise PredictionsError(
            "the scored evaluation has none of these questions",
            expected="--against an evaluation of the same questions",
        )
    return outputs
