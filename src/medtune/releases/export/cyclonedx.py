"""Build the bill of materials of an export: CycloneDX 1.7 JSON with the model as subject.

CycloneDX (ECMA-424, cyclonedx.org/docs/1.7/json) describes a model by a card in a component of type
`machine-learning-model`. cyclonedx-python-lib has no such card yet, but its copy of the official
schema validates this one. The same release and verdict give the same bytes: nothing is random or
taken from the clock.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC
from typing import Any
from urllib.parse import quote

from medtune.core.records import content_hash
from medtune.releases.export.context import ReleaseContext, evaluated_splits
from medtune.releases.export.limitations import list_limitations
from medtune.releases.export.metrics import Figure, list_figures
from medtune.releases.export.render import NOTICE

JsonObject = dict[str, Any]
SPDX = ("Apache-2.0", "MIT", "BSD-3-Clause", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0")
"""Licences given by SPDX id; others are given by name."""
MODEL, BASE = "model", "base-model"


def build_bill_of_materials(context: ReleaseContext) -> str:
    """Build the bill of materials as JSON."""
    release = context.release
    made = release.provenance
    data, packages = [*_data_components(context)], [*_package_components(context)]
    verdict = context.verdict and context.verdict.model_dump(mode="json")
    name = content_hash([release.id, verdict])
    medtune = _component(
        "application", "medtune", version=made.medtune, properties=_properties(commit=made.commit)
    )
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.7",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, name)}",
        "version": 1,
        "metadata": {
            "timestamp": release.created.astimezone(UTC).isoformat(timespec="seconds"),
            "tools": {"components": [medtune]},
            "component": _model_component(context, [part["bom-ref"] for part in data]),
        },
        "components": [*data, *packages],
        "dependencies": [
            {"ref": MODEL, "dependsOn": [part["bom-ref"] for part in (*data, *packages)]}
        ],
        # Lists the packages that results depend on, not all installed ones.
        "compositions": [{"aggregate": "incomplete", "dependencies": [MODEL]}],
    }
    return json.dumps(bom, ensure_ascii=False, indent=2) + "\n"


def find_schema_faults(text: str) -> tuple[str, ...] | None:
    """Validate a bill of materials by the official schema; None if it is not installed."""
    try:
        from cyclonedx.exception import MissingOptionalDependencyException
        from cyclonedx.schema import SchemaVersion
        from cyclonedx.validation.json import JsonStrictValidator
    except ImportError:
        return None
    try:
        found = JsonStrictValidator(SchemaVersion.V1_7).validate_str(text, all_errors=True)
    except MissingOptionalDependencyException:
        return None
    return tuple(str(fault.data.message) for fault in found or ())


def _model_component(context: ReleaseContext, datasets: Sequence[str]) -> JsonObject:
    release = context.release
    fingerprint = release.base_fingerprint
    base = _component(
        "machine-learning-model",
        context.hub_base or release.base,
        ref=BASE,
        version=fingerprint,
        purl=_hub_purl(context),
        properties=_properties(source=release.base, fingerprint=fingerprint),
    )
    return _component(
        "machine-learning-model",
        release.name,
        ref=MODEL,
        version=release.id[:12],
        description=f"Chooses among the options of medical exam questions. {NOTICE}",
        hashes=_sha256(release.weights_hash) if release.weights_hash else None,
        licenses=_licences(context.licence),
        pedigree=_without_none({"ancestors": [base], "notes": context.base_note}),
        components=[
            _component("file", path, hashes=_sha256(ref.sha256))
            for path, ref in sorted(context.files.items())
        ],
        modelCard=_model_card(context, datasets),
        properties=_properties(
            release=release.id,
            weights=release.weights,
            scheme=release.scheme,
            method=release.method,
            prompt=release.prompt_hash,
            policy=release.policy,
            policy_hash=release.policy_hash,
            gate=context.standing,
        ),
    )


def _model_card(context: ReleaseContext, datasets: Sequence[str]) -> JsonObject:
    parameters = {
        "approach": {"type": "supervised"} if context.release.data_hash else None,
        "task": "multiple-choice question answering",
        "datasets": [{"ref": ref} for ref in datasets],
        "inputs": [{"format": "text: a stem and 2 to 10 options"}],
        "outputs": [{"format": "probabilities of the options"}],
    }
    risks = {
        "answers are taken for advice about a person": "the endpoint refuses texts that are not "
        "exam questions, and every answer says that it is not medical advice",
        "a wrong answer is believed": "probabilities are shown, and the policy defers answers or "
        "has a reviewer decide",
    }
    metrics = [_metric(figure) for figure in list_figures(context.evidence)]
    return {
        "modelParameters": _without_none(parameters),
        "quantitativeAnalysis": {"performanceMetrics": metrics},
        "considerations": {
            "users": ["researchers", "teachers and students of medicine"],
            "useCases": ["studying how small language models answer exam questions", "teaching"],
            "technicalLimitations": list_limitations(context),
            "ethicalConsiderations": [
                {"name": risk, "mitigationStrategy": strategy} for risk, strategy in risks.items()
            ],
        },
    }


def _metric(figure: Figure) -> JsonObject:
    """Return a figure with its 95 % interval; numbers are strings in the standard."""
    about = (figure.on, f"n = {figure.n}" if figure.n is not None else None)
    interval = None
    if figure.low is not None and figure.high is not None:
        interval = {"lowerBound": repr(figure.low), "upperBound": repr(figure.high)}
    return _without_none(
        {
            "type": figure.name,
            "value": repr(figure.value),
            "slice": ", ".join(part for part in about if part) or None,
            "confidenceInterval": interval,
        }
    )


def _data_components(context: ReleaseContext) -> Iterator[JsonObject]:
    release, regression = context.release, context.evidence.regression
    if release.data_hash:
        yield _dataset_component("data:train", "train split", release.data_hash, "trained on")
    if (calibration := release.calibration) is not None:
        yield _component(
            "data",
            calibration.source,
            ref="data:calibration",
            description="calibrated with",
            licenses=_licences(context.licences.get(calibration.source)),
            properties=_properties(predictions=calibration.hash, n=calibration.n),
        )
    splits = [
        (f"data:examined-{place}", f"used to {use}", split.source, split.hash, split.n)
        for place, (use, split) in enumerate(evaluated_splits(context.evidence))
    ]
    if regression is not None:
        suite = regression.suite
        splits.append(("data:suite", "frozen suite", suite.source, suite.hash, suite.n))
    for ref, use, source, digest, n in splits:
        yield _dataset_component(ref, source, digest, use, context.licences.get(source), n)


def _dataset_component(
    ref: str, name: str, digest: str, use: str, licence: str | None = None, n: int | None = None
) -> JsonObject:
    return _component(
        "data",
        name,
        ref=ref,
        version=digest[:12],
        description=use,
        licenses=_licences(licence),
        # Hash of the questions in order, as medtune serializes them, not of a file.
        properties=_properties(questions=digest, n=n),
    )


def _package_components(context: ReleaseContext) -> Iterator[JsonObject]:
    for name, version in sorted(context.release.provenance.packages.items()):
        purl = f"pkg:pypi/{name.lower().replace('_', '-')}@{quote(version, safe='')}"
        yield _component("library", name, ref=purl, version=version, purl=purl)


def _hub_purl(context: ReleaseContext) -> str | None:
    """Return the package URL of a base on the Hub (purl-spec, type huggingface)."""
    release = context.release
    if context.hub_base is None or not release.base.startswith("hub:"):
        return None
    return f"pkg:huggingface/{quote(context.hub_base)}@{release.base_fingerprint.lower()}"


def _component(kind: str, name: str, ref: str | None = None, **fields: object) -> JsonObject:
    return _without_none({"type": kind, "bom-ref": ref, "name": name, **fields})


def _licences(name: str | None) -> list[JsonObject] | None:
    return None if name is None else [{"license": {"id" if name in SPDX else "name": name}}]


def _sha256(digest: str) -> list[JsonObject]:
    return [{"alg": "SHA-256", "content": digest}]


def _properties(**values: object) -> list[JsonObject]:
    return [
        {"name": f"medtune:{name}", "value": str(value)}
        for name, value in values.items()
        if value is not None
    ]


def _without_none(fields: JsonObject) -> JsonObject:
    return {name: value for name, value in fields.items() if value is not None}
