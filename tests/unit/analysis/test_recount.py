"""Committed records say of their counts what today's code would."""

from __future__ import annotations

import json
from typing import Any

import pytest

from medtune.core.intervals import tango_interval
from medtune.core.schemas.compression import ParityRecord
from recount import FILES, RESULTS, recounted


@pytest.mark.parametrize("name", FILES)
def test_committed_records_hold_todays_intervals(name: str) -> None:
    record = json.loads((RESULTS / f"{name}.json").read_bytes())
    assert recounted(record) == record


def test_what_is_recounted_changes_nothing_that_was_measured() -> None:
    record = json.loads((RESULTS / "parity.json").read_bytes())
    old = json.loads(json.dumps(record))
    row = old["rows"][0]
    row["comparison"] |= {"difference_low": 0.5, "difference_high": 0.6, "verdict": ""}
    row |= {"broken": ["all"], "budget": {"agreement": 0, "loss": 0, "drift": 0}}
    assert recounted(old) == record
    for one in ParityRecord.model_validate(record).rows:
        pairs = one.comparison
        assert (pairs.difference_low, pairs.difference_high) == tango_interval(
            pairs.only_a, pairs.only_b, pairs.n
        )
        assert one.drift_high is not None
        assert one.mean_drift < one.drift_high < one.max_drift


@pytest.mark.parametrize("part", [1, "text", None, [], {"kind": "comparison?"}])
def test_what_holds_no_interval_stays(part: Any) -> None:
    assert recounted(part) == part
