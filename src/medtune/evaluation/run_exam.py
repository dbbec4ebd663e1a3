"""Run an evaluation: ask a model the questions, and return predictions and a record."""

from __future__ import annotations

import math
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from medtune.analysis.compare import mcnemar_exact
from medtune.analysis.order_flips import choice_in_given_order
from medtune.analysis.outcome_summary import summarize_outcomes
from medtune.analysis.similarity import accuracy_without_most_similar
from medtune.core.errors import DataError, PredictionsError
from medtune.core.formatting import format_share
from medtune.core.intervals import wilson_interval
from medtune.core.model_names import is_search_model
from medtune.core.option_logprobs import option_logprobs
from medtune.core.predictions_io import (
    RECORD_FILE,
    Evaluation,
    PredictionsDraft,
    read_evaluation,
    write_evaluation,
)
from medtune.core.progress import Progress
from medtune.core.prompt import form_for_method
from medtune.core.protocols import AnswerModel, ModelIdentity, Parser
from medtune.core.provenance import collect_provenance
from medtune.core.records import (
    EvaluationRecord,
    ModelDescription,
    OpenBook,
    Outcome,
    Prediction,
    Proportion,
    Question,
    SearchBaseline,
    Shard,
    StemEffect,
)
from medtune.core.run_folder import read_valid_record, write_record
from medtune.evaluation.exam import Exam, SearchReference
from medtune.evaluation.perturbations import perturb_questions
from medtune.evaluation.pride import estimate_prior
from medtune.evaluation.score import PositionPrior, answer_questions, score_orders
from medtune.retrieval.evidence import EvidenceCounts

CHUNK_SIZE = 256
"""Questions between two updates of the progress bar; batches are formed within a chunk."""
PRIOR_SHARE = 0.05
"""Share of the questions for PriDe's prior; the paper finds 2-5 % sufficient."""
PRIOR_MIN_QUESTIONS = 20


@dataclass(frozen=True)
class ExamResult:
    """Results of an evaluation in addition to its predictions."""

    duration_s: float
    resumed_at: int = 0
    prior: PositionPrior = field(default_factory=dict)
    options_only: Proportion | None = None
    stem_effect: StemEffect | None = None


def evaluate_model(
    model: AnswerModel,
    exam: Exam,
    label: str,
    parser: Parser,
    progress: Progress,
    draft: PredictionsDraft | None = None,
) -> Evaluation:
    """Evaluate a model on an exam.

    Args:
        model: The model.
        exam: Questions and method.
        label: Short name for tables.
        parser: Parser of free answers.
        progress: Progress to report to.
        draft: Draft to append predictions to; the evaluation resumes after its predictions.

    Raises:
        DataError: A question has no label.
        ModelError: The model fails; earlier answers are in the draft.
    """
    if unlabelled := sum(q.answer is None for q in exam.questions):
        raise DataError(
            f"{exam.data.source}: {unlabelled} questions have no label",
            fix="evaluate on a split whose answers are released",
        )
    predictions = draft.read([q.id for q in exam.questions]) if draft else []
    kept = len(predictions)
    if kept:
        progress.log_message(
            f"{label}: resumes after the {kept} questions that were answered before"
        )
    start = time.perf_counter()
    # Drop the folder of a file, to keep the line of the progress bar short.
    name = f"{label} · {exam.data.source.rpartition('/')[2]} · {exam.method}"
    prior = _estimate_position_prior(model, exam) if exam.orders == "pride" else {}
    with progress.task(name, len(exam.questions), done=kept) as bar:
        for at in range(kept, len(exam.questions), CHUNK_SIZE):
            answered = answer_questions(
                model, exam, exam.questions[at : at + CHUNK_SIZE], parser, prior
            )
            if draft:
                draft.append(answered)
            predictions += answered
            rate = (len(predictions) - kept) / (time.perf_counter() - start)
            bar.advance(len(answered), speed=f"{rate:.1f} questions/s")
    duration = time.perf_counter() - start
    blind, effect = _evaluate_options_only(model, exam, parser, predictions, progress)
    sitting = ExamResult(duration, kept, prior, blind, effect)
    record = make_evaluation_record(model, exam, label, parser, predictions, sitting)
    progress.log_message(f"{name}: {format_share(record.accuracy)} right")
    return add_search_reference(exam, record, predictions)


def evaluate_or_reuse(
    model: AnswerModel,
    exam: Exam,
    label: str,
    parser: Parser,
    folder: Path,
    progress: Progress,
) -> Evaluation:
    """Evaluate a model and write the folder, or reuse the folder if its inputs are the same.

    Raises:
        DataError: A question has no label.
        ModelError: The model fails; calling again resumes after the last answered question.
        FolderError: The folder cannot be written.
    """
    if found := find_evaluation(model, exam, label, parser, folder, progress):
        return found
    draft = PredictionsDraft(folder, exam.hash_inputs(model, parser.version))
    record, predictions = evaluate_model(model, exam, label, parser, progress, draft)
    write_evaluation(folder, record, predictions)
    draft.delete()
    return Evaluation(record, predictions, folder)


def find_evaluation(
    model: ModelIdentity,
    exam: Exam,
    label: str,
    parser: Parser,
    folder: Path,
    progress: Progress,
) -> Evaluation | None:
    """Read the evaluation in a folder if its inputs are the same; the model is asked nothing.

    Fields that do not change the predictions are updated.

    Raises:
        FolderError: The folder cannot be written.
    """
    inputs = exam.hash_inputs(model, parser.version)
    if not read_valid_record(folder / RECORD_FILE, EvaluationRecord, inputs):
        return None
    try:
        record, predictions = read_evaluation(folder)
    except PredictionsError as error:
        progress.log_message(f"{error.found}: evaluated again")
        return None
    progress.log_message(f"{folder.name}: still valid")
    known = record.trained_on if exam.trained_on is None else exam.trained_on
    now = record.model_copy(update={"label": label, "trained_on": known})
    now, told = add_search_reference(exam, now, predictions)
    if told != predictions:
        write_evaluation(folder, now, told)
    elif now != record:
        write_record(folder / RECORD_FILE, now)
    return Evaluation(now, told, folder)


def make_evaluation_record(
    model: ModelIdentity,
    exam: Exam,
    label: str,
    parser: Parser,
    predictions: Sequence[Prediction],
    sitting: ExamResult,
) -> EvaluationRecord:
    """Make the record of an evaluation: counts of outcomes, and proportions with intervals."""
    description = model.describe()
    return EvaluationRecord(
        inputs=exam.hash_inputs(model, parser.version),
        shard=_describe_shard(model, exam, parser),
        label=label,
        model=description,
        data=exam.data,
        prompt_hash=exam.hash_prompt(model),
        method=exam.method,
        normalization=exam.effective_normalization,
        variant=exam.variant,
        orders=exam.orders,
        prior=dict(sitting.prior) or None,
        shots=exam.shots.count,
        shots_by=exam.shots.by if exam.shots.count else None,
        constrained=exam.constrained,
        **summarize_outcomes(predictions),
        options_only=sitting.options_only,
        stem_effect=sitting.stem_effect,
        trained_on=exam.trained_on,
        parser=parser.version if exam.method == "generate" else None,
        resumed_at=sitting.resumed_at,
        duration_s=sitting.duration_s,
        questions_per_s=(len(predictions) - sitting.resumed_at) / max(sitting.duration_s, 1e-9),
        provenance=collect_provenance(_gpu(description)),
    )


def _describe_shard(model: ModelIdentity, exam: Exam, parser: Parser) -> Shard | None:
    """Describe which part of a larger exam it is, and the whole, for merging."""
    if exam.shard is None or exam.whole is None:
        return None
    return Shard(
        number=exam.shard.number,
        of=exam.shard.of,
        inputs=exam.whole.hash_inputs(model, parser.version),
        data=exam.whole.data,
    )


def _gpu(description: ModelDescription) -> str | None:
    """Return the accelerator that a model runs on; None for a processor, or where unknown."""
    device = description.device
    return device if device is not None and "cuda" in device else None


def add_search_reference(
    exam: Exam, record: EvaluationRecord, predictions: Sequence[Prediction]
) -> Evaluation:
    """Add the search baseline, the open book and the similarities to an evaluation.

    They depend on the index, and change no answer.
    """
    found = exam.search
    if found is None:
        return Evaluation(record, predictions)
    told = [
        prediction.model_copy(update={"similarity": similarity})
        for prediction, similarity in zip(predictions, found.similarity, strict=True)
    ]
    right = [p.outcome is Outcome.CORRECT for p in told]
    is_search = is_search_model(record.model.source)
    changes: dict[str, object] = {}
    if exam.evidence is not None or is_search or found.own:
        changes["open_book"] = _describe_open_book(exam, found, told, record.open_book)
    if not is_search:
        changes["search"] = _pair_with_search(right, found)
    return Evaluation(record.model_copy(update=changes), told)


def _describe_open_book(
    exam: Exam,
    found: SearchReference,
    predictions: Sequence[Prediction],
    before: OpenBook | None,
) -> OpenBook:
    """Describe what was read; the counts of a reused evaluation are those `before`."""
    less_similar = accuracy_without_most_similar(predictions)
    if exam.evidence is None:
        return OpenBook(
            kind="search",
            index=found.index,
            passages=found.passages - found.left_out,
            left_out=found.left_out,
            less_similar=less_similar,
        )
    settings = exam.evidence.settings
    assert settings.kind != "none", "a closed book has no evidence"
    if before is not None and (before.index, before.left_out) == (found.index, found.left_out):
        counts = EvidenceCounts(before.cut, before.without)
    else:
        # Over all questions: a resumed evaluation has answered some of them before.
        counts = exam.evidence.count(exam.questions)
    return OpenBook(
        kind=settings.kind,
        index=found.index,
        passages=settings.passages,
        words=settings.words,
        cut=counts.cut,
        without=counts.without,
        left_out=found.left_out,
        less_similar=less_similar,
    )


def _pair_with_search(right: Sequence[bool], found: SearchReference) -> SearchBaseline:
    pairs = list(zip(right, found.right, strict=True))
    only_model, only_search = pairs.count((True, False)), pairs.count((False, True))
    return SearchBaseline(
        index=found.index,
        passages=found.passages - found.left_out,
        fingerprint=found.fingerprint,
        accuracy=wilson_interval(sum(found.right), len(right)),
        only_model=only_model,
        only_search=only_search,
        p_value=mcnemar_exact(only_search, only_model),
    )


def _estimate_position_prior(model: AnswerModel, exam: Exam) -> PositionPrior:
    """Estimate PriDe's prior on a small sample of the questions, without their answers."""
    assert exam.effective_normalization is not None, "free text has no prior"
    by_size: dict[int, list[Question]] = defaultdict(list)
    for question in exam.questions:
        by_size[len(question.options)].append(question)
    prior = {}
    for size, questions in sorted(by_size.items()):
        wanted = max(PRIOR_MIN_QUESTIONS, math.ceil(PRIOR_SHARE * len(questions)))
        lots = random.Random(f"pride {exam.data.hash}")
        sample = lots.sample(questions, min(wanted, len(questions)))
        form = form_for_method(exam.method, exam.target)
        asked = score_orders(
            model, exam.style, form, sample, exam.shots, exam.evidence, all_orders=True
        )
        prior[size] = estimate_prior(
            [
                [option_logprobs(scores, exam.effective_normalization) for scores in rounds]
                for rounds in asked
            ]
        )
    return prior


def _evaluate_options_only(
    model: AnswerModel,
    exam: Exam,
    parser: Parser,
    predictions: Sequence[Prediction],
    progress: Progress,
) -> tuple[Proportion | None, StemEffect | None]:
    """Evaluate some of the questions without their stem, as an options-only baseline."""
    places = exam.list_options_only_places()
    if not places or exam.method == "generate":
        return None, None
    asked = len(places)
    evenly = [exam.questions[place] for place in places]
    blind = perturb_questions(evenly, "options-only", seed=0)
    plain = replace(exam, orders="given", variant="options-only", options_only=0, search=None)
    without: list[bool] = []
    with progress.task(f"{exam.data.source.rpartition('/')[2]} · options only", len(blind)) as bar:
        for at in range(0, len(blind), CHUNK_SIZE):
            answered = answer_questions(model, plain, blind[at : at + CHUNK_SIZE], parser, {})
            without += [p.outcome is Outcome.CORRECT for p in answered]
            bar.advance(len(answered))
    # The baseline uses the given order of the options, so compare with that order.
    seen = [
        choice_in_given_order(predictions[place]) == predictions[place].answer for place in places
    ]
    return wilson_interval(sum(without), asked), _measure_stem_effect(seen, without)


def _measure_stem_effect(seen: Sequence[bool], without: Sequence[bool]) -> StemEffect:
    pairs = list(zip(seen, without, strict=True))
    gained, lost = pairs.count((True, False)), pairs.count((False, True))
    return StemEffect(
        with_stem=wilson_interval(sum(seen), len(seen)),
        only_with=gained,
        only_without=lost,
        p_value=mcnemar_exact(lost, gained),
    )
