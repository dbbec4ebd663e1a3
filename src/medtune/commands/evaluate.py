"""Evaluate one model on one split with one method (`medtune evaluate MODEL DATA`).

Writes `predictions.jsonl` and `record.json` to a folder that is named after everything that
determines the result, so that no result is overwritten by another.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medtune.core.errors import DataError, FolderError, InputError, RetrievalError
from medtune.core.experiment import ColumnMapping, EvaluationConfig, RetrievalConfig
from medtune.core.model_names import MIX_PREFIX, SEARCH_PREFIX, is_search_model
from medtune.core.predictions_io import RECORD_FILE, read_evaluation
from medtune.core.progress import Progress
from medtune.core.prompt import FormName, PromptStyle
from medtune.core.protocols import AnswerModel, ModelIdentity
from medtune.core.records import EvaluationRecord, Method, Variant
from medtune.core.run_folder import read_valid_record, slugify
from medtune.data.arrow_table import QuestionTable
from medtune.data.dedup.decontaminate import CleanedSource, decontaminate
from medtune.data.load import load_split
from medtune.evaluation.exam import Exam, check_constrained
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_or_reuse, find_evaluation
from medtune.evaluation.score import render_prompts
from medtune.foreign_logs.write_lm_eval import LogFormat, PromptText, write_lm_eval_log
from medtune.models.mixture import MixtureModel, find_own_search
from medtune.models.open_model import find_unloaded_model, open_model
from medtune.models.search_model import SearchModel
from medtune.models.weights_card import resolve_prompt_defaults
from medtune.retrieval.evidence import EvidenceFinder
from medtune.workflows.distributed import lock_on_main, run_distributed, run_on_main
from medtune.workflows.search_reference import (
    SearchedSplit,
    find_train_index,
    search_without_leaks,
)
from medtune.workflows.training_overlap import count_training_overlap

MAX_NAME_CHARACTERS = 160
"""Most characters of a folder name without its hash: file systems allow 255 bytes."""


def evaluate(
    model: str,
    data: str,
    folder: Path | None,
    progress: Progress,
    *,
    method: Method,
    adapter: Path | None = None,
    limit: int | None = None,
    shots_from: str | None = None,
    variant: Variant = "plain",
    columns: ColumnMapping | None = None,
    style: PromptStyle | None = None,
    settings: EvaluationConfig | None = None,
    dtype: str = "auto",
    batch: int | None = None,
    label: str | None = None,
    form: FormName | None = None,
    search: Path | None = None,
    retrieval: RetrievalConfig | None = None,
    log: LogFormat | None = None,
) -> tuple[EvaluationRecord, Path]:
    """Evaluate one model on one split.

    Without a folder, the evaluation is written to one under runs/eval that is named after it.
    Without a style, form or retrieval, those of the adapter are used, else the defaults.
    `shots_from` is the split of the worked examples. `search` is the folder of a passage index: a
    text search in it is a baseline, and `retrieval` says whether the prompts show its passages;
    without it, an index of the snapshot's train split is used if there is one. `log` writes the
    answers as another harness logs them as well.

    Returns:
        The record, and the folder.

    Raises:
        FolderError: The folder contains another evaluation, or cannot be written.
        MedtuneError: The model or the data cannot be used.
    """
    settings = settings or EvaluationConfig()
    _check_settings(settings, method, variant, shots_from)
    asked = resolve_prompt_defaults(model, adapter, style, form, label, retrieval)
    book = asked.retrieval
    _check_retrieval(model, search, book, method, variant)
    _check_log(log, settings, method, book)
    split = load_split(data, columns, limit, progress)
    pool = QuestionTable.from_questions(())
    if settings.shots and shots_from is not None:
        examples = load_split(shots_from, columns, progress=progress, for_training=True)
        pool = _select_shots(
            settings.shots,
            CleanedSource(shots_from, examples.questions),
            CleanedSource(data, split.questions),
            progress,
        )
    exam = Exam.from_config(
        settings, method, split.questions, split.description, asked.style, asked.target, pool
    )
    exam = replace(exam, trained_on=count_training_overlap(model, split.questions, adapter))
    search_model = _open_search(model, data, search, book, progress)
    if search_model is not None and book.is_open_book:
        exam = replace(exam, evidence=EvidenceFinder(search_model.index, book))
        shown = search_model.index.manifest.hash
        if asked.index_hash not in (None, shown):
            progress.log_message(
                f"the passages are of the index {shown[:12]}, the model was trained with those of "
                f"{(asked.index_hash or '')[:12]}"
            )
    if variant != "plain":
        exam = exam.perturb(variant)
    words = [
        variant if variant != "plain" else "",
        *_unusual_settings(settings, method),
        book.kind if book.is_open_book else "",
        f"first-{limit}" if limit is not None else "",
        form or "" if method == "generate" else "",
        dtype if dtype != "auto" else "",
        label or "",
    ]
    name = slugify(model, str(adapter or ""), data, method, *words)
    named = Path("runs", "eval", name[-MAX_NAME_CHARACTERS:].strip("-"))

    def load() -> AnswerModel:
        return open_model(
            model,
            questions=split.questions,
            adapter=adapter,
            style=asked.style,
            # Weights that were trained open book refuse a book that nobody closed on purpose.
            retrieval=book if retrieval is not None or book.is_open_book else None,
            dtype=dtype,
            batch=batch,
            progress=progress,
        )

    unloaded = find_unloaded_model(model, adapter, dtype, progress)
    opened = load() if unloaded is None else None
    identity: ModelIdentity | None = opened or unloaded
    assert identity is not None, "a model without weights to load is open"
    place = folder or _with_inputs(named, exam.hash_inputs(identity, STRICT_PARSER.version))
    if found := _find_finished(identity, exam, asked.label, search_model, place, progress):
        _write_log(log, identity, exam, place, progress)
        return found, place
    if search_model is not None:
        searched = search_without_leaks(search_model, split.questions, progress)
        exam = _leave_leaks_out(exam, searched, find_own_search(model) is not None)
        if is_search_model(model):
            opened = search_model.without(searched.excluded)
        elif isinstance(opened, MixtureModel):
            opened = opened.without(searched.excluded)
    opened = opened or load()
    inputs = exam.hash_inputs(opened, STRICT_PARSER.version)
    place = folder or _with_inputs(named, inputs)
    with lock_on_main(place):
        _refuse_overwrite(place, inputs)
        record, _ = run_distributed(
            opened,
            lambda shared: evaluate_or_reuse(
                shared, exam, asked.label, STRICT_PARSER, place, progress
            ),
        )
        _write_log(log, opened, exam, place, progress)
    return record, place


def _write_log(
    log: LogFormat | None, model: ModelIdentity, exam: Exam, place: Path, progress: Progress
) -> None:
    """Write the evaluation of a folder as lm-evaluation-harness logs it, if that was asked for."""

    def write() -> None:
        record, predictions = read_evaluation(place)
        prompts = [PromptText(*prompt) for prompt in render_prompts(model, exam)]
        for path in write_lm_eval_log(place, record, predictions, prompts):
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
    model: str, data: str, search: Path | None, book: RetrievalConfig, progress: Progress
) -> SearchModel | None:
    """Open the search beside an evaluation; None without an index.

    Raises:
        RetrievalError: An index cannot be used, or open-book prompts have none.
    """
    if (own := find_own_search(model)) is not None:
        return SearchModel.open(own)
    taught = Path(book.index) if book.index and Path(book.index).is_dir() else None
    place = search or taught or find_train_index(data, progress)
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


def _with_inputs(named: Path, inputs: str) -> Path:
    return named.with_name(f"{named.name}-{inputs[:8]}")


def _find_finished(
    model: ModelIdentity,
    exam: Exam,
    label: str,
    search_model: SearchModel | None,
    place: Path,
    progress: Progress,
) -> EvaluationRecord | None:
    """Find the evaluation in its folder, if it was made before and nothing must be searched."""
    if not place.is_dir():
        return None
    inputs = exam.hash_inputs(model, STRICT_PARSER.version)

    def find() -> EvaluationRecord | None:
        record = read_valid_record(place / RECORD_FILE, EvaluationRecord, inputs)
        if record is None or not _knows_search(record, search_model):
            return None
        found = find_evaluation(model, exam, label, STRICT_PARSER, place, progress)
        return found[0] if found is not None else None

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


def _refuse_overwrite(folder: Path, inputs: str) -> None:
    """Refuse to overwrite the result of another evaluation.

    Raises:
        FolderError: The folder contains such a result.
    """
    path = folder / RECORD_FILE
    if not path.exists() or read_valid_record(path, EvaluationRecord, inputs):
        return
    raise FolderError(
        f"{folder} contains the result of another evaluation",
        expected="an empty or missing folder, or the same evaluation: model, data, method and "
        "every setting",
        fix="choose another folder with --out, or omit --out: then each has its own",
    )


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


def _check_settings(
    settings: EvaluationConfig, method: Method, variant: Variant, shots_from: str | None
) -> None:
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
    check_constrained(method, settings)
    if settings.shots and shots_from is None:
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
