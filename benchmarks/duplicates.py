"""How well duplicates are told from questions that only look alike; one JSON line.

    python benchmarks/duplicates.py

Judges the labelled pairs of tests/unit/data/dedup/labelled_pairs.jsonl: all questions of a part lie
in one pool, and every pair that the search finds counts, also one across two labelled pairs.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

from medtune.core.intervals import wilson_interval
from medtune.core.records import Proportion, Question
from medtune.data.dedup.find_duplicates import find_overlap

PAIRS = Path(__file__).parents[1] / "tests" / "unit" / "data" / "dedup" / "labelled_pairs.jsonl"


@dataclass(frozen=True, slots=True)
class Judged:
    """What the search made of one part of the labelled pairs."""

    same: int
    """Pairs labelled as one question."""
    different: int
    missed: tuple[str, ...]
    """Ids of pairs that are the same and were not found."""
    wrong: tuple[tuple[str, str], ...]
    """Ids of the questions in pairs that were found and are not the same."""
    by_kind: dict[str, Proportion]
    """Recall per kind of change."""
    recall: Proportion
    precision: Proportion


def labelled(part: str) -> list[dict[str, Any]]:
    """Read the labelled pairs of a part, "dev" or "held"."""
    pairs = [json.loads(line) for line in PAIRS.read_text().splitlines()]
    return [pair for pair in pairs if pair["part"] == part]


def questions_of(pairs: list[dict[str, Any]]) -> list[Question]:
    """Make the questions of labelled pairs: "p001a", "p001b", "p002a", ..."""
    return [
        Question.model_validate({"id": f"{pair['id']}{side}", **pair[side]})
        for pair in pairs
        for side in "ab"
    ]


def judged(part: str) -> Judged:
    """Search one part for duplicates and compare with the labels."""
    pairs = labelled(part)
    found = found_pairs(questions_of(pairs))
    true = {(f"{p['id']}a", f"{p['id']}b"): p["kind"] for p in pairs if p["same"]}
    hits = [true[pair] for pair in found & true.keys()]
    kinds = set(true.values())
    return Judged(
        same=len(true),
        different=len(pairs) - len(true),
        missed=tuple(sorted(a[:-1] for a, _ in true.keys() - found)),
        wrong=tuple(sorted(found - true.keys())),
        by_kind={
            kind: wilson_interval(hits.count(kind), list(true.values()).count(kind))
            for kind in sorted(kinds)
        },
        recall=wilson_interval(len(hits), len(true)),
        precision=wilson_interval(len(hits), len(found)),
    )


def found_pairs(questions: list[Question]) -> set[tuple[str, str]]:
    """List all pairs of ids that the search takes for one question, each id before the later."""
    overlap = find_overlap(questions)
    members: dict[int, list[int]] = defaultdict(list)
    for place, number in enumerate(overlap.classes):
        members[int(number)].append(place)
    pairs = [pair for some in members.values() for pair in combinations(some, 2)]
    for link in overlap.links:
        pairs += product(members[link.first], members[link.second])
    return {(questions[min(pair)].id, questions[max(pair)].id) for pair in pairs}


def main() -> None:
    """Measure and print."""
    result: dict[str, Any] = {"benchmark": "duplicates"}
    for part in ("dev", "held"):
        found = judged(part)
        result[part] = {
            "same": found.same,
            "different": found.different,
            "recall": found.recall.model_dump(),
            "precision": found.precision.model_dump(),
            "recall_by_kind": {kind: value.value for kind, value in found.by_kind.items()},
            "missed": found.missed,
            "wrong": found.wrong,
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
