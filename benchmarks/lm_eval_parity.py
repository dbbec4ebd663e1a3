"""Letter scores beside lm-evaluation-harness's on the same questions and prompts; one JSON line.

    python benchmarks/lm_eval_parity.py [--data starter:recall] [--shots 0] [--record FILE]

Both score in fp32 with the same weights.  --record writes the harness's log-probabilities, which
tests/real/test_lm_eval.py holds medtune's against where the harness is not installed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from eval_speed import STYLE, harness_requests, open_harness
from medtune.core.choice import top_scoring_indices
from medtune.core.prompt import prompt_fingerprint
from medtune.core.protocols import ScoreRequest
from medtune.core.provenance import collect_provenance, installed_version
from medtune.core.records import Question
from medtune.data.load import load_split
from medtune.models.local.local_model import LocalModel
from medtune.models.sources import resolve_model

Table = list[list[float]]
"""Log-probability of each letter, `[question][letter]`, nats."""


def main() -> None:
    """Measure, print, and record if asked to."""
    arguments = _arguments()
    model = LocalModel.load(resolve_model(arguments.model), dtype="float32")
    split = load_split(arguments.data, size=arguments.questions)
    shots = tuple(load_split("starter:train", size=max(1, arguments.shots)).questions)
    shots = shots[: arguments.shots]
    questions = tuple(split.questions)
    ours = medtune_letters(model, questions, shots)
    theirs = harness_letters(model, questions, shots)
    result = {
        "benchmark": "lm_eval_parity",
        "questions": len(questions),
        "shots": arguments.shots,
        **agreement(ours, theirs),
        "data": arguments.data,
        "model": arguments.model,
        "lm_eval": installed_version("lm_eval"),
        "provenance": collect_provenance().model_dump(mode="json"),
    }
    print(json.dumps(result))
    if arguments.json_out:
        arguments.json_out.write_text(json.dumps(result, indent=2) + "\n")
    if arguments.record:
        recorded = {
            "recipe": f"python benchmarks/lm_eval_parity.py --data {arguments.data} "
            f"--shots {arguments.shots} --record FILE",
            "lm_eval": installed_version("lm_eval"),
            "fingerprint": model.describe().fingerprint,
            "prompt_hash": prompt_fingerprint(STYLE, model.render),
            "data": arguments.data,
            "shots": arguments.shots,
            "letters": {
                q.id: [round(value, 6) for value in row]
                for q, row in zip(questions, theirs, strict=True)
            },
        }
        arguments.record.write_text(json.dumps(recorded, indent=1) + "\n")


def medtune_letters(
    model: LocalModel, questions: Sequence[Question], shots: Sequence[Question] = ()
) -> Table:
    """Score the letters as an examination does."""
    requests = []
    for question in questions:
        lead, texts = STYLE.split_continuations(question, "letter")
        messages = STYLE.build_messages(question, "letter", shots)
        requests.append(
            ScoreRequest(question.id, question.stem, question.options, messages, lead, texts)
        )
    return [[score.logprob for score in scores] for scores in model.score(requests)]


def harness_letters(
    model: LocalModel, questions: Sequence[Question], shots: Sequence[Question] = ()
) -> Table:
    """Score the letters by lm-evaluation-harness's own loglikelihood."""
    requests = harness_requests(model, questions, "letter", shots)
    values = iter(open_harness(model).loglikelihood(requests, disable_tqdm=True))
    return [[next(values)[0] for _ in question.options] for question in questions]


def agreement(ours: Table, theirs: Table) -> dict[str, float | int]:
    """Compare two tables of scores."""
    pairs = list(zip(ours, theirs, strict=True))
    return {
        "same_choice": sum(top_scoring_indices(a) == top_scoring_indices(b) for a, b in pairs),
        "largest_difference": max(abs(x - y) for a, b in pairs for x, y in zip(a, b, strict=True)),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded:smollm2-135m")
    parser.add_argument("--data", default="starter:recall")
    parser.add_argument("--questions", type=int)
    parser.add_argument("--shots", type=int, default=0)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--json-out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
