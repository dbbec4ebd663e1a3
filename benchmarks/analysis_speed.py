"""How long the statistics of a comparison take, apart from any model; one JSON line.

    python benchmarks/analysis_speed.py [--questions 4183] [--json-out FILE]

Two torch-free fakes answer invented questions over 20 subjects in all orders of their options,
then both are analysed, with calibration, and compared; the page with its figures is timed apart.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

from medtune.analysis.analyze import analyze_evaluation
from medtune.analysis.compare import compare_evaluations
from medtune.analysis.paired_slices import compare_slices
from medtune.core.predictions_io import Evaluation
from medtune.core.progress import NoProgress
from medtune.core.prompt import PromptStyle
from medtune.core.provenance import collect_provenance
from medtune.core.records import Question, SplitDescription
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_model
from medtune.models.fake import FakeModel
from medtune.reports.comparison_folder import ComparedModel, Comparison

CALIBRATION = 1000


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    questions = invented(arguments.questions + CALIBRATION)
    reported, held = questions[: arguments.questions], questions[arguments.questions :]
    kinds = ("noisy", "biased")
    exams = [answered(kind, reported, "reported") for kind in kinds]
    calibrations = [answered(kind, held, "held") for kind in kinds]
    start = time.perf_counter()
    for exam, calibration in zip(exams, calibrations, strict=True):
        analyze_evaluation(".", exam, calibration)
    compare_evaluations(exams[0], exams[1])
    compare_slices(exams[0][1], exams[1][1])
    statistics_s = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        sides = [
            ComparedModel(place / kind, exam, calibration)
            for kind, exam, calibration in zip(kinds, exams, calibrations, strict=True)
        ]
        start = time.perf_counter()
        Comparison.of(sides[0], sides[1]).save(place / "compare")
        with_page_s = time.perf_counter() - start
    result = {
        "benchmark": "analysis_speed",
        "questions": len(reported),
        "statistics_s": round(statistics_s, 2),
        "with_page_s": round(with_page_s, 2),
        "provenance": collect_provenance().model_dump(mode="json"),
    }
    print(json.dumps(result))
    if arguments.json_out:
        arguments.json_out.write_text(json.dumps(result, indent=2) + "\n")


def invented(count: int) -> tuple[Question, ...]:
    """Invent questions of the shape of MedMCQA's: 20 subjects, 600 topics, four options."""
    lots = random.Random(0)
    return tuple(
        Question(
            id=f"q{number}",
            stem=f"Which of these is {'not ' if lots.random() < 0.2 else ''}case {number}?",
            options=tuple(f"finding {number}-{place} {lots.random():.3f}" for place in range(4)),
            answer=lots.randrange(4),
            subject=f"subject {lots.randrange(20)}",
            topic=f"topic {lots.randrange(600)}",
        )
        for number in range(count)
    )


def answered(kind: str, questions: tuple[Question, ...], name: str) -> Evaluation:
    """Let a fake answer in all orders."""
    model = FakeModel(kind, {q.id: q.answer_text for q in questions})
    data = SplitDescription(source=f"file:{name}", n=len(questions), excluded={}, hash="0" * 64)
    exam = Exam(questions, data, PromptStyle(), "letter", "sum", orders="cyclic")
    return evaluate_model(model, exam, kind, STRICT_PARSER, NoProgress())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=4183)
    parser.add_argument("--json-out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
