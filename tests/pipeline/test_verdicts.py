"""A verdict promotes as long as all that it rests on is as it was: nothing else does."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.test_export import records
from tests.unit.releases.export import dossiers as make
from tests.unit.releases.test_registry import release

from medtune.core.errors import CheckFailed, ReleaseError
from medtune.core.provenance import collect_provenance
from medtune.core.records import Question, SplitDescription
from medtune.core.run_folder import write_record
from medtune.releases.build import run_gate
from medtune.releases.evidence_store import EvidenceStore
from medtune.releases.gate_rules import RULES, apply_gate
from medtune.releases.gate_schema import (
    Evidence,
    EvidenceRecord,
    GateRecord,
    Margins,
    RuleName,
    Waiver,
)
from medtune.releases.promotion import promote, rollback
from medtune.releases.registry import Registry
from medtune.releases.schema import Release

QUESTION = Question(id="q", stem="Why?", options=("a", "b"), answer=0)
FAILED = make.EVIDENCE.model_copy(update={"safety": make.safety(harm_answered=0.5)})


class Place:
    """A registry with frozen questions, where evidence is laid down as if it had been measured."""

    def __init__(self, folder: Path) -> None:
        self.registry = Registry(folder / "registry")
        self.evidence_store = EvidenceStore(self.registry)
        self.freeze("5")

    def freeze(self, digit: str) -> None:
        self.evidence_store.freeze_suite("starter:recall", digit * 64, [QUESTION], "ann")

    def build(self, name: str, **more: Any) -> Release:
        made = release(name).model_dump()
        return self.registry.add_release(Release.model_validate({**made, **more}), "ann")

    def measure(
        self, one: Release, evidence: Evidence = make.EVIDENCE, data: str = "d"
    ) -> EvidenceRecord:
        suite = self.evidence_store.read_suite()
        assert suite is not None
        about = SplitDescription(source=f"file:{data}.csv", n=9, excluded={}, hash=data * 64)
        record = EvidenceRecord(
            candidate=one.id, champion=self.registry.read_aliases().champion, suite=suite[0].hash,
            data=about, calibration=about, trained_on=None, original=None, is_packed=False,
            records=records(self.registry, evidence), created=datetime.now(UTC),
            provenance=collect_provenance(),
        )  # fmt: skip
        self.evidence_store.add_evidence(record, "ann")
        return record

    def gate(self, name: str, margins: Margins | None = None, *waived: Waiver) -> GateRecord:
        return run_gate(self.registry, name, margins or Margins(), waived, "ann")

    def promote(self, name: str) -> Release:
        return promote(self.registry, name, "champion", "ann")

    def refused(self, name: str, words: str, command: str) -> None:
        before = self.registry.read_aliases()
        with pytest.raises(CheckFailed, match=words) as error:
            self.promote(name)
        assert error.value.fix.endswith(command) or command in error.value.fix
        assert "\n" not in error.value.found
        assert self.registry.read_aliases() == before


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def judged(place: Place, name: str, **more: Any) -> Release:
    made = place.build(name, **more)
    place.measure(made)
    assert place.gate(name).passed
    return made


def test_a_verdict_names_everything_that_it_rests_on(place: Place) -> None:
    one = judged(place, "v1")
    said = place.evidence_store.find_verdict(one, None)
    assert said is not None
    assert said.bound is not None
    ref = place.evidence_store.find_evidence_ref(one.id, None)
    assert ref is not None
    assert (said.bound.suite, said.bound.policy) == ("5" * 64, one.policy_hash)
    assert said.bound.evidence == ref.sha256
    measured = place.evidence_store.find_evidence(one.id, None)
    assert measured is not None
    assert said.evidence == measured.records
    assert measured.data.hash == "d" * 64
    other = place.gate("v1", Margins(latency_s=2))
    assert other.bound is not None
    assert other.bound.margins != said.bound.margins
    assert place.promote("v1") == one


def test_new_evidence_ends_an_old_verdict(place: Place) -> None:
    one = judged(place, "v1")
    place.measure(one, FAILED, data="e")
    place.refused("v1", "v1 was measured again since", "medtune release gate v1")
    assert not place.gate("v1").passed
    place.refused("v1", "v1 is refused: safety", "")
    place.measure(one)
    place.refused("v1", "v1 was measured again since", "medtune release gate v1")
    assert place.gate("v1").passed
    assert place.promote("v1") == one


def test_other_frozen_questions_end_evidence_and_verdict(place: Place) -> None:
    one = judged(place, "v1")
    place.freeze("5")
    place.freeze("6")
    place.refused("v1", "other questions were frozen since", "medtune release evaluate v1")
    with pytest.raises(CheckFailed, match="other questions were frozen since v1 was measured"):
        place.gate("v1")
    place.freeze("5")  # the same ones again
    assert place.gate("v1").passed
    assert place.promote("v1") == one


def test_another_champion_ends_a_verdict_also_in_the_last_moment(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = judged(place, "v1"), judged(place, "v2", weights_hash="4" * 64)
    laid_out = Registry.ensure_tree

    def meanwhile(registry: Registry, release: Release) -> Path:
        monkeypatch.undo()
        place.promote("v2")
        return laid_out(registry, release)

    monkeypatch.setattr(Registry, "ensure_tree", meanwhile)
    with pytest.raises(CheckFailed, match="not judged v1 against the present champion"):
        place.promote("v1")
    assert place.registry.find("champion") == two
    place.measure(one)
    place.refused("v1", "has not judged v1 against", "medtune release gate v1")
    place.gate("v1")
    assert place.promote("v1") == one
    assert rollback(place.registry, "ann") == two


def test_changed_evidence_or_a_changed_verdict_promotes_nothing(place: Place) -> None:
    one = judged(place, "v1")
    measured, line = place.evidence_store.find_evidence(one.id, None), place.registry.read_log()[-1]
    assert measured is not None
    named = {
        "a record": measured.records["safety"].sha256,
        "all records": str(place.evidence_store.find_evidence_ref(one.id, None).sha256),  # type: ignore[union-attr]
        "the verdict": str(line.detail["verdict"]),
    }
    for what, sha256 in named.items():
        object_ = place.registry.objects.object_path(sha256)
        whole = object_.read_bytes()
        object_.chmod(0o644)
        object_.write_bytes(whole + b" ")
        with pytest.raises(ReleaseError, match="sha256 is"):
            place.promote("v1")
        object_.unlink()
        with pytest.raises(ReleaseError, match="is missing"):
            place.promote("v1")
        object_.write_bytes(whole)
        assert place.registry.read_aliases().champion is None, what
    assert place.promote("v1") == one


def test_other_rules_end_a_verdict(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    judged(place, "v1")
    rule: RuleName = "latency"
    monkeypatch.setitem(RULES, rule, lambda evidence, margins: RULES["safety"](evidence, margins))
    place.refused("v1", "the rules or their inputs", "medtune release gate v1")
    place.gate("v1")
    place.promote("v1")


def test_a_waived_rule_stays_waived(place: Place) -> None:
    one = place.build("v1")
    place.measure(one, make.EVIDENCE.model_copy(update={"bench": None}))
    place.gate("v1")
    place.refused("v1", "v1 is refused: latency", "")
    place.gate("v1", None, Waiver(rule="latency", name="Ann", reason="nobody waits for it"))
    assert place.promote("v1") == one


def test_every_look_is_counted_and_told(place: Place) -> None:
    one = judged(place, "v1")
    place.measure(one, FAILED, data="e")
    place.measure(one, data="f")
    said = place.gate("v1")
    assert said.bound is not None
    assert [look.hash for look in said.bound.looks] == [x * 64 for x in "def"]
    assert (len(said.bound.looks), said.bound.distinct_data_sets) == (3, 3)
    assert len(place.evidence_store.list_evidence(one.id)) == 3


def test_a_champion_is_judged_as_it_was_measured(place: Place) -> None:
    one = judged(place, "v1")
    place.promote("v1")
    assert place.gate("v1").champion is None
    assert place.promote("v1") == one


def test_what_an_earlier_version_left_opens_and_promotes_nothing(place: Place) -> None:
    registry, one, two = place.registry, place.build("v1"), place.build("v2")
    with registry.writing():  # as earlier versions did
        for each in (one, two):
            registry.append_log(
                "ann", "release.evaluate", each.id, {"champion": None, "safety": "f"}
            )
            registry.append_log("ann", "release.gate", each.id, {"champion": None, "passed": True})
    old = apply_gate(two.id, None, make.EVIDENCE, Margins())
    assert old.passed
    write_record(registry.folder / "gates" / f"{two.id[:12]}-none.json", old)
    for each in (one, two):
        registry.set_alias("champion", each, "ann", "release.promote")
    assert sorted(row.name for row in registry.release_rows()) == ["v1", "v2"]  # made at one moment
    assert registry.verify(one).faults == ()
    assert rollback(registry, "ann") == one
    place.refused("v2", "not judged v2 against the present champion", "medtune release gate v2")
    assert place.evidence_store.find_latest_verdict(two) is None
    assert {r.outcome for r in place.gate("v2").results} == {"missing"}
    assert [look.hash for look in place.evidence_store.list_evaluations(two)] == [None, None]


def test_evidence_and_verdicts_of_another_release_count_for_nothing(place: Place) -> None:
    one, two = judged(place, "v1"), place.build("v2")
    found = {line.action: line.detail for line in place.registry.read_log()}
    for action, named, judge_it in (
        ("release.evaluate", "evidence", place.gate),
        ("release.gate", "verdict", place.promote),
    ):
        with place.registry.writing():
            detail = {"champion": None, named: found[action][named]}
            place.registry.append_log("eve", action, two.id, detail)
        with pytest.raises(ReleaseError, match=f"for {two.id[:12]} is about {one.id[:12]}"):
            judge_it("v2")


def test_whether_a_release_is_packed_is_not_for_the_evidence_to_say(place: Place) -> None:
    packed = place.build("v1", scheme="int8")
    evidence = make.EVIDENCE.model_copy(update={"packed": None})
    place.measure(packed, evidence)  # laid down with is_packed=False
    refused = {result.rule: result.reason for result in place.gate("v1").refused}
    assert refused == {"parity": "needs what it was packed from, asked the same"}
