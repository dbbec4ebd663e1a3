"""The examination: questions go to a model, predictions and a record come back."""

from __future__ import annotations

import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from medtune.analysis.compare import mcnemar_exact
from medtune.analysis.order_flips import given_choice
from medtune.core.answer_parser import Parser
from medtune.core.choice import highest
from medtune.core.errors import DataError, PredictionsError
from medtune.core.intervals import wilson
from medtune.core.predictions_io import RECORD, PredictionsDraft, read_evaluation, write_evaluation
from medtune.core.progress import Progress
from medtune.core.prompt import fingerprint
from medtune.core.protocols import AnswerModel
from medtune.core.provenance import provenance
from medtune.core.records import (
    LETTERS,
    EvaluationRecord,
    Outcome,
    OutcomeCounts,
    Prediction,
    Proportion,
    Question,
    StemEffect,
)
from medtune.core.run_folder import valid_record, write_record
from medtune.evaluation.exam import Exam
from medtune.evaluation.perturbations import varied
from medtune.evaluation.pride import estimate_prior
from medtune.evaluation.score import Prior, ask, option_logs, rotated_scores

CHUNK = 256
"""Questions between two movements of the progress bar; batches are cut within a chunk."""
PRIOR_SHARE = 0.05
"""Of the questions, for PriDe's prior: the paper finds 2-5 % enough."""
PRIOR_LEAST = 20


@dataclass(frozen=True)
class ExamResult:
    """What an examination brought beside its predictions."""

    duration_s: float
    resumed_at: int = 0
    prior: Prior = field(default_factory=dict)
    options_only: Proportion | None = None
    stem_effect: StemEffect | None = None


def examine(
    model: AnswerModel,
    exam: Exam,
    label: str,
    parser: Parser,
    progress: Progress,
    draft: PredictionsDraft | None = None,
) -> tuple[EvaluationRecord, list[Prediction]]:
    """Examine a model.

    Args:
        model: Any model.
        exam: Questions and method.
        label: Short name for tables.
        parser: For free answers.
        progress: Where to report.
        draft: Where predictions are kept as they come; the exam goes on behind what it holds.

    Raises:
        DataError: A question has no label.
        ModelError: The model fails; what it answered before is in the draft.
    """
    if unlabelled := sum(q.answer is None for q in exam.questions):
        raise DataError(
            f"{exam.data.source}: {unlabelled} questions have no label",
            fix="examine on a split whose answers are released",
        )
    predictions = draft.read([q.id for q in exam.questions]) if draft else []
    kept = len(predictions)
    if kept:
        progress.say(f"{label}: goes on behind the {kept} questions that were answered before")
    start = time.perf_counter()
    # A file's folder would push the bar off the line.
    name = f"{label} · {exam.data.source.rpartition('/')[2]} · {exam.method}"
    prior = _prior(model, exam) if exam.orders == "pride" else {}
    with progress.task(name, len(exam.questions), done=kept) as bar:
        for at in range(kept, len(exam.questions), CHUNK):
            answered = ask(model, exam, exam.questions[at : at + CHUNK], parser, prior)
            if draft:
                draft.add(answered)
            predictions += answered
            rate = (len(predictions) - kept) / (time.perf_counter() - start)
            bar.advance(len(answered), speed=f"{rate:.1f} questions/s")
    duration = time.perf_counter() - start
    blind, effect = _options_only(model, exam, parser, predictions, progress)
    sitting = ExamResult(duration, kept, prior, blind, effect)
    return summarize(model, exam, label, parser, predictions, sitting), predictions


def examined(
    model: AnswerModel,
    exam: Exam,
    label: str,
    parser: Parser,
    folder: Path,
    progress: Progress,
) -> tuple[EvaluationRecord, list[Prediction]]:
    """Examine a model and write the folder, unless it already holds this very examination.

    Raises:
        DataError: A question has no label.
        ModelError: The model fails; the same call goes on behind the last question answered.
        FolderError: The folder cannot be written.
    """
    inputs = exam.inputs(model, parser.version)
    if valid_record(folder / RECORD, EvaluationRecord, inputs):
        try:
            record, predictions = read_evaluation(folder)
        except PredictionsError as error:
            progress.say(f"{error.found}: examined again")
        else:
            progress.say(f"{folder.name}: still valid")
            # What does not change a prediction may be said in another way than before.
            known = record.trained_on if exam.trained_on is None else exam.trained_on
            now = record.model_copy(update={"label": label, "trained_on": known})
            if now != record:
                write_record(folder / RECORD, now)
            return now, predictions
    draft = PredictionsDraft(folder, inputs)
    record, predictions = examine(model, exam, label, parser, progress, draft)
    write_evaluation(folder, record, predictions)
    draft.discard()
    return record, predictions


def summarize(
    model: AnswerModel,
    exam: Exam,
    label: str,
    parser: Parser,
    predictions: Sequence[Prediction],
    sitting: ExamResult,
) -> EvaluationRecord:
    """Count outcomes and put an interval on every proportion."""
    counts = count(predictions)
    right = Counter(LETTERS[p.answer] for p in predictions)
    given = Counter(LETTERS[p.chosen] for p in predictions if p.chosen is not None)
    letter, most = max(right.items(), key=lambda item: (item[1], item[0]))
    masses = [p.mass for p in predictions if p.mass is not None]
    ended = [p.stopped for p in predictions if p.stopped is not None]
    scores = [p.probabilities for p in predictions if p.probabilities is not None]
    description = model.describe()
    return EvaluationRecord(
        inputs=exam.inputs(model, parser.version),
        label=label,
        model=description,
        data=exam.data,
        prompt_hash=fingerprint(exam.style, model.render),
        method=exam.method,
        normalization=exam.compared,
        variant=exam.variant,
        orders=exam.orders,
        prior=dict(sitting.prior) or None,
        shots=exam.shots.count,
        shots_by=exam.shots.by if exam.shots.count else None,
        constrained=exam.constrained,
        counts=counts,
        accuracy=wilson(counts.correct, counts.n),
        answer_rate=wilson(counts.correct + counts.wrong, counts.n),
        stop_rate=wilson(sum(ended), len(ended)) if ended else None,
        chance=math.fsum(1 / len(p.options) for p in predictions) / counts.n,
        majority=wilson(most, counts.n),
        majority_letter=letter,
        options_only=sitting.options_only,
        stem_effect=sitting.stem_effect,
        letters_chosen=dict(sorted(given.items())),
        letters_right=dict(sorted(right.items())),
        trained_on=exam.trained_on,
        ties=sum(len(highest(some)) > 1 for some in scores) if scores else None,
        mean_mass=math.fsum(masses) / len(masses) if masses else None,
        parser=parser.version if exam.method == "generate" else None,
        resumed_at=sitting.resumed_at,
        duration_s=sitting.duration_s,
        questions_per_s=(counts.n - sitting.resumed_at) / max(sitting.duration_s, 1e-9),
        provenance=provenance(description.device if "cuda" in description.device else None),
    )


def count(predictions: Sequence[Prediction]) -> OutcomeCounts:
    """Count outcomes."""
    tally = Counter(p.outcome for p in predictions)
    return OutcomeCounts(
        n=len(predictions),
        correct=tally[Outcome.CORRECT],
        wrong=tally[Outcome.WRONG],
        unparsed=tally[Outcome.UNPARSED],
        abstained=tally[Outcome.ABSTAINED],
    )


def _prior(model: AnswerModel, exam: Exam) -> Prior:
    """Estimate PriDe's prior on a small sample of the questions; no key is looked at."""
    assert exam.compared is not None, "free text has no prior"
    by_size: dict[int, list[Question]] = defaultdict(list)
    for question in exam.questions:
        by_size[len(question.options)].append(question)
    prior = {}
    for size, questions in sorted(by_size.items()):
        wanted = max(PRIOR_LEAST, math.ceil(PRIOR_SHARE * len(questions)))
        lots = random.Random(f"pride {exam.data.hash}")
        sample = lots.sample(questions, min(wanted, len(questions)))
        asked = rotated_scores(model, exam, sample, all_orders=True)
        prior[size] = estimate_prior(
            [[option_logs(scores, exam.compared) for scores in rounds] for rounds in asked]
        )
    return prior


def _options_only(
    model: AnswerModel,
    exam: Exam,
    parser: Parser,
    predictions: Sequence[Prediction],
    progress: Progress,
) -> tuple[Proportion | None, StemEffect | None]:
    """Ask some of the questions without their stem: what the options alone give away."""
    if not exam.options_only or exam.method == "generate":
        return None, None
    n = len(exam.questions)
    asked = min(n, exam.options_only)
    places = [place * n // asked for place in range(asked)]
    evenly = [exam.questions[place] for place in places]
    blind = varied(evenly, "options-only", seed=0)
    plain = replace(exam, orders="given", variant="options-only", options_only=0)
    without: list[bool] = []
    with progress.task(f"{exam.data.source.rpartition('/')[2]} · options only", len(blind)) as bar:
        for at in range(0, len(blind), CHUNK):
            answered = ask(model, plain, blind[at : at + CHUNK], parser, {})
            without += [p.outcome is Outcome.CORRECT for p in answered]
            bar.advance(len(answered))
    # Without the stem the options stand as given: so they must with it.
    seen = [given_choice(predictions[place]) == predictions[place].answer for place in places]
    return wilson(sum(without), asked), _stem_effect(seen, without)


def _stem_effect(seen: Sequence[bool], without: Sequence[bool]) -> StemEffect:
    pairs = list(zip(seen, without, strict=True))
    gained, lost = pairs.count((True, False)), pairs.count((False, True))
    return StemEffect(
        with_stem=wilson(sum(seen), len(seen)),
        only_with=gained,
        only_without=lost,
        p_value=mcnemar_exact(lost, gained),
    )
