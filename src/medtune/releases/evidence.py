"""Collect all evidence that the gate needs on a release.

Candidate and champion are evaluated on the same questions, each with its own prompt and method: the
reported ones in all cyclic orders, the calibration ones, and the frozen suite in the given order.
Both are compared with a text search in the candidate's training questions.  What a trained
candidate knows besides medicine is compared with its base model.  Evaluations that are still valid
are not repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar

from medtune.analysis.calibration import ScoredOptions, measure_calibration_error
from medtune.analysis.compare import align_predictions, compare_evaluations
from medtune.analysis.pareto import make_bench_rows
from medtune.core.errors import InputError, ReleaseError
from medtune.core.experiment import EvaluationConfig
from medtune.core.intervals import wilson_interval
from medtune.core.model_names import SEARCH_PREFIX, is_search_model
from medtune.core.progress import Progress
from medtune.core.provenance import collect_provenance
from medtune.core.records import Question, Record, SplitDescription
from medtune.core.run_folder import lock_folder, read_record, write_record
from medtune.core.schemas.analysis import AnalysisRecord, PairedSlices
from medtune.core.schemas.compression import BUDGETS, SERVED_BUDGET, BenchRecord, ParityRecord
from medtune.data.arrow_table import QuestionTable, questions_hash
from medtune.data.load import Split
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_or_reuse
from medtune.models.open_index import open_index
from medtune.models.open_model import open_model
from medtune.models.search_model import SearchModel
from medtune.models.sources import resolve_model
from medtune.models.weights_card import (
    WeightsCard,
    find_card,
    resolve_prompt_defaults,
    split_adapter,
)
from medtune.releases.build import check_search_index, find_release_evidence, model_reference
from medtune.releases.contamination import EvidenceQuestions, count_trained_on
from medtune.releases.evidence_store import EvidenceStore
from medtune.releases.gate_schema import (
    ChangedAnswer,
    EvidenceKind,
    EvidenceRecord,
    RegressionRecord,
    ServedRecord,
    Suite,
)
from medtune.releases.general_knowledge import measure_forgetting
from medtune.releases.registry import SHORT_ID_LENGTH, Registry
from medtune.releases.schema import LEARNED, POLICY, Release
from medtune.reports.comparison_folder import ComparedModel, Comparison
from medtune.retrieval.evidence import EvidenceFinder
from medtune.retrieval.index import read_index_manifest
from medtune.workflows.benchmark import LATENCY_QUESTIONS, BenchmarkTask, measure_in_subprocess
from medtune.workflows.build_index import build_train_index
from medtune.workflows.guard_benchmark import benchmark_guards
from medtune.workflows.open_guards import open_guards
from medtune.workflows.parity_gate import ParityGate
from medtune.workflows.search_baseline import evaluate_search
from medtune.workflows.search_reference import SearchedSplit

R = TypeVar("R", bound=Record)
BENCH_QUESTIONS = LATENCY_QUESTIONS
"""Number of questions of the benchmark."""


@dataclass(frozen=True, slots=True)
class EvidenceOptions:
    """The question sets and models to measure with."""

    data: EvidenceQuestions
    """Questions that results are reported on."""
    calibration: EvidenceQuestions
    """Questions that probabilities are calibrated on; never reported on."""
    trained_on: EvidenceQuestions | None = None
    """Train split of the candidate, which must not contain the frozen suite."""
    original: str | None = None
    """Model that a compressed candidate was made from."""
    search: Path | None = None
    """Folder of a passage index to search as a baseline; None builds one of `trained_on`."""


@dataclass(frozen=True, slots=True)
class EvaluatedRelease:
    """A release with all its evaluations."""

    name: str
    """Name of its model."""
    reported: ComparedModel
    suite: ComparedModel
    index: Path | None
    """Folder of the index that was searched, or that it searches itself."""
    evidence: EvidenceFinder | None
    """Passages of its prompts; None for a closed book."""
    leaks: Mapping[str, frozenset[int]]
    """Rows of passages that leak a question and were left out, by the hash of the questions."""


def collect_evidence(
    registry: Registry, name: str, options: EvidenceOptions, actor: str, progress: Progress
) -> EvidenceRecord:
    """Measure everything that the gate needs; what cannot be measured is missing.

    Raises:
        InputError: No suite is frozen, the candidate was trained on other questions, or compressed
            from another model.
        MedtuneError: A release cannot be loaded, or the questions cannot be asked.
    """
    candidate, alias = registry.find(name), registry.read_aliases().champion
    champion = registry.find("champion") if alias and alias != candidate.id else None
    suite, frozen = load_suite(registry)
    model = model_reference(registry, candidate)
    card = find_card(model)
    original = _original_hash(candidate, card, options.original, progress)
    seen = count_trained_on(candidate, model, frozen, options.data, options.trained_on, progress)
    work = registry.folder / "work"
    with lock_folder(work):
        index = _find_index(options, work, progress)
        mine = _run_exams(registry, candidate, options, (suite, frozen), work, progress, index)
        theirs = None
        if champion:
            theirs = _run_exams(registry, champion, options, (suite, frozen), work, progress, index)
        other = champion.id[:SHORT_ID_LENGTH] if champion else "none"
        place = work / f"{candidate.id[:SHORT_ID_LENGTH]}-{other}"
        found: dict[EvidenceKind, Record] = {}
        if theirs:
            compared = Comparison.of(theirs.reported, mine.reported, releases=True).save(place)
            found["comparison"] = compared.record
            found["slices"] = PairedSlices(slices=compared.slices)
            analysis = _read_written(place / "analysis-b.json", AnalysisRecord)
        else:
            analysis = mine.reported.analyze(place)
        found["analysis"] = _as_served(analysis, candidate, mine)
        seen = len(mine.leaks[suite.hash]) if is_search_model(model) else seen
        found["regression"] = _build_regression(suite, frozen, mine, theirs, seen)
        if candidate.is_trained and (kept := measure_forgetting(candidate, model, work, progress)):
            found["general"] = kept
        policy, learned = (
            registry.objects.object_path(candidate.files[name].sha256) for name in (POLICY, LEARNED)
        )
        progress.log_message("guards: both halves of the test cases")
        found["safety"] = benchmark_guards(policy, learned, None, progress)
        found["served"] = _measure_served(candidate, mine, (suite, frozen), learned, progress)
        if candidate.scheme and options.original:
            found["packed"] = _measure_packed(candidate, mine, options, place, progress)
        timed = work / f"bench-{candidate.id[:SHORT_ID_LENGTH]}.json"
        found["bench"] = _measure_bench(candidate, mine, options.data, timed, progress)
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
        search=read_index_manifest(index).hash if index is not None else None,
        original=original,
        is_packed=candidate.scheme is not None,
        records=records,
        created=datetime.now(UTC),
        provenance=collect_provenance(),
    )
    EvidenceStore(registry).add_evidence(record, actor)
    return record


def _read_written(path: Path, kind: type[R]) -> R:
    """Read a record that the comparison has just written."""
    record = read_record(path, kind)
    assert record is not None, "it was just written"
    return record


def _find_index(options: EvidenceOptions, work: Path, progress: Progress) -> Path | None:
    """Return the index of the search baseline, built of the train split unless one is named."""
    train = options.trained_on
    if options.search is not None or train is None:
        return options.search
    folder = work / f"index-{train.description.hash[:SHORT_ID_LENGTH]}"
    build_train_index(train.questions, train.description.source, None, folder, progress)
    return folder


def load_suite(registry: Registry) -> tuple[Suite, QuestionTable]:
    """Load the frozen suite.

    Raises:
        InputError: None was frozen.
        ReleaseError: It is damaged.
    """
    found = EvidenceStore(registry).read_suite()
    if found is None:
        raise InputError(
            f"{registry.folder} has no frozen suite",
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
    return suite, QuestionTable.from_questions(questions)


def _original_hash(
    candidate: Release, card: WeightsCard | None, name: str | None, progress: Progress
) -> str | None:
    """Return the hash of the weights that a compressed candidate was made from.

    Raises:
        InputError: The candidate is not compressed, or its card names other weights.
    """
    if name is None:
        return None
    if candidate.scheme is None or card is None:
        raise InputError(
            f"{candidate.name} is not compressed, so it has no original",
            fix="leave --original out",
        )
    other = find_card(name)
    found = (
        other.weights_hash if other else resolve_model(split_adapter(name)[0], progress).fingerprint
    )
    if found == card.made_from:
        return found
    itself = found == candidate.weights_hash
    raise InputError(
        f"--original {name} " + ("is the packed model itself" if itself else f"has hash {found}"),
        expected=f"{card.made_from or 'a card that names it'}: what {candidate.name} was made "
        "from, as its card says",
        fix="name the adapter or the model that `medtune compress` was given",
    )


def _run_exams(
    registry: Registry,
    release: Release,
    options: EvidenceOptions,
    suite: tuple[Suite, QuestionTable],
    work: Path,
    progress: Progress,
    index: Path | None,
) -> EvaluatedRelease:
    """Evaluate a release on all question sets, with the prompt it is served with.

    Every model but a search is evaluated beside a search in the index; an open-book one reads the
    passages of this index.  Passages that leak a question are left out.

    Raises:
        InputError: It was trained with the passages of another index.
        ReleaseError: It is damaged, or a search whose index was changed.
    """
    name, (description, frozen) = model_reference(registry, release), suite
    everything = [*options.data.questions, *options.calibration.questions, *frozen]
    trained = resolve_prompt_defaults(name).retrieval
    model = open_model(
        name, style=release.style, questions=everything, progress=progress, retrieval=trained
    )
    check_search_index(release, model)
    if isinstance(model, SearchModel):
        index = Path(name.removeprefix(SEARCH_PREFIX))
    opened = open_index(index) if index is not None and trained.is_open_book else None
    evidence = find_release_evidence(release, name, opened)
    leaks: dict[str, frozenset[int]] = {}

    def search(questions: Sequence[Question], data: SplitDescription) -> SearchedSplit | None:
        if index is None:
            return None
        searched = read_index_manifest(index).hash[:SHORT_ID_LENGTH]
        place = work / "searches" / f"{searched}-{data.hash[:SHORT_ID_LENGTH]}"
        return evaluate_search(index, questions, data, place, progress)

    def evaluate(
        questions: Sequence[Question], data: SplitDescription, orders: Literal["given", "cyclic"]
    ) -> ComparedModel:
        settings = EvaluationConfig(orders=orders, options_only=0)
        exam = Exam.from_config(
            settings, release.method, questions, data, release.style, release.target, ()
        )
        asked, found = model, search(questions, data)
        if found is not None:
            leaks[data.hash] = found.excluded
            exam = replace(exam, search=found.reference)
            if evidence is not None:
                exam = replace(exam, evidence=replace(evidence, excluded=found.excluded))
            if isinstance(model, SearchModel):
                asked = model.without(found.excluded)
        own = f"{release.id[:SHORT_ID_LENGTH]}-{data.hash[:SHORT_ID_LENGTH]}-{orders}"
        place = work / "exams" / own
        return ComparedModel(
            place, evaluate_or_reuse(asked, exam, release.name, STRICT_PARSER, place, progress)
        )

    calibration = evaluate(options.calibration.questions, options.calibration.description, "cyclic")
    reported = evaluate(options.data.questions, options.data.description, "cyclic")
    about = SplitDescription(
        source=description.source, n=len(frozen), excluded={}, hash=description.hash
    )
    return EvaluatedRelease(
        name=name,
        reported=replace(reported, calibration=calibration.evaluation),
        suite=evaluate(frozen, about, "given"),
        index=index,
        evidence=evidence,
        leaks=leaks,
    )


def _as_served(
    analysis: AnalysisRecord, candidate: Release, mine: EvaluatedRelease
) -> AnalysisRecord:
    """Measure the calibration error as served: own temperature, options in the given order."""
    if candidate.calibration is None or analysis.selective is None:
        return analysis
    given = [
        p.model_copy(update=p.orders[0].model_dump(include={"chosen", "probabilities"}))
        for p in mine.reported.evaluation[1]
        if p.orders
    ]
    error = measure_calibration_error(
        ScoredOptions.from_predictions(given).scale_temperature(candidate.calibration.temperature)
    )
    selective = analysis.selective.model_copy(update={"served": error})
    return analysis.model_copy(update={"selective": selective})


def _build_regression(
    suite: Suite,
    frozen: QuestionTable,
    mine: EvaluatedRelease,
    theirs: EvaluatedRelease | None,
    seen: int | None,
) -> RegressionRecord:
    """Compare the answers to the frozen suite."""
    record, predictions = mine.suite.evaluation
    comparison, lost = None, None
    changed: list[ChangedAnswer] = []
    if theirs is not None:
        before = theirs.suite.evaluation
        comparison = compare_evaluations(before, mine.suite.evaluation, releases=True)
        lost = wilson_interval(comparison.only_a, comparison.n)
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
            for a, b in align_predictions(before[1], predictions)
            if a.chosen != b.chosen
        ]
    return RegressionRecord(
        suite=suite,
        accuracy=record.accuracy,
        trained_on=seen,
        comparison=comparison,
        lost=lost,
        changed=tuple(changed),
    )


def _measure_served(
    candidate: Release,
    mine: EvaluatedRelease,
    suite: tuple[Suite, QuestionTable],
    learned: Path,
    progress: Progress,
) -> ServedRecord:
    """Measure the endpoint's parity on the frozen suite."""
    # Only this needs the server stack, which is an extra.
    from medtune.releases.endpoint_parity import PARITY_POLICY, measure_endpoint_parity
    from medtune.serving.inference.predictor import Predictor

    progress.log_message("endpoint: the frozen questions")
    description, frozen = suite
    evidence, leaks = mine.evidence, mine.leaks.get(description.hash, frozenset())
    model = open_model(
        mine.name,
        style=candidate.style,
        questions=frozen,
        progress=progress,
        light=True,
        retrieval=evidence.settings if evidence is not None else None,
    )
    # Asked as offline: without the passages that leak a question.
    if isinstance(model, SearchModel):
        model = model.without(leaks)
    predictor = Predictor(
        model=model,
        style=candidate.style,
        method=candidate.method,
        guards=open_guards(PARITY_POLICY, learned),
        calibration=None,
        release=candidate.name,
        open_book=replace(evidence, excluded=leaks) if evidence is not None else None,
    )
    return measure_endpoint_parity(predictor, frozen, mine.suite.evaluation[1])


def _measure_packed(
    candidate: Release,
    mine: EvaluatedRelease,
    options: EvidenceOptions,
    place: Path,
    progress: Progress,
) -> ParityRecord:
    """Measure a compressed candidate's parity with the original."""
    assert options.original is not None, "the caller looked"
    split = Split(options.data.questions, options.data.description, (), None)
    gate = ParityGate.evaluate_original(
        options.original, split, candidate.method, place / "packed", progress, dtype="float32"
    )
    budget = next((b for scheme, b in BUDGETS.items() if scheme == candidate.scheme), SERVED_BUDGET)
    return gate.write_results([gate.evaluate_candidate(candidate.name, mine.name, budget)])


def _measure_bench(
    candidate: Release,
    mine: EvaluatedRelease,
    data: EvidenceQuestions,
    path: Path,
    progress: Progress,
) -> BenchRecord:
    """Measure latency in a separate process; reuse a result from this machine."""
    before, here = read_record(path, BenchRecord), collect_provenance()
    some = tuple(data.questions[:BENCH_QUESTIONS])
    about = data.description.model_copy(update={"n": len(some)})
    if before is not None and (before.data, before.method) == (about, candidate.method):
        machine = before.provenance.platform, before.provenance.cpu, before.provenance.medtune
        if machine == (here.platform, here.cpu, here.medtune):
            progress.log_message(f"{path}: still valid")
            return before
    progress.log_message(f"{candidate.name}: times of single questions")
    task = BenchmarkTask(mine.name, "auto", some, about, candidate.method)
    if mine.evidence is not None:
        task = replace(task, index=mine.index, excluded=mine.leaks[data.description.hash])
    record = BenchRecord(
        data=about,
        method=candidate.method,
        rows=make_bench_rows([measure_in_subprocess(task)]),
        provenance=here,
    )
    write_record(path, record)
    return record
