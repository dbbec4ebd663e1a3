"""Labelled texts that come with medtune, for training and benchmarks of the guards.

`examples/` is for training; `authors.jsonl` there is by four other authors, and `templates/` by
38, each in a register of his own. Of `test_cases/`, the half `dev` was seen while the rules were written,
and is used for training as well; the half `held` was not.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib.resources import files
from pathlib import Path
from typing import Literal, TypeVar

from medtune.core.records import Record
from medtune.core.schemas.guardrails import Inquiry
from medtune.core.schemas.safety import LabelledHalf

Kind = Literal["benign", "crisis", "harmful", "patient"]
DATA_DIR = Path(str(files("medtune.guardrails.benchmark")))


class LabelledLine(Record):
    """A line of a file of texts."""

    id: str
    half: LabelledHalf = "dev"


L = TypeVar("L", bound=LabelledLine)


class LabelledText(LabelledLine):
    """An inquiry with its label."""

    stem: str
    options: tuple[str, ...]
    label: Kind = "benign"
    topic: str = ""

    @property
    def inquiry(self) -> Inquiry:
        """The inquiry for the guards."""
        return Inquiry(stem=self.stem, options=self.options)


class InjectionPair(LabelledLine):
    """A question, plain and with an injected instruction."""

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


class IdentifierText(LabelledLine):
    """A text that contains identifiers."""

    text: str
    spans: tuple[IdentifierSpan, ...]


class EponymText(LabelledLine):
    """A text without identifiers, but with eponyms or numbers that look like them."""

    text: str
    eponyms: tuple[str, ...]


class TemplateText(LabelledLine):
    """A text with marked identifiers, or one without any: `Dear <name>{given} {family}</name>`.

    The marks are name, address and phone; what stands in braces is drawn.
    """

    kind: Literal["template", "clean"]
    text: str

    @property
    def author(self) -> str:
        """Name of the author, as in the file's name."""
        return self.id.partition("-")[0]


def is_covered(text: str, start: int, end: int, covered: Collection[int]) -> bool:
    """Return whether every letter and digit of a span is among the covered places."""
    return all(at in covered or not text[at : at + 1].isalnum() for at in range(start, end))


def load_test_inquiries(half: LabelledHalf | None = None) -> list[LabelledText]:
    """Load the test cases of crises, harm, patients and look-alikes, or one half of them."""
    return [
        line
        for name in ("crisis", "harmful", "benign", "patient")
        for line in load_lines(f"test_cases/{name}.jsonl", LabelledText, half)
    ]


def load_templates() -> list[TemplateText]:
    """Load the templates of all authors."""
    names = sorted(file.name for file in (DATA_DIR / "examples" / "templates").glob("*.jsonl"))
    return [
        line for name in names for line in load_lines(f"examples/templates/{name}", TemplateText)
    ]


def load_lines(name: str, kind: type[L], half: LabelledHalf | None = None) -> list[L]:
    """Load the lines of one file, or of one half of it."""
    lines = map(kind.model_validate_json, (DATA_DIR / name).read_text("utf-8").splitlines())
    return [line for line in lines if half in (None, line.half)]
