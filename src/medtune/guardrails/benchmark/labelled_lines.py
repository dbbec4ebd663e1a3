"""The labelled lines that come with medtune: to learn from, and to be measured on.

`examples/` is there to train the learned guard.  Of `suites/`, the half `dev` was looked at while
the rules were written, and the learned guard learns from it, too; the half `held` was not.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Literal, TypeVar

from medtune.core.records import Record
from medtune.core.schemas.guardrails import Inquiry
from medtune.core.schemas.safety import Half

Kind = Literal["benign", "crisis", "harmful", "patient"]
ROOM = Path(str(files("medtune.guardrails.benchmark")))
R = TypeVar("R", bound=Record)


class LabelledText(Record):
    """One inquiry, and what it is."""

    id: str
    half: Half = "dev"
    stem: str
    options: tuple[str, ...]
    label: Kind = "benign"
    topic: str = ""

    @property
    def inquiry(self) -> Inquiry:
        """What the guards see."""
        return Inquiry(stem=self.stem, options=self.options)


class InjectionPair(Record):
    """One question, plain and with an order in it."""

    id: str
    half: Half = "dev"
    stem: str
    options: tuple[str, ...]
    answer: int | None = None
    """Index of the right option, where it is known."""
    injected_stem: str
    injected_options: tuple[str, ...]
    technique: str

    @property
    def plain(self) -> Inquiry:
        """The question alone."""
        return Inquiry(stem=self.stem, options=self.options)

    @property
    def injected(self) -> Inquiry:
        """With the order in it."""
        return Inquiry(stem=self.injected_stem, options=self.injected_options)


class IdentifierSpan(Record):
    """One identifier in a text."""

    kind: str
    text: str


class IdentifierText(Record):
    """A text with identifiers."""

    id: str
    half: Half
    text: str
    spans: tuple[IdentifierSpan, ...]


class EponymText(Record):
    """A text without identifiers, which has eponyms or numbers that look like them."""

    id: str
    half: Half
    text: str
    eponyms: tuple[str, ...]


def kinds() -> list[LabelledText]:
    """Read the suites of crises, harm, patients, and exam questions that look like them."""
    return [
        line
        for name in ("crisis", "harmful", "benign", "patient")
        for line in read(f"suites/{name}.jsonl", LabelledText)
    ]


def read(name: str, kind: type[R]) -> list[R]:
    """Read a file that comes with the guards."""
    lines = (ROOM / name).read_text(encoding="utf-8").splitlines()
    return [kind.model_validate(json.loads(line)) for line in lines]
