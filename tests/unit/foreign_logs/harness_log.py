"""Write small logs in the shapes of lm-evaluation-harness, whole or with a fault."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

DATE = "2026-11-30T07-22-08.678455"
TASK = "ward"
LOGPROBS = ((-1.0, -2.0, -3.0), (-2.0, -1.0, -3.0), (-3.0, -2.0, -1.0), (-1.5, -1.0, -3.0))
TARGETS = (0, 1, 0, 2)
"""The model is right on the first two questions."""
CHOICES = (" A", " B", " C")
Samples = list[dict[str, Any]]


def scored_samples(
    choices: Sequence[str] = CHOICES, targets: Sequence[object] = TARGETS
) -> Samples:
    samples = []
    for place, (logprobs, right) in enumerate(zip(LOGPROBS, TARGETS, strict=True)):
        chosen = max(range(3), key=logprobs.__getitem__)
        samples.append(
            {
                "doc_id": place,
                "doc": {
                    "id": f"q{place}",
                    "question": f"Question {place}?",
                    "choices": [f"one {place}", f"two {place}", f"three {place}"],
                },
                "target": str(targets[place]),
                "arguments": {
                    f"gen_args_{at}": {"arg_0": f"Question {place}?\nAnswer:", "arg_1": choice}
                    for at, choice in enumerate(choices)
                },
                "resps": [[[str(value), "False"]] for value in logprobs],
                "filtered_resps": [[str(value), "False"] for value in logprobs],
                "filter": "none",
                "metrics": ["acc"],
                "prompt_hash": f"{place}",
                "acc": float(chosen == right),
            }
        )
    return samples


def read_answers(
    answers: Sequence[str] = ("A", "(B)", "[invalid]", "A"), filter_name: str = "first-letter"
) -> Samples:
    samples = []
    for sample, answer in zip(scored_samples(), answers, strict=True):
        place = sample["doc_id"]
        right = "ABC"[TARGETS[place]]
        samples.append(
            sample
            | {
                "target": right,
                "arguments": {
                    "gen_args_0": {"arg_0": f"Question {place}?", "arg_1": {"until": ["\n"]}}
                },
                "resps": [[f"I say {answer}."]],
                "filtered_resps": [answer],
                "filter": filter_name,
                "metrics": ["exact_match"],
                "exact_match": float(answer.strip("()") == right),
            }
        )
    return samples


def results_of(samples: Samples, task: str = TASK, **changes: Any) -> dict[str, Any]:
    figures = {}
    for name in samples[0]["metrics"]:
        values = [sample[name] for sample in samples]
        figures[f"{name},{samples[0]['filter']}"] = sum(values) / len(values)
    scored = "gen_args_1" in samples[0]["arguments"]
    kind = "multiple_choice" if scored else "generate_until"
    return {
        "results": {task: figures},
        "group_subtasks": {task: []},
        "configs": {task: {"output_type": kind, "target_delimiter": " "}},
        "versions": {task: 1.0},
        "n-shot": {task: 0},
        "n-samples": {task: {"original": len(samples), "effective": len(samples)}},
        "config": {"model_args": "pretrained=org/model", "model_dtype": "torch.float32"},
        "lm_eval_version": "0.4.13",
        **changes,
    }


def write_log(
    folder: Path,
    samples: Samples | None = None,
    results: dict[str, Any] | None = None,
    *,
    task: str = TASK,
    text: Callable[[str], str] = str,
    packed: bool = False,
) -> Path:
    """Write samples and results; return the samples file."""
    samples = scored_samples() if samples is None else samples
    folder.mkdir(parents=True, exist_ok=True)
    found = results_of(samples, task) if results is None else results
    if found:
        (folder / f"results_{DATE}.json").write_text(json.dumps(found))
    lines = text("".join(json.dumps(sample) + "\n" for sample in samples)).encode()
    path = folder / f"samples_{task}_{DATE}.jsonl{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(lines) if packed else lines)
    return path
