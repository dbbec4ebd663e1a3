"""Records of an audit of training batches."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from medtune.core.display.frames import make_frame
from medtune.core.records import Record

if TYPE_CHECKING:
    import pandas

Severity = Literal["serious", "warning"]
FindingCode = Literal[
    "another-tokenizer",
    "answer-cut",
    "answer-partly-supervised",
    "beginning-missing",
    "boundaries-misplaced",
    "duplicates",
    "ending-missing",
    "ending-unsupervised",
    "foreign-markers",
    "identical-answers",
    "labels-not-inputs",
    "labels-shifted",
    "not-chat-template",
    "nothing-supervised",
    "outside-vocabulary",
    "packing-leaks",
    "padding-attended",
    "padding-mixed",
    "padding-supervised",
    "prompt-cut",
    "prompt-supervised",
    "role-order",
    "special-tokens-as-text",
    "stop-token-differs",
    "template-twice",
    "tokens-unattended",
    "two-beginnings",
    "wasted-positions",
]
"""Codes of the findings; docs/audit.md explains each."""


class AuditFinding(Record):
    """A fault of training batches, or a suspicion."""

    code: FindingCode
    severity: Severity
    """A serious finding changes what the model learns; a warning may be on purpose."""
    message: str
    """What was found."""
    count: int = Field(ge=1)
    """How many examples have it."""
    of: int = Field(ge=1)
    """How many were examined for it."""
    unit: Literal["examples", "rows"] = "examples"
    place: str
    """Where the shown example is, such as "line 3"."""
    example: str
    """A piece of that example, its supervised part between the marks ⟦ and ⟧."""
    remedy: str


class AuditRecord(Record):
    """Counts and findings of an audit of training batches."""

    source: str
    tokenizer: str
    rows: int
    examples: int
    """Examples after unpacking rows that hold several."""
    positions: int
    """Token positions of all rows, padding included."""
    padding: int
    supervised: int
    """Positions that the loss covers."""
    longest: int
    """Tokens of the longest row without its padding."""
    chat_examples: int
    """Examples in which turns of the tokenizer's chat template were found."""
    has_chat_template: bool
    accepted: tuple[FindingCode, ...] = ()
    """Findings that the caller declared to be on purpose, left out of `findings`."""
    notes: tuple[str, ...] = ()
    """What was not examined, and why."""
    findings: tuple[AuditFinding, ...]
    """Serious ones first."""
    sample: str
    """The first example, its supervised part between the marks ⟦ and ⟧."""

    @property
    def serious(self) -> tuple[AuditFinding, ...]:
        """Return the serious findings."""
        return tuple(finding for finding in self.findings if finding.severity == "serious")

    @property
    def summary(self) -> str:
        """Return the counts in one sentence."""
        return (
            f"{self.examples:,} examples in {self.rows:,} rows, {self.positions:,} positions: "
            f"{self.supervised / self.positions:.1%} supervised, "
            f"{self.padding / self.positions:.1%} padding; longest row {self.longest:,} tokens"
        )

    def to_frame(self) -> pandas.DataFrame:
        """Return a data frame with a row for each finding.

        Raises:
            MedtuneError: pandas is not installed.
        """
        columns = list(AuditFinding.model_fields)
        return make_frame((found.model_dump() for found in self.findings), columns)

    def _repr_html_(self) -> str:
        """Return a table of the findings for a notebook."""
        head = f"<p>{escape(self.source)}: {escape(self.summary)}</p>"
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        if not self.findings:
            return f"{head}{notes}<p><b>No finding.</b></p><pre>{escape(self.sample)}</pre>"
        rows = "".join(
            f"<tr><td><b>{f.code}</b><br>{f.severity}</td><td>{f.count:,} of {f.of:,}</td>"
            f"<td style='text-align:left'>{escape(f.message)}<br><i>{escape(f.remedy)}</i>"
            f"<pre>{escape(f.place)}: {escape(f.example)}</pre></td></tr>"
            for f in self.findings
        )
        return (
            f"{head}{notes}<table><thead><tr><th>finding</th><th>count</th><th>what, and what to "
            f"do</th></tr></thead><tbody>{rows}</tbody></table>"
        )
