"""What a real release exports, read by the libraries that it is meant for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard
from tests.conftest import CommandLine
from tests.pipeline.test_export import built
from tests.real.test_release import GUESSES, Works

from medtune.releases.export.cyclonedx import find_schema_faults
from medtune.releases.gate_schema import GateRecord
from medtune.releases.registry import Registry


def test_from_a_fake_through_the_gate_to_a_folder(medtune: CommandLine, tmp_path: Path) -> None:
    works = Works(medtune, tmp_path)
    works.release("freeze", "starter:recall")
    works.release("build", "v1", "fake:noisy")
    works.evaluate("v1")
    works.gate("v1", *GUESSES)
    works.release("promote", "v1")
    works.release("build", "v2", "fake:constant")
    works.evaluate("v2")
    works.gate("v2", code=1)
    works.release("export", "v2")
    folder = tmp_path / "runs" / "export" / "v2"
    card: Any = ModelCard.load(folder / "README.md")
    verdict = GateRecord.model_validate_json((folder / "gate.json").read_bytes())
    assert card.text.strip().startswith("> **The gate refused this release.** Not met: accuracy")
    assert all(f"| {rule.rule} | **failed** |" in card.text for rule in verdict.refused)
    regression = json.loads((folder / "evidence" / "regression.json").read_text())
    assert regression["changed"]
    assert all(one["stem"] == "" for one in regression["changed"])
    assert find_schema_faults((folder / "bom.cdx.json").read_text()) == ()


def test_peft_finds_an_adapter_at_the_top(medtune: CommandLine, tmp_path: Path) -> None:
    from peft import LoraConfig, PeftConfig

    registry = Registry(tmp_path / "runs" / "registry")
    built(registry)
    medtune("release", "export", "v2")
    found = PeftConfig.from_pretrained("runs/export/v2")
    assert isinstance(found, LoraConfig)
    assert found.base_model_name_or_path == "HuggingFaceTB/SmolLM2-135M-Instruct"
