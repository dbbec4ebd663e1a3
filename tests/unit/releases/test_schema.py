"""A release's id: a hash of all of it, and the same for as long as it says the same."""

from __future__ import annotations

import json

from tests.unit.releases.export.dossiers import release

from medtune.core.intervals import wilson_interval
from medtune.core.records import content_hash
from medtune.core.schemas.guardrails import ServingCalibration
from medtune.releases.schema import Release

CALIBRATION = ServingCalibration(
    temperature=2.0, threshold=0.3, risk=0.2, bound=0.18, coverage=0.7, quantile=0.75, level=0.9,
    subjects=("Anatomy",), n=200, source="file:c.jsonl", hash="0" * 64,
)  # fmt: skip


def test_a_release_from_before_accuracy_was_kept_has_its_id() -> None:
    written = json.loads(release(calibration=CALIBRATION).model_dump_json())
    del written["calibration"]["accuracy"]  # as it lies in an old registry, under this hash
    assert Release.model_validate(written).id == content_hash(written)


def test_accuracy_is_part_of_what_is_hashed() -> None:
    measured = CALIBRATION.model_copy(update={"accuracy": wilson_interval(100, 200)})
    better = CALIBRATION.model_copy(update={"accuracy": wilson_interval(101, 200)})
    ids = {release(calibration=one).id for one in (CALIBRATION, measured, better)}
    assert len(ids) == 3
