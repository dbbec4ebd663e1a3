"""Make predictions of samples of lm-evaluation-harness.

The answer to a `multiple_choice` sample is recomputed from its log-likelihoods as the harness
computes it (`acc`: the sum, `acc_norm`: per character, `acc_bytes`: per byte; the first of equal
ones). The answer to a `generate_until` sample is what the task's filter read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medtune.core.errors import PredictionsError
from medtune.core.option_logprobs import log_softmax, probabilities_from_logs
from medtune.core.records import LETTERS, MAX_OPTIONS, Method, Outcome, Prediction

PUNCTUATION = " ().:[]*\n\t"


@dataclass(slots=True)
class LmEvalSample:
    """One question of a task, as its samples file has it."""

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


def predict_from_scores(
    samples: Sequence[LmEvalSample], path: Path, metric: str, known: Sequence[str]
) -> tuple[list[Prediction], Method, list[str]]:
    """Predict from log-likelihoods; return the predictions, their method and notes.

    Raises:
        PredictionsError: The samples are of another kind, or contradict their metrics.
    """
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


def _option_texts(sample: LmEvalSample, labelled: bool) -> tuple[str, ...]:
    found = sample.options
    if labelled and found is not None and len(found) == len(sample.choices):
        return found
    return tuple(choice.strip() for choice in sample.choices)


def _check_count(count: int, sample: LmEvalSample, path: Path) -> None:
    if not 2 <= count <= MAX_OPTIONS:
        raise PredictionsError(
            f"{path} line {sample.line} has {count} options", expected=f"2 to {MAX_OPTIONS}"
        )


def _compared(sample: LmEvalSample, metric: str) -> list[float]:
    """Return the values that a metric compares the options by."""
    if metric == "acc":
        return list(sample.logprobs)
    sizes = [len(c) if metric == "acc_norm" else len(c.encode()) for c in sample.choices]
    return [value / max(1, size) for value, size in zip(sample.logprobs, sizes, strict=True)]


def _resolve_answers(
    samples: Sequence[LmEvalSample],
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
    fault: tuple[LmEvalSample, str] | None = None
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
    sample: LmEvalSample, answer: int, known: Sequence[str]
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


def predict_from_text(
    samples: Sequence[LmEvalSample],
    path: Path,
    metric: str,
    known: Sequence[str],  # noqa: ARG001
) -> tuple[list[Prediction], Method, list[str]]:
    """Predict from generated answers; return the predictions, their method and notes.

    Raises:
        PredictionsError: A question has no options, or a target that is none of them.
    """
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


def _make_prediction(sample: LmEvalSample, **fields: Any) -> Prediction:
    """Make a prediction of checked values: validation takes most of the time of an import."""
    return Prediction.model_construct(
        id=sample.doc_id,
        stem=sample.stem,
        subject=sample.subject,
        topic=sample.topic,
        group=sample.group,
        **fields,
    )
