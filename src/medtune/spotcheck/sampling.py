"""Which outputs a person should read: a stratified sample in which every output had a chance.

Outputs are parted by how the parser read them. Doubtful strata are drawn more often, but no
stratum is left out, and how often each was drawn is known: what reviewers find can be weighted
back to all outputs (Horvitz and Thompson 1952; Cochran 1977, chapter 5).
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medtune.core.errors import PredictionsError
from medtune.core.provenance import provenance
from medtune.core.records import EvaluationRecord, Prediction, content_hash
from medtune.spotcheck.folder import jsonl, text_hash
from medtune.spotcheck.schema import (
    DrawnItem,
    ParserReviewItem,
    ReviewSample,
    SampledEvaluation,
    Stratum,
)

PLAIN = frozenset({"option text", "letter", "empty"})
"""Readings that leave little room for doubt; every other one is doubtful."""
DOUBT = 3
"""How much likelier a doubtful output is to be drawn, before rounding."""
LEAST = 2
"""Items of each stratum that has so many."""


@dataclass(frozen=True)
class EvaluationSource:
    """An evaluation to draw from."""

    folder: str
    record: EvaluationRecord
    predictions: Sequence[Prediction]


@dataclass(frozen=True)
class _Output:
    evaluation: int
    prediction: Prediction
    text: str
    scored: int | None

    @property
    def stratum(self) -> tuple[str, bool]:
        """The stratum's name, and whether it is doubtful."""
        reason = self.prediction.reason or "no rule named"
        if self.prediction.chosen is None:
            return f"unread: {reason}", reason not in PLAIN
        if self.scored not in (None, self.prediction.chosen):
            return f"read: {reason}, scored otherwise", True
        return f"read: {reason}", reason not in PLAIN


def draw(
    sources: Sequence[EvaluationSource], n: int, seed: int, against: EvaluationSource | None = None
) -> tuple[ReviewSample, list[ParserReviewItem], list[DrawnItem]]:
    """Draw outputs for review.

    Args:
        sources: Evaluations of free answers.
        n: Items to draw.
        seed: Of the draw and of the order of the items.
        against: A scored evaluation of the same questions; where it chose another option than
            the parser read, the reading is doubtful.

    Returns:
        The sample's record, the blind items in their order, and what must stay hidden of each.

    Raises:
        PredictionsError: An evaluation has no texts, parsers differ, or n is too large or small.
    """
    _check(sources, against)
    outputs = _outputs(sources, _choices(against) if against else {})
    strata: dict[tuple[str, bool], list[_Output]] = defaultdict(list)
    for output in outputs:
        strata[output.stratum].append(output)
    names = sorted(strata)
    sizes = [len(strata[name]) for name in names]
    counts = allocate(sizes, [doubtful for _, doubtful in names], n)
    lots = random.Random(f"review {seed}")
    picked = [
        (index, output)
        for index, (name, count) in enumerate(zip(names, counts, strict=True))
        for output in lots.sample(strata[name], count)
    ]
    lots.shuffle(picked)
    inputs = content_hash([[s.record.inputs for s in sources], [n, seed], names, sizes])
    items, drawn = [], []
    for place, (index, output) in enumerate(picked, 1):
        identity = f"{inputs[:6]}-{place:03d}"
        found = output.prediction
        items.append(
            ParserReviewItem(id=identity, stem=found.stem, options=found.options, text=output.text)
        )
        drawn.append(
            DrawnItem(
                id=identity,
                evaluation=output.evaluation,
                prediction=found.id,
                stratum=index,
                probability=counts[index] / sizes[index],
                answer=found.answer,
                chosen=found.chosen,
                reason=found.reason or "",
                scored=output.scored,
            )
        )
    sample = ReviewSample(
        inputs=inputs,
        seed=seed,
        parser=sources[0].record.parser,
        evaluations=tuple(
            SampledEvaluation(
                folder=source.folder,
                label=source.record.label,
                source=source.record.data.source,
                inputs=source.record.inputs,
                n=source.record.counts.n,
                correct=source.record.counts.correct,
            )
            for source in sources
        ),
        against=against.folder if against else None,
        population=len(outputs),
        n=n,
        strata=tuple(
            Stratum(
                name=name, read=name.startswith("read"), doubtful=doubtful, size=size, drawn=count
            )
            for (name, doubtful), size, count in zip(names, sizes, counts, strict=True)
        ),
        items_hash=text_hash(jsonl(items)),
        ledger_hash=text_hash(jsonl(drawn)),
        provenance=provenance(),
    )
    return sample, items, drawn


def allocate(sizes: Sequence[int], doubtful: Sequence[bool], n: int) -> list[int]:
    """Part n items among strata: some of each, then by size, doubtful ones DOUBT times as much.

    Raises:
        PredictionsError: n exceeds what there is, or does not reach LEAST of each stratum.
    """
    counts = [min(LEAST, size) for size in sizes]
    if n > sum(sizes):
        raise PredictionsError(
            f"{n} items wanted, but there are {sum(sizes)} outputs", fix=f"--n {sum(sizes)}"
        )
    if n < sum(counts):
        raise PredictionsError(
            f"{n} items wanted, but the outputs were read in {len(sizes)} ways",
            expected=f"at least {LEAST} of each, so that all outputs are spoken for",
            fix=f"--n {sum(counts)} or more",
        )
    for _ in range(n - sum(counts)):
        # D'Hondt's rule: the next item goes to the stratum with the largest claim on it.
        claims = [
            size * (DOUBT if doubt else 1) / (count + 1) if count < size else 0.0
            for size, doubt, count in zip(sizes, doubtful, counts, strict=True)
        ]
        counts[claims.index(max(claims))] += 1
    return counts


def _check(sources: Sequence[EvaluationSource], against: EvaluationSource | None) -> None:
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


def _choices(against: EvaluationSource) -> dict[str, tuple[tuple[str, ...], int | None]]:
    return {p.id: (p.options, p.chosen) for p in against.predictions}


def _outputs(
    sources: Sequence[EvaluationSource], scored: Mapping[str, tuple[tuple[str, ...], int | None]]
) -> list[_Output]:
    outputs = []
    for number, source in enumerate(sources):
        for prediction in source.predictions:
            options, chosen = scored.get(prediction.id, ((), None))
            # The scored evaluation may have shown the options in another order.
            text = options[chosen] if chosen is not None else None
            other = prediction.options.index(text) if text in prediction.options else None
            outputs.append(_Output(number, prediction, prediction.text or "", other))
    if scored and all(output.scored is None for output in outputs):
        raise PredictionsError(
            "the scored evaluation has none of these questions",
            expected="--against an evaluation of the same questions",
        )
    return outputs
