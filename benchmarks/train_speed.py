"""Training speed beside the notebook's recipe, and TRL's where it is installed; one JSON line.

    python benchmarks/train_speed.py [--data file:medmcqa_train.parquet] [--json-out FILE]

All train the same questions, on the same base weights, at rank 16 on all projections, one after
the other in this process, in two rounds of which each takes its better one.  A ratio is examples
per second over the other's.  The notebook pads every example to 512 tokens in fp32, so a few
examples time it well.  The others train at one learning rate and schedule, and answer for it with
their loss on questions that none was shown: nats per token of the answers, one question at a time,
by the model's own forward pass.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from medtune.commands import notebook
from medtune.core.experiment import Experiment, NotebookExperiment
from medtune.core.progress import NoProgress
from medtune.core.prompt import PromptStyle, TextForm
from medtune.core.protocols import Example
from medtune.core.provenance import collect_provenance, installed_version
from medtune.core.records import Question
from medtune.data.load import load_split
from medtune.data.sources.files import RawRow
from medtune.models.adapters.lora import LoraModel
from medtune.models.chat_encoder import ChatEncoder
from medtune.models.device import choose_device, choose_dtype
from medtune.models.local.local_model import LocalModel
from medtune.models.sources import ModelSource, resolve_model
from medtune.training.finetune import fine_tune

# The notebook lists the options, so everybody does: equal prompts, equal work.
STYLE = PromptStyle(system="You are a helpful AI assistant.", text=TextForm(list_options=True))

RATE = 1e-3
ROUNDS = 2
HELD_OUT = 128
"""Questions behind the ones that are trained."""

Timed = tuple[float, float | None]
"""Examples per second, and the loss on the questions held out."""


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    source = resolve_model(arguments.model)
    questions, held = drawn(arguments.data, arguments.examples, HELD_OUT)
    timers = trainers(source, questions, held, arguments.data, not arguments.no_peers)
    rates = dict.fromkeys(timers, 0.0)
    losses: dict[str, float] = {"untrained": untrained_loss(source, held)}
    for _ in range(ROUNDS):
        for name, timer in timers.items():
            with tempfile.TemporaryDirectory() as folder:
                rate, loss = timer(Path(folder))
            rates[name] = max(rates[name], rate)
            if loss is not None:
                losses[name] = round(loss, 4)
            print(f"{name}: {rate:.2f} examples/s, held-out loss {loss}", file=sys.stderr)
    mine = rates["medtune"]
    result = {
        "benchmark": "train_speed",
        "ratio_to_notebook": round(mine / rates["notebook"], 1),
        **{f"ratio_to_{k}": round(mine / v, 2) for k, v in rates.items() if k.startswith("trl")},
        "examples_per_s": {name: round(rate, 3) for name, rate in rates.items()},
        "held_out_loss": losses,
        "examples": arguments.examples,
        "held_out": len(held),
        "data": arguments.data,
        "model": arguments.model,
        "provenance": collect_provenance().model_dump(mode="json"),
    }
    print(json.dumps(result))
    if arguments.json_out:
        arguments.json_out.write_text(json.dumps(result, indent=2) + "\n")


def drawn(data: str, examples: int, held_out: int) -> tuple[Sequence[Question], Sequence[Question]]:
    """Draw the questions to train, and others to hold out."""
    questions = load_split(data, size=examples + held_out).questions
    return questions[:examples], questions[examples:]


def trainers(
    source: ModelSource,
    questions: Sequence[Question],
    held: Sequence[Question],
    data: str,
    peers: bool,
) -> dict[str, Callable[[Path], Timed]]:
    """List what trains the questions in a folder, by name; TRL only where it is installed."""
    timers: dict[str, Callable[[Path], Timed]] = {
        "notebook": lambda folder: (time_notebook(source, questions, folder), None),
        "medtune": lambda folder: time_medtune(source, questions, held, data, folder),
    }
    if peers and installed_version("trl"):
        timers["trl_padded"] = lambda folder: time_trl(source, questions, held, folder, False)
        timers["trl_packing"] = lambda folder: time_trl(source, questions, held, folder, True)
    return timers


def time_notebook(source: ModelSource, questions: Sequence[Question], folder: Path) -> float:
    """Return examples/s of the notebook's recipe on the first few questions."""
    rows = [notebook_row(question) for question in questions]
    texts = [text for row in rows if (text := notebook.format_training_text(row))][:8]
    experiment = NotebookExperiment(recipe="notebook", epochs=1)
    model, tokenizer = notebook.load_notebook_model(source)
    done = notebook.train_notebook(
        notebook.add_lora(model), tokenizer, texts, experiment, folder / "notebook", NoProgress()
    )
    return float(len(texts) / done["train_s"])


def time_medtune(
    source: ModelSource,
    questions: Sequence[Question],
    held: Sequence[Question],
    data: str,
    folder: Path,
) -> Timed:
    """Train one epoch."""
    training = {"epochs": 1, "save_every": 10_000, "learning_rate": RATE, "schedule": "linear"}
    experiment = Experiment.model_validate(
        {"prompt": STYLE, "training": {**training, "warmup_steps": 0}}
    )
    model = LocalModel.load(source)
    adapted = LoraModel(model, experiment.training.lora, seed=0)
    description = load_split(data, size=len(questions)).description
    record = fine_tune(
        adapted, experiment, questions, description, folder / "medtune", NoProgress()
    )
    network = adapted.head.get_submodule("network")
    return record.examples_per_s, held_out_loss(network, model.encoder, held)


def untrained_loss(source: ModelSource, held: Sequence[Question]) -> float:
    """Return what the base model loses."""
    model = LocalModel.load(source)
    return round(held_out_loss(model.network, model.encoder, held), 4)


@torch.inference_mode()
def held_out_loss(network: Any, encoder: ChatEncoder, held: Sequence[Question]) -> float:
    """Return a network's mean loss over the tokens of right answers, endings included, nats."""
    network.eval()
    total, tokens = 0.0, 0
    for question in held:
        example = encoded(encoder, question)
        ids = torch.tensor([example.tokens], device=network.device)
        logits = network(input_ids=ids).logits[0, example.prompt - 1 : -1].float()
        wanted = ids[0, example.prompt :]
        total += torch.nn.functional.cross_entropy(logits, wanted, reduction="sum").item()
        tokens += len(wanted)
    return total / tokens


def encoded(encoder: ChatEncoder, question: Question) -> Example:
    """Encode a question with its right answer."""
    assert question.answer is not None
    answer = STYLE.render_answer(question, question.answer, "text")
    return encoder.encode_example(STYLE.build_messages(question, "text"), answer)


def time_trl(
    source: ModelSource,
    questions: Sequence[Question],
    held: Sequence[Question],
    folder: Path,
    packing: bool,
) -> Timed:
    """Train one epoch by TRL's SFTTrainer: completion-only loss, same precision and batch."""
    import datasets
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    dtype = choose_dtype("auto", choose_device())
    tokenizer = AutoTokenizer.from_pretrained(source.folder)
    tokenizer.pad_token = "<|endoftext|>"
    rows = [trl_row(question) for question in questions]
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(source.folder, dtype=dtype),
        args=SFTConfig(
            output_dir=str(folder / f"trl-{packing}"),
            num_train_epochs=1,
            per_device_train_batch_size=2 if packing else 16,
            max_length=768 if packing else 512,
            packing=packing,
            completion_only_loss=True,
            gradient_checkpointing=False,
            bf16=False,
            learning_rate=RATE,
            lr_scheduler_type="linear",
            report_to="none",
            save_strategy="no",
            dataloader_pin_memory=False,
        ),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=16, lora_alpha=32, task_type="CAUSAL_LM", target_modules="all-linear"
        ),
    )
    start = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the one JSON line
        trainer.train()
    rate = len(rows) / (time.perf_counter() - start)
    return rate, held_out_loss(trainer.model, ChatEncoder(tokenizer), held)


def notebook_row(question: Question) -> RawRow:
    """Write a question as a MedMCQA row."""
    options = dict(zip(notebook.OPTION_COLUMNS, question.options, strict=True))
    return {"id": question.id, "question": question.stem, **options, "cop": question.answer}


def trl_row(question: Question) -> dict[str, Any]:
    """Write a question as a prompt and a completion in chat form."""
    assert question.answer is not None
    messages = STYLE.build_messages(question, "text")
    answer = STYLE.render_answer(question, question.answer, "text")
    return {
        "prompt": [{"role": m.role, "content": m.content} for m in messages],
        "completion": [{"role": "assistant", "content": answer}],
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded:smollm2-135m")
    parser.add_argument("--data", default="starter:train")
    parser.add_argument("--examples", type=int, default=256)
    parser.add_argument("--no-peers", action="store_true", help="notebook and medtune only")
    parser.add_argument("--json-out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
