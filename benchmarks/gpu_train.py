"""Training speed on a GPU, at the shape of SmolLM2-1.7B with random weights; one JSON line.

    python benchmarks/gpu_train.py [--data file:medmcqa_train.parquet] [--json-out FILE]

The notebook's recipe, medtune and TRL (where it is installed) train the same questions in one
process, as in train_speed.py; speed does not depend on what the weights say.  Tokens are counted
once for all, as medtune encodes them, without padding.  MFU is the share of the card's dense bf16
peak that a LoRA step's necessary products take: forward and back to the inputs, 4 operations per
weight and token; the frozen weights need no gradients of their own.

Without a GPU it says so and measures nothing; `--shape tiny` tries the script itself anywhere.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from medtune.core.provenance import collect_provenance
from medtune.core.records import Question
from medtune.models.chat_encoder import ChatEncoder
from medtune.models.sources import ModelSource, resolve_model
from train_speed import drawn, encoded, trainers

SHAPES: dict[str, dict[str, int]] = {
    "1.7b": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 24,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
    },
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
}
PEAKS = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0}
"""Dense bf16 TFLOP/s by the makers' data sheets (H100 and H200 in their SXM form)."""
HELD_OUT = 16


@dataclass(frozen=True, slots=True)
class Measured:
    """One trainer's figures; None where this machine has no such thing."""

    examples_per_s: float
    tokens_per_s: float
    peak_memory_bytes: int | None
    mfu: float | None


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    if card is None and arguments.shape != "tiny":
        print("no CUDA device here: nothing was measured", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as place:
        source, weights = random_model(SHAPES[arguments.shape], Path(place) / "model")
        result = measure(source, weights, arguments, card, Path(place))
    print(json.dumps(result))
    if arguments.json_out:
        arguments.json_out.write_text(json.dumps(result, indent=2) + "\n")


def random_model(shape: dict[str, int], folder: Path) -> tuple[ModelSource, int]:
    """Write a model of a shape with random bf16 weights and the embedded model's tokenizer.

    Returns:
        The model, and how many weights every token is multiplied with; the head sees answers only.
    """
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    embedded = resolve_model("embedded:smollm2-135m")
    tokenizer = AutoTokenizer.from_pretrained(embedded.folder)
    config = LlamaConfig(
        **shape,
        vocab_size=len(tokenizer),
        max_position_embeddings=8192,
        rope_theta=130_000.0,
        tie_word_embeddings=True,
        dtype="bfloat16",
    )
    torch.manual_seed(0)
    network = LlamaForCausalLM(config).to(torch.bfloat16)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    layers = network.get_decoder().layers
    weights = sum(p.numel() for p in layers.parameters() if p.dim() == 2)
    return resolve_model(f"path:{folder}"), weights


def measure(
    source: ModelSource,
    weights: int,
    arguments: argparse.Namespace,
    card: str | None,
    place: Path,
) -> dict[str, Any]:
    """Time every trainer once to warm up and once for the record."""
    questions, held = drawn(arguments.data, arguments.examples, HELD_OUT)
    timers = trainers(source, questions, held, arguments.data, not arguments.no_peers)
    tokens = mean_tokens(source, questions)
    peak = arguments.peak_tflops or next((p for n, p in PEAKS.items() if n in (card or "")), None)
    found: dict[str, Measured] = {}
    for name, timer in timers.items():
        for turn in ("warm", "timed"):
            if card:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            rate, _ = timer(place / f"{name}-{turn}")
        found[name] = Measured(
            examples_per_s=round(rate, 3),
            tokens_per_s=round(rate * tokens, 1),
            peak_memory_bytes=torch.cuda.max_memory_allocated() if card else None,
            mfu=round(rate * tokens * 4 * weights / (peak * 1e12), 4) if peak else None,
        )
        print(f"{name}: {found[name]}", file=sys.stderr)
    mine = found["medtune"].examples_per_s
    return {
        "benchmark": "gpu_train",
        "shape": arguments.shape,
        **{
            f"ratio_to_{name}": round(mine / its.examples_per_s, 2)
            for name, its in found.items()
            if name != "medtune"
        },
        "measured": {name: asdict(its) for name, its in found.items()},
        "peak_tflops": peak,
        "tokens_per_example": round(tokens, 1),
        "examples": arguments.examples,
        "data": arguments.data,
        "provenance": collect_provenance(card).model_dump(mode="json"),
    }


def mean_tokens(source: ModelSource, questions: Sequence[Question]) -> float:
    """Count the tokens of an example on average."""
    from transformers import AutoTokenizer

    encoder = ChatEncoder(AutoTokenizer.from_pretrained(source.folder))
    return fmean(len(encoded(encoder, question).tokens) for question in questions)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="1.7b")
    parser.add_argument("--data", default="starter:train")
    parser.add_argument("--examples", type=int, default=256)
    parser.add_argument("--peak-tflops", type=float, help="of the card, dense bf16")
    parser.add_argument("--no-peers", action="store_true", help="notebook and medtune only")
    parser.add_argument("--json-out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
