from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from medtune.evaluation.parsing.strict import parse_answer

ITEMS: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parent / "labelled_outputs.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]


def test_the_set_is_large_varied_and_well_formed() -> None:
    assert len(ITEMS) == len({item["id"] for item in ITEMS}) >= 360
    parts = Counter(item["part"] for item in ITEMS)
    assert set(parts) == {"dev", "held", "fresh"}
    assert min(parts["dev"], parts["held"]) >= 180
    assert len({item["model"] for item in ITEMS}) >= 3
    assert len({item["style"] for item in ITEMS}) >= 8
    for item in ITEMS:
        assert item["chosen"] is None or 0 <= item["chosen"] < len(item["options"])


def _agreed(items: Sequence[dict[str, Any]]) -> tuple[int, int, int]:
    """Count what was read and as labelled; what was read; what is labelled with an option."""
    read = [parse_answer(item["output"], item["options"]).chosen for item in items]
    right = sum(r is not None and r == i["chosen"] for r, i in zip(read, items, strict=True))
    labelled = sum(item["chosen"] is not None for item in items)
    return right, sum(r is not None for r in read), labelled


@pytest.mark.parametrize("part", ["all", "held"])
def test_the_parser_reads_them_as_a_person_did(part: str) -> None:
    right, read, labelled = _agreed([i for i in ITEMS if part in ("all", i["part"])])
    assert right / read >= 0.99
    assert right / labelled >= 0.95
