from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.registry.test_store import built

from medtune.core.errors import ReleaseError, StoreError
from medtune.core.findings import PairedSlices
from medtune.core.gate import EvidenceRecord, GateRecord, Margins, RuleResult
from medtune.core.provenance import provenance
from medtune.core.records import Question
from medtune.registry.proofs import Proofs
from medtune.registry.store import Registry

PROVENANCE = provenance()
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
    assert Proofs(registry).suite() is None
    kept = Proofs(registry).freeze("starter:recall", "5" * 64, QUESTIONS, "ann")
    assert Proofs(registry).suite() == (kept, QUESTIONS)
    assert [(line.action, line.detail["n"]) for line in registry.log()] == [("release.freeze", 3)]
    later = Proofs(registry).freeze("starter:train", "6" * 64, QUESTIONS[:1], "ann")
    assert Proofs(registry).suite() == (later, QUESTIONS[:1])
    assert registry.objects.fault(kept.file) is None, "what was frozen before is still there"
    registry.objects.place(later.file.sha256).unlink()
    with pytest.raises(ReleaseError, match="missing"):
        Proofs(registry).suite()


def test_evidence_is_of_two_releases_and_told_in_the_log(registry: Registry) -> None:
    one, two = built(registry, "v1"), built(registry, "v2")
    slices = PairedSlices(slices=())
    ref = registry.objects.put_text(slices.model_dump_json())
    record = EvidenceRecord(
        candidate=two.id, champion=one.id, is_packed=True, records={"slices": ref},
        created=datetime.now(UTC), provenance=PROVENANCE,
    )  # fmt: skip
    proofs = Proofs(registry)
    proofs.keep_evidence(record, "ann")
    assert proofs.evidence(two.id, one.id) == record
    assert proofs.evidence(two.id, None) is None
    assert proofs.evidence(one.id, two.id) is None
    found = proofs.read_evidence(record.records, is_packed=record.is_packed)
    assert (found.slices, found.is_packed, found.safety) == (slices, True, None)
    last = list(registry.log())[-1]
    assert (last.action, last.detail["slices"]) == ("release.evaluate", ref.sha256)


def test_a_record_that_is_none_of_its_kind_is_refused(registry: Registry) -> None:
    ref = registry.objects.put_text('{"kind": "slices"}')
    with pytest.raises(ReleaseError, match="no PairedSlices of this version"):
        Proofs(registry).read_evidence({"slices": ref})
    with pytest.raises(ReleaseError, match="is missing"):
        Proofs(registry).read_evidence({"slices": ref.model_copy(update={"sha256": "f" * 64})})


def test_the_latest_verdict_is_that_of_the_log_whoever_was_champion(registry: Registry) -> None:
    one, two = built(registry, "v1"), built(registry, "v2")
    proofs = Proofs(registry)
    assert proofs.latest_verdict(two) is None
    proofs.keep_verdict(verdict(two.id, None), "ann")
    assert proofs.latest_verdict(two) == verdict(two.id, None)
    proofs.keep_verdict(verdict(two.id, one.id, "failed"), "ann")
    assert proofs.latest_verdict(two) == verdict(two.id, one.id, "failed")
    assert proofs.verdict(two, None) == verdict(two.id, None)
    assert proofs.verdict(one, None) is None
    assert [line.detail.get("latency") for line in registry.log()][-1] == "failed"


def test_a_changed_log_is_found_before_a_release_is_believed(registry: Registry) -> None:
    one = built(registry, "v1")
    Proofs(registry).keep_verdict(verdict(one.id, None, "failed"), "ann")
    path = registry.folder / "log.jsonl"
    path.write_text(path.read_text().replace('"passed":false', '"passed":true'))
    with pytest.raises(StoreError, match="was changed"):
        registry.verify(one)
