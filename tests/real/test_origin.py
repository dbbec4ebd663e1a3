"""What a packed release is held against is what it was packed from, and no other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from medtune.commands.compress import compress
from medtune.core.errors import InputError
from medtune.core.progress import NoProgress
from medtune.core.run_folder import write_record
from medtune.data.load import load_split
from medtune.models.sources import ModelSource
from medtune.models.weights_card import CARD_FILE, read_card
from medtune.releases.build import build_release, run_gate
from medtune.releases.commands import freeze_suite
from medtune.releases.evidence import EvidenceOptions, collect_evidence
from medtune.releases.evidence_store import EvidenceStore
from medtune.releases.gate_schema import Margins
from medtune.releases.registry import Registry


def test_a_packed_release_is_held_against_what_its_card_names(
    tiny_source: ModelSource, adapter: Path, tmp_path: Path
) -> None:
    unknown = read_card(adapter).model_copy(update={"data_hash": None})
    write_record(adapter / CARD_FILE, unknown)  # of which nobody knows what it was trained on
    packed = tmp_path / "packed"
    compress(f"adapter:{adapter}", "int8", packed, limit=20, progress=NoProgress())
    place = packed / "int8"
    shutil.copytree(place, tmp_path / "copy")
    registry = Registry(tmp_path / "registry")
    freeze_suite(registry, "starter:recall", 20, "ann", NoProgress())
    release = build_release(registry, "v1", f"path:{place}", "ann", NoProgress())
    assert release.scheme == "int8"

    def options(original: str) -> EvidenceOptions:
        return EvidenceOptions(
            data=load_split("starter:transfer", size=40),
            calibration=load_split("starter:train", size=40),
            original=original,
        )

    for name, words in (
        (f"path:{place}", "is the packed model itself"),
        (f"path:{tmp_path / 'copy'}", "is the packed model itself"),
        (tiny_source.name, "has hash"),
        ("fake:oracle", "has hash fake:oracle"),
    ):
        with pytest.raises(InputError, match=words) as error:
            collect_evidence(registry, "v1", options(name), "ann", NoProgress())
        assert unknown.weights_hash in error.value.expected
    assert all(line.action != "release.evaluate" for line in registry.read_log())

    record = collect_evidence(registry, "v1", options(f"adapter:{adapter}"), "ann", NoProgress())
    assert record.original == unknown.weights_hash
    found = EvidenceStore(registry).read_evidence(record.records)
    assert found.packed is not None
    assert found.packed.reference.model.adapter == unknown.weights_hash
    assert found.regression is not None
    assert found.regression.trained_on is None
    said = {r.rule: r for r in run_gate(registry, "v1", Margins(), (), "ann").results}
    assert said["regression"].outcome == "missing"
    assert "what it was taught" in said["regression"].reason
