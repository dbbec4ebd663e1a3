"""Reproduce the seed notebook, bugs included (`medtune run experiments/notebook.toml`).

It is the baseline of all comparisons.  Its deliberate bugs: training uses ChatML and evaluation
Llama-3 headers; the pad is the end-of-turn token, so the collator masks every ending and the model
never learns to stop; every example is padded to 512 tokens and the prompt is supervised; evaluation
rows come from the train split; a substring counts as a right answer.  It uses the Trainer of
transformers, as the notebook did.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medtune.core.config import config_hash
from medtune.core.errors import DataError, LabelError
from medtune.core.experiment import LORA_TARGETS, NotebookExperiment
from medtune.core.intervals import wilson_interval
from medtune.core.progress import Progress
from medtune.core.provenance import collect_provenance
from medtune.core.records import NotebookRecord, Outcome, OutcomeCounts
from medtune.core.run_folder import lock_folder, write_record, write_text
from medtune.data.load import resolve_split
from medtune.data.sources.files import RawRow
from medtune.data.sources.sources import parse_data_ref, read_rows
from medtune.data.training_only import refuse_corrections
from medtune.evaluation.parsing import notebook
from medtune.evaluation.parsing.strict import parse_answer
from medtune.hub.progress_bars import restore_progress_bars
from medtune.models.adapters.lora import suppress_peft_warning
from medtune.models.device import choose_device
from medtune.models.sources import ModelSource, resolve_model

OPTION_COLUMNS = notebook.OPTION_COLUMNS


def run_notebook(
    experiment: NotebookExperiment, folder: Path, progress: Progress
) -> NotebookRecord:
    """Train on the first rows, evaluate on sampled later ones, count substrings.

    Raises:
        DataError: The data has too few rows, no 0-based `cop`, or is training-only.
        ModelError: The model cannot be found.
    """
    source = resolve_model(experiment.model, progress)
    source_ref = resolve_split(parse_data_ref(experiment.data), for_training=True)
    rows = [row for _, row in read_rows(source_ref)]
    # It trains and evaluates on one file.
    refuse_corrections((str(row.get("id")) for row in rows), experiment.data)
    check_rows(rows, experiment)
    texts = [text for row in rows if (text := format_training_text(row))][: experiment.train_size]
    with lock_folder(folder):
        model, tokenizer = load_notebook_model(source)
        model = add_lora(model)
        trained = train_notebook(model, tokenizer, texts, experiment, folder, progress)
        model.save_pretrained(folder / "adapter")

        later = rows[experiment.cutoff :]
        picked = notebook.sample_evaluation_rows(
            len(rows), experiment.cutoff, experiment.evaluate_size, experiment.seed
        )
        start = time.perf_counter()
        results = []
        with progress.task("evaluate", len(picked)) as bar:
            for index in picked:
                results.append(
                    answer_row(model, tokenizer, later[index], experiment.max_new_tokens)
                )
                bar.advance()
        seconds = time.perf_counter() - start
        saved = build_evaluation_results(results, picked, seconds)
        write_text(folder / "evaluation_results.json", json.dumps(saved, indent=2) + "\n")
        record = _build_record(experiment, trained, results, seconds)
        write_record(folder / "record.json", record)
    return record


def check_rows(rows: list[RawRow], experiment: NotebookExperiment) -> None:
    """Refuse rows that the notebook would have misread silently.

    Raises:
        LabelError: A `cop` is not 0 to 3: on the 1-based mirror the notebook trained on the
            wrong options.
        DataError: There are too few rows to sample from.
    """
    for number, row in enumerate(rows):
        if row.get("cop") not in (0, 1, 2, 3):
            raise LabelError(
                f"{experiment.data} row {number}: cop is {row.get('cop')!r}",
                expected="0 to 3 in every row, as on openlifescienceai/medmcqa",
            )
    if len(rows) < experiment.cutoff + experiment.evaluate_size:
        raise DataError(
            f"{experiment.data} has {len(rows)} rows",
            expected=f"at least cutoff {experiment.cutoff} + {experiment.evaluate_size}",
            fix="--set cutoff=... --set evaluate_size=...",
        )


def format_training_text(row: RawRow) -> str | None:
    """Format a row as in the notebook; None if its filter drops the row."""
    right = row[OPTION_COLUMNS[row["cop"]]]
    if not row["question"] or len(row["question"]) < 10 or not right or len(right) < 2:
        return None
    return (
        "<|im_start|>system\nYou are a helpful AI assistant.<|im_end|>\n"
        f"<|im_start|>user\n{_stem_and_options(row)}<|im_end|>\n"
        f"<|im_start|>assistant\nThe answer is: {right}<|im_end|>"
    )


def format_evaluation_prompt(row: RawRow) -> str:
    """Format the evaluation prompt, with another model's headers."""
    return (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
        "You are a helpful AI medical assistant.\n<|eot_id|>"
        f"<|start_header_id|>user<|end_header_id|>\n\n{_stem_and_options(row)}"
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )


@restore_progress_bars()
def load_notebook_model(source: ModelSource) -> tuple[Any, Any]:
    """Load model and tokenizer: fp16 on CUDA, else fp32; the pad is eos, on the right.

    The notebook used float16 everywhere; on a CPU it is 17 times slower (75 s against 4.5 s per
    padded example with the 135M model on two cores).
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    device = choose_device()
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    tokenizer = AutoTokenizer.from_pretrained(source.folder)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    model = AutoModelForCausalLM.from_pretrained(source.folder, dtype=dtype)
    return model.to(device), tokenizer


def add_lora(model: Any) -> Any:
    """Add LoRA layers: r 16, alpha 32, dropout 0.05, on all projections."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=16,
        lora_alpha=32,
        lora_dropout=0.05,
        bias="none",
        task_type="CAUSAL_LM",
        target_modules=list(LORA_TARGETS),
    )
    with suppress_peft_warning():
        return get_peft_model(model, config)


class PaddedTexts(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Texts padded to one length, labels equal to the inputs."""

    def __init__(self, tokenizer: Any, texts: list[str], length: int) -> None:
        self.encoded = tokenizer(
            texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )

    def __len__(self) -> int:
        return len(self.encoded["input_ids"])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {
            "input_ids": self.encoded["input_ids"][index],
            "attention_mask": self.encoded["attention_mask"][index],
            "labels": self.encoded["input_ids"][index].clone(),
        }


def train_notebook(
    model: Any,
    tokenizer: Any,
    texts: list[str],
    experiment: NotebookExperiment,
    folder: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Train with the Trainer; return its log, its metrics and the parameter counts."""
    from transformers import (
        DataCollatorForLanguageModeling,
        PrinterCallback,
        ProgressCallback,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    steps = -(-len(texts) // 4) * experiment.epochs

    with progress.task("train", int(steps)) as bar:

        class Follow(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, *_: Any, **__: Any) -> None:
                bar.advance()

        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=str(folder / "checkpoints"),
                num_train_epochs=experiment.epochs,
                per_device_train_batch_size=1,
                gradient_accumulation_steps=4,
                learning_rate=2e-4,
                warmup_steps=10,
                logging_steps=10,
                save_steps=100,
                save_total_limit=2,
                report_to="none",
                seed=experiment.seed,
                dataloader_pin_memory=False,
            ),
            train_dataset=PaddedTexts(tokenizer, texts, experiment.max_length),
            data_collator=DataCollatorForLanguageModeling(tokenizer=tokenizer, mlm=False),
            processing_class=tokenizer,
            callbacks=[Follow()],
        )
        # Both print to stdout, which is reserved for --json.
        trainer.remove_callback(ProgressCallback)
        trainer.remove_callback(PrinterCallback)
        done = trainer.train()
    trainable, total = model.get_nb_trainable_parameters()
    losses = {
        entry["step"]: entry["loss"] for entry in trainer.state.log_history if "loss" in entry
    }
    return {
        "examples": len(texts),
        "steps": trainer.state.global_step,
        "losses": losses,
        "train_loss": done.training_loss,
        "train_s": done.metrics["train_runtime"],
        "trainable_parameters": trainable,
        "total_parameters": total,
    }


@torch.no_grad()
def answer_row(model: Any, tokenizer: Any, row: RawRow, max_new_tokens: int) -> dict[str, Any]:
    """Sample an answer to one row and match it, in the format of the notebook's file."""
    prompt = format_evaluation_prompt(row)
    inputs = tokenizer(prompt, return_tensors="pt").to(model.device)
    outputs = model.generate(
        **inputs,
        max_new_tokens=max_new_tokens,
        temperature=0.3,
        top_p=0.9,
        do_sample=True,
        pad_token_id=tokenizer.eos_token_id,
    )
    # Cut by characters, as in the notebook: wrong if decoding is not lossless.
    text = tokenizer.decode(outputs[0], skip_special_tokens=False)[len(prompt) :].strip()
    for mark in ("<|eot_id|>", "<|end_of_text|>"):
        text = text.split(mark)[0].strip()
    truth = row[OPTION_COLUMNS[row["cop"]]]
    match = notebook.match_output(text, truth)
    return {
        "id": row.get("id"),
        "question": row["question"],
        **{name: row[name] for name in OPTION_COLUMNS},
        "cop": row["cop"],
        "ground_truth": truth,
        "prediction": text,
        "correct": match != "no_match",
        "match_type": match,
    }


def build_evaluation_results(
    results: list[dict[str, Any]], picked: list[int], seconds: float
) -> dict[str, Any]:
    """Return the content of the notebook's evaluation_results.json."""
    kinds = [result["match_type"] for result in results]
    right = len(kinds) - kinds.count("no_match")
    return {
        "n_total": len(results),
        "accuracy": 100 * right / len(results),
        "exact_matches": kinds.count("exact"),
        "partial_matches": kinds.count("partial"),
        "incorrect": kinds.count("no_match"),
        "total_time": seconds,
        "time_per_example": seconds / len(results),
        "selected_indices": picked,
        "results": results,
    }


def _stem_and_options(row: RawRow) -> str:
    options = (
        f"{letter}. {row[name]}" for letter, name in zip("ABCD", OPTION_COLUMNS, strict=True)
    )
    return "\n".join([row["question"], *options])


def _build_record(
    experiment: NotebookExperiment,
    trained: dict[str, Any],
    results: list[dict[str, Any]],
    seconds: float,
) -> NotebookRecord:
    right = sum(result["correct"] for result in results)
    strict = [
        parse_answer(r["prediction"], [r[name] for name in OPTION_COLUMNS]).grade(r["cop"])
        for r in results
    ]
    n = len(results)
    return NotebookRecord(
        name=experiment.name,
        config_hash=config_hash(experiment),
        **trained,
        counts=OutcomeCounts(n=n, correct=right, wrong=n - right, unparsed=0, abstained=0),
        accuracy=wilson_interval(right, n),
        strict_counts=OutcomeCounts(
            n=n,
            correct=strict.count(Outcome.CORRECT),
            wrong=strict.count(Outcome.WRONG),
            unparsed=strict.count(Outcome.UNPARSED),
            abstained=0,
        ),
        strict_accuracy=wilson_interval(strict.count(Outcome.CORRECT), n),
        evaluation_s=seconds,
        provenance=collect_provenance(),
    )
