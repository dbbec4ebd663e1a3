"""How often a passage decides, and how often rightly; one JSON record.

    python benchmarks/evidence_rule.py INDEX DATA [DATA ...] [--json-out results/evidence_rule.json]

Every question is asked of the search model of the index, and its evidence is found as the endpoint
finds it.  By split and threshold of the match: the number of questions that a passage decides, how
many of them are right, and the upper bound of the share of errors (Clopper and Pearson, one-sided
95 %).  The policy's threshold is chosen on calibration questions; other splits stand beside it.
Times are of one question's evidence, in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from medtune.analysis.selective_prediction import clopper_pearson_upper
from medtune.core.choice import choose_option
from medtune.core.prompt import PromptStyle
from medtune.core.provenance import collect_provenance
from medtune.core.schemas.guardrails import AnswerEvidence
from medtune.data.load import load_split
from medtune.evaluation.score import score_options
from medtune.guardrails.answer_guards import evidence_decides
from medtune.guardrails.policy import EvidenceRule
from medtune.models.search_model import SearchModel
from medtune.retrieval.answer_evidence import find_answer_evidence

THRESHOLDS = (0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9)


def measure_split(model: SearchModel, source: str) -> dict[str, Any]:
    """Return the counts of one split by threshold, and the times."""
    found: list[tuple[AnswerEvidence, bool]] = []
    times = []
    for question in load_split(source).questions:
        ((probabilities, _),) = score_options(model, PromptStyle(), "letter", [question])
        chosen = choose_option(probabilities, question.stem, question.options)
        start = time.perf_counter()
        evidence = find_answer_evidence(model.index, question.stem, question.options, chosen)
        times.append(1000 * (time.perf_counter() - start))
        found.append((evidence, chosen == question.answer))
    rows = []
    for threshold in THRESHOLDS:
        rule = EvidenceRule(match=threshold)
        right = [correct for evidence, correct in found if evidence_decides(evidence, rule)]
        errors = len(right) - sum(right)
        bound = clopper_pearson_upper(errors, len(right)) if right else None
        rows.append({"match": threshold, "n": len(right), "right": sum(right), "risk": bound})
    return {
        "source": source,
        "n": len(found),
        "right": sum(correct for _, correct in found),
        "decided": rows,
        "p50_ms": statistics.median(times),
        "p95_ms": float(np.quantile(times, 0.95)),
    }


def main() -> None:
    """Measure the splits and print or write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index")
    parser.add_argument("data", nargs="+")
    parser.add_argument("--json-out", type=Path)
    given = parser.parse_args()
    model = SearchModel.open(f"search:{given.index}")
    record = {
        "kind": "evidence rule",
        "passages": model.index.manifest.passages,
        "index": model.index.manifest.hash,
        "splits": [measure_split(model, source) for source in given.data],
        "provenance": collect_provenance().model_dump(mode="json"),
    }
    text = json.dumps(record, indent=2) + "\n"
    if given.json_out:
        given.json_out.write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
