"""Measure what the models of a learning curve forgot: general questions and plain texts.

    python benchmarks/forgetting.py curve/cells --json-out results/forgetting.json

The folder is that of `medtune study learning-curve --out curve`, which keeps its models there. Base
and fine-tuned models answer the 120 questions of starter:general by cloze and by letter, and score
the same 40 paragraphs; half a minute a model on two cores.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from medtune.analysis.forgetting import describe_forgetting
from medtune.cli.output import Terminal
from medtune.core.prompt import PromptStyle
from medtune.core.provenance import collect_provenance
from medtune.core.run_folder import write_text
from medtune.models.open_model import open_model
from medtune.workflows.forgetting import GeneralExam, GeneralKnowledge, compare_general_knowledge


def main() -> None:
    """Measure every model, and write the comparisons with the base model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cells", type=Path, help="folder with a folder for each training")
    parser.add_argument("--base", default="embedded:smollm2-135m")
    parser.add_argument("--out", type=Path, default=Path("runs") / "forgetting")
    parser.add_argument("--json-out", type=Path)
    given = parser.parse_args()
    folders = sorted(folder.parent for folder in given.cells.glob("*/model"))
    if not folders:
        parser.error(f"{given.cells} has no folders with a model")
    exam = GeneralExam.plan(PromptStyle())

    def measure(model: str, name: str) -> GeneralKnowledge:
        opened = open_model(model, questions=exam.exams[0].questions, style=PromptStyle())
        return exam.measure(opened, name, given.out / name, Terminal())

    base = measure(given.base, "base")
    found = []
    for folder in folders:
        record = compare_general_knowledge(base, measure(f"path:{folder}/model", folder.name))
        print(describe_forgetting(record))
        found.append(record.model_dump(mode="json"))
    if given.json_out is not None:
        report = {
            "benchmark": "forgetting",
            "models": found,
            "provenance": collect_provenance().model_dump(mode="json"),
        }
        write_text(given.json_out, f"{json.dumps(report, indent=2)}\n")


if __name__ == "__main__":
    main()
