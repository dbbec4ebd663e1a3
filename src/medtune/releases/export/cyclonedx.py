"""The bill of materials of an export: CycloneDX 1.6 JSON with the model as its subject.

CycloneDX (ECMA-424) describes a model by a card inside a component of the type
`machine-learning-model`; cyclonedx-python-lib has no such card yet, so the few objects that are
needed stand in `bom_records`, and the library's copy of the official schema checks them.  The
same release and verdict give the same bytes: nothing in it is drawn or taken from the clock.
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
from medtune.releases.export.datasheet import examined
from medtune.releases.export.limitations import limitations
from medtune.releases.export.metrics import figures
from medtune.releases.export.render import NOTICE

SPDX = ("Apache-2.0", "MIT", "BSD-3-Clause", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0")
"""Licences that may be given by id; others stand by name."""
MODEL, BASE = "model", "base-model"


def bill_of_materials(dossier: ReleaseContext) -> str:
    """Write the bill of materials as JSON."""
    release = dossier.release
    made = release.provenance
    data, packages = tuple(_data(dossier)), tuple(_packages(dossier))
    model = _model(dossier, [c.bom_ref for c in data if c.bom_ref])
    parts = (*data, *packages)
    verdict = dossier.verdict and dossier.verdict.model_dump(mode="json")
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
        # Packages are those that numbers depend on, not all that are installed.
        compositions=(Composition(aggregate="incomplete", dependencies=(MODEL,)),),
    )
    return bom.model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n"


def schema_faults(text: str) -> tuple[str, ...] | None:
    """Hold a bill of materials against the official schema; None where no schema is installed."""
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


def _model(dossier: ReleaseContext, datasets: list[str]) -> Component:
    release = dossier.release
    fingerprint = release.base_fingerprint
    base = Component(
        type="machine-learning-model",
        bom_ref=BASE,
        name=dossier.hub_base or release.base,
        version=fingerprint,
        purl=_hub_purl(dossier),
        properties=_properties(source=release.base, fingerprint=fingerprint),
    )
    files = tuple(
        Component(type="file", name=path, hashes=(_sha256(ref.sha256),))
        for path, ref in sorted(dossier.files.items())
    )
    return Component(
        type="machine-learning-model",
        bom_ref=MODEL,
        name=release.name,
        version=release.id[:12],
        description=f"Chooses among the options of medical exam questions. {NOTICE}",
        hashes=(_sha256(release.weights_hash),) if release.weights_hash else None,
        licenses=_licence(dossier.licence),
        pedigree=Pedigree(ancestors=(base,), notes=dossier.base_note),
        components=files,
        model_card=_card(dossier, datasets),
        properties=_properties(
            release=release.id,
            weights=release.weights,
            scheme=release.scheme,
            method=release.method,
            prompt=release.prompt_hash,
            policy=release.policy,
            policy_hash=release.policy_hash,
            gate=dossier.standing,
        ),
    )


def _card(dossier: ReleaseContext, datasets: list[str]) -> ModelCard:
    release = dossier.release
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
        for figure in figures(dossier.evidence)
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
            technical_limitations=limitations(dossier),
            ethical_considerations=(
                Risk(
                    name="answers are taken for advice about a person",
                    mitigation_strategy="the endpoint refuses what is no exam question, and "
                    "every answer says that it is no medical advice",
                ),
                Risk(
                    name="a wrong answer is believed",
                    mitigation_strategy="probabilities are shown, and what the policy says is "
                    "deferred or waits for a reviewer",
                ),
            ),
        ),
    )


def _data(dossier: ReleaseContext) -> Iterator[Component]:
    release, evidence = dossier.release, dossier.evidence
    if release.data_hash:
        yield _dataset("data:train", "train split", release.data_hash, "trained on")
    if release.calibration is not None:
        yield Component(
            type="data",
            bom_ref="data:calibration",
            name=release.calibration.source,
            description="calibrated with",
            licenses=_licence(dossier.licences.get(release.calibration.source)),
            properties=_properties(
                predictions=release.calibration.hash, n=str(release.calibration.n)
            ),
        )
    for place, (use, split) in enumerate(examined(evidence)):
        ref, licence = f"data:examined-{place}", dossier.licences.get(split.source)
        yield _dataset(ref, split.source, split.hash, f"used to {use}", licence, split.n)
    if evidence.regression is not None:
        suite = evidence.regression.suite
        licence = dossier.licences.get(suite.source)
        yield _dataset("data:suite", suite.source, suite.hash, "frozen suite", licence, suite.n)


def _dataset(
    ref: str, name: str, digest: str, use: str, licence: str | None = None, n: int | None = None
) -> Component:
    return Component(
        type="data",
        bom_ref=ref,
        name=name,
        version=digest[:12],
        description=use,
        licenses=_licence(licence),
        # Of the questions in order, as medtune writes them; no file has these bytes.
        properties=_properties(questions=digest, n=None if n is None else str(n)),
    )


def _packages(dossier: ReleaseContext) -> Iterator[Component]:
    for name, version in sorted(dossier.release.provenance.packages.items()):
        purl = f"pkg:pypi/{name.lower().replace('_', '-')}@{quote(version, safe='')}"
        yield Component(type="library", bom_ref=purl, name=name, version=version, purl=purl)


def _hub_purl(dossier: ReleaseContext) -> str | None:
    """Write the base's package URL (purl-spec, type huggingface), where it is on the Hub."""
    release = dossier.release
    if dossier.hub_base is None or not release.base.startswith("hub:"):
        return None
    return f"pkg:huggingface/{quote(dossier.hub_base)}@{release.base_fingerprint.lower()}"


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
