from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.unit.releases.test_registry import built

from medtune.core.errors import ReleaseError, StoreError
from medtune.core.provenance import collect_provenance
from medtune.core.records import Question, SplitDescription
from medtune.core.schemas.analysis import PairedSlices
from medtune.releases.evidence_store import EvidenceStore
from medtune.releases.gate_schema import EvidenceRecord, GateRecord, Margins, RuleResult
from medtune.releases.registry import Registry
from medtune.releases.schema import Release

PROVENANCE = collect_provenance()
QUESTIONS = [
    Question(id=f"q{i}", stem=f"Why é {i}?", options=("a", "b\n\u2028c"), answer=i % 2)
    for i in range(3)
]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry")


def verdict(candidate: str, champion: str | None, outcome: str = "passed") -> GateRecord:
    rule = RuleResult.model_validate(
        {"rule": "latency", "outcome": outcome, "figure": 1.0, "bound": 2.0, "reason": "fast"}
    )
    return GateRecord(candidate=candidate, champion=champion, margins=Margins(), results=(rule,))


def test_frozen_questions_come_back_as_they_were(registry: Registry) -> None:
    assert EvidenceStore(registry).read_suite() is None
    kept = EvidenceStore(registry).freeze_suite("starter:recall", "5" * 64, QUESTIONS, "ann")
    assert EvidenceStore(registry).read_suite() == (kept, QUESTIONS)
    assert [(line.action, line.detail["n"]) for line in registry.read_log()] == [
        ("release.freeze", 3)
    ]
    later = EvidenceStore(registry).freeze_suite("starter:train", "6" * 64, QUESTIONS[:1], "ann")
    assert EvidenceStore(registry).read_suite() == (later, QUESTIONS[:1])
    assert registry.objects.find_fault(kept.file) is None, "what was frozen before is still there"
    registry.objects.object_path(later.file.sha256).unlink()
    with pytest.raises(ReleaseError, match="missing"):
        EvidenceStore(registry).read_suite()


def measured(candidate: str, champion: str | None, **more: Any) -> EvidenceRecord:
    about = SplitDescription(source="starter:recall", n=3, excluded={}, hash="7" * 64)
    fields: dict[str, Any] = {
        "candidate": candidate, "champion": champion, "suite": "5" * 64, "data": about,
        "calibration": about, "trained_on": None, "original": None, "is_packed": True,
        "records": {}, "created": datetime.now(UTC), "provenance": PROVENANCE,
    }  # fmt: skip
    return EvidenceRecord(**{**fields, **more})


def test_evidence_is_of_two_releases_and_told_in_the_log(registry: Registry) -> None:
    one, two = built(registry, "v1"), built(registry, "v2")
    slices = PairedSlices(slices=())
    ref = registry.objects.put_text(slices.model_dump_json())
    record = measured(two.id, one.id, records={"slices": ref})
    evidence_store = EvidenceStore(registry)
    evidence_store.add_evidence(record, "ann")
    assert evidence_store.find_evidence(two.id, one.id) == record
    assert evidence_store.find_evidence(two.id, None) is None
    assert evidence_store.find_evidence(one.id, two.id) is None
    packed = two.model_copy(update={"scheme": "int8", "weights": "model", "data_hash": None})
    found = evidence_store.read_evidence(record.records, packed)
    assert (found.slices, found.is_packed, found.safety) == (slices, True, None)
    assert not found.is_trained
    for of_adapter in ({"data_hash": None}, {"data_hash": "d" * 64}):
        adapter = two.model_copy(update={"weights": "adapter", **of_adapter})
        assert evidence_store.read_evidence(record.records, adapter).is_trained
    last = registry.read_log()[-1]
    kept = evidence_store.find_evidence_ref(two.id, one.id)
    assert kept is not None
    assert (last.action, last.detail["evidence"]) == ("release.evaluate", kept.sha256)
    assert (last.detail["data"], last.detail["data_hash"]) == ("starter:recall", "7" * 64)


def test_measuring_and_judging_again_replaces_nothing(registry: Registry) -> None:
    one, evidence_store = built(registry, "v1"), EvidenceStore(registry)
    records = [measured(one.id, None), measured(one.id, None, is_packed=False)]
    for record in records:
        evidence_store.add_evidence(record, "ann")
    assert evidence_store.list_evidence(one.id) == records
    assert evidence_store.find_evidence(one.id, None) == records[1]
    for outcome in ("failed", "passed"):
        evidence_store.add_verdict(verdict(one.id, None, outcome), "ann")
    found = [
        registry.objects.load_record(
            registry.objects.file_ref(str(line.detail["verdict"])), GateRecord
        )
        for line in registry.read_log()
        if line.action == "release.gate"
    ]
    assert found == [verdict(one.id, None, "failed"), verdict(one.id, None)]
    assert evidence_store.find_latest_verdict(one) == found[1]


def test_the_same_weights_under_another_name_are_the_same_candidate(registry: Registry) -> None:
    evidence_store = EvidenceStore(registry)
    one = built(registry, "v1")
    again = registry.add_release(one.model_copy(update={"name": "v2", "note": "second try"}), "ann")
    other = registry.add_release(
        Release.model_validate({**one.model_dump(), "name": "v3", "weights_hash": "9" * 64}), "ann"
    )
    about = SplitDescription(source="starter:train", n=5, excluded={}, hash="8" * 64)
    evidence_store.add_evidence(measured(one.id, None), "ann")
    evidence_store.add_evidence(measured(again.id, None, data=about), "ann")
    evidence_store.add_evidence(measured(other.id, None), "ann")
    for release in (one, again):
        looks = evidence_store.list_evaluations(release)
        assert [(x.source, x.n) for x in looks] == [("starter:recall", 3), ("starter:train", 5)]
    assert len(evidence_store.list_evaluations(other)) == 1


def test_a_suite_that_was_edited_by_hand_is_refused(registry: Registry) -> None:
    evidence_store, path = EvidenceStore(registry), registry.folder / "suite.json"
    evidence_store.freeze_suite("starter:recall", "5" * 64, QUESTIONS, "ann")
    easy = registry.objects.put_text(f"{QUESTIONS[0].model_dump_json()}\n")
    whole = path.read_text()
    for edited in (
        whole.replace("5" * 64, "6" * 64),
        whole.replace(json.loads(whole)["file"]["sha256"], easy.sha256),
        "{}",
    ):
        path.write_text(edited)
        with pytest.raises(ReleaseError, match="is not what was frozen last"):
            evidence_store.read_suite()
    path.unlink()
    with pytest.raises(ReleaseError, match="is not what was frozen last"):
        evidence_store.read_suite()
    path.write_text(whole)
    assert evidence_store.read_suite() is not None


def test_a_record_that_is_none_of_its_kind_is_refused(registry: Registry) -> None:
    ref = registry.objects.put_text('{"kind": "slices"}')
    with pytest.raises(ReleaseError, match="no PairedSlices of this version"):
        EvidenceStore(registry).read_evidence({"slices": ref})
    with pytest.raises(ReleaseError, match="is missing"):
        EvidenceStore(registry).read_evidence(
            {"slices": ref.model_copy(update={"sha256": "f" * 64})}
        )


def test_the_latest_verdict_is_that_of_the_log_whoever_was_champion(registry: Registry) -> None:
    one, two = built(registry, "v1"), built(registry, "v2")
    evidence_store = EvidenceStore(registry)
    assert evidence_store.find_latest_verdict(two) is None
    evidence_store.add_verdict(verdict(two.id, None), "ann")
    assert evidence_store.find_latest_verdict(two) == verdict(two.id, None)
    evidence_store.add_verdict(verdict(two.id, one.id, "failed"), "ann")
    assert evidence_store.find_latest_verdict(two) == verdict(two.id, one.id, "failed")
    assert evidence_store.find_verdict(two, None) == verdict(two.id, None)
    assert evidence_store.find_verdict(one, None) is None
    assert [line.detail.get("latency") for line in registry.read_log()][-1] == "failed"


def test_a_changed_log_is_found_before_a_release_is_believed(registry: Registry) -> None:
    one = built(registry, "v1")
    EvidenceStore(registry).add_verdict(verdict(one.id, None, "failed"), "ann")
    path = registry.folder / "log.jsonl"
    path.write_text(path.read_text().replace('"passed":false', '"passed":true'))
    with pytest.raises(StoreError, match="was changed"):
        registry.verify(one)
