"""Examination speed beside the notebook's loop, and lm-evaluation-harness's; one JSON line.

    python benchmarks/eval_speed.py [--data file:medmcqa_validation.parquet] [--json-out FILE]

All answer the same questions with the same base weights, one after the other in this process; a
ratio is questions per second over the other's.  The notebook samples 50 tokens per question, so
a few questions time it well.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path

from medtune.analysis.exam import Exam
from medtune.analysis.examine import examine
from medtune.answers.parse import STRICT
from medtune.core.progress import Silent
from medtune.core.prompt import PromptStyle
from medtune.core.provenance import installed_version, provenance
from medtune.core.records import Method, Question
from medtune.data.load import Split, load_split
from medtune.models.local import LocalModel
from medtune.models.sources import ModelSource, resolve
from medtune.recipes import notebook
from train_speed import notebook_row

STYLE = PromptStyle()
WARM = 48
NOTEBOOK_TOKENS = 50


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    source = resolve(arguments.model)
    split = load_split(arguments.data, size=arguments.questions)
    rates = {"notebook": time_notebook(source, split.questions[:8])}
    model = LocalModel.load(source)
    rates["medtune_letter"] = time_medtune(model, split, "letter")
    rates["medtune_cloze"] = time_medtune(model, split, "cloze")
    if installed_version("lm_eval") and not arguments.no_peers:
        rates["lm_eval_letter"] = time_lm_eval(model, split.questions)
    letter = rates["medtune_letter"]
    result = {
        "benchmark": "eval_speed",
        "ratio_to_notebook": round(letter / rates["notebook"], 1),
        "ratio_to_notebook_cloze": round(rates["medtune_cloze"] / rates["notebook"], 1),
        **(
            {"ratio_to_lm_eval": round(letter / rates["lm_eval_letter"], 2)}
            if "lm_eval_letter" in rates
            else {}
        ),
        "questions_per_s": {name: round(rate, 3) for name, rate in rates.items()},
        "questions": arguments.questions,
        "data": arguments.data,
        "model": arguments.model,
        "provenance": provenance().model_dump(mode="json"),
    }
    print(json.dumps(result))
    if arguments.json_out:
        arguments.json_out.write_text(json.dumps(result, indent=2) + "\n")


def time_notebook(source: ModelSource, questions: Sequence[Question]) -> float:
    """Return questions/s of the notebook's loop, adapter attached as it was."""
    model, tokenizer = notebook.load(source)
    model = notebook.add_lora(model).eval()
    model.generation_config.min_new_tokens = NOTEBOOK_TOKENS
    first, *others = [notebook_row(question) for question in questions]
    notebook.answer(model, tokenizer, first, max_new_tokens=NOTEBOOK_TOKENS)
    start = time.perf_counter()
    for row in others:
        notebook.answer(model, tokenizer, row, max_new_tokens=NOTEBOOK_TOKENS)
    return len(others) / (time.perf_counter() - start)


def time_medtune(model: LocalModel, split: Split, method: Method) -> float:
    """Return questions/s of one examination."""
    exam = Exam(split.questions, split.description, STYLE, method, "byte")
    warm = dataclasses.replace(exam, questions=split.questions[:WARM])
    examine(model, warm, "base", STRICT, Silent())
    record, _ = examine(model, exam, "base", STRICT, Silent())
    return record.questions_per_s


def time_lm_eval(model: LocalModel, questions: Sequence[Question]) -> float:
    """Return questions/s of lm-evaluation-harness on the same letters and prompts."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    harness = HFLM(
        pretrained=model.network,
        tokenizer=model.encoder.tokenizer,
        batch_size=16,
        backend="causal",
    )
    requests = [
        Instance("loglikelihood", {}, (model.render(STYLE.messages(q, "letter")), letter), i)
        for q in questions
        for i, letter in enumerate(q.letters)
    ]
    harness.loglikelihood(requests[: 4 * WARM], disable_tqdm=True)
    start = time.perf_counter()
    harness.loglikelihood(requests, disable_tqdm=True)
    return len(questions) / (time.perf_counter() - start)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded:smollm2-135m")
    parser.add_argument("--data", default="starter:train")
    parser.add_argument("--questions", type=int, default=320)
    parser.add_argument("--no-peers", action="store_true", help="notebook and medtune only")
    parser.add_argument("--json-out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
