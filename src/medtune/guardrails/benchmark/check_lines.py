"""Run the guards on lines of anybody's file, and compare with what the lines expect."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache

from medtune.core.intervals import wilson_interval
from medtune.core.schemas.guard_check import (
    CheckedLine,
    CheckedShare,
    QuestionLine,
    RedactedQuestion,
    TextSpan,
)
from medtune.core.schemas.guardrails import Inquiry, strictest_action
from medtune.guardrails.benchmark.labelled_lines import is_covered
from medtune.guardrails.moderation import check_judged
from medtune.guardrails.pipeline import Guards, run_input_guards
from medtune.guardrails.privacy.identifiers import IdentifierFinder, redact_inquiry


def check_line(line: QuestionLine, guards: Guards) -> CheckedLine:
    """Return what all input guards say to a line, and its identifiers.

    Raises:
        RemoteError: The moderation model did not judge the line.
    """
    # The guard, the spans and the redacted text share one search of every text.
    guards = replace(guards, find_identifiers=cache(guards.find_identifiers))
    inquiry = Inquiry(stem=line.stem, options=line.options, subject=line.subject)
    verdicts = run_input_guards(inquiry, guards).verdicts
    check_judged(verdicts)
    too_large = verdicts[0].reason is not None and verdicts[0].guard == "size"
    redacted = None if too_large else redact_inquiry(inquiry, guards.find_identifiers)
    return CheckedLine(
        id=line.id,
        action=strictest_action(verdicts),
        reasons=tuple(v.reason for v in verdicts if v.reason is not None),
        spans=() if too_large else tuple(_find_spans(line, guards.find_identifiers)),
        redacted=redacted
        and RedactedQuestion(
            stem=redacted.stem, options=redacted.options, subject=redacted.subject
        ),
    )


def _find_spans(line: QuestionLine, find: IdentifierFinder) -> Iterator[TextSpan]:
    for name in list_fields(line):
        for found in find(line.read_field(name)):
            yield TextSpan(field=name, start=found.start, end=found.end, kind=found.kind)


def list_fields(line: QuestionLine) -> tuple[str, ...]:
    """Return the names of a line's fields, as spans name them."""
    options = (f"options.{place}" for place in range(len(line.options)))
    return ("stem", *options, *(("subject",) if line.subject else ()))


def find_missed(line: QuestionLine, checked: CheckedLine) -> list[TextSpan]:
    """Return the expected identifiers of which a letter or digit was not found."""
    covered = defaultdict[str, set[int]](set)
    for one in checked.spans:
        covered[one.field].update(range(one.start, one.end))
    return [
        span
        for span in line.expected_spans or ()
        if not is_covered(line.read_field(span.field), span.start, span.end, covered[span.field])
    ]


def is_as_expected(line: QuestionLine, checked: CheckedLine) -> bool:
    """Return whether the guards do what a line expects, as far as it does."""
    if line.expected and checked.action not in line.expected:
        return False
    if line.expected_spans is None:
        return True
    return not find_missed(line, checked) and bool(line.expected_spans or not checked.spans)


def measure_shares(pairs: Iterable[tuple[QuestionLine, CheckedLine]]) -> tuple[CheckedShare, ...]:
    """Return how often the guards do what lines expect, by topic, action and kind of identifier."""
    seen: dict[str, list[bool]] = defaultdict(list)
    for line, checked in pairs:
        topic = f"{line.topic}: " if line.topic else ""
        if line.expected:
            seen[topic + " or ".join(line.expected)].append(checked.action in line.expected)
        missed = find_missed(line, checked)
        for span in line.expected_spans or ():
            seen[topic + span.kind].append(span not in missed)
        if line.expected_spans == ():
            seen[topic + "no identifier"].append(not checked.spans)
    return tuple(
        CheckedShare(name=name, right=wilson_interval(sum(right), len(right)))
        for name, right in sorted(seen.items())
    )
