from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from tests.unit.releases.export import dossiers as make

from medtune.releases.export.context import ReleaseContext
from medtune.releases.export.cyclonedx import build_bill_of_materials, find_schema_faults
from medtune.releases.export.limitations import list_limitations
from medtune.releases.export.metrics import list_figures
from medtune.releases.gate_schema import Evidence

BARE = make.context(
    Evidence(), asked=False, files={}, licence=None, hub_base=None,
    release=make.release(
        weights="base", base="path:/models/x", weights_hash=None, data_hash=None, calibration=None,
        provenance=make.MADE.model_copy(update={"packages": {}, "commit": None}),
    ),
)  # fmt: skip
PACKED = make.context(
    make.EVIDENCE.model_copy(update={"packed": make.packed(), "is_packed": True}),
    release=make.release(
        weights="model", scheme="int8", base="hub:HuggingFaceTB/SmolLM2-1.7B-Instruct",
        base_fingerprint="A" * 40,
    ),
    hub_base="HuggingFaceTB/SmolLM2-1.7B-Instruct", licence="llama3.2",
)  # fmt: skip


def read(context: ReleaseContext) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(build_bill_of_materials(context))
    return found


@pytest.mark.parametrize("context", [make.context(), BARE, PACKED])
def test_it_is_what_the_official_schema_asks_for(context: ReleaseContext) -> None:
    text = build_bill_of_materials(context)
    assert json.loads(text)["specVersion"] == "1.7"
    assert find_schema_faults(text) == ()


def test_the_check_sees_faults_and_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    text = build_bill_of_materials(make.context())
    assert find_schema_faults(text.replace('"bomFormat"', '"bomFrmt"'))
    assert find_schema_faults(text.replace("SHA-256", "SHA-255", 1))
    monkeypatch.setitem(sys.modules, "cyclonedx.schema", None)
    assert find_schema_faults(text) is None


def test_the_same_release_gives_the_same_bytes_and_another_verdict_another_name() -> None:
    text = build_bill_of_materials(make.context())
    assert text == build_bill_of_materials(make.context())
    one, two, three = (
        read(d)["serialNumber"]
        for d in (
            make.context(),
            make.context(asked=False),
            make.context(release=make.release(note="x")),
        )
    )
    assert len({one, two, three}) == 3


def test_the_model_stands_in_the_middle() -> None:
    model = read(make.context())["metadata"]["component"]
    assert model["type"] == "machine-learning-model"
    assert model["hashes"] == [{"alg": "SHA-256", "content": "1" * 64}]
    assert model["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    (base,) = model["pedigree"]["ancestors"]
    assert base["name"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    files = {part["name"]: part["hashes"][0]["content"] for part in model["components"]}
    assert files == {name: ref.sha256 for name, ref in make.FILES.items()}
    said = {one["name"]: one["value"] for one in model["properties"]}
    release = make.release()
    assert said["medtune:release"] == release.id
    assert said["medtune:gate"] == "passed"
    assert said["medtune:prompt"] == release.prompt_hash


def test_every_figure_is_there_with_its_interval() -> None:
    card = read(make.context())["metadata"]["component"]["modelCard"]
    metrics = card["quantitativeAnalysis"]["performanceMetrics"]
    wanted = list_figures(make.EVIDENCE)
    assert len(metrics) == len(wanted) > 20
    for metric, figure in zip(metrics, wanted, strict=True):
        assert float(metric["value"]) == figure.value
        assert metric["type"] == figure.name
        interval = metric.get("confidenceInterval")
        if figure.low is None:
            assert interval is None
        else:
            assert (float(interval["lowerBound"]), float(interval["upperBound"])) == (
                figure.low, figure.high,
            )  # fmt: skip
        assert figure.n is None or f"n = {figure.n}" in metric["slice"]
    assert tuple(card["considerations"]["technicalLimitations"]) == list_limitations(make.context())


def test_a_changed_record_changes_the_bill() -> None:
    changed = make.EVIDENCE.model_copy(update={"served": make.served(max_drift=0.7654)})
    assert '"0.7654"' not in build_bill_of_materials(make.context())
    assert '"0.7654"' in build_bill_of_materials(make.context(changed))


def test_packages_data_and_base_by_their_public_names() -> None:
    bill = read(PACKED)
    purls = [part["purl"] for part in bill["components"] if part["type"] == "library"]
    assert purls == ["pkg:pypi/ast-serialize@0.13.1", "pkg:pypi/torch@2.13.0%2Bcpu"]
    model = bill["metadata"]["component"]
    assert model["licenses"] == [{"license": {"name": "llama3.2"}}]
    (base,) = model["pedigree"]["ancestors"]
    assert base["purl"] == f"pkg:huggingface/HuggingFaceTB/SmolLM2-1.7B-Instruct@{'a' * 40}"
    data = {part["bom-ref"]: part for part in bill["components"] if part["type"] == "data"}
    refs = [one["ref"] for one in model["modelCard"]["modelParameters"]["datasets"]]
    assert sorted(data) == sorted(refs)
    train = {one["name"]: one["value"] for one in data["data:train"]["properties"]}
    assert train == {"medtune:questions": make.release().data_hash}
    assert data["data:examined-0"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    (needed,) = bill["dependencies"]
    assert set(needed["dependsOn"]) == {*data, *purls}
    assert bill["compositions"][0]["aggregate"] == "incomplete"


def test_no_question_is_told() -> None:
    assert "secret" not in build_bill_of_materials(make.context())
