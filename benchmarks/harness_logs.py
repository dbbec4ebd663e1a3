"""Write real logs of lm-evaluation-harness and Inspect on the embedded model, offline.

    python benchmarks/harness_logs.py FOLDER

The logs in tests/pipeline/harness_logs were made by it; tests/real/test_foreign_logs.py makes
fresh ones with the pinned versions.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from medtune.core.records import Question
from medtune.data.load import load_split
from medtune.models.builtin import convert_once
from medtune.workflows.dry_run import nothing_downloaded

LETTERS_TASK = "ward_letter"
TEXTS_TASK = "ward_cloze"
FREE_TASK = "ward_free"
GROUP = "ward"
NO_CHOICES_TASK = "ward_loglikelihood"
PROMPT = (
    "{{stem}}\nA. {{options[0]}}\nB. {{options[1]}}\nC. {{options[2]}}\nD. {{options[3]}}\nAnswer:"
)


def select_questions(count: int) -> list[Question]:
    """Return four questions each of the first subjects of the starter set."""
    questions = load_split("starter:recall").questions
    subjects = sorted({q.subject for q in questions if q.subject})[: -(-count // 4)]
    chosen = [[q for q in questions if q.subject == subject] for subject in subjects]
    return [q for some in chosen for q in some[:4]]


def write_tasks(folder: Path, questions: Sequence[Question]) -> None:
    """Write a local task of every kind, and a group with a subtask for each subject."""
    folder.mkdir(parents=True, exist_ok=True)
    subjects: dict[str, list[Question]] = {"": list(questions)}
    for question in questions:
        subjects.setdefault(_slug(question.subject or ""), []).append(question)
    for name, some in subjects.items():
        rows = [
            {"id": q.id, "stem": q.stem, "options": q.options, "answer": q.answer} for q in some
        ]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"data{name}.jsonl").write_text(lines, encoding="utf-8")
    letters = {
        "output_type": "multiple_choice",
        "doc_to_text": PROMPT,
        "doc_to_choice": ["A", "B", "C", "D"],
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }
    texts = {
        "output_type": "multiple_choice",
        "doc_to_text": "Question: {{stem}}\nAnswer:",
        "doc_to_choice": "{{options}}",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }
    free = {
        "output_type": "generate_until",
        "num_fewshot": 2,
        "fewshot_split": "test",
        "doc_to_text": PROMPT,
        "doc_to_target": "{{['A', 'B', 'C', 'D'][answer]}}",
        "generation_kwargs": {"until": ["\n\n"], "do_sample": False, "max_gen_toks": 12},
        "filter_list": [
            {
                "name": "first-letter",
                "filter": [
                    {"function": "regex", "regex_pattern": r"\b([A-D])\b"},
                    {"function": "take_first"},
                ],
            }
        ],
        "metric_list": [{"metric": "exact_match", "ignore_case": True}],
    }
    likelihood = {
        "output_type": "loglikelihood",
        "doc_to_text": "Question: {{stem}}\nAnswer:",
        "doc_to_target": " {{options[answer]}}",
        "metric_list": [{"metric": "perplexity"}, {"metric": "acc"}],
    }
    for task, settings in (
        (LETTERS_TASK, letters),
        (TEXTS_TASK, texts),
        (FREE_TASK, free),
        (NO_CHOICES_TASK, likelihood),
    ):
        _write_task(folder, task, folder / "data.jsonl", settings)
    subtasks = []
    for name in filter(None, subjects):
        subtasks.append(f"{GROUP}_{name}")
        _write_task(folder, subtasks[-1], folder / f"data{name}.jsonl", letters)
    group = {
        "group": GROUP,
        "task": subtasks,
        "aggregate_metric_list": [{"metric": "acc", "weight_by_size": True}],
        "metadata": {"version": 1},
    }
    (folder / f"{GROUP}.yaml").write_text(json.dumps(group))


def _write_task(folder: Path, name: str, data: Path, settings: dict[str, Any]) -> None:
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "metadata": {"version": 1.0},
        **settings,
    }
    # JSON is YAML.
    (folder / f"{name}.yaml").write_text(json.dumps(task))


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in text.lower())


def run_lm_eval(
    folder: Path,
    tasks: Sequence[str],
    out: Path,
    *,
    predict_only: bool = False,
    model: str = "hf",
) -> Path:
    """Run the installed harness on local tasks; return the folder of its results.

    `model` is "hf" for the embedded model, or "dummy" for the harness's random one.
    """
    arguments = "" if model == "dummy" else f"pretrained={convert_once()},dtype=float32,device=cpu"
    with nothing_downloaded():
        from lm_eval import simple_evaluate
        from lm_eval.loggers import EvaluationTracker
        from lm_eval.tasks import TaskManager

        tracker = EvaluationTracker(output_path=str(out))
        results = simple_evaluate(
            model=model,
            model_args=arguments,
            tasks=list(tasks),
            task_manager=TaskManager(include_path=str(folder), include_defaults=False),
            batch_size=8,
            log_samples=True,
            predict_only=predict_only,
            bootstrap_iters=0,
            evaluation_tracker=tracker,
            torch_random_seed=None,
        )
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    for task in results["configs"]:
        tracker.save_results_samples(task_name=task, samples=samples[task])
    return next(out.iterdir())


def run_inspect(
    questions: Sequence[Question],
    out: Path,
    *,
    answers: Sequence[str] = (),
    suffix: Literal["eval", "json"] = "eval",
    epochs: int = 1,
) -> Path:
    """Run the installed Inspect by multiple_choice(); return its log.

    With `answers`, a model gives these in turn ("" is an error); else the embedded model answers.
    """
    from inspect_ai import Task
    from inspect_ai import eval as run_eval
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import ModelAPI, ModelOutput, get_model, modelapi
    from inspect_ai.scorer import choice
    from inspect_ai.solver import multiple_choice

    # Inspect's own mock model counts tokens by a tokenizer that it downloads.
    class ScriptedModel(ModelAPI):
        def __init__(self, model_name: str, answers: list[str], **_: Any) -> None:
            super().__init__(model_name)
            self._answers = iter(answers)

        async def generate(self, *_: Any, **__: Any) -> ModelOutput:
            if not (answer := next(self._answers)):
                raise ValueError("the script says so")
            return ModelOutput.from_content("scripted/model", answer)

        async def count_text_tokens(self, text: str) -> int:
            return len(text.split())

    modelapi(name="scripted")(ScriptedModel)
    samples = [
        Sample(
            id=q.id,
            input=q.stem,
            choices=list(q.options),
            target="ABCD"[q.answer or 0],
            metadata={"subject": q.subject},
        )
        for q in questions
    ]
    task = Task(
        dataset=MemoryDataset(samples, name="ward"),
        solver=multiple_choice(),
        scorer=choice(),
        name="ward",
    )
    if answers:
        model = get_model("scripted/model", answers=list(answers))
    else:
        model = get_model("hf/smollm2", model_path=str(convert_once()), device="cpu")
    logs = run_eval(
        task,
        model=model,
        log_dir=str(out),
        log_format=suffix,
        display="none",
        max_connections=1,
        max_samples=1,
        max_tokens=12,
        epochs=epochs,
        fail_on_error=False,
    )
    return Path(logs[0].location.removeprefix("file://"))


if __name__ == "__main__":
    place = Path(sys.argv[1])
    asked = select_questions(8)
    write_tasks(place / "tasks", asked)
    names = [LETTERS_TASK, TEXTS_TASK, FREE_TASK, GROUP]
    print(run_lm_eval(place / "tasks", names, place / "lm_eval"))
    print(run_lm_eval(place / "tasks", [NO_CHOICES_TASK], place / "likelihood"))
    print(run_lm_eval(place / "tasks", [LETTERS_TASK], place / "predict", predict_only=True))
    print(run_inspect(asked, place / "inspect_hf"))
    said = [f"ANSWER: {letter}" for letter in "DDACBADC"]
    print(run_inspect(asked, place / "inspect_epochs", answers=said * 2, epochs=2))
    print(run_inspect(asked, place / "inspect_errors", answers=["", *said[1:]]))
    print(run_inspect(asked, place / "inspect_json", answers=said, suffix="json"))
