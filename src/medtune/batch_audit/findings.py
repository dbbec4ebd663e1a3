"""Collect what the checks find, and show it in a piece of an example."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from medtune.batch_audit.examples import Flags, TrainingExample
from medtune.batch_audit.finding_texts import RARE, TEXTS
from medtune.batch_audit.schema import AuditFinding, FindingCode, Severity
from medtune.batch_audit.token_rows import Ints, TokenRows
from medtune.batch_audit.tokenizer_facts import TokenizerFacts

_AROUND = 28
"""Tokens shown before and behind the place of a finding."""
_MOST_REASONS = 3
_MOST_REPEATED = 3
"""Most times that a special token is written in a row, before it is counted."""


@dataclass
class _Found:
    places: list[int] = field(default_factory=list)
    """Positions, one for each example with the finding."""
    examples: set[int] = field(default_factory=set)
    reasons: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    """How many rows were examined, if rows are counted; 0 if examples are."""
    severity: Severity | None = None


class FindingCollector:
    """Findings by code.

    Args:
        rows: The rows, to show a piece of.
        supervised: Whether each position is supervised.
        facts: The tokenizer.
    """

    def __init__(self, rows: TokenRows, supervised: Flags, facts: TokenizerFacts) -> None:
        self._rows, self._supervised, self._facts = rows, supervised, facts
        self._found: dict[FindingCode, _Found] = defaultdict(_Found)

    def add(self, code: FindingCode, example: TrainingExample, place: int, reason: str) -> None:
        """Add an example that has a finding, with the position to be shown; once for each code."""
        found = self._found[code]
        if example.start not in found.examples:
            found.examples.add(example.start)
            found.places.append(place)
            found.reasons[reason] += 1

    def add_rows(self, code: FindingCode, places: Ints, reason: str) -> None:
        """Add a finding of rows, each by a position to be shown; no position adds nothing."""
        if len(places):
            found = self._found[code]
            found.places += places.tolist()
            found.reasons[reason] += len(places)
            found.rows = self._rows.count

    def soften(self, code: FindingCode) -> None:
        """Make a finding a warning."""
        if code in self._found:
            self._found[code].severity = "warning"

    def rows_with(self, *codes: FindingCode) -> set[int]:
        """Return the rows that have one of several findings."""
        places = [
            place for code in codes if code in self._found for place in self._found[code].places
        ]
        return set(self._rows.find_rows(places).tolist())

    def build(self, examples: int, accepted: Collection[str]) -> tuple[AuditFinding, ...]:
        """Build the findings, serious ones first, then by count."""
        built = [
            self._build(code, found, examples)
            for code, found in self._found.items()
            if code not in accepted
        ]
        return tuple(sorted(built, key=lambda f: (f.severity, -f.count / f.of, f.code)))

    def _build(self, code: FindingCode, found: _Found, examples: int) -> AuditFinding:
        text, rows = TEXTS[code], self._rows.find_rows(found.places).tolist()
        # A row may have a finding for several reasons.
        count = len(set(rows)) if found.rows else len(rows)
        of = found.rows or max(examples, 1)
        rare = text.tolerated and count <= RARE * of
        listed = found.reasons.most_common(_MOST_REASONS)
        several = len(found.reasons) > 1
        place, row = found.places[0], rows[0]
        return AuditFinding(
            code=code,
            severity=found.severity or ("warning" if rare else text.severity),
            message="; ".join(f"{why} ({n:,})" if several else why for why, n in listed),
            count=count,
            of=of,
            unit="rows" if found.rows else "examples",
            place=self._rows.locate(row),
            example=self.show(place, row),
            remedy=text.remedy,
        )

    def show(self, place: int, row: int, around: int = _AROUND) -> str:
        """Show the tokens around a position, what is supervised between ⟦ and ⟧."""
        start = max(place - around, int(self._rows.starts[row]))
        stop = min(place + around, int(self._rows.starts[row + 1]))
        ids, flags = self._rows.ids[start:stop].tolist(), self._supervised[start:stop].tolist()
        shown = mark_supervised(ids, flags, self._facts)
        before = "…" if start > self._rows.starts[row] else ""
        return before + shown + ("…" if stop < self._rows.starts[row + 1] else "")


def mark_supervised(ids: Sequence[int], flags: Sequence[bool], facts: TokenizerFacts) -> str:
    """Write ids as text, what is supervised between ⟦ and ⟧."""
    parts: list[bytes] = []
    inside = False
    for (token, flag), run in groupby(zip(ids, flags, strict=True)):
        if flag != inside:
            parts.append(("⟦" if flag else "⟧").encode())
            inside = flag
        known = 0 <= token < facts.size
        piece = facts.pieces[token] if known else f"<{token}?>".encode()
        count = len(list(run))
        repeated = count > _MOST_REPEATED and token in facts.special
        parts.append(piece + f"×{count}".encode() if repeated else piece * count)
    parts.append("⟧".encode() if inside else b"")
    return b"".join(parts).decode("utf-8", "replace")
