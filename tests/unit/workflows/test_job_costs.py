from __future__ import annotations

from pathlib import Path

import pytest

from medtune.core.records import RunRecord
from medtune.core.schemas.plan import MachineSpeed
from medtune.models.memory import BYTES_PER_WEIGHT, FULL_TRAINING
from medtune.workflows.job_costs import (
    ERROR_FACTOR,
    REFERENCE_ELEMENTS,
    JobCosts,
    estimate_usual_jobs,
)

QUICKSTART = RunRecord.model_validate_json(
    (Path(__file__).parents[3] / "results" / "quickstart.json").read_bytes()
)
REFERENCE = MachineSpeed(products=2800, elements=REFERENCE_ELEMENTS)
"""The machine of the quickstart."""
SLOWER = 14.40 / 10.95
"""Training examples/s of the quickstart when the costs were measured, over those of the record."""
COSTS = JobCosts(REFERENCE)


def is_near(estimate: float, measured: float) -> bool:
    return measured / ERROR_FACTOR < estimate < measured * ERROR_FACTOR


def test_estimates_are_within_their_stated_error_of_the_quickstart() -> None:
    then = MachineSpeed(products=REFERENCE.products / SLOWER, elements=REFERENCE_ELEMENTS / SLOWER)
    costs = JobCosts(then)
    usual = estimate_usual_jobs(then, bytes_per_weight=2)
    assert usual[0].seconds == pytest.approx(QUICKSTART.duration_s, rel=0.2)
    assert usual[0].memory_bytes == pytest.approx(QUICKSTART.peak_memory_bytes, rel=0.2)
    (training,) = QUICKSTART.trainings
    assert costs.training_seconds(training.examples) == pytest.approx(training.duration_s, rel=0.2)
    assert COSTS.training_memory(2) == pytest.approx(training.peak_memory_bytes, rel=0.2)
    for method in ("cloze", "letter", "generate"):
        done = [e for e in QUICKSTART.evaluations if e.method == method]
        measured = sum(e.duration_s or 0 for e in done) / len(done)
        assert is_near(costs.evaluation_seconds(method, 80, options_only=500), measured)


def test_costs_grow_with_what_they_depend_on() -> None:
    once = COSTS.evaluation_seconds("letter", 1000)
    assert COSTS.evaluation_seconds("letter", 2000) == pytest.approx(2 * once)
    assert COSTS.evaluation_seconds("letter", 1000, options_only=500) == pytest.approx(1.5 * once)
    assert COSTS.evaluation_seconds("letter", 1000, orders="cyclic") == pytest.approx(3.4 * once)
    assert COSTS.evaluation_seconds("letter", 1000, characters=430) == pytest.approx(2 * once)
    larger = JobCosts(REFERENCE, parameters=10 * COSTS.parameters)
    assert larger.evaluation_seconds("letter", 1000) == pytest.approx(10 * once)
    assert larger.training_memory(2) > COSTS.training_memory(2)
    assert COSTS.training_memory(BYTES_PER_WEIGHT[FULL_TRAINING]) > COSTS.training_memory(4)
    slower = JobCosts(MachineSpeed(products=280, elements=REFERENCE_ELEMENTS / 10))
    assert slower.training_seconds(100) == pytest.approx(10 * COSTS.training_seconds(100))
