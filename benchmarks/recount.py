"""Compute again, from the counts that they hold, what committed records say of an interval.

    python benchmarks/recount.py [FILE...]

Nothing is asked and nothing is measured: paired differences get Tango's interval from their
discordant pairs, packed models are held to today's budgets, the guards to today's targets.
A file that holds what it should is left as it is.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from medtune.analysis.compare import comparison_verdict
from medtune.core.intervals import tango_interval
from medtune.core.records import ComparisonRecord, Proportion
from medtune.core.schemas.compression import BUDGETS, budget_violations
from medtune.guardrails.benchmark.measure import TARGETS

RESULTS = Path(__file__).parents[1] / "results"
FILES = ("ablation", "medmcqa_slice", "parity", "quickstart", "safety")

Tree = dict[str, Any]


def recounted(record: Any) -> Any:
    """Return a record as today's code would have written it from the same counts.

    Args:
        record: A committed record, or a part of one, as JSON.
    """
    if isinstance(record, list):
        return [recounted(item) for item in record]
    if not isinstance(record, dict):
        return record
    parts = {key: recounted(value) for key, value in record.items()}
    match parts:
        case {"kind": "comparison"}:
            return _comparison(parts)
        case {"comparison": _, "mean_drift": _, "broken": _}:
            return _packed(parts)
        case {"measure": name, "target": _} if name in TARGETS:
            return parts | {"target": TARGETS[name]}
    return parts


def _comparison(found: Tree) -> Tree:
    low, high = tango_interval(found["only_a"], found["only_b"], found["n"])
    said = comparison_verdict(
        found["a"],
        found["b"],
        found["difference"],
        low,
        high,
        found["p_value"],
        found["minimum_detectable"],
        found["n"],
    )
    return found | {"difference_low": low, "difference_high": high, "verdict": said}


def _packed(found: Tree) -> Tree:
    budget = BUDGETS[found["name"]]
    comparison = ComparisonRecord.model_validate(found["comparison"])
    agreement = Proportion.model_validate(found["agreement"])
    broken = budget_violations(budget, agreement, found["drift_high"], "nats a token", comparison)
    return found | {"budget": budget.model_dump(mode="json"), "broken": list(broken)}


def main() -> None:
    """Rewrite files, and say which changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    asked = parser.parse_args()
    for path in asked.files or [RESULTS / f"{name}.json" for name in FILES]:
        text = path.read_text(encoding="utf-8")
        indent = len(text.splitlines()[1]) - len(text.splitlines()[1].lstrip())
        new = json.dumps(recounted(json.loads(text)), indent=indent, ensure_ascii=False) + "\n"
        if new != text:
            path.write_text(new, encoding="utf-8")
        print(f"{path.name}: {'made anew' if new != text else 'as it was'}")


if __name__ == "__main__":
    main()
