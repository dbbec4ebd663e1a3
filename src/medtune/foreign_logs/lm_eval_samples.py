"""Read the samples of a task of lm-evaluation-harness, and check them against its results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from medtune.core.errors import MedtuneError, PredictionsError
from medtune.core.records import Method, Prediction
from medtune.foreign_logs.document import GROUP_COLUMN, DocumentFields
from medtune.foreign_logs.lm_eval_files import SUPPORTED, LmEvalRun, read_samples
from medtune.foreign_logs.lm_eval_predictions import (
    LmEvalSample,
    predict_from_scores,
    predict_from_text,
)

SCORED_METRICS = {"acc": "sum", "acc_norm": "character", "acc_bytes": "byte"}
"""Metrics of log-likelihoods, with the normalization that each compares options by."""
READ_METRICS = ("exact_match", "acc")
"""Metrics of generated answers: 1 for a right one, 0 for any other."""

OutputType = Literal["multiple_choice", "generate_until"]


@dataclass(frozen=True)
class TaskPredictions:
    """Predictions of one task of the harness."""

    predictions: list[Prediction]
    method: Method
    normalization: str | None
    metric: str
    filter: str | None
    prompts: tuple[str, ...]
    """Hash of each prompt, sorted."""
    notes: tuple[str, ...]


def read_task(
    run: LmEvalRun,
    task: str,
    fields: DocumentFields,
    *,
    metric: str | None = None,
    filter_name: str | None = None,
    subject: str | None = None,
) -> TaskPredictions:
    """Read the predictions of one task.

    Args:
        run: Files of the run.
        task: Name of the task.
        fields: Columns of the dataset's rows.
        metric: Metric that says which answers are right; None is the task's first.
        filter_name: Filter that read the answers; None is the task's first.
        subject: Subject of questions whose row names none.

    Raises:
        PredictionsError: The samples are cut off, of another type of task, or contradict the
            harness's own metrics.
    """
    path = run.samples[task]
    samples: list[LmEvalSample] = []
    prompts: list[str] = []
    kind: OutputType | None = None
    known: list[str] = []
    filters: dict[str, int] = {}
    delimiter = run.find("configs", task, "target_delimiter")
    for line, raw in read_samples(path):
        try:
            used = str(raw.get("filter", "none"))
            filters[used] = filters.get(used, 0) + 1
            if kind is None:
                kind = _check_output_type(run, task, raw)
                known = _known_metrics(raw, kind, path)
                filter_name = filter_name or used
            if used == filter_name:
                samples.append(_parse_sample(line, raw, kind, known, fields, delimiter))
                prompts.append(_hash_prompt(raw))
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, MedtuneError):
                raise
            raise PredictionsError(
                f"{path} line {line} is no sample of the harness: {type(error).__name__} {error}",
                expected=SUPPORTED,
            ) from error
    if not samples or kind is None:
        raise PredictionsError(
            f"{path} has no sample of the filter {filter_name!r}",
            expected=f"one of {', '.join(filters)}",
        )
    chosen = metric or known[0]
    if chosen not in known:
        raise PredictionsError(
            f"{task} has no metric {chosen!r}", expected=f"one of {', '.join(known)}"
        )
    _refuse_missing_samples(run, task, path, len(samples))
    _refuse_duplicates(samples, path)
    notes = (
        [
            f"the answers are those of the filter {filter_name}; there are also: "
            f"{', '.join(f for f in filters if f != filter_name)}."
        ]
        if len(filters) > 1
        else []
    )
    _name_questions(samples, subject)
    make = predict_from_scores if kind == "multiple_choice" else predict_from_text
    predictions, method, found = make(samples, path, chosen, known)
    notes += found
    _check_results(run, task, samples, known, filter_name or "none")
    return TaskPredictions(
        predictions,
        method,
        SCORED_METRICS[chosen] if method != "generate" else None,
        chosen,
        None if filter_name == "none" else filter_name,
        tuple(sorted(prompts)),
        tuple(notes),
    )


def _check_output_type(run: LmEvalRun, task: str, raw: Mapping[str, Any]) -> OutputType:
    """Return the type of a task; refuse those without options.

    Raises:
        PredictionsError: It is another type.
    """
    arguments = _arguments(raw)
    if "bypass" in raw or raw.get("metrics") in ([], ["bypass"]):
        raise PredictionsError(
            f"{task} was run with --predict_only: the harness judged no answer",
            expected="a log with the task's own metrics",
            fix="run lm_eval again without --predict_only",
        )
    found = run.find("configs", task, "output_type")
    if found is None:
        last = arguments[0][1] if len(arguments[0]) > 1 else None
        if isinstance(last, Mapping):
            found = "generate_until"
        elif last is None:
            found = "loglikelihood_rolling"
        else:
            found = "multiple_choice" if len(arguments) > 1 else "loglikelihood"
    if found not in ("multiple_choice", "generate_until"):
        raise PredictionsError(
            f"{task} is a task of type {found}, which has no options to choose from",
            expected="multiple_choice, or generate_until with options",
        )
    return "multiple_choice" if found == "multiple_choice" else "generate_until"


def _known_metrics(raw: Mapping[str, Any], kind: OutputType, path: Path) -> list[str]:
    """Return the task's metrics that can be checked, in its order."""
    usable = SCORED_METRICS if kind == "multiple_choice" else READ_METRICS
    named = raw.get("metrics") or [name for name in usable if name in raw]
    known = [name for name in named if name in usable]
    if not known:
        raise PredictionsError(
            f"{path} has the metrics {', '.join(map(str, named)) or 'none'}",
            expected=f"one of {', '.join(usable)}",
        )
    return known


def _arguments(raw: Mapping[str, Any]) -> list[Sequence[Any]]:
    """Return the arguments of a sample's requests, in either of the harness's shapes."""
    arguments = raw["arguments"]
    if isinstance(arguments, Mapping):
        return [tuple(request.values()) for request in arguments.values()]
    return list(arguments)


def _hash_prompt(raw: Mapping[str, Any]) -> str:
    known = raw.get("prompt_hash")
    return str(known) if known else sha256(str(_arguments(raw)[0][0]).encode()).hexdigest()


def _parse_sample(
    line: int,
    raw: Mapping[str, Any],
    kind: OutputType,
    known: Sequence[str],
    fields: DocumentFields,
    delimiter: str | None,
) -> LmEvalSample:
    arguments = _arguments(raw)
    doc = raw["doc"] if isinstance(raw["doc"], Mapping) else {}
    choices: tuple[str, ...] = ()
    logprobs: tuple[float, ...] = ()
    text = read = None
    if kind == "multiple_choice":
        if raw.get("acc_mutual_info") is not None:
            # The second half scores the options without the question.
            arguments = arguments[: len(arguments) // 2]
        texts = [request[1] for request in arguments]
        start = " " if delimiter is None else delimiter
        if start and all(text.startswith(start) for text in texts):
            texts = [text[len(start) :] for text in texts]
        choices = tuple(texts)
        answers = raw["filtered_resps"][: len(choices)]
        logprobs = tuple([float(answer[0]) for answer in answers])
        if not all(map(math.isfinite, logprobs)) or len(logprobs) != len(choices):
            raise ValueError(f"log-likelihoods {logprobs} of {len(choices)} options")
    else:
        text = str(raw["resps"][0][0])
        answer = raw["filtered_resps"][0]
        read = str(answer[0] if isinstance(answer, list) and answer else answer)
    return LmEvalSample(
        line,
        str(raw["doc_id"]),
        fields.find_id(doc),
        fields.find_stem(doc) or str(arguments[0][0]),
        fields.find_subject(doc),
        fields.find_topic(doc),
        doc.get(GROUP_COLUMN),
        str(raw["target"]).strip(),
        choices,
        fields.find_options(doc),
        logprobs,
        text,
        read,
        {name: float(raw[name]) for name in known},
    )


def _refuse_missing_samples(run: LmEvalRun, task: str, path: Path, count: int) -> None:
    expected = run.find("n-samples", task, "effective") or run.find("results", task, "sample_len")
    if expected is not None and int(expected) != count:
        raise PredictionsError(
            f"{path} has {count} samples, its results count {expected}",
            expected="the samples of the whole run",
            fix="the file is cut off, or holds two runs: run lm_eval again into an empty folder",
        )


def _refuse_duplicates(samples: Sequence[LmEvalSample], path: Path) -> None:
    seen: dict[str, int] = {}
    for sample in samples:
        if sample.doc_id in seen:
            raise PredictionsError(
                f"{path} line {sample.line} repeats doc_id {sample.doc_id} of line "
                f"{seen[sample.doc_id]}",
                expected="every question once",
                fix="the file holds two runs: run lm_eval again into an empty folder",
            )
        seen[sample.doc_id] = sample.line


def _check_results(
    run: LmEvalRun, task: str, samples: Sequence[LmEvalSample], known: Sequence[str], used: str
) -> None:
    """Compare the means of the metrics with the results, to the last digit.

    Raises:
        PredictionsError: One differs.
    """
    for metric in known:
        logged = run.find("results", task, f"{metric},{used}")
        values = [sample.metrics[metric] for sample in samples]
        mean = sum(values) / len(values)
        if isinstance(logged, int | float) and logged != mean:
            raise PredictionsError(
                f"{task}: the results say {metric} {logged!r}, its {len(values)} samples {mean!r}",
                expected="the same value in both",
                fix="results and samples are of two runs: run lm_eval again into an empty folder",
            )


def _name_questions(samples: Sequence[LmEvalSample], subject: str | None) -> None:
    """Name the questions by their own ids where these are unique, and add subjects, in place."""
    ids = {sample.own_id for sample in samples}
    own = None not in ids and len(ids) == len(samples)
    for sample in samples:
        if own:
            sample.doc_id = str(sample.own_id)
        sample.subject = sample.subject or subject
