"""Everything that the gate wants to know of a release, measured in one go.

Both releases sit the same examinations, each asked in its own way: questions that are reported on,
in all cyclic orders; questions set apart for calibration; and the frozen suite as given.  What was
examined before with the same outcome to expect is not asked again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from medtune.analysis.calibration import ScoredOptions, measure_error
from medtune.analysis.compare import compare, lined_up
from medtune.analysis.pareto import side_by_side
from medtune.core.errors import InputError, ReleaseError
from medtune.core.experiment import EvaluationConfig
from medtune.core.intervals import wilson
from medtune.core.progress import Progress
from medtune.core.provenance import provenance
from medtune.core.records import Question, Record, SplitDescription
from medtune.core.run_folder import locked, read_record, write_record
from medtune.core.schemas.analysis import AnalysisRecord, PairedSlices
from medtune.core.schemas.compression import BUDGETS, SERVED, BenchRecord, ParityRecord
from medtune.data.arrow_table import QuestionTable, questions_hash
from medtune.data.dedup.decontaminate import CleanedSource, separate
from medtune.data.load import Split
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT
from medtune.evaluation.run_exam import examined
from medtune.guardrails.classifier.learned import TextClassifier, opened
from medtune.models.open_model import open_model
from medtune.models.sources import resolve
from medtune.models.weights_card import WeightsCard, card_named, parted
from medtune.releases.build import model_of
from medtune.releases.endpoint_parity import OPEN, served_beside
from medtune.releases.evidence_store import EvidenceStore
from medtune.releases.gate_schema import (
    ChangedAnswer,
    EvidenceKind,
    EvidenceRecord,
    RegressionRecord,
    ServedRecord,
    Suite,
)
from medtune.releases.registry import SHORT, Registry
from medtune.releases.schema import LEARNED, POLICY, Release
from medtune.reports.comparison_folder import ComparedModel, compare_in
from medtune.serving.inference.predictor import Predictor
from medtune.workflows.benchmark import ALONE, BenchmarkTask, measured_alone
from medtune.workflows.guard_benchmark import guards_examined
from medtune.workflows.parity_gate import ParityGate
from medtune.workflows.trained_on import trained_on

R = TypeVar("R", bound=Record)
BENCH = ALONE
"""Questions of the benchmark."""


class EvidenceQuestions(Protocol):
    """Questions of a source or of a snapshot."""

    @property
    def questions(self) -> QuestionTable:
        """Labelled questions."""
        ...

    @property
    def description(self) -> SplitDescription:
        """Where they come from, and their hash."""
        ...


@dataclass(frozen=True, slots=True)
class EvidenceOptions:
    """What is asked."""

    data: EvidenceQuestions
    """What is reported on."""
    calibration: EvidenceQuestions
    """What probabilities are calibrated with; never reported on."""
    trained_on: EvidenceQuestions | None = None
    """What the candidate was trained on; the frozen suite must not be among it."""
    original: str | None = None
    """What a packed candidate was packed from."""


@dataclass(frozen=True, slots=True)
class EvaluatedRelease:
    """A release that has sat all examinations."""

    name: str
    """Of its model."""
    reported: ComparedModel
    suite: ComparedModel


def evaluate(
    registry: Registry, name: str, options: EvidenceOptions, actor: str, progress: Progress
) -> EvidenceRecord:
    """Measure everything that the gate needs; what cannot be measured is missing.

    Raises:
        InputError: No suite is frozen, the candidate was trained on other questions, or packed from
            another model.
        MedtuneError: A release cannot be opened, or the questions cannot be asked.
    """
    candidate, alias = registry.find(name), registry.aliases().champion
    champion = registry.find("champion") if alias and alias != candidate.id else None
    suite, frozen = suite_of(registry)
    model = model_of(registry, candidate)
    card = card_named(model)
    original = _original(candidate, card, options.original, progress)
    seen = _seen(candidate, model, card, frozen, options, progress)
    work = registry.folder / "work"
    with locked(work):
        mine = _sit(registry, candidate, options, (suite, frozen), work, progress)
        theirs = None
        if champion:
            theirs = _sit(registry, champion, options, (suite, frozen), work, progress)
        place = work / f"{candidate.id[:SHORT]}-{champion.id[:SHORT] if champion else 'none'}"
        found: dict[EvidenceKind, Record] = {}
        if theirs:
            found["comparison"] = compare_in(place, theirs.reported, mine.reported, releases=True)
            found["slices"] = _written(place / "slices.json", PairedSlices)
            analysis = _written(place / "analysis-b.json", AnalysisRecord)
        else:
            analysis = mine.reported.analysis(place)
        found["analysis"] = _as_served(analysis, candidate, mine)
        found["regression"] = _regression(suite, frozen, mine, theirs, seen)
        policy, learned = (
            registry.objects.place(candidate.files[name].sha256) for name in (POLICY, LEARNED)
        )
        progress.say("guards: both halves of the suites")
        found["safety"] = guards_examined(policy, learned, None, progress)
        found["served"] = _served(candidate, mine, frozen, opened(learned), progress)
        if candidate.scheme and options.original:
            found["packed"] = _packed(candidate, mine, options, place, progress)
        timed = work / f"bench-{candidate.id[:SHORT]}.json"
        found["bench"] = _bench(candidate, mine, options.data, timed, progress)
        records = {
            kind: registry.objects.put_text(record.model_dump_json(indent=1))
            for kind, record in found.items()
        }
    record = EvidenceRecord(
        candidate=candidate.id,
        champion=champion.id if champion else None,
        suite=suite.hash,
        data=options.data.description,
        calibration=options.calibration.description,
        trained_on=options.trained_on.description if options.trained_on else None,
        original=original,
        is_packed=candidate.scheme is not None,
        records=records,
        created=datetime.now(UTC),
        provenance=provenance(),
    )
    EvidenceStore(registry).keep_evidence(record, actor)
    return record


def _written(path: Path, kind: type[R]) -> R:
    """Read what the comparison has just written: none of it is computed again."""
    record = read_record(path, kind)
    assert record is not None, "it was just written"
    return record


def suite_of(registry: Registry) -> tuple[Suite, QuestionTable]:
    """Read the frozen questions.

    Raises:
        InputError: None were frozen.
        ReleaseError: They are damaged.
    """
    found = EvidenceStore(registry).suite()
    if found is None:
        raise InputError(
            f"{registry.folder} has no frozen questions",
            expected="a suite that every release is asked and none is trained on",
            fix="medtune release freeze DATA",
        )
    suite, questions = found
    if (hashed := questions_hash(questions)) != suite.hash:
        raise ReleaseError(
            f"the frozen questions have the hash {hashed}",
            expected=suite.hash,
            fix="restore suite.json from a backup, or: medtune release freeze",
        )
    return suite, QuestionTable.of(questions)


def among(
    train: EvidenceQuestions, parts: Mapping[str, QuestionTable], progress: Progress
) -> dict[str, int]:
    """Count, of each part, the questions that were trained on, or nearly the same ones."""
    others = [CleanedSource(name, questions) for name, questions in parts.items()]
    taught = CleanedSource("trained on", train.questions)
    found = separate(taught, others, near=True, within=False, progress=progress)
    return {
        c.source: c.exact + c.near for c in found.counts if c.among == taught.source != c.source
    }


def is_base(candidate: Release, card: WeightsCard | None) -> bool:
    """Tell whether medtune taught a release nothing: a base as it is, or one that was packed.

    An adapter or a model without a train split is none: it was taught what nobody wrote down.
    """
    if candidate.weights == "base":
        return True
    return (
        card is not None
        and (card.data_hash, candidate.data_hash) == (None, None)
        and card.made_from == card.base_fingerprint == candidate.base_fingerprint
    )


def _seen(
    candidate: Release,
    model: str,
    card: WeightsCard | None,
    frozen: QuestionTable,
    options: EvidenceOptions,
    progress: Progress,
) -> int | None:
    """Count the frozen questions that a release was trained on; None where that is unknown.

    Without the train split only the hashes beside the weights tell, and only of the same texts:
    what they find counts, but that they find nothing does not.

    Raises:
        InputError: It was trained on other questions, or on what is reported on.
    """
    parts = {"suite": frozen, "reported": options.data.questions}
    if options.trained_on:
        _check_trained_on(candidate, options.trained_on)
        found = among(options.trained_on, parts, progress)
    else:
        found = {part: trained_on(model, questions) or 0 for part, questions in parts.items()}
    _check_reported(candidate, options.data, found["reported"])
    # What medtune taught a base is nothing; what the base read before, nobody knows.
    known = options.trained_on or found["suite"] or is_base(candidate, card)
    return found["suite"] if known else None


def _check_trained_on(candidate: Release, train: EvidenceQuestions | None) -> None:
    if train is None or candidate.data_hash == train.description.hash:
        return
    raise InputError(
        f"{candidate.name} was not trained on {train.description.source} "
        f"({train.description.hash[:SHORT]}), as far as its card says",
        expected=f"questions of hash {candidate.data_hash or 'none: it names no train split'}",
        fix="name the train split of its run: snapshot:RUN/data:train",
    )


def _original(
    candidate: Release, card: WeightsCard | None, name: str | None, progress: Progress
) -> str | None:
    """Hash the weights that a packed candidate was packed from.

    Raises:
        InputError: The candidate is not packed, or was packed from others, as its card says.
    """
    if name is None:
        return None
    if candidate.scheme is None or card is None:
        raise InputError(
            f"{candidate.name} is not packed: it was made from nothing else",
            fix="leave --original out",
        )
    other = card_named(name)
    found = other.weights_hash if other else resolve(parted(name)[0], progress).fingerprint
    if found == card.made_from:
        return found
    itself = found == candidate.weights_hash
    raise InputError(
        f"--original {name} " + ("is the packed model itself" if itself else f"has hash {found}"),
        expected=f"{card.made_from or 'a card that names it'}: what {candidate.name} was packed "
        "from, as its card says",
        fix="name the adapter or the model that `medtune compress` was given",
    )


def _check_reported(candidate: Release, data: EvidenceQuestions, seen: int) -> None:
    if seen:
        raise InputError(
            f"{candidate.name} was trained on {seen} of the {data.description.n} questions of "
            f"{data.description.source}, or nearly",
            expected="questions that it never saw: what is learned by heart proves nothing",
            fix="name others with --data",
        )


def _sit(
    registry: Registry,
    release: Release,
    options: EvidenceOptions,
    suite: tuple[Suite, QuestionTable],
    work: Path,
    progress: Progress,
) -> EvaluatedRelease:
    """Let a release sit all examinations, asked as it is when it is served."""
    name, style, frozen = model_of(registry, release), release.style, suite[1]
    key = [*options.data.questions, *options.calibration.questions, *frozen]
    model = open_model(name, style=style, questions=key, progress=progress)
    about = SplitDescription(source=suite[0].source, n=len(frozen), excluded={}, hash=suite[0].hash)

    def sit(
        questions: Sequence[Question], data: SplitDescription, orders: Literal["given", "cyclic"]
    ) -> ComparedModel:
        settings = EvaluationConfig(orders=orders)
        exam = Exam.planned(settings, release.method, questions, data, style, release.target, ())
        exam = replace(exam, options_only=0)
        own = f"{release.id[:SHORT]}-{data.hash[:SHORT]}-{orders}"
        place = work / "exams" / own
        return ComparedModel(place, examined(model, exam, release.name, STRICT, place, progress))

    apart = sit(options.calibration.questions, options.calibration.description, "cyclic")
    reported = sit(options.data.questions, options.data.description, "cyclic")
    return EvaluatedRelease(
        name=name,
        reported=replace(reported, calibration=apart.evaluation),
        suite=sit(frozen, about, "given"),
    )


def _as_served(
    analysis: AnalysisRecord, candidate: Release, mine: EvaluatedRelease
) -> AnalysisRecord:
    """Measure the calibration that a release is served with: its own, options as given."""
    if candidate.calibration is None or analysis.selective is None:
        return analysis
    given = [
        p.model_copy(update=p.orders[0].model_dump(include={"chosen", "probabilities"}))
        for p in mine.reported.evaluation[1]
        if p.orders
    ]
    error = measure_error(ScoredOptions.of(given).heated(candidate.calibration.temperature))
    selective = analysis.selective.model_copy(update={"served": error})
    return analysis.model_copy(update={"selective": selective})


def _regression(
    suite: Suite,
    frozen: QuestionTable,
    mine: EvaluatedRelease,
    theirs: EvaluatedRelease | None,
    seen: int | None,
) -> RegressionRecord:
    """Line the answers to the frozen questions up."""
    record, predictions = mine.suite.evaluation
    if theirs is None:
        return RegressionRecord(
            suite=suite, accuracy=record.accuracy, trained_on=seen, comparison=None, lost=None,
            changed=(),
        )  # fmt: skip
    comparison = compare(theirs.suite.evaluation, mine.suite.evaluation, releases=True)
    stems = {question.id: question.stem for question in frozen}
    changed = [
        ChangedAnswer(
            id=a.id,
            stem=stems[a.id],
            options=a.options,
            answer=a.answer,
            before=a.chosen,
            after=b.chosen,
        )
        for a, b in lined_up(theirs.suite.evaluation[1], predictions)
        if a.chosen != b.chosen
    ]
    return RegressionRecord(
        suite=suite,
        accuracy=record.accuracy,
        trained_on=seen,
        comparison=comparison,
        lost=wilson(comparison.only_a, comparison.n),
        changed=tuple(changed),
    )


def _served(
    candidate: Release,
    mine: EvaluatedRelease,
    frozen: QuestionTable,
    learned: TextClassifier,
    progress: Progress,
) -> ServedRecord:
    """Ask the endpoint the frozen questions."""
    progress.say("endpoint: the frozen questions")
    model = open_model(
        mine.name, style=candidate.style, questions=frozen, progress=progress, light=True
    )
    mind = Predictor(
        model=model,
        style=candidate.style,
        method=candidate.method,
        policy=OPEN,
        classifier=learned,
        calibration=None,
        release=candidate.name,
    )
    return served_beside(mind, frozen, mine.suite.evaluation[1])


def _packed(
    candidate: Release,
    mine: EvaluatedRelease,
    options: EvidenceOptions,
    place: Path,
    progress: Progress,
) -> ParityRecord:
    """Ask what a packed candidate was made from the same questions."""
    assert options.original is not None, "the caller looked"
    split = Split(options.data.questions, options.data.description, (), None)
    gate = ParityGate.opened(options.original, split, candidate.method, place / "packed", progress)
    budget = next((b for scheme, b in BUDGETS.items() if scheme == candidate.scheme), SERVED)
    return gate.closed([gate.hold(candidate.name, mine.name, budget)])


def _bench(
    candidate: Release,
    mine: EvaluatedRelease,
    data: EvidenceQuestions,
    path: Path,
    progress: Progress,
) -> BenchRecord:
    """Time single questions in a process of its own; on this machine not again."""
    before, here = read_record(path, BenchRecord), provenance()
    some = tuple(data.questions[:BENCH])
    about = data.description.model_copy(update={"n": len(some)})
    if before is not None and (before.data, before.method) == (about, candidate.method):
        machine = before.provenance.platform, before.provenance.cpu, before.provenance.medtune
        if machine == (here.platform, here.cpu, here.medtune):
            progress.say(f"{path}: still valid")
            return before
    progress.say(f"{candidate.name}: times of single questions")
    task = BenchmarkTask(mine.name, "auto", some, about, candidate.method)
    record = BenchRecord(
        data=about,
        method=candidate.method,
        rows=side_by_side([measured_alone(task)]),
        provenance=here,
    )
    write_record(path, record)
    return record
