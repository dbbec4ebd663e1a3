"""Build the bill of materials of an export: CycloneDX 1.6 JSON with the model as subject.

CycloneDX (ECMA-424) describes a model by a card in a component of type `machine-learning-model`.
cyclonedx-python-lib has no such card yet, so the required objects are in `cyclonedx_schema`, and
the library's copy of the official schema validates them. The same release and verdict give the same
bytes: nothing is random or taken from the clock.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC
from urllib.parse import quote

from medtune.core.records import content_hash
from medtune.releases.export.context import ReleaseContext
from medtune.releases.export.cyclonedx_schema import (
    Approach,
    Bom,
    Component,
    Composition,
    Considerations,
    Dependency,
    Format,
    Hash,
    Interval,
    Licence,
    LicenceChoice,
    Metadata,
    MetricValue,
    ModelCard,
    Parameters,
    Pedigree,
    Property,
    Quantities,
    Reference,
    Risk,
    Tools,
)
from medtune.releases.export.datasheet import evaluated_splits
from medtune.releases.export.limitations import list_limitations
from medtune.releases.export.metrics import list_figures
from medtune.releases.export.render import NOTICE

SPDX = ("Apache-2.0", "MIT", "BSD-3-Clause", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0")
"""Licences given by SPDX id; others are given by name."""
MODEL, BASE = "model", "base-model"


def build_bill_of_materials(context: ReleaseContext) -> str:
    """Build the bill of materials as JSON."""
    release = context.release
    made = release.provenance
    data, packages = tuple(_data_components(context)), tuple(_package_components(context))
    model = _model_component(context, [c.bom_ref for c in data if c.bom_ref])
    parts = (*data, *packages)
    verdict = context.verdict and context.verdict.model_dump(mode="json")
    name = content_hash([release.id, verdict])
    bom = Bom(
        serial_number=f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, name)}",
        metadata=Metadata(
            timestamp=release.created.astimezone(UTC).isoformat(timespec="seconds"),
            tools=Tools(
                components=(
                    Component(
                        type="application",
                        name="medtune",
                        version=made.medtune,
                        properties=_properties(commit=made.commit),
                    ),
                )
            ),
            component=model,
        ),
        components=parts,
        dependencies=(
            Dependency(ref=MODEL, depends_on=tuple(c.bom_ref for c in parts if c.bom_ref)),
        ),
        # Lists the packages that results depend on, not all installed ones.
        compositions=(Composition(aggregate="incomplete", dependencies=(MODEL,)),),
    )
    return bom.model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n"


def find_schema_faults(text: str) -> tuple[str, ...] | None:
    """Validate a bill of materials by the official schema; None if it is not installed."""
    try:
        from cyclonedx.exception import MissingOptionalDependencyException
        from cyclonedx.schema import SchemaVersion
        from cyclonedx.validation.json import JsonStrictValidator
    except ImportError:
        return None
    try:
        found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text, all_errors=True)
    except MissingOptionalDependencyException:
        return None
    return tuple(str(fault.data.message) for fault in found or ())


def _model_component(context: ReleaseContext, datasets: list[str]) -> Component:
    release = context.release
    fingerprint = release.base_fingerprint
    base = Component(
        type="machine-learning-model",
        bom_ref=BASE,
        name=context.hub_base or release.base,
        version=fingerprint,
        purl=_hub_purl(context),
        properties=_properties(source=release.base, fingerprint=fingerprint),
    )
    files = tuple(
        Component(type="file", name=path, hashes=(_sha256(ref.sha256),))
        for path, ref in sorted(context.files.items())
    )
    return Component(
        type="machine-learning-model",
        bom_ref=MODEL,
        name=release.name,
        version=release.id[:12],
        description=f"Chooses among the options of medical exam questions. {NOTICE}",
        hashes=(_sha256(release.weights_hash),) if release.weights_hash else None,
        licenses=_licence(context.licence),
        pedigree=Pedigree(ancestors=(base,), notes=context.base_note),
        components=files,
        model_card=_model_card(context, datasets),
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


def _model_card(context: ReleaseContext, datasets: list[str]) -> ModelCard:
    release = context.release
    metrics = tuple(
        MetricValue(
            type=figure.name,
            value=repr(figure.value),
            slice=", ".join(
                part
                for part in (figure.on, f"n = {figure.n}" if figure.n is not None else None)
                if part
            )
            or None,
            confidence_interval=Interval(
                lower_bound=repr(figure.low), upper_bound=repr(figure.high)
            )
            if figure.low is not None and figure.high is not None
            else None,
        )
        for figure in list_figures(context.evidence)
    )
    return ModelCard(
        model_parameters=Parameters(
            approach=Approach(type="supervised") if release.data_hash else None,
            task="multiple-choice question answering",
            datasets=tuple(Reference(ref=ref) for ref in datasets),
            inputs=(Format(format="text: a stem and 2 to 10 options"),),
            outputs=(Format(format="probabilities of the options"),),
        ),
        quantitative_analysis=Quantities(performance_metrics=metrics),
        considerations=Considerations(
            users=("researchers", "teachers and students of medicine"),
            use_cases=("studying how small language models answer exam questions", "teaching"),
            technical_limitations=list_limitations(context),
            ethical_considerations=(
                Risk(
                    name="answers are taken for advice about a person",
                    mitigation_strategy="the endpoint refuses texts that are not exam questions, "
                    "and every answer says that it is not medical advice",
                ),
                Risk(
                    name="a wrong answer is believed",
                    mitigation_strategy="probabilities are shown, and the policy defers answers "
                    "or has a reviewer decide",
                ),
            ),
        ),
    )


def _data_components(context: ReleaseContext) -> Iterator[Component]:
    release, evidence = context.release, context.evidence
    if release.data_hash:
        yield _dataset_component("data:train", "train split", release.data_hash, "trained on")
    if release.calibration is not None:
        yield Component(
            type="data",
            bom_ref="data:calibration",
            name=release.calibration.source,
            description="calibrated with",
            licenses=_licence(context.licences.get(release.calibration.source)),
            properties=_properties(
                predictions=release.calibration.hash, n=str(release.calibration.n)
            ),
        )
    for place, (use, split) in enumerate(evaluated_splits(evidence)):
        ref, licence = f"data:examined-{place}", context.licences.get(split.source)
        yield _dataset_component(ref, split.source, split.hash, f"used to {use}", licence, split.n)
    if evidence.regression is not None:
        suite = evidence.regression.suite
        licence = context.licences.get(suite.source)
        yield _dataset_component(
            "data:suite", suite.source, suite.hash, "frozen suite", licence, suite.n
        )


def _dataset_component(
    ref: str, name: str, digest: str, use: str, licence: str | None = None, n: int | None = None
) -> Component:
    return Component(
        type="data",
        bom_ref=ref,
        name=name,
        version=digest[:12],
        description=use,
        licenses=_licence(licence),
        # Hash of the questions in order, as medtune serializes them, not of a file.
        properties=_properties(questions=digest, n=None if n is None else str(n)),
    )


def _package_components(context: ReleaseContext) -> Iterator[Component]:
    for name, version in sorted(context.release.provenance.packages.items()):
        purl = f"pkg:pypi/{name.lower().replace('_', '-')}@{quote(version, safe='')}"
        yield Component(type="library", bom_ref=purl, name=name, version=version, purl=purl)


def _hub_purl(context: ReleaseContext) -> str | None:
    """Return the package URL of a base on the Hub (purl-spec, type huggingface)."""
    release = context.release
    if context.hub_base is None or not release.base.startswith("hub:"):
        return None
    return f"pkg:huggingface/{quote(context.hub_base)}@{release.base_fingerprint.lower()}"


def _licence(name: str | None) -> tuple[LicenceChoice, ...] | None:
    if name is None:
        return None
    one = Licence(id=name) if name in SPDX else Licence(name=name)
    return (LicenceChoice(license=one),)


def _sha256(digest: str) -> Hash:
    return Hash(alg="SHA-256", content=digest)


def _properties(**values: str | None) -> tuple[Property, ...]:
    return tuple(
        Property(name=f"medtune:{name}", value=value)
        for name, value in values.items()
        if value is not None
    )
