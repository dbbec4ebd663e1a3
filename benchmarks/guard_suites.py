"""Measure the guards on lines and on exam questions that nothing was learned from.

Nine authors wrote the lines (benchmarks/guard_suites) without sight of the guards; names, addresses
and numbers are their inventions. Two more (guard_suites/chosen_on) chose the tagger's thresholds,
and are not measured. Sensitive topics are left out there, as what they hold back is held on
purpose; exam questions meet the whole starter policy.

    python benchmarks/guard_suites.py --out results/guard_suites.json
    python benchmarks/guard_suites.py --exam file:VALIDATION.parquet --out results/guard_exam.json
    medtune guard check benchmarks/guard_suites/author_5.jsonl --page errors.html

The last command shows the errors; whoever reads them has seen the suite, and needs another one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from medtune.commands.guard import check_lines, read_lines
from medtune.core.formatting import format_share
from medtune.core.intervals import wilson_interval
from medtune.core.run_folder import write_text
from medtune.core.schemas.dataset import short_source_name
from medtune.core.schemas.guard_check import (
    CheckedShare,
    GuardCheckRecord,
    QuestionLine,
)
from medtune.data.load import load_split
from medtune.workflows.open_guards import open_guards

SUITES = Path(__file__).with_name("guard_suites")


def measure_suites(learned: Path | None) -> GuardCheckRecord:
    """Measure all suites together."""
    guards = open_guards(learned=learned).without("sensitive")
    lines = [line for file in sorted(SUITES.glob("*.jsonl")) for line in read_lines(file)]
    record, _ = check_lines(lines, SUITES.name, guards)
    return record


def measure_exam(source: str, learned: Path | None) -> GuardCheckRecord:
    """Measure exam questions: how many are refused or sent to a person, and what is redacted."""
    lines = [
        QuestionLine(id=q.id, stem=q.stem, options=q.options, subject=q.subject)
        for q in load_split(source).questions
    ]
    record, pairs = check_lines(lines, short_source_name(source), open_guards(learned=learned))
    checked = [found for _, found in pairs]
    right = {
        "not refused": [one.action != "refuse" for one in checked],
        "not sent to a person": [one.action != "defer" for one in checked],
        "no sensitive topic": [
            not any(reason.startswith("sensitive.") for reason in one.reasons) for one in checked
        ],
        "no identifier in the stem": [
            all(span.field != "stem" for span in one.spans) for one in checked
        ],
    }
    shares = tuple(
        CheckedShare(name=f"exam question: {name}", right=wilson_interval(sum(of), len(of)))
        for name, of in right.items()
    )
    return record.model_copy(update={"shares": shares})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exam", help="source of exam questions, measured instead of the suites")
    parser.add_argument("--learned", type=Path, help="file of another learned guard")
    parser.add_argument("--out", type=Path, help="record to write")
    given = parser.parse_args()
    record = (
        measure_exam(given.exam, given.learned) if given.exam else measure_suites(given.learned)
    )
    print(", ".join(f"{n:,} {action}" for action, n in record.actions.items()))
    for share in record.shares:
        print(f"{share.name}: {format_share(share.right)}")
    print(f"{record.p50_ms:.1f} ms in the median, {record.p95_ms:.1f} in 95 of 100")
    if given.out is not None:
        write_text(given.out, f"{record.model_dump_json(indent=2)}\n")
