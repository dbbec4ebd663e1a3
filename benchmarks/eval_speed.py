"""Examination speed beside the notebook's loop and lm-evaluation-harness; one JSON line.

    python benchmarks/eval_speed.py [--data file:medmcqa_validation.parquet] [--json-out FILE]

All answer the same questions with the same base weights, one after the other in this process, in
two rounds of which each takes its better one; a ratio is questions per second over the other's.
The notebook samples 50 tokens per question, so a few questions time it well.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from medtune.commands import notebook
from medtune.core.progress import NoProgress
from medtune.core.prompt import FormName, PromptStyle
from medtune.core.provenance import collect_provenance, installed_version
from medtune.core.records import Method, Question
from medtune.data.load import load_split
from medtune.evaluation.exam import Exam, Shots
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_model
from medtune.evaluation.score import cyclic_orders
from medtune.models.local.local_model import LocalModel
from medtune.models.sources import ModelSource, resolve_model
from train_speed import notebook_row

STYLE = PromptStyle()
WARM = 32
NOTEBOOK_TOKENS = 50
ROUNDS = 2


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    source = resolve_model(arguments.model)
    split = load_split(arguments.data, size=arguments.questions + 5)
    shots, questions = tuple(split.questions[:5]), tuple(split.questions[5:])
    few = questions[: max(WARM, len(questions) // 5)]
    model = LocalModel.load(source)
    stock = LocalModel.load(source, attention="sdpa")
    plain = Exam(questions, split.description, STYLE, "letter", "byte")
    timers: dict[str, Callable[[], float]] = {
        "medtune_letter": lambda: time_medtune(model, plain),
        "medtune_letter_cyclic": lambda: time_medtune(
            model, dataclasses.replace(plain, orders="cyclic")
        ),
        "medtune_letter_5_shot": lambda: time_medtune(
            model, dataclasses.replace(plain, questions=few, shots=Shots(shots, 5))
        ),
        "medtune_cloze": lambda: time_medtune(model, dataclasses.replace(plain, method="cloze")),
        "notebook": lambda: time_notebook(source, questions[:6]),
    }
    if installed_version("lm_eval") and not arguments.no_peers:
        timers |= {
            "lm_eval_letter": lambda: time_lm_eval(stock, questions, "letter"),
            "lm_eval_letter_5_shot": lambda: time_lm_eval(stock, few, "letter", shots),
            "lm_eval_cloze": lambda: time_lm_eval(stock, few, "cloze"),
        }
    rates = dict.fromkeys(timers, 0.0)
    for _ in range(ROUNDS):
        for name, timer in timers.items():
            rates[name] = max(rates[name], timer())
            print(f"{name}: {rates[name]:.2f} questions/s", file=sys.stderr)
    result = {
        "benchmark": "eval_speed",
        **ratios(rates, orders=max(len(cyclic_orders(len(q.options))) for q in few)),
        "questions_per_s": {name: round(rate, 3) for name, rate in rates.items()},
        "questions": len(questions),
        "questions_few": len(few),
        "data": arguments.data,
        "model": arguments.model,
        "provenance": collect_provenance().model_dump(mode="json"),
    }
    print(json.dumps(result))
    if arguments.json_out:
        arguments.json_out.write_text(json.dumps(result, indent=2) + "\n")


def ratios(rates: dict[str, float], orders: int) -> dict[str, float]:
    """Compare what was measured."""
    pairs = {
        "ratio_to_notebook": ("medtune_letter", "notebook"),
        "ratio_to_notebook_cloze": ("medtune_cloze", "notebook"),
        "ratio_to_lm_eval": ("medtune_letter", "lm_eval_letter"),
        "ratio_to_lm_eval_5_shot": ("medtune_letter_5_shot", "lm_eval_letter_5_shot"),
        "ratio_to_lm_eval_cloze": ("medtune_cloze", "lm_eval_cloze"),
    }
    found = {
        name: round(rates[ours] / rates[theirs], 2)
        for name, (ours, theirs) in pairs.items()
        if theirs in rates
    }
    cost = rates["medtune_letter"] / rates["medtune_letter_cyclic"]
    return found | {"cyclic_orders": orders, "cyclic_cost": round(cost, 2)}


def time_notebook(source: ModelSource, questions: Sequence[Question]) -> float:
    """Return questions/s of the notebook's loop, adapter attached as it was."""
    model, tokenizer = notebook.load_notebook_model(source)
    model = notebook.add_lora(model).eval()
    model.generation_config.min_new_tokens = NOTEBOOK_TOKENS
    first, *others = [notebook_row(question) for question in questions]
    notebook.answer_row(model, tokenizer, first, max_new_tokens=NOTEBOOK_TOKENS)
    start = time.perf_counter()
    for row in others:
        notebook.answer_row(model, tokenizer, row, max_new_tokens=NOTEBOOK_TOKENS)
    return len(others) / (time.perf_counter() - start)


def time_medtune(model: LocalModel, exam: Exam) -> float:
    """Return questions/s of one examination."""
    warm = dataclasses.replace(exam, questions=exam.questions[:WARM])
    evaluate_model(model, warm, "base", STRICT_PARSER, NoProgress())
    record, _ = evaluate_model(model, exam, "base", STRICT_PARSER, NoProgress())
    assert record.questions_per_s is not None, "it was timed"
    return record.questions_per_s


def time_lm_eval(
    model: LocalModel,
    questions: Sequence[Question],
    method: Method,
    shots: Sequence[Question] = (),
) -> float:
    """Return questions/s of lm-evaluation-harness on the same continuations and prompts."""
    requests = harness_requests(model, questions, method, shots)
    harness = open_harness(model)
    harness.loglikelihood(requests[:32], disable_tqdm=True)
    start = time.perf_counter()
    harness.loglikelihood(requests, disable_tqdm=True)
    return len(questions) / (time.perf_counter() - start)


def open_harness(model: LocalModel) -> Any:
    """Hand the same network to lm-evaluation-harness."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(
        pretrained=model.network,
        tokenizer=model.encoder.tokenizer,
        batch_size=16,
        backend="causal",
    )


def harness_requests(
    model: LocalModel,
    questions: Sequence[Question],
    method: Method,
    shots: Sequence[Question] = (),
) -> list[Any]:
    """Write medtune's requests as lm-evaluation-harness has them: (context, continuation)."""
    from lm_eval.api.instance import Instance

    form: FormName = "letter" if method == "letter" else "text"
    requests = []
    for question in questions:
        lead, continuations = STYLE.split_continuations(question, form)
        context = model.render(STYLE.build_messages(question, form, shots)) + lead
        requests += [Instance("loglikelihood", {}, (context, c), 0) for c in continuations]
    return requests


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded:smollm2-135m")
    parser.add_argument("--data", default="starter:train")
    parser.add_argument("--questions", type=int, default=256)
    parser.add_argument("--no-peers", action="store_true", help="notebook and medtune only")
    parser.add_argument("--json-out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
