"""Measure the guards on lines that nothing was learned from (benchmarks/guard_suites).

Nine authors wrote them without sight of the guards; names, addresses and numbers are their
inventions. Two more (guard_suites/chosen_on) chose the tagger's thresholds, and are not measured.
Sensitive topics are left out, as what they hold back is held on purpose.

    python benchmarks/guard_suites.py --out results/guard_suites.json
    medtune guard check benchmarks/guard_suites/author_5.jsonl --page errors.html

The second command shows the errors; whoever reads them has seen the suite, and needs another one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from medtune.commands.guard import check_lines, read_lines
from medtune.core.formatting import format_interval, format_percent
from medtune.core.run_folder import write_text
from medtune.core.schemas.guard_check import GuardCheckRecord
from medtune.workflows.open_guards import open_guards

SUITES = Path(__file__).with_name("guard_suites")


def measure(learned: Path | None = None) -> GuardCheckRecord:
    """Measure all suites together."""
    guards = open_guards(learned=learned).without("sensitive")
    lines = [line for file in sorted(SUITES.glob("*.jsonl")) for line in read_lines(file)]
    return check_lines(lines, SUITES.name, guards)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--learned", type=Path, help="file of another learned guard")
    parser.add_argument("--out", type=Path, help="record to write")
    given = parser.parse_args()
    record = measure(given.learned)
    for share in record.shares:
        shown = f"{format_percent(share.right.value)} % ({format_interval(share.right)})"
        print(f"{share.name}: {shown} of {share.right.n}")
    if given.out is not None:
        write_text(given.out, f"{record.model_dump_json(indent=2)}\n")
