"""Evaluate one model on one split with one method (`medtune evaluate MODEL DATA`).

Writes `predictions.jsonl` and `record.json` to a folder that is named after everything that
determines the result, so that no result is overwritten by another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from medtune.core.config import read_settings
from medtune.core.errors import DataError, InputError, RetrievalError, check_choice
from medtune.core.experiment import ColumnMapping, DtypeName, EvaluationConfig, RetrievalConfig
from medtune.core.model_names import MIX_PREFIX, SEARCH_PREFIX, is_search_model
from medtune.core.predictions_io import RECORD_FILE, Evaluation, refuse_overwrite
from medtune.core.progress import Progress
from medtune.core.prompt import FormName, PromptStyle
from medtune.core.protocols import AnswerModel, ModelIdentity
from medtune.core.records import EvaluationRecord, Method, Question, Variant
from medtune.core.run_folder import as_optional_path, as_path, read_valid_record, slugify
from medtune.data.arrow_table import QuestionTable
from medtune.data.dedup.decontaminate import CleanedSource, decontaminate
from medtune.data.load import Split, columns_for, describe_split, load_questions
from medtune.evaluation.exam import Exam, ExamShard, check_constrained
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_model, evaluate_or_reuse, find_evaluation
from medtune.evaluation.score import render_prompts
from medtune.foreign_logs.write_lm_eval import LogFormat, PromptText, write_lm_eval_log
from medtune.models.mixture import MixtureModel, find_own_search
from medtune.models.model_argument import resolve_adapter_argument, resolve_model_argument
from medtune.models.open_model import find_unloaded_model, open_model
from medtune.models.own_model import ScoringModel, as_answer_model
from medtune.models.search_model import SearchModel
from medtune.models.weights_card import PromptDefaults, resolve_prompt_defaults
from medtune.retrieval.evidence import EvidenceFinder
from medtune.workflows.distributed import lock_on_main, run_distributed, run_on_main
from medtune.workflows.progress_bars import choose_progress
from medtune.workflows.search_reference import (
    SearchedSplit,
    find_train_index,
    search_without_leaks,
)
from medtune.workflows.training_overlap import count_training_overlap

MAX_NAME_CHARACTERS = 160
"""Most characters of a folder name without its hash: file systems allow 255 bytes."""


@dataclass(frozen=True, slots=True)
class _Subject:
    """The model of an evaluation, by its name or as it was handed in."""

    name: str
    """Name, or what an own model calls itself."""
    given: AnswerModel | None
    """None where it is opened by its name."""
    adapter: Path | None
    dtype: str
    batch: int | None
    asked: PromptDefaults
    shows_passages: bool
    """Whether open-book prompts were asked for, or are the model's own."""

    def find_unloaded(self, progress: Progress) -> ModelIdentity | None:
        """Return the model's identity without its weights; None if it has to be open."""
        if self.given is not None:
            return None
        return find_unloaded_model(self.name, self.adapter, self.dtype, progress)

    def open(self, questions: Sequence[Question], progress: Progress) -> AnswerModel:
        """Open the model, unless it was handed in."""
        if self.given is not None:
            return self.given
        return open_model(
            self.name,
            questions=questions,
            adapter=self.adapter,
            style=self.asked.style,
            # Weights that were trained open book refuse a book that nobody closed on purpose.
            retrieval=self.asked.retrieval if self.shows_passages else None,
            dtype=self.dtype,
            batch=self.batch,
            progress=progress,
        )


@dataclass(frozen=True, slots=True)
class _Place:
    """The folder of an evaluation."""

    folder: Path | None
    """None writes nothing."""
    named_by_inputs: bool = False

    def find(self, inputs: str) -> Path | None:
        """Return the folder of the evaluation with these inputs."""
        if self.folder is None or not self.named_by_inputs:
            return self.folder
        return self.folder.with_name(f"{self.folder.name}-{inputs[:8]}")


def evaluate(
    model: str | Path | ScoringModel,
    data: str | Path | Sequence[Question | Mapping[str, Any]],
    *,
    method: Method = "letter",
    limit: int | None = None,
    label: str | None = None,
    style: PromptStyle | Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
    adapter: str | Path | None = None,
    shots_from: str | Path | Sequence[Question | Mapping[str, Any]] | None = None,
    variant: Variant = "plain",
    columns: ColumnMapping | Mapping[str, Any] | None = None,
    settings: EvaluationConfig | Mapping[str, Any] | None = None,
    dtype: str = "auto",
    batch: int | None = None,
    form: FormName | None = None,
    search: str | Path | None = None,
    retrieval: RetrievalConfig | Mapping[str, Any] | None = None,
    log: LogFormat | None = None,
    shard: str | None = None,
    keep_in: str | Path | None = None,
) -> Evaluation:
    """Evaluate one model on one split with one method.

    Args:
        model: Name of a model, a run folder, or an object with `score(requests)` and `describe()`.
        data: starter:, hub:, file: or snapshot:, a path, or questions.
        method: letter, cloze (likelihood of the option's text) or generate.
        limit: Use only this many first questions.
        label: Short name for tables and comparisons.
        style: Prompt style; None is the one that the model was trained with, else the default.
        out: Folder to write; the evaluation is reused if it is there, and resumed if it was
            interrupted. None writes nothing.
        progress: Progress to report to; None is a bar in a terminal or a notebook.
        adapter: Folder of an adapter of the model.
        shots_from: Split of the worked examples.
        variant: Perturbation of the questions.
        columns: Mapping of the columns of a file or a data frame, or of the keys of dicts.
        settings: Orders, worked examples, baselines and decoding; like `style` and `retrieval`
            also a dict of those that are no defaults.
        dtype: Precision of the model.
        batch: Most questions in a forward pass; of a remote model, most requests under way.
        form: Answer form of free answers.
        search: Folder of a passage index: a text search in it is a baseline. None takes an index
            of the evaluated snapshot's train split if there is one.
        retrieval: Passages of the prompts; None is as the model was trained.
        log: Also write the answers to the folder as another harness logs them.
        shard: Evaluate one of several equal parts, "1/4"; `medtune merge` makes one of them.
        keep_in: Folder of evaluations, in which this one has a folder of its own, named after
            everything that determines the result; used where `out` is None.

    Raises:
        ConfigError: A setting is unknown or out of range; every fault is named.
        FolderError: The folder contains another evaluation, or cannot be written.
        MedtuneError: The model or the data cannot be used.
    """
    progress = choose_progress(progress)
    _check_choices(method, variant, form, dtype, log)
    settings = read_settings(settings or {}, EvaluationConfig, "settings")
    style = None if style is None else read_settings(style, PromptStyle, "style")
    if retrieval is not None:
        retrieval = read_settings(retrieval, RetrievalConfig, "retrieval")
    adapter = resolve_adapter_argument(adapter)
    check_settings(settings, method, variant, shots_from is not None, shard)
    if log is not None and out is None and keep_in is None:
        raise InputError(f"log={log!r} without a folder", expected="out=FOLDER")
    given = None
    if isinstance(model, str | Path):
        name = resolve_model_argument(model)
    else:
        _refuse_opening(adapter, dtype, batch)
        given = as_answer_model(model)
        name = given.describe().source
        adapter = getattr(given, "adapter_folder", adapter)
    asked = resolve_prompt_defaults(name, adapter, style, form, label, retrieval)
    book = asked.retrieval
    subject = _Subject(
        name, given, adapter, dtype, batch, asked, retrieval is not None or book.is_open_book
    )
    index = as_optional_path(search)
    _check_retrieval(name, index, book, method, variant)
    _check_log(log, settings, method, book)
    mapped = columns_for(data, columns, shots_from)
    split = load_questions(data, limit=limit, columns=mapped, progress=progress)
    part = None if shard is None else ExamShard.parse(shard, len(split.questions))
    mapped = columns_for(shots_from, columns, data)
    pool = _load_shots(settings, shots_from, mapped, split, progress)
    exam = Exam.from_config(
        settings, method, split.questions, split.description, asked.style, asked.target, pool
    )
    shown = split.questions if part is None else split.questions[part.places]
    exam = replace(exam, trained_on=count_training_overlap(name, shown, adapter))
    search_model = _open_search(name, data, index, book, progress)
    if search_model is not None and book.is_open_book:
        exam = _show_passages(exam, search_model, asked, progress)
    if variant != "plain":
        exam = exam.perturb(variant)
    place = _Place(as_optional_path(out))
    if out is None and keep_in is not None:
        words = [
            variant if variant != "plain" else "",
            *_unusual_settings(settings, method),
            book.kind if book.is_open_book else "",
            f"first-{limit}" if limit is not None else "",
            f"part-{part.number}-of-{part.of}" if part is not None else "",
            form or "" if method == "generate" else "",
            dtype if dtype != "auto" else "",
            label or "",
        ]
        source = data if isinstance(data, str) else split.description.source
        text = slugify(name, str(adapter or ""), source, method, *words)
        place = _Place(
            as_path(keep_in) / text[-MAX_NAME_CHARACTERS:].strip("-"), named_by_inputs=True
        )
    return _run(subject, exam, split, part, search_model, place, log, progress)


def _run(
    subject: _Subject,
    whole: Exam,
    split: Split,
    part: ExamShard | None,
    search_model: SearchModel | None,
    where: _Place,
    log: LogFormat | None,
    progress: Progress,
) -> Evaluation:
    """Find the evaluation if it was made before, or open the model and make it."""
    questions, exam = split.questions, _take_part(whole, split, part)
    identity = subject.find_unloaded(progress)
    opened = subject.open(questions, progress) if identity is None else None
    known = identity or opened
    assert known is not None, "a model without weights to load is open"
    place = where.find(exam.hash_inputs(known, STRICT_PARSER.version))
    label = subject.asked.label
    if place is not None and (
        found := _find_finished(known, exam, label, search_model, place, progress)
    ):
        _write_log(log, known, exam, found, place, progress)
        return found
    if search_model is not None:
        searched = search_without_leaks(search_model, questions, progress)
        whole = _leave_leaks_out(whole, searched, find_own_search(subject.name) is not None)
        exam = _take_part(whole, split, part)
        if is_search_model(subject.name):
            opened = search_model.without(searched.excluded)
        elif isinstance(opened, MixtureModel):
            opened = opened.without(searched.excluded)
    opened = opened or subject.open(questions, progress)
    inputs = exam.hash_inputs(opened, STRICT_PARSER.version)
    place = where.find(inputs)
    if place is None:
        return run_distributed(
            opened,
            lambda shared: evaluate_model(shared, exam, label, STRICT_PARSER, progress),
        )
    with lock_on_main(place):
        refuse_overwrite(place, inputs)
        evaluation = run_distributed(
            opened,
            lambda shared: evaluate_or_reuse(shared, exam, label, STRICT_PARSER, place, progress),
        )
        _write_log(log, opened, exam, evaluation, place, progress)
    return evaluation


def _take_part(exam: Exam, split: Split, part: ExamShard | None) -> Exam:
    """Return a part of an exam; None is all of it."""
    if part is None:
        return exam
    source = f"{split.description.source} (part {part.number} of {part.of})"
    data = describe_split(source, split.questions[part.places], split.description.excluded)
    return exam.take_shard(part, data)


def _load_shots(
    settings: EvaluationConfig,
    shots_from: str | Path | Sequence[Question | Mapping[str, Any]] | None,
    columns: ColumnMapping | Mapping[str, Any] | None,
    split: Split,
    progress: Progress,
) -> QuestionTable:
    """Load the worked examples; none are needed without a count or a source."""
    if not settings.shots or shots_from is None:
        return QuestionTable.from_questions(())
    examples = load_questions(shots_from, columns=columns, for_training=True, progress=progress)
    return _select_shots(
        settings.shots,
        CleanedSource(str(examples.description.source), examples.questions),
        CleanedSource(split.description.source, split.questions),
        progress,
    )


def _show_passages(
    exam: Exam, search_model: SearchModel, asked: PromptDefaults, progress: Progress
) -> Exam:
    """Show the passages of a search in the prompts; an index of other passages is reported."""
    shown = search_model.index.manifest.hash
    if asked.index_hash not in (None, shown):
        progress.log_message(
            f"the passages are of the index {shown[:12]}, the model was trained with those of "
            f"{(asked.index_hash or '')[:12]}"
        )
    return replace(exam, evidence=EvidenceFinder(search_model.index, asked.retrieval))


def _write_log(
    log: LogFormat | None,
    model: ModelIdentity,
    exam: Exam,
    evaluation: Evaluation,
    place: Path,
    progress: Progress,
) -> None:
    """Write an evaluation as lm-evaluation-harness logs it, if that was asked for."""

    def write() -> None:
        prompts = [PromptText(*prompt) for prompt in render_prompts(model, exam)]
        for path in write_lm_eval_log(place, *evaluation, prompts):
            progress.log_message(f"log: {path}")

    if log is not None:
        run_on_main(write)


def _check_log(
    log: LogFormat | None, settings: EvaluationConfig, method: Method, book: RetrievalConfig
) -> None:
    """Refuse evaluations that the harness's log cannot express."""
    if log is None:
        return
    if settings.orders != "given" and method != "generate":
        raise InputError(
            f"--log {log} with --orders {settings.orders}: the harness asks every question once",
            expected="--orders given",
        )
    if method == "cloze" and settings.normalization == "token":
        raise InputError(
            f"--log {log} with --normalization token, for which the harness has no metric",
            expected="--normalization sum (its acc) or byte (its acc_bytes)",
        )
    if book.is_open_book:
        raise InputError(
            f"--log {log} with passages in the prompt", expected="a closed-book evaluation"
        )


def _open_search(
    model: str, data: object, search: Path | None, book: RetrievalConfig, progress: Progress
) -> SearchModel | None:
    """Open the search beside an evaluation; None without an index.

    Raises:
        RetrievalError: An index cannot be used, or open-book prompts have none.
    """
    if (own := find_own_search(model)) is not None:
        return SearchModel.open(own)
    taught = Path(book.index) if book.index and Path(book.index).is_dir() else None
    place = search or taught
    if place is None and isinstance(data, str | Path):
        place = find_train_index(str(data), progress)
    if place is None:
        if book.is_open_book:
            raise RetrievalError(
                f"--retrieval {book.kind} without an index of passages",
                expected="--search DIR, or an index beside the snapshot that is evaluated",
                fix="build one of questions that are not evaluated: medtune index build DATA "
                "--out DIR",
            )
        return None
    return SearchModel.open(f"{SEARCH_PREFIX}{place}")


def _leave_leaks_out(exam: Exam, searched: SearchedSplit, own: bool) -> Exam:
    """Leave the passages that leak a question out of an exam, and add the search to it."""
    if exam.evidence is not None:
        evidence = replace(exam.evidence, excluded=searched.excluded)
        exam = replace(exam, evidence=evidence)
    # The search answered the plain questions.
    if exam.variant != "plain":
        return exam
    return replace(exam, search=replace(searched.reference, own=own))


def _unusual_settings(settings: EvaluationConfig, method: Method) -> list[str]:
    """Return words for a folder's name."""
    unusual = {
        settings.orders: settings.orders != "given",
        settings.normalization: method == "cloze" and settings.normalization != "byte",
        "constrained": settings.constrained,
        f"{settings.shots}-shot": settings.shots > 0,
        settings.shots_by: settings.shots > 0 and settings.shots_by != "fixed",
    }
    return [word for word, said in unusual.items() if said]


def _find_finished(
    model: ModelIdentity,
    exam: Exam,
    label: str,
    search_model: SearchModel | None,
    place: Path,
    progress: Progress,
) -> Evaluation | None:
    """Find the evaluation in its folder, if it was made before and nothing must be searched."""
    if not place.is_dir():
        return None
    inputs = exam.hash_inputs(model, STRICT_PARSER.version)

    def find() -> Evaluation | None:
        record = read_valid_record(place / RECORD_FILE, EvaluationRecord, inputs)
        if record is None or not _knows_search(record, search_model):
            return None
        return find_evaluation(model, exam, label, STRICT_PARSER, place, progress)

    with lock_on_main(place):
        return run_on_main(find)


def _knows_search(record: EvaluationRecord, search_model: SearchModel | None) -> bool:
    """Return whether a record holds the results of a search."""
    if search_model is None or record.variant != "plain":
        return True
    if is_search_model(record.model.source):
        return record.open_book is not None
    found = record.search
    return found is not None and found.fingerprint == search_model.describe().fingerprint


def _check_retrieval(
    model: str, search: Path | None, book: RetrievalConfig, method: Method, variant: Variant
) -> None:
    if search is not None and find_own_search(model) is not None:
        raise InputError(f"--search {search} with {model}", expected="one index")
    if not book.is_open_book:
        return
    if model.startswith((SEARCH_PREFIX, MIX_PREFIX)):
        raise InputError(
            f"--retrieval {book.kind} with {model}, which reads no prompt",
            expected="a language model",
        )
    if book.kind == "per-option" and method == "generate":
        raise InputError(
            "--retrieval per-option with --method generate: a free answer has one prompt for all "
            "options",
            expected="--method letter or cloze, or --retrieval shared",
        )
    if variant != "plain":
        raise InputError(
            f"--retrieval {book.kind} with --variant {variant}", expected="one of the two"
        )


def _check_choices(
    method: Method, variant: Variant, form: FormName | None, dtype: str, log: LogFormat | None
) -> None:
    """Check the names of choices, which no command line has checked for a caller from Python."""
    check_choice("method", method, get_args(Method))
    check_choice("variant", variant, get_args(Variant))
    check_choice("dtype", dtype, get_args(DtypeName))
    if form is not None:
        check_choice("form", form, get_args(FormName))
    if log is not None:
        check_choice("log", log, get_args(LogFormat))


def _refuse_opening(adapter: Path | None, dtype: str, batch: int | None) -> None:
    """Refuse settings of the opening of a model for one that is open."""
    given = {"adapter": adapter, "dtype": None if dtype == "auto" else dtype, "batch": batch}
    for name, value in given.items():
        if value is not None:
            raise InputError(
                f"{name}={str(value)!r} with a model that is open",
                expected="the name of a model",
                fix=f"leave {name} out, or open the model with it",
            )


def check_settings(
    settings: EvaluationConfig,
    method: Method,
    variant: Variant,
    has_examples: bool,
    shard: str | None = None,
) -> None:
    """Check that the settings of an evaluation fit together.

    Raises:
        InputError: Two of them exclude each other.
        DataError: Worked examples come from nowhere.
    """
    if method == "generate" and settings.orders != "given":
        raise InputError(
            f"--orders {settings.orders} with free answers, which have no probabilities to average",
            expected="--method letter or cloze",
        )
    if variant != "plain" and settings.orders != "given":
        raise InputError(
            f"--variant {variant} with --orders {settings.orders}",
            expected="one of the two: a variant may name a letter, which holds in one order only",
        )
    if shard is not None and settings.orders == "pride":
        raise InputError(
            f"--shard {shard} with --orders pride, whose prior is estimated on questions of all "
            "parts",
            expected="--orders given or cyclic",
        )
    check_constrained(method, settings)
    if settings.shots and not has_examples:
        raise DataError(
            f"--shots {settings.shots} without --shots-from",
            expected="a split that is not evaluated, such as starter:train",
        )


def _select_shots(
    shots: int, examples: CleanedSource, evaluated: CleanedSource, progress: Progress
) -> QuestionTable:
    """Select worked examples that are not duplicates of evaluated questions."""
    kept = decontaminate(examples, [evaluated], near=True, within=False, progress=progress).kept
    if shots > len(kept):
        raise DataError(
            f"--shots {shots}, but {examples.source} has {len(kept)} labelled "
            "questions that are not evaluated themselves",
            fix="ask for fewer shots, or name a larger split with --shots-from",
        )
    return examples.questions.take(kept)
