"""The objects of a CycloneDX 1.6 bill of materials that medtune writes, closed and typed.

Names and meanings are the standard's (ECMA-424, cyclonedx.org/docs/1.6/json); what is not needed
here is not in here.
"""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from medtune.core.records import Record


class BomObject(Record):
    """Base of all objects: written in camel case."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Property(BomObject):
    """A name and a value that the standard has no place for."""

    name: str
    value: str


class Hash(BomObject):
    """Of a file."""

    alg: Literal["SHA-256"]
    content: str


class Licence(BomObject):
    """By its SPDX id, or by a name where it has none."""

    id: str | None = None
    name: str | None = None


class LicenceChoice(BomObject):
    """One of several licences."""

    license: Licence


class Interval(BomObject):
    """Of 95 %; numbers are text in the standard."""

    lower_bound: str
    upper_bound: str


class MetricValue(BomObject):
    """One figure."""

    type: str
    value: str
    slice: str | None = None
    confidence_interval: Interval | None = None


class Quantities(BomObject):
    """All figures."""

    performance_metrics: tuple[MetricValue, ...]


class Risk(BomObject):
    """What may go wrong, and what is done about it."""

    name: str
    mitigation_strategy: str


class Considerations(BomObject):
    """For whom and what for, and what it does not do."""

    users: tuple[str, ...]
    use_cases: tuple[str, ...]
    technical_limitations: tuple[str, ...]
    ethical_considerations: tuple[Risk, ...]


class Approach(BomObject):
    """How it learned."""

    type: Literal["supervised"]


class Reference(BomObject):
    """To a component of this bill."""

    ref: str


class Format(BomObject):
    """Of what goes in or comes out."""

    format: str


class Parameters(BomObject):
    """What the model does, and with which data it was made."""

    approach: Approach | None
    task: str
    datasets: tuple[Reference, ...]
    inputs: tuple[Format, ...]
    outputs: tuple[Format, ...]


class ModelCard(BomObject):
    """The model, described."""

    model_parameters: Parameters
    quantitative_analysis: Quantities
    considerations: Considerations


class Pedigree(BomObject):
    """What a component was made from."""

    ancestors: tuple[Component, ...]
    notes: str | None = None


class Component(BomObject):
    """A model, a file, data, a package."""

    type: Literal["application", "library", "machine-learning-model", "data", "file"]
    bom_ref: str | None = Field(default=None, alias="bom-ref")
    name: str
    version: str | None = None
    description: str | None = None
    hashes: tuple[Hash, ...] | None = None
    licenses: tuple[LicenceChoice, ...] | None = None
    purl: str | None = None
    pedigree: Pedigree | None = None
    components: tuple[Component, ...] | None = None
    model_card: ModelCard | None = None
    properties: tuple[Property, ...] | None = None


class Tools(BomObject):
    """What wrote the bill."""

    components: tuple[Component, ...]


class Metadata(BomObject):
    """When, by what, and about what."""

    timestamp: str
    tools: Tools
    component: Component


class Dependency(BomObject):
    """What a component needs."""

    ref: str
    depends_on: tuple[str, ...]


class Composition(BomObject):
    """How complete a list is."""

    aggregate: Literal["complete", "incomplete"]
    dependencies: tuple[str, ...]


class Bom(BomObject):
    """The whole bill."""

    bom_format: Literal["CycloneDX"] = "CycloneDX"
    spec_version: Literal["1.6"] = "1.6"
    serial_number: str
    version: int = 1
    metadata: Metadata
    components: tuple[Component, ...]
    dependencies: tuple[Dependency, ...]
    compositions: tuple[Composition, ...]
