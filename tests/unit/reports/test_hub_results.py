from __future__ import annotations

from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from huggingface_hub import EvalResultEntry, parse_eval_result_entries
from tests.unit.releases.export import dossiers as make

from medtune.core.records import EvaluationRecord
from medtune.reports.hub_results import (
    build_hub_result,
    missing_entry_reason,
    render_hub_results,
    results_file_name,
)


def of(source: str, **more: Any) -> EvaluationRecord:
    data = make.DATA.model_copy(update={"source": source})
    return make.evaluation(data=data, **more)


def read_back(record: EvaluationRecord) -> EvalResultEntry:
    """Write and read an entry as huggingface_hub does."""
    text = render_hub_results([build_hub_result(record)])
    (entry,) = parse_eval_result_entries(yaml.safe_load(text))
    return entry


def test_the_hub_reads_the_entry_back() -> None:
    record = of("hub:openlifescienceai/medmcqa:validation")
    entry = read_back(record)
    assert entry == build_hub_result(record)
    assert (entry.dataset_id, entry.task_id) == ("openlifescienceai/medmcqa", "default")
    assert entry.value == pytest.approx(100 * record.accuracy.value)
    assert entry.date == "2026-01-02T03:04:05Z"
    assert entry.notes is not None
    assert "33.6 % (32.2–35.1, n = 4,183), 95 % Wilson interval" in entry.notes
    assert "split validation; letter; options in cyclic order; 0-shot" in entry.notes
    assert entry.dataset_revision is None
    assert entry.source_url is None


def test_a_configuration_is_the_task_and_a_commit_the_revision() -> None:
    commit = "a" * 40
    record = of(f"hub:cais/mmlu/anatomy@{commit}:test")
    entry = read_back(record)
    assert (entry.dataset_id, entry.task_id) == ("cais/mmlu", "anatomy")
    assert entry.dataset_revision == commit
    assert results_file_name(record) == "cais-mmlu-anatomy-test.yaml"
    assert read_back(of("hub:cais/mmlu/anatomy@main:test")).dataset_revision is None


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (of("starter:recall"), "starter:recall is no dataset of the Hub"),
        (of("file:/home/ann/my.csv"), "file:/home/ann/my.csv is no dataset of the Hub"),
        (of("hub:cais/mmlu:test", variant="options-only"), "the questions were changed"),
    ],
)
def test_what_the_hub_has_no_place_for_has_a_reason(record: EvaluationRecord, reason: str) -> None:
    assert (missing_entry_reason(record) or "").startswith(reason)
    assert missing_entry_reason(of("hub:cais/mmlu:test")) is None


def test_the_date_is_utc_whatever_the_machine_says() -> None:
    made = make.MADE.model_copy(update={"created": "2026-01-02T01:00:00+03:00"})
    assert build_hub_result(of("hub:a/b:test", provenance=made)).date == "2026-01-01T22:00:00Z"
