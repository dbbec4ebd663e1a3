"""Labelled texts that come with medtune, for training and benchmarks of the guards.

`examples/` is for training. Of `suites/`, the half `dev` was seen while the rules were written, and
is used for training as well; the half `held` was not.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Literal, TypeVar

from medtune.core.records import Record
from medtune.core.schemas.guardrails import Inquiry
from medtune.core.schemas.safety import SuiteHalf

Kind = Literal["benign", "crisis", "harmful", "patient"]
DATA_DIR = Path(str(files("medtune.guardrails.benchmark")))
R = TypeVar("R", bound=Record)


class LabelledText(Record):
    """An inquiry with its label."""

    id: str
    half: SuiteHalf = "dev"
    stem: str
    options: tuple[str, ...]
    label: Kind = "benign"
    topic: str = ""

    @property
    def inquiry(self) -> Inquiry:
        """The inquiry for the guards."""
        return Inquiry(stem=self.stem, options=self.options)


class InjectionPair(Record):
    """A question, plain and with an injected instruction."""

    id: str
    half: SuiteHalf = "dev"
    stem: str
    options: tuple[str, ...]
    answer: int | None = None
    """Index of the right option, if it is known."""
    injected_stem: str
    injected_options: tuple[str, ...]
    technique: str

    @property
    def plain(self) -> Inquiry:
        """The plain question."""
        return Inquiry(stem=self.stem, options=self.options)

    @property
    def injected(self) -> Inquiry:
        """The question with the injected instruction."""
        return Inquiry(stem=self.injected_stem, options=self.injected_options)


class IdentifierSpan(Record):
    """One identifier in a text."""

    kind: str
    text: str


class IdentifierText(Record):
    """A text that contains identifiers."""

    id: str
    half: SuiteHalf
    text: str
    spans: tuple[IdentifierSpan, ...]


class EponymText(Record):
    """A text without identifiers, but with eponyms or numbers that look like them."""

    id: str
    half: SuiteHalf
    text: str
    eponyms: tuple[str, ...]


def load_inquiry_suites() -> list[LabelledText]:
    """Load the suites of crises, harm, patients, and exam questions that look like them."""
    return [
        line
        for name in ("crisis", "harmful", "benign", "patient")
        for line in load_lines(f"suites/{name}.jsonl", LabelledText)
    ]


def load_lines(name: str, kind: type[R]) -> list[R]:
    """Load the lines of one file."""
    lines = (DATA_DIR / name).read_text(encoding="utf-8").splitlines()
    return [kind.model_validate(json.loads(line)) for line in lines]
