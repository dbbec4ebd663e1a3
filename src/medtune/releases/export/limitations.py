"""What a reader must know before using a release, found in its records."""

from __future__ import annotations

from collections.abc import Iterator

from medtune.core.formatting import percent
from medtune.core.intervals import least_for_risk
from medtune.core.schemas.analysis import AnalysisRecord
from medtune.core.schemas.guardrails import at_bound
from medtune.releases.export.context import ReleaseContext
from medtune.releases.export.render import share
from medtune.releases.gate_schema import Evidence, EvidenceKind, GateRecord
from medtune.releases.schema import Release

KINDS: dict[EvidenceKind, str] = {
    "comparison": "a paired comparison with the champion",
    "slices": "subjects and negated questions beside the champion's",
    "analysis": "accuracy, calibration and the order of options",
    "regression": "the frozen suite",
    "safety": "the guards",
    "served": "whether the endpoint answers as the model does",
    "packed": "whether the packed model answers as what it was packed from",
    "bench": "latency and memory",
}
"""What each record holds, in words."""


def limitations(dossier: ReleaseContext) -> tuple[str, ...]:
    """List them, the gravest first."""
    return (
        *_standing(dossier),
        "Multiple-choice exam questions measure recall of facts. They do not show that a model may "
        "advise about a person.",
        *_missing(dossier),
        *(_accuracy(dossier.evidence.analysis) if dossier.evidence.analysis else ()),
        *_confidence(dossier.release),
        *_guards(dossier.evidence),
        *_unjudged(dossier),
        *_origin(dossier),
    )


def _standing(dossier: ReleaseContext) -> Iterator[str]:
    if dossier.verdict is None:
        yield "The gate was not asked: nothing was proved about this release."
        return
    yield from _verdict(dossier.verdict)


def _verdict(verdict: GateRecord) -> Iterator[str]:
    bound = verdict.bound
    if bound is not None and bound.sets > 1:
        yield (
            f"These weights were evaluated {len(bound.looks)} times, on {bound.sets} sets of "
            "questions, and the gate judged by the last: each is another chance to look good."
        )
    for result in verdict.results:
        if result.outcome in ("failed", "missing"):
            yield f"The gate's rule {result.rule} is not met: {result.reason}."
        elif result.waiver is not None:
            yield (
                f"The gate's rule {result.rule} is not met ({result.reason}) and was waived by "
                f"{result.waiver.name}: {result.waiver.reason}"
            )


def unmeasured(evidence: Evidence) -> tuple[EvidenceKind, ...]:
    """Name the records that were not made; `packed` is wanted of packed weights only."""
    return tuple(
        kind
        for kind in KINDS
        if getattr(evidence, kind) is None and (kind != "packed" or evidence.is_packed)
    )


def _missing(dossier: ReleaseContext) -> Iterator[str]:
    if found := unmeasured(dossier.evidence):
        yield f"Not measured: {'; '.join(KINDS[kind] for kind in found)}."


def _accuracy(record: AnalysisRecord) -> Iterator[str]:
    exam = record.evaluation
    if exam.accuracy.low <= exam.majority.value:
        yield (
            f"On {exam.data.source} the accuracy is not shown to be above always answering "
            f"{exam.majority_letter}: {share(exam.accuracy)} against "
            f"{percent(exam.majority.value)} %."
        )
    if exam.options_tell and exam.options_only is not None:
        name, value = exam.no_knowledge
        yield (
            f"Without the stem {share(exam.options_only)} of the answers are right, by {name} "
            f"{percent(value)} %: the options give some of them away."
        )
    if record.weak_subjects:
        yield f"Weaker than elsewhere in: {', '.join(record.weak_subjects)}."
    for part in record.slices:
        if part.dimension == "negation" and part.weak:
            yield f"Weaker on {part.name} questions: {share(part.accuracy)}."
    if record.flips is not None:
        yield f"The order of the options changes {share(record.flips.any)} of the answers."
    yield from record.warnings


def _confidence(release: Release) -> Iterator[str]:
    found = release.calibration
    if found is None:
        yield "The release has no calibration: its probabilities are the model's own."
        return
    if at_bound(found.temperature):
        yield (
            f"The temperature of {found.temperature:.3g} lies on the edge of where it was looked "
            "for: probabilities after it are no estimate of being right."
        )
    if found.threshold is None:
        least = least_for_risk(found.risk)
        why = (
            f", and {found.n:,} calibration questions could not have shown one (at least "
            f"{least:,} are needed)"
            if found.n < least
            else f" on {found.n:,} calibration questions"
        )
        yield (
            f"No confidence bounds the risk at {percent(found.risk)} %{why}: the endpoint shows "
            "no answer of its own accord."
        )
    else:
        yield (
            f"The endpoint defers below a confidence of {found.threshold:.3f}, which answers "
            f"{percent(found.coverage)} % of the {found.n:,} calibration questions."
        )
    if found.subjects:
        yield f"Subjects other than these were never calibrated: {', '.join(found.subjects)}."


def _guards(evidence: Evidence) -> Iterator[str]:
    for figure in evidence.safety.unmet if evidence.safety else ():
        assert figure.target is not None, "what has no target cannot miss it"
        yield (
            f"Guards, {figure.measure}: {share(figure.rate)} on the held-out half, which does not "
            f"show that it is {percent(figure.target)} % at most (up to {percent(figure.upper)} %)."
        )


def _unjudged(dossier: ReleaseContext) -> Iterator[str]:
    """Tell what a rule of the gate would, where the gate did not."""
    told = (
        {r.rule for r in dossier.verdict.results if r.outcome != "passed"}
        if dossier.verdict
        else ()
    )
    evidence, record = dossier.evidence, dossier.evidence.regression
    if "parity" not in told:
        for fault in evidence.served.broken if evidence.served else ():
            yield f"The endpoint does not answer as the model does: {fault}."
        for row in evidence.packed.rows if evidence.packed else ():
            for fault in row.broken:
                yield f"Packed as {row.name} it does not answer as before: {fault}."
    if record is not None and "regression" not in told:
        if record.trained_on is None:
            yield "Whether the frozen suite was trained on is not known."
        elif record.trained_on:
            yield f"{record.trained_on:,} of {record.suite.n:,} frozen questions were trained on."
    if evidence.comparison is not None and evidence.comparison.differs and "accuracy" not in told:
        what = ", ".join(evidence.comparison.differs)
        yield f"The examinations differ in {what}."


def _origin(dossier: ReleaseContext) -> Iterator[str]:
    release = dossier.release
    if dossier.base_note:
        yield dossier.base_note
    if release.data_hash is None and release.weights != "base":
        yield "What it was trained on is not recorded."
    commit = release.provenance.commit
    if commit is None or commit.endswith("-dirty"):
        yield "It was built from a source tree that no commit names."
