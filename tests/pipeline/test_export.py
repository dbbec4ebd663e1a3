"""A release as a folder: what stands in it, what does not, and who can read it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml  # type: ignore[import-untyped]
from huggingface_hub import ModelCard, parse_eval_result_entries
from tests.conftest import CommandLine
from tests.unit.releases.export import dossiers as make
from tests.unit.releases.test_evidence_store import measured

from medtune.core.records import Question
from medtune.guardrails.policy import STARTER_POLICY
from medtune.models.weights_card import CARD_FILE, WeightsCard, read_card
from medtune.releases.build import run_gate
from medtune.releases.evidence_store import EvidenceStore
from medtune.releases.export.cyclonedx import find_schema_faults
from medtune.releases.gate_schema import Evidence, EvidenceKind, EvidenceRecord, GateRecord, Margins
from medtune.releases.registry import Registry
from medtune.releases.schema import FileRef, Release

WEIGHTS = b"low-rank updates"
QUESTION = Question(id="q", stem="Why?", options=("a", "b"), answer=0)
CONFIG = {"base_model_name_or_path": "/home/ann/.cache/x", "peft_type": "LORA", "revision": None}


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def built(registry: Registry, evidence: Evidence = make.EVIDENCE, **more: Any) -> Release:
    """Put a release into a registry, as `medtune release build` does with an adapter."""
    source = registry.folder.parent / "source"
    source.mkdir(parents=True, exist_ok=True)
    (source / "adapter_model.safetensors").write_bytes(WEIGHTS)
    (source / "adapter_config.json").write_text(json.dumps(CONFIG))
    (source / "README.md").write_text("[More Information Needed]")
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    like = make.release(**more)
    card = WeightsCard(
        base=like.base, base_fingerprint=like.base_fingerprint, prompt_hash=like.prompt_hash,
        style=like.style, target=like.target, data_hash=like.data_hash, config_hash=None,
        weights_hash=digest, medtune="0.1.0",
    )  # fmt: skip
    (source / CARD_FILE).write_text(card.model_dump_json())
    files = {f"weights/{path}": ref for path, ref in registry.objects.put_folder(source).items()}
    if like.weights == "base":
        files = {}
    files["policy.toml"] = registry.objects.put_file(STARTER_POLICY)
    return registry.add_release(
        make.release(**{"weights_hash": digest, **more, "files": files}), "ann"
    )


def records(registry: Registry, evidence: Evidence) -> dict[EvidenceKind, FileRef]:
    found = {kind: getattr(evidence, kind) for kind in get_args(EvidenceKind)}
    return {
        kind: registry.objects.put_text(record.model_dump_json())
        for kind, record in found.items()
        if record is not None
    }


def judged(registry: Registry, release: Release, evidence: Evidence = make.EVIDENCE) -> GateRecord:
    verdict = make.verdict(evidence, of=release)
    verdict = verdict.model_copy(update={"evidence": records(registry, evidence)})
    EvidenceStore(registry).add_verdict(verdict, "ann")
    return verdict


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "runs" / "registry")


def exported(medtune: CommandLine, *more: str) -> tuple[Path, dict[str, Any]]:
    record = medtune.record("release", "export", "v2", *more)
    return Path(record["folder"]), record


def test_the_folder_is_what_others_can_read(medtune: CommandLine, registry: Registry) -> None:
    release = built(registry)
    verdict = judged(registry, release)
    folder, record = exported(medtune)
    assert folder == Path("runs/export/v2")
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert there == {
        "README.md", "DATASHEET.md", "TRACEABILITY.md", "bom.cdx.json", "policy.toml",
        "release.json", "gate.json", "medtune.json", "adapter_config.json",
        "adapter_model.safetensors", ".eval_results/openlifescienceai-medmcqa-validation.yaml",
        *(f"evidence/{kind}.json" for kind in verdict.evidence),
    }  # fmt: skip
    assert (record["files"], record["standing"]) == (len(there), "passed")
    assert record["bom_faults"] == []
    assert Release.model_validate_json((folder / "release.json").read_bytes()) == release
    assert GateRecord.model_validate_json((folder / "gate.json").read_bytes()) == verdict
    card: Any = ModelCard.load(folder / "README.md")
    results = yaml.safe_load(
        (folder / ".eval_results" / "openlifescienceai-medmcqa-validation.yaml").read_text()
    )
    (entry,) = parse_eval_result_entries(results)
    assert entry.dataset_id == "openlifescienceai/medmcqa"
    assert entry.value == pytest.approx(100 * make.analysis().evaluation.accuracy.value)
    assert record["no_hub_result"] is None
    assert card.data.library_name == "peft"
    assert "[More Information Needed]" not in card.text
    assert not (folder.stat().st_mode & 0o777) ^ 0o755
    assert read_card(folder).weights_hash == release.weights_hash  # medtune opens it again


def test_data_that_is_not_on_the_hub_has_no_result_there(
    medtune: CommandLine, registry: Registry
) -> None:
    data = make.DATA.model_copy(update={"source": "starter:recall"})
    analysis = make.analysis(evaluation=make.evaluation(data=data))
    evidence = make.EVIDENCE.model_copy(update={"analysis": analysis})
    judged(registry, built(registry), evidence)
    folder, record = exported(medtune)
    assert not (folder / ".eval_results").exists()
    assert record["no_hub_result"] == "starter:recall is no dataset of the Hub"
    _, out, _ = medtune("release", "export", "v2")
    assert "no result for the Hub's leaderboards: starter:recall is no" in " ".join(out.split())


def test_the_bill_lists_the_files_as_they_lie_there(
    medtune: CommandLine, registry: Registry
) -> None:
    judged(registry, built(registry))
    folder, _ = exported(medtune)
    text = (folder / "bom.cdx.json").read_text()
    assert find_schema_faults(text) == ()
    parts = json.loads(text)["metadata"]["component"]["components"]
    assert len(parts) == 4
    for part in parts:
        assert part["hashes"][0]["content"] == sha(folder / part["name"])


@pytest.mark.parametrize(
    ("base", "fingerprint", "name", "revision", "changed"),
    [
        ("embedded:smollm2-135m", "0" * 64, "HuggingFaceTB/SmolLM2-135M-Instruct", None, True),
        ("hub:org/model@main", "a" * 40, "org/model", "a" * 40, True),
        ("path:/models/x", "0" * 64, CONFIG["base_model_name_or_path"], None, False),
    ],
)
def test_an_adapter_names_its_base_as_the_hub_does(
    base: str, fingerprint: str, name: str, revision: str | None, changed: bool,
    medtune: CommandLine, registry: Registry,
) -> None:  # fmt: skip
    judged(registry, built(registry, base=base, base_fingerprint=fingerprint))
    folder, record = exported(medtune, "--licence", "MIT")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == (name, revision)
    assert record["changed"] == (["adapter_config.json"] if changed else [])
    text = (folder / "README.md").read_text()
    assert ("Files that differ from the release: adapter_config.json" in text) == changed
    assert ("quantized to 4 bits" in text) == base.startswith("embedded")
    assert "license: mit" in text


def test_texts_stay_at_home_unless_they_are_asked_for(
    medtune: CommandLine, registry: Registry
) -> None:
    verdict = judged(registry, built(registry))
    folder, record = exported(medtune)
    assert record["texts"] is False
    for path in folder.rglob("*"):
        assert not path.is_file() or b"secret" not in path.read_bytes(), path
    # What held none is the very file that the gate looked at.
    for kind, ref in verdict.evidence.items():
        same = sha(folder / "evidence" / f"{kind}.json") == ref.sha256
        assert same == (kind not in ("analysis", "regression"))
    folder, record = exported(medtune, "--with-texts")
    assert record["texts"] is True
    for kind, ref in verdict.evidence.items():
        assert sha(folder / "evidence" / f"{kind}.json") == ref.sha256
    assert (
        make.SECRET
        in json.loads((folder / "evidence/regression.json").read_text())["changed"][0].values()
    )
    assert "secret" not in (folder / "README.md").read_text()
    assert "Questions' texts were left out" not in (folder / "README.md").read_text()


def test_a_base_alone_has_cards_and_policy_only(medtune: CommandLine, registry: Registry) -> None:
    judged(registry, built(registry, weights="base", weights_hash=None, data_hash=None))
    folder, _ = exported(medtune)
    there = {path.name for path in folder.iterdir()}
    assert "policy.toml" in there
    assert not {name for name in there if "adapter" in name or "safetensors" in name}
    assert "holds no weights" in (folder / "README.md").read_text()


def test_refused_and_unjudged_releases_say_so_at_the_top(
    medtune: CommandLine, registry: Registry
) -> None:
    release = built(registry)
    folder, record = exported(medtune)
    assert record["standing"] == "not asked"
    assert "The gate was not asked" in (folder / "README.md").read_text().split("---")[2]
    assert not (folder / "gate.json").exists()
    assert not (folder / "evidence").exists()
    # What was measured is told, judged or not.
    evidence = measured(release.id, None, records=records(registry, make.EVIDENCE))
    EvidenceStore(registry).add_evidence(evidence, "ann")
    folder, record = exported(medtune)
    assert record["standing"] == "not asked"
    assert (folder / "evidence" / "analysis.json").is_file()
    found = EvidenceRecord.model_validate_json((folder / "evidence.json").read_bytes())
    assert found == evidence
    assert "33.6 % (32.2–35.1, n = 4,183)" in (folder / "README.md").read_text()
    worse = make.EVIDENCE.model_copy(update={"safety": make.safety(harm_answered=0.5)})
    judged(registry, release, worse)
    folder, record = exported(medtune)
    assert record["standing"] == "refused"
    assert "The gate refused this release" in (folder / "README.md").read_text().split("---")[2]


def test_from_the_verdict_every_record_is_found_by_its_hash(
    medtune: CommandLine, registry: Registry
) -> None:
    release, evidence_store = built(registry), EvidenceStore(registry)
    evidence_store.freeze_suite("starter:recall", "5" * 64, [QUESTION], "ann")
    evidence_store.add_evidence(
        measured(release.id, None, records=records(registry, make.EVIDENCE)), "a"
    )
    run_gate(registry, "v2", Margins(), (), "ann")
    folder, _ = exported(medtune, "--with-texts")
    verdict = GateRecord.model_validate_json((folder / "gate.json").read_bytes())
    assert verdict.bound is not None
    assert sha(folder / "evidence.json") == verdict.bound.evidence
    found = EvidenceRecord.model_validate_json((folder / "evidence.json").read_bytes())
    assert found.records == verdict.evidence
    for kind, ref in found.records.items():
        assert sha(folder / "evidence" / f"{kind}.json") == ref.sha256


def test_damaged_bytes_or_evidence_are_not_exported(
    medtune: CommandLine, registry: Registry
) -> None:
    release = built(registry)
    verdict = judged(registry, release)
    folder, _ = exported(medtune)
    before = sha(folder / "README.md")
    for ref in (verdict.evidence["served"], release.files["weights/adapter_model.safetensors"]):
        place = registry.objects.object_path(ref.sha256)
        place.chmod(0o644)
        whole = place.read_bytes()
        place.write_bytes(whole[:-1] + b"!")
        code, _, err = medtune("release", "export", "v2")
        assert code == 2
        assert "sha256" in err
        assert sha(folder / "README.md") == before  # the older export stays
        place.write_bytes(whole)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["v2"]
    assert medtune("release", "export", "v2")[0] == 0


def test_only_an_export_is_replaced(medtune: CommandLine, registry: Registry) -> None:
    built(registry)
    other = Path("home")
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    code, _, err = medtune("release", "export", "v2", "--out", "home")
    assert code == 2
    assert "contains something other than an export" in err
    assert (other / "thesis.txt").read_text() == "mine"
    code, _, err = medtune("release", "export", "v2", "--out", "home/thesis.txt")
    assert code == 2
    assert "is a file" in err
    (other / "thesis.txt").unlink()
    assert medtune("release", "export", "v2", "--out", "home")[0] == 0
    assert medtune("release", "export", "v2", "--out", "home")[0] == 0
    assert medtune("release", "export", "v9")[0] == 2


def test_the_same_release_gives_the_same_folder(medtune: CommandLine, registry: Registry) -> None:
    judged(registry, built(registry))
    hashes = []
    for out in ("a", "b"):
        folder, _ = exported(medtune, "--out", out)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        hashes.append([(path.relative_to(folder), sha(path)) for path in files])
    assert hashes[0] == hashes[1]


def test_the_tree_and_the_objects_are_not_touched(medtune: CommandLine, registry: Registry) -> None:
    release = built(registry)
    folder, _ = exported(medtune)
    (folder / "adapter_model.safetensors").write_bytes(b"changed by its reader")
    assert registry.verify(release).faults == ()


def test_people_are_told_what_was_written(medtune: CommandLine, registry: Registry) -> None:
    release = built(registry)
    assert "the gate was not asked" in medtune("release", "export", "v2")[1]
    judged(registry, release)
    _, out, _ = medtune("release", "export", "v2")
    text = " ".join(out.split())
    assert "19 files" in text
    assert "without questions' texts, in runs/export/v2" in text
    assert "passed the gate" in text
    assert "adapter_config.json is not byte by byte as released" in text


def test_a_bill_that_is_not_valid_is_a_check_that_failed(
    medtune: CommandLine, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(registry)
    monkeypatch.setattr(
        "medtune.releases.export.export_release.find_schema_faults", lambda _: ("no name",)
    )
    code, _, err = medtune("release", "export", "v2")
    assert code == 1
    assert "bom.cdx.json does not conform to CycloneDX: no name" in err


def test_nothing_heavy_is_imported(registry: Registry, tmp_path: Path) -> None:
    import subprocess
    import sys

    built(registry)
    program = (
        "import sys\n"
        "from medtune.cli import main\n"
        "try:\n    main(['release', 'export', 'v2'])\n"
        "except SystemExit as end:\n    code = end.code\n"
        "heavy = {'torch', 'transformers', 'peft', 'datasets', 'mlflow', 'sqlalchemy'}\n"
        "print(code, sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr
