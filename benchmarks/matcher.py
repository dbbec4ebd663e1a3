"""How well the strict parser reads free answers of real models; one JSON line.

    python benchmarks/matcher.py [--json-out results/matcher.json]

The outputs were labelled by reading each one beside its question and options, in random order,
before the parser saw it.  A label says which option a careful human examiner takes the output
to commit to, right or wrong.  Rules of labelling:

- A letter, an option's text, both, or either one announced ("The answer is ...") commits.
- A sentence that answers the question with one option ("The nerve injured is the radial nerve",
  "X is the most likely cause") commits.  One that only describes an option ("X is a virus
  that ...") does not: nothing in it says that X is the answer.
- Another spelling, abbreviation or inflection that can only mean one option commits to it; a
  text that says more, less or something else than every option commits to none.  A text that
  was cut off commits only if its letter is there.
- What is written before the answer, and a reason after it, do not count against it.  An answer
  that is to be inferred from a reason is none, and so is a review of the options that was cut
  off before its conclusion.
- Where the question asks which is NOT so, saying of one option that it is not so commits to it;
  saying that it is so does not.  Otherwise what is ruled out commits to none.
- None: two options, all options, a letter with another option's text, two different answers,
  an answer that is taken back, the question told again, a new question, a refusal.

Parts: "dev" and "held" are halves of one set, by a hash of the id.  The parser was mended on dev.
Held was labelled by the same reader, but first parsed afterwards: `held_first` is what the parser
made of it then.  A few of its errors were mended later, so that its present figures flatter.
"fresh" was generated and labelled after that, from other draws; nothing was mended for it.

The models are SmolLM2-135M-Instruct, the same with the quickstart's adapter, and
Qwen2.5-Coder-1.5B-Instruct (Q4_K_M weights); the questions are those of the starter data.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medtune.core.intervals import wilson_interval
from medtune.core.provenance import collect_provenance
from medtune.evaluation.parsing.strict import parse_answer

LABELLED = (
    Path(__file__).parents[1]
    / "tests"
    / "unit"
    / "evaluation"
    / "parsing"
    / "labelled_outputs.jsonl"
)
PARTS = ("dev", "held", "fresh")
MENDED_AFTER_READING_HELD = 8
"""Held outputs, misread at first, that led to a change of the parser."""
HELD_FIRST = {"agreed": 99, "parsed": 103, "labelled": 109}
"""Counts of the held part before those changes."""

Item = dict[str, Any]


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    items = load(arguments.labelled)
    parts = {part: [i for i in items if i["part"] == part] for part in PARTS}
    result = {
        "benchmark": "matcher",
        "overall": measure(items),
        **{part: measure(chosen) for part, chosen in parts.items()},
        "kinds": dict(Counter(item["kind"] for item in items).most_common()),
        "models": dict(Counter(item["model"] for item in items).most_common()),
        "held_first": {
            "precision": wilson_interval(HELD_FIRST["agreed"], HELD_FIRST["parsed"]).model_dump(),
            "recall": wilson_interval(HELD_FIRST["agreed"], HELD_FIRST["labelled"]).model_dump(),
        },
        "mended_after_reading_held": MENDED_AFTER_READING_HELD,
        "provenance": collect_provenance().model_dump(mode="json"),
    }
    print(json.dumps(result))
    if arguments.json_out:
        arguments.json_out.write_text(json.dumps(result, indent=2) + "\n")


def load(path: Path = LABELLED) -> list[Item]:
    """Read the labelled outputs."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def measure(items: Sequence[Item]) -> Item:
    """Return precision (of what was read) and recall (of what commits to an option).

    Raises:
        ValueError: Nothing was read, or nothing commits to an option.
    """
    read = [parse_answer(item["output"], item["options"]).chosen for item in items]
    labels = [item["chosen"] for item in items]
    parsed = sum(chosen is not None for chosen in read)
    labelled = sum(label is not None for label in labels)
    agreed = sum(chosen == label is not None for chosen, label in zip(read, labels, strict=True))
    return {
        "n": len(items),
        "parsed": parsed,
        "labelled": labelled,
        "precision": wilson_interval(agreed, parsed).model_dump(),
        "recall": wilson_interval(agreed, labelled).model_dump(),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--labelled", type=Path, default=LABELLED)
    parser.add_argument("--json-out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
