"""Write an evaluation as lm-evaluation-harness logs it, for the tools that read its logs.

Files and keys are those of version 0.4.13 with --log_samples: `results_DATE.json` and
`samples_TASK_DATE.jsonl`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from medtune._version import __version__
from medtune.core.records import LETTERS, EvaluationRecord, Outcome, Prediction
from medtune.core.run_folder import write_text
from medtune.foreign_logs.document import GROUP_COLUMN

LogFormat = Literal["lm-eval"]
SHAPE_VERSION = "0.4.13"
FILTER = "medtune-parser"
"""Name of the filter that read free answers."""
METRICS = {"sum": "acc", "byte": "acc_bytes"}
"""The harness's metric of each normalization; it has none for the mean per token."""
UNREAD = "[invalid]"
"""A filtered answer that names no option, as the harness's regex filter writes it."""


@dataclass(frozen=True, slots=True)
class PromptText:
    """Prompt of one question, as the model read it."""

    context: str
    continuations: tuple[str, ...]
    """Text that was scored for each option; empty for a generated answer."""


def task_name(record: EvaluationRecord) -> str:
    """Return the name of a task for an evaluation's questions and method."""
    return re.sub(r"\W+", "_", f"{record.data.source}_{record.method}").strip("_")


def write_lm_eval_log(
    folder: Path,
    record: EvaluationRecord,
    predictions: Sequence[Prediction],
    prompts: Sequence[PromptText],
) -> tuple[Path, Path]:
    """Write results and samples of an evaluation.

    Returns:
        The results file and the samples file.

    Raises:
        FolderError: The folder cannot be written.
    """
    task = task_name(record)
    date = record.provenance.created.partition("+")[0].replace(":", "-")
    # A task has one delimiter: a space that only some continuations begin with is part of them.
    spaced = all(text.startswith(" ") for prompt in prompts for text in prompt.continuations)
    delimiter = " " if spaced else ""
    samples = [
        _make_sample(place, record, prediction, prompt, delimiter)
        for place, (prediction, prompt) in enumerate(zip(predictions, prompts, strict=True))
    ]
    lines = [json.dumps(sample, ensure_ascii=False) + "\n" for sample in samples]
    samples_file = folder / f"samples_{task}_{date}.jsonl"
    results_file = folder / f"results_{date}.json"
    write_text(samples_file, "".join(lines))
    results = _make_results(task, record, samples, delimiter)
    write_text(results_file, json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    return results_file, samples_file


def _make_sample(
    place: int,
    record: EvaluationRecord,
    prediction: Prediction,
    prompt: PromptText,
    delimiter: str,
) -> dict[str, Any]:
    doc = {
        "id": prediction.id,
        "question": prediction.stem,
        "choices": list(prediction.options),
        "answer": prediction.answer,
        **({"subject": prediction.subject} if prediction.subject is not None else {}),
        **({"topic": prediction.topic} if prediction.topic is not None else {}),
        **({GROUP_COLUMN: prediction.group} if prediction.group is not None else {}),
    }
    right = float(prediction.outcome is Outcome.CORRECT)
    if prediction.logprobs is not None:
        target = str(prediction.answer)
        requests: list[tuple[Any, ...]] = [(prompt.context, c) for c in prompt.continuations]
        # Whether the continuation is the greedy one was not measured.
        answers: list[Any] = [[repr(value), "None"] for value in prediction.logprobs]
        responses = [[answer] for answer in answers]
        choices = [text.removeprefix(delimiter) for text in prompt.continuations]
        metrics = _score(record, prediction, choices)
        read_by = "none"
    else:
        target = LETTERS[prediction.answer]
        requests = [(prompt.context, {"until": [], "do_sample": False})]
        responses = [[prediction.text or ""]]
        answers = [LETTERS[prediction.chosen] if prediction.chosen is not None else UNREAD]
        metrics = {"exact_match": right}
        read_by = FILTER
    return {
        "doc_id": place,
        "doc": doc,
        "target": target,
        "arguments": {
            f"gen_args_{number}": {f"arg_{at}": value for at, value in enumerate(request)}
            for number, request in enumerate(requests)
        },
        "resps": responses,
        "filtered_resps": answers,
        "filter": read_by,
        "metrics": list(metrics),
        "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": _hash(prompt.context),
        "target_hash": _hash(target),
        **metrics,
    }


def _score(
    record: EvaluationRecord, prediction: Prediction, choices: Sequence[str]
) -> dict[str, float]:
    """Return the harness's metrics, the one of the evaluation's own normalization first.

    Of equal values the harness takes the first; its own metric keeps the evaluation's choice.
    """
    assert prediction.logprobs is not None, "free answers have no log-probabilities"
    own = METRICS[record.normalization or "sum"]
    sizes = {
        "acc": [1] * len(choices),
        "acc_norm": [max(1, len(choice)) for choice in choices],
        "acc_bytes": [max(1, len(choice.encode())) for choice in choices],
    }
    metrics = {own: 0.0}
    for metric, lengths in sizes.items():
        values = [v / size for v, size in zip(prediction.logprobs, lengths, strict=True)]
        best, chosen = max(values), prediction.chosen
        first = values.index(best)
        kept = metric == own and chosen is not None and values[chosen] == best
        metrics[metric] = float((chosen if kept else first) == prediction.answer)
    return metrics


def _make_results(
    task: str, record: EvaluationRecord, samples: Sequence[dict[str, Any]], delimiter: str
) -> dict[str, Any]:
    n = len(samples)
    names, read_by = samples[0]["metrics"], samples[0]["filter"]
    figures: dict[str, Any] = {"name": task, "alias": task, "sample_len": n}
    for name in names:
        mean = sum(sample[name] for sample in samples) / n
        figures[f"{name},{read_by}"] = mean
        figures[f"{name}_stderr,{read_by}"] = (
            math.sqrt(mean * (1 - mean) / (n - 1)) if n > 1 else "N/A"
        )
    model = record.model
    free = record.method == "generate"
    config = {
        "task": task,
        "dataset_path": record.data.source,
        "output_type": "generate_until" if free else "multiple_choice",
        "target_delimiter": delimiter,
        "metric_list": [
            {"metric": name, "aggregation": "mean", "higher_is_better": True} for name in names
        ],
        "num_fewshot": record.shots,
        "repeats": 1,
        **({"filter_list": [{"name": FILTER, "filter": []}]} if free else {}),
        "metadata": {"version": 1.0},
    }
    hashes = (s["doc_hash"] + s["prompt_hash"] + s["target_hash"] for s in samples)
    return {
        "results": {task: figures},
        "group_subtasks": {task: []},
        "configs": {task: config},
        "versions": {task: 1.0},
        "n-shot": {task: record.shots},
        "higher_is_better": {task: dict.fromkeys(names, True)},
        "n-samples": {task: {"original": n, "effective": n}},
        "config": {
            "model": "medtune",
            "model_args": f"pretrained={model.source}",
            "model_num_parameters": model.parameters,
            "model_dtype": model.dtype,
            "model_sha": model.fingerprint,
            "device": model.device,
        },
        "date": datetime.fromisoformat(record.provenance.created).timestamp(),
        "git_hash": record.provenance.commit,
        "transformers_version": record.provenance.packages.get("transformers"),
        "lm_eval_version": SHAPE_VERSION,
        "written_by": f"medtune {__version__}",
        "task_hashes": {task: _hash("".join(hashes))},
        "model_source": "medtune",
        "model_name": model.source,
        "model_name_sanitized": re.sub(r"[\"<>:/|\\?*\[\]]+", "__", model.source),
        "total_evaluation_time_seconds": (
            None if record.duration_s is None else str(record.duration_s)
        ),
    }


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()
