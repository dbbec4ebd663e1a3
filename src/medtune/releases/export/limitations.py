"""List the limitations of a release, derived from its records."""

from __future__ import annotations

from collections.abc import Iterator

from medtune.analysis.open_book import search_note
from medtune.core.formatting import format_percent, format_share
from medtune.core.intervals import min_answers_for_risk
from medtune.core.schemas.analysis import AnalysisRecord
from medtune.core.schemas.guardrails import is_temperature_at_bound
from medtune.releases.export.context import ReleaseContext
from medtune.releases.gate_schema import Evidence, EvidenceKind, GateRecord
from medtune.releases.schema import Release

RECORD_DESCRIPTIONS: dict[EvidenceKind, str] = {
    "comparison": "a paired comparison with the champion",
    "slices": "subjects and negated questions compared with the champion",
    "analysis": "accuracy, calibration and the order of options",
    "regression": "the frozen suite",
    "general": "what it knows besides medicine, beside its base model",
    "safety": "the guards",
    "served": "whether the endpoint answers as the model does",
    "packed": "whether the compressed model answers as the original",
    "bench": "latency and memory",
}
"""Description of each record."""


def list_limitations(context: ReleaseContext) -> tuple[str, ...]:
    """List the limitations, the most serious first and each once."""
    analysis = context.evidence.analysis
    return (
        *_verdict(context.verdict),
        "Multiple-choice exam questions measure recall of facts. They do not show that a model may "
        "advise about a person.",
        *_missing(context.evidence),
        *(_accuracy(analysis, context.verdict) if analysis else ()),
        *_confidence(context.release, analysis),
        *_guards(context.evidence),
        *_unjudged(context),
        *_origin(context),
    )


def _verdict(verdict: GateRecord | None) -> Iterator[str]:
    if verdict is None:
        yield "The gate has not judged this release: nothing was shown about it."
        return
    bound = verdict.bound
    if bound is not None and bound.distinct_data_sets > 1:
        yield (
            f"These weights were evaluated {len(bound.looks)} times, on {bound.distinct_data_sets} "
            "sets of questions, and the gate used the last evaluation: each repetition raises the "
            "chance of passing."
        )
    for result in verdict.results:
        if result.outcome in ("failed", "missing"):
            yield f"The gate's rule {result.rule} is not met: {result.reason}."
        elif result.waiver is not None:
            yield (
                f"The gate's rule {result.rule} is not met ({result.reason}) and was waived by "
                f"{result.waiver.name}: {result.waiver.reason}"
            )


def _missing(evidence: Evidence) -> Iterator[str]:
    found = [
        description
        for kind, description in RECORD_DESCRIPTIONS.items()
        # Not everything is required of weights that were not compressed, or not trained.
        if getattr(evidence, kind) is None
        and (kind != "packed" or evidence.is_packed)
        and (kind != "general" or evidence.is_trained)
    ]
    if found:
        yield f"Not measured: {'; '.join(found)}."


def _accuracy(record: AnalysisRecord, verdict: GateRecord | None) -> Iterator[str]:
    results = verdict.results if verdict is not None else ()
    # The verdict's own sentence says it already.
    told = any(r.rule == "search" and r.outcome in ("failed", "waived") for r in results)
    said = search_note(record.evaluation) if told else None
    yield from (note for note in record.warnings if note != said)
    if record.weak_subjects:
        yield f"Less accurate than in other subjects: {', '.join(record.weak_subjects)}."
    for part in record.slices:
        if part.dimension == "negation" and part.weak:
            yield f"Less accurate on {part.name} questions: {format_share(part.accuracy)}."


def _confidence(release: Release, analysis: AnalysisRecord | None) -> Iterator[str]:
    found = release.calibration
    if found is None:
        yield "The release has no calibration: its probabilities are the raw ones of the model."
        return
    fitted = analysis.selective.temperature if analysis and analysis.selective else None
    warned = fitted is not None and is_temperature_at_bound(fitted)  # by the analysis
    if is_temperature_at_bound(found.temperature) and not warned:
        yield (
            f"The temperature of {found.temperature:.3g} is at the limit of its search range: "
            "probabilities after it do not estimate the chance of being right."
        )
    risk = format_percent(found.risk)
    if found.threshold is None:
        least = min_answers_for_risk(found.risk)
        why = (
            f", and {found.n:,} calibration questions could not have shown one (at least "
            f"{least:,} are needed)"
            if found.n < least
            else f" on {found.n:,} calibration questions"
        )
        yield (
            f"No confidence threshold bounds the risk of a wrong answer at {risk} %{why}: the "
            "endpoint shows no answer without a reviewer."
        )
    else:
        yield (
            f"The endpoint defers answers below a confidence of {found.threshold:.4g}, which keeps "
            f"the upper bound of the risk of a wrong answer below {risk} % and answers "
            f"{format_percent(found.coverage)} % of the {found.n:,} calibration questions."
        )
    if found.subjects:
        yield f"Calibrated on these subjects only: {', '.join(found.subjects)}."


def _guards(evidence: Evidence) -> Iterator[str]:
    for figure in evidence.safety.unmet_figures if evidence.safety else ():
        assert figure.target is not None, "only a figure with a target can miss it"
        yield (
            f"Guards, {figure.measure}: {format_share(figure.rate)} on the held-out half; the "
            f"target of {format_percent(figure.target)} % at most is not shown (upper bound "
            f"{format_percent(figure.upper_bound)} %)."
        )


def _unjudged(context: ReleaseContext) -> Iterator[str]:
    """Yield faults that a rule of the gate would report, if the gate did not."""
    results = context.verdict.results if context.verdict else ()
    told = {result.rule for result in results if result.outcome != "passed"}
    evidence, record = context.evidence, context.evidence.regression
    if "parity" not in told:
        for fault in evidence.served.broken if evidence.served else ():
            yield f"The endpoint does not answer as the model does: {fault}."
        for row in evidence.packed.rows if evidence.packed else ():
            for fault in row.broken:
                yield f"Packed as {row.name} it does not answer as the unpacked model: {fault}."
    if record is not None and "regression" not in told:
        if record.trained_on is None:
            yield "Whether questions of the frozen suite were trained on is not known."
        elif record.trained_on:
            yield f"{record.trained_on:,} of {record.suite.n:,} frozen questions were trained on."
    if evidence.comparison is not None and evidence.comparison.differs and "accuracy" not in told:
        yield f"The compared evaluations differ in {', '.join(evidence.comparison.differs)}."


def _origin(context: ReleaseContext) -> Iterator[str]:
    release = context.release
    if context.base_note:
        yield context.base_note
    if release.data_hash is None and release.weights != "base":
        yield "What it was trained on is not recorded."
    commit = release.provenance.commit
    if commit is None or commit.endswith("-dirty"):
        yield "It was built from a source tree without a commit, or with uncommitted changes."
