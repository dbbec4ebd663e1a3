"""The objects of a CycloneDX 1.6 bill of materials that medtune writes, closed and typed.

Names and meanings are the standard's (ECMA-424, cyclonedx.org/docs/1.6/json); unused ones are left
out.
"""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from medtune.core.records import Record


class BomObject(Record):
    """Base of all objects, serialized in camel case."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Property(BomObject):
    """A name and a value without a place in the standard."""

    name: str
    value: str


class Hash(BomObject):
    """The hash of a file."""

    alg: Literal["SHA-256"]
    content: str


class Licence(BomObject):
    """A licence by SPDX id, or by name."""

    id: str | None = None
    name: str | None = None


class LicenceChoice(BomObject):
    """One of several licences."""

    license: Licence


class Interval(BomObject):
    """A 95 % interval; numbers are strings in the standard."""

    lower_bound: str
    upper_bound: str


class MetricValue(BomObject):
    """A measured figure."""

    type: str
    value: str
    slice: str | None = None
    confidence_interval: Interval | None = None


class Quantities(BomObject):
    """All measured figures."""

    performance_metrics: tuple[MetricValue, ...]


class Risk(BomObject):
    """A risk and its mitigation."""

    name: str
    mitigation_strategy: str


class Considerations(BomObject):
    """Intended users, use cases, limitations and risks."""

    users: tuple[str, ...]
    use_cases: tuple[str, ...]
    technical_limitations: tuple[str, ...]
    ethical_considerations: tuple[Risk, ...]


class Approach(BomObject):
    """The learning approach."""

    type: Literal["supervised"]


class Reference(BomObject):
    """A reference to a component of this bill."""

    ref: str


class Format(BomObject):
    """The format of an input or output."""

    format: str


class Parameters(BomObject):
    """Task, data sets, inputs and outputs of the model."""

    approach: Approach | None
    task: str
    datasets: tuple[Reference, ...]
    inputs: tuple[Format, ...]
    outputs: tuple[Format, ...]


class ModelCard(BomObject):
    """The model card."""

    model_parameters: Parameters
    quantitative_analysis: Quantities
    considerations: Considerations


class Pedigree(BomObject):
    """The components that a component was derived from."""

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
    """The tools that wrote the bill."""

    components: tuple[Component, ...]


class Metadata(BomObject):
    """Time, tools and subject of the bill."""

    timestamp: str
    tools: Tools
    component: Component


class Dependency(BomObject):
    """The dependencies of a component."""

    ref: str
    depends_on: tuple[str, ...]


class Composition(BomObject):
    """The completeness of a list."""

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
