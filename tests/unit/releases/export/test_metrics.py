from __future__ import annotations

import re

from tests.unit.releases.export import dossiers as make

from medtune.releases.export.metrics import list_figures
from medtune.releases.export.mlflow import absolute_uri, release_metrics
from medtune.releases.gate_schema import Evidence


def test_every_figure_has_a_key_of_its_own_that_mlflow_takes() -> None:
    evidence = make.EVIDENCE.model_copy(update={"packed": make.packed()})
    keys = [figure.key for figure in list_figures(evidence)]
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch(r"[a-z0-9_.]+", key) for key in keys)
    assert "packed_agreement.int8" in keys
    assert "guards.crises_answered" in keys


def test_only_the_held_out_half_of_the_guards_is_a_figure() -> None:
    safety = make.EVIDENCE.safety
    assert safety is not None
    found = [figure for figure in list_figures(make.EVIDENCE) if figure.record == "safety"]
    assert len(found) == len(safety.figures) / 2


def test_several_rows_of_a_bench_are_told_apart() -> None:
    one = make.bench()
    rows = (*one.rows, one.rows[0].model_copy(update={"name": "int8", "latency_p95_s": 0.07}))
    evidence = Evidence(bench=one.model_copy(update={"rows": rows}))
    found = {figure.key: figure.value for figure in list_figures(evidence)}
    assert found["latency_p95_s.v2"] == 0.1345
    assert found["latency_p95_s.int8"] == 0.07


def test_nothing_measured_is_no_figure() -> None:
    assert list_figures(Evidence()) == ()
    assert release_metrics(make.context(Evidence(), asked=False)) == {}


def test_rules_are_numbers_met_or_not() -> None:
    slow = make.EVIDENCE.model_copy(update={"bench": None})
    found = release_metrics(make.context(slow))
    assert found["gate.latency.met"] == 0.0
    assert "gate.latency.figure" not in found  # what is missing is not zero
    assert (found["gate.accuracy.met"], found["gate.accuracy.bound"]) == (1.0, -0.01)


def test_an_sqlite_file_is_named_wherever_one_stands() -> None:
    assert absolute_uri("sqlite:///mlflow.db").startswith("sqlite:////")
    assert absolute_uri("sqlite:////tmp/x.db") == "sqlite:////tmp/x.db"
    assert absolute_uri("http://host:5000") == "http://host:5000"
