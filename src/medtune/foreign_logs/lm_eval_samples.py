"""Turn samples of lm-evaluation-harness into predictions, checked against its own metrics.

The answer to a `multiple_choice` sample is recomputed from its log-likelihoods as the harness
computes it (`acc`: the sum, `acc_norm`: per character, `acc_bytes`: per byte; the first of equal
ones). The answer to a `generate_until` sample is what the task's filter read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from medtune.core.errors import MedtuneError, PredictionsError
from medtune.core.option_logprobs import log_softmax, probabilities_from_logs
from medtune.core.records import LETTERS, MAX_OPTIONS, Method, Outcome, Prediction
from medtune.foreign_logs.document import GROUP_COLUMN, DocumentFields
from medtune.foreign_logs.lm_eval_files import SUPPORTED, LmEvalRun, read_samples

SCORED_METRICS = {"acc": "sum", "acc_norm": "character", "acc_bytes": "byte"}
"""Metrics of log-likelihoods, with the normalization that each compares options by."""
READ_METRICS = ("exact_match", "acc")
"""Metrics of generated answers: 1 for a right one, 0 for any other."""
PUNCTUATION = " ().:[]*\n\t"

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


@dataclass(slots=True)
class _Sample:
    line: int
    doc_id: str
    own_id: str | None
    stem: str
    subject: str | None
    topic: str | None
    group: str | None
    target: str
    choices: tuple[str, ...]
    """Continuations that were scored; empty for a generated answer."""
    options: tuple[str, ...] | None
    """Texts of the options in the dataset's row."""
    logprobs: tuple[float, ...]
    text: str | None
    answer_read: str | None
    metrics: dict[str, float]


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
    samples: list[_Sample] = []
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
    make = _predict_from_scores if kind == "multiple_choice" else _predict_from_text
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
) -> _Sample:
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
    return _Sample(
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


def _predict_from_scores(
    samples: Sequence[_Sample], path: Path, metric: str, known: Sequence[str]
) -> tuple[list[Prediction], Method, list[str]]:
    first = samples[0]
    if len(set(first.choices)) == 1:
        raise PredictionsError(
            f"{path} scores one continuation behind several contexts (multiple_input)",
            expected="several continuations of one context",
        )
    for sample in samples:
        _check_count(len(sample.choices), sample, path)
    labelled = all(_are_labels(sample.choices) for sample in samples)
    shown = [_option_texts(sample, labelled) for sample in samples]
    notes = []
    if labelled and any(sample.options is None for sample in samples):
        notes.append(
            "the options' texts are not in the log, only their letters; name their column with "
            "--map options=COLUMN."
        )
    answers, picked = _resolve_answers(samples, shown, path, known)
    at = known.index(metric)
    predictions = []
    for sample, options, answer, picks in zip(samples, shown, answers, picked, strict=True):
        chosen = picks[at]
        values = _compared(sample, metric)
        predictions.append(
            _make_prediction(
                sample,
                options=options,
                answer=answer,
                chosen=chosen,
                outcome=Outcome.CORRECT if chosen == answer else Outcome.WRONG,
                logprobs=sample.logprobs,
                bytes=tuple([len(choice.encode()) for choice in sample.choices]),
                probabilities=probabilities_from_logs(log_softmax(values)),
                mass=min(1.0, math.fsum(map(math.exp, sample.logprobs))) if labelled else None,
            )
        )
    return predictions, "letter" if labelled else "cloze", notes


def _are_labels(choices: Sequence[str]) -> bool:
    """Return whether continuations are letters or numbers of the options."""
    names = "".join(choice.strip(PUNCTUATION) for choice in choices)
    return names in (LETTERS[: len(choices)], "1234567890"[: len(choices)])


def _option_texts(sample: _Sample, labelled: bool) -> tuple[str, ...]:
    found = sample.options
    if labelled and found is not None and len(found) == len(sample.choices):
        return found
    return tuple(choice.strip() for choice in sample.choices)


def _check_count(count: int, sample: _Sample, path: Path) -> None:
    if not 2 <= count <= MAX_OPTIONS:
        raise PredictionsError(
            f"{path} line {sample.line} has {count} options", expected=f"2 to {MAX_OPTIONS}"
        )


def _compared(sample: _Sample, metric: str) -> list[float]:
    """Return the values that a metric compares the options by."""
    if metric == "acc":
        return list(sample.logprobs)
    sizes = [len(c) if metric == "acc_norm" else len(c.encode()) for c in sample.choices]
    return [value / max(1, size) for value, size in zip(sample.logprobs, sizes, strict=True)]


def _resolve_answers(
    samples: Sequence[_Sample],
    shown: Sequence[Sequence[str]],
    path: Path,
    known: Sequence[str],
) -> tuple[list[int], list[tuple[int, ...]]]:
    """Resolve the targets so that they agree with every metric of every sample.

    A target is the right option's index, or its text; a log writes both as text.

    Returns:
        The right option of each sample, and the chosen one by each metric.

    Raises:
        PredictionsError: No reading of the targets agrees with the metrics.
    """
    fault: tuple[_Sample, str] | None = None
    for read in (_index_target, _text_target):
        answers: list[int] = []
        picked: list[tuple[int, ...]] = []
        for sample, options in zip(samples, shown, strict=True):
            answer = read(sample.target, sample.choices, options)
            if answer is None:
                break
            picks, wrong = _choose(sample, answer, known)
            if wrong is not None:
                fault = fault or (sample, wrong)
                break
            answers.append(answer)
            picked.append(picks)
        else:
            return answers, picked
    if fault is not None:
        sample, wrong = fault
        right = "right" if not sample.metrics[wrong] else "wrong"
        raise PredictionsError(
            f"{path} line {sample.line}: the log says {wrong} {sample.metrics[wrong]:g}, but by "
            f"its log-likelihoods the answer is {right} (target {sample.target})",
            expected="metrics that follow from the log-likelihoods",
            fix="the log was changed or damaged: run lm_eval again",
        )
    several = next((s for s in samples if s.target.startswith("[")), None)
    bad = several or next(
        s
        for s, options in zip(samples, shown, strict=True)
        if _index_target(s.target, s.choices, options) is None
        and _text_target(s.target, s.choices, options) is None
    )
    raise PredictionsError(
        f"{path} line {bad.line}: the target is {bad.target!r}"
        + (", several right answers" if several else ""),
        expected=f"one of {', '.join(map(repr, bad.choices))}, or its index",
    )


def _index_target(
    target: str,
    choices: Sequence[str],
    options: Sequence[str],  # noqa: ARG001 - the signature of _text_target
) -> int | None:
    return _read_index(target, len(choices))


def _read_index(text: str, count: int) -> int | None:
    """Return the index that a text writes; None for any other text, such as "²" or a long number.

    `int` raises on both, and `str.isdigit` holds for both.
    """
    names = [str(index) for index in range(count)]
    return names.index(text) if text in names else None


def _text_target(target: str, choices: Sequence[str], options: Sequence[str]) -> int | None:
    for texts in ([choice.strip() for choice in choices], list(options)):
        if target in texts:
            return texts.index(target)
    return None


def _choose(
    sample: _Sample, answer: int, known: Sequence[str]
) -> tuple[tuple[int, ...], str | None]:
    """Return the choice by each metric, and a metric that it contradicts.

    Of equal values the harness takes the first; any that agrees with its metric is accepted.
    """
    picks = []
    for metric in known:
        values = _compared(sample, metric)
        top = max(values)
        best = [place for place, value in enumerate(values) if value == top]
        right = sample.metrics[metric] == 1.0
        fitting = [place for place in best if (place == answer) == right]
        if not fitting or sample.metrics[metric] not in (0.0, 1.0):
            return (), metric
        picks.append(fitting[0])
    return tuple(picks), None


def _predict_from_text(
    samples: Sequence[_Sample],
    path: Path,
    metric: str,
    known: Sequence[str],  # noqa: ARG001
) -> tuple[list[Prediction], Method, list[str]]:
    predictions = []
    for sample in samples:
        options = sample.options
        if options is None:
            raise PredictionsError(
                f"{path} line {sample.line} is a generated answer to a question without options",
                expected="options in the dataset's row",
                fix="name their column: --map options=COLUMN",
            )
        _check_count(len(options), sample, path)
        answer = _find_option(sample.target, options)
        if answer is None:
            raise PredictionsError(
                f"{path} line {sample.line}: the target {sample.target!r} is none of the options",
                expected="a letter, an option's text or its index",
            )
        right = sample.metrics[metric]
        if right not in (0.0, 1.0):
            raise PredictionsError(
                f"{path} line {sample.line}: {metric} is {right:g}", expected="0 or 1"
            )
        read = sample.answer_read or ""
        found = answer if right else _find_option(read, options)
        reason = f"read by the filter as {read!r}" if found is not None else "no option was read"
        if found == answer and not right:
            found, reason = None, f"the filter read {read!r}, which {metric} does not accept"
        outcome = Outcome.CORRECT if right else Outcome.WRONG
        predictions.append(
            _make_prediction(
                sample,
                options=options,
                answer=answer,
                chosen=found,
                outcome=Outcome.UNPARSED if found is None else outcome,
                text=sample.text,
                reason=reason,
            )
        )
    return predictions, "generate", []


def _find_option(text: str, options: Sequence[str]) -> int | None:
    """Find the option that a short answer names: by letter, by text or by index."""
    short = text.strip(PUNCTUATION)
    if short in options:
        return options.index(short)
    if len(short) == 1 and short.upper() in LETTERS[: len(options)]:
        return LETTERS.index(short.upper())
    return _read_index(short, len(options))


def _refuse_missing_samples(run: LmEvalRun, task: str, path: Path, count: int) -> None:
    expected = run.find("n-samples", task, "effective") or run.find("results", task, "sample_len")
    if expected is not None and int(expected) != count:
        raise PredictionsError(
            f"{path} has {count} samples, its results count {expected}",
            expected="the samples of the whole run",
            fix="the file is cut off, or holds two runs: run lm_eval again into an empty folder",
        )


def _refuse_duplicates(samples: Sequence[_Sample], path: Path) -> None:
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
    run: LmEvalRun, task: str, samples: Sequence[_Sample], known: Sequence[str], used: str
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


def _name_questions(samples: Sequence[_Sample], subject: str | None) -> None:
    """Name the questions by their own ids where these are unique, and add subjects, in place."""
    ids = {sample.own_id for sample in samples}
    own = None not in ids and len(ids) == len(samples)
    for sample in samples:
        if own:
            sample.doc_id = str(sample.own_id)
        sample.subject = sample.subject or subject


def _make_prediction(sample: _Sample, **fields: Any) -> Prediction:
    """Make a prediction of checked values: validation takes most of the time of an import."""
    return Prediction.model_construct(
        id=sample.doc_id,
        stem=sample.stem,
        subject=sample.subject,
        topic=sample.topic,
        group=sample.group,
        **fields,
    )
