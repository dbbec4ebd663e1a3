"""Print an endpoint's keys, audit log, answers, guard benchmarks and monitoring."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from medtune.cli.output.console import create_plain_table, prints
from medtune.core.records import LETTERS
from medtune.core.schemas.audit import AuditHead
from medtune.core.schemas.corrections import CorrectionsManifest
from medtune.core.schemas.safety import SafetyRecord
from medtune.reports.result_table import format_percent_interval
from medtune.serving.monitoring.schema import MonitorRecord, ShadowComparison
from medtune.serving.pages.labels import (
    CHOICE_UNMEASURED,
    STATUSES,
    is_uncalibrated,
    reason_label,
    strictest_reason,
)
from medtune.serving.schemas import AnswerRecord, AuditVerified, KeyList, KeyMade, Reply


@prints(KeyMade)
def show_key(console: Console, record: KeyMade) -> None:
    """Print a new key."""
    console.print(record.secret, soft_wrap=True)
    console.print(
        f"{record.key.name}: {record.key.role}, {record.key.per_minute} questions a minute. "
        "It is shown this once."
    )


@prints(KeyList)
def show_keys(console: Console, record: KeyList) -> None:
    """Print all keys."""
    table = create_plain_table(("key", "role"), ("a minute", "made", "revoked"))
    for key in record.keys:
        ended = f"{key.revoked:%Y-%m-%d %H:%M}" if key.revoked else "-"
        made = f"{key.created:%Y-%m-%d %H:%M}"
        table.add_row(key.name, key.role, str(key.per_minute), made, ended)
    console.print(table if record.keys else "no keys")
    _show_head(console, record.audit)


@prints(AuditVerified)
def show_audit(console: Console, record: AuditVerified) -> None:
    """Print a verified audit log and the heads it was compared with."""
    since = "" if record.since is None else f", from line {record.since} on"
    console.print(
        f"{record.head.lines} lines, all unchanged; compared with {record.anchored} noted heads "
        f"in {record.anchor}{since}"
    )
    _show_head(console, record.head)


def _show_head(console: Console, head: AuditHead | None) -> None:
    """Print the head of the audit log in one line, to be copied."""
    if head is not None:
        console.print(f"audit head, to be noted elsewhere: {head}", soft_wrap=True)


@prints(AnswerRecord)
def show_answer(console: Console, record: AnswerRecord) -> None:
    """Print an answer or the reason for none, and the accuracy at its confidence."""
    reply = record.reply
    if reply.card is not None:
        console.print(f"{reply.card.title}\n{reply.card.text}")
        return
    console.print(Text(_answer_headline(reply), style="bold"))
    if reply.letter is not None or reply.probabilities is not None:
        for at, option in enumerate(record.options):
            chosen = LETTERS[at] == reply.letter
            number = f"{100 * reply.probabilities[at]:5.1f} %  " if reply.probabilities else ""
            line = f"{'>' if chosen else ' '} {LETTERS[at]}  {number}{option}"
            console.print(Text(line, style="bold" if chosen else ""))
    for passage in reply.evidence or ():
        console.print(Text(passage.text))
        origin = (passage.source, passage.licence, passage.id)
        console.print(Text("  " + " · ".join(filter(None, origin)), style="dim"))
    if reply.measured is not None:
        right, source = reply.measured.accuracy, reply.measured.source
        console.print(
            f"right on {format_percent_interval(right)} of {right.n:,} questions of {source}"
        )
    console.print(Text(f"{record.model} · {reply.disclaimer}", style="dim"))


def _answer_headline(reply: Reply) -> str:
    if reply.letter is None:
        return f"{STATUSES[reply.status]}: {reason_label(strictest_reason(reply.reasons)).lower()}"
    return CHOICE_UNMEASURED if is_uncalibrated(reply.reasons) else STATUSES[reply.status]


@prints(SafetyRecord)
def show_safety(console: Console, record: SafetyRecord) -> None:
    """Print the guards' failures on both halves of the test cases."""
    table = create_plain_table(
        (), ("dev %", "held-out %", "n", "up to %", "at most %"), ("should not happen",)
    )
    held = {figure.measure: figure for figure in record.figures if figure.half == "held"}
    for figure in record.figures:
        if figure.half == "dev":
            other = held[figure.measure]
            table.add_row(
                Text(figure.measure, style="" if other.meets_target else "red"),
                f"{100 * figure.rate.value:.1f}",
                format_percent_interval(other.rate),
                str(other.rate.n),
                f"{100 * other.upper_bound:.1f}",
                "-" if figure.target is None else f"{100 * figure.target:.0f}",
            )
    console.print(table)
    console.print(
        f"policy {record.policy}; all guards {record.guards_p50_ms:.1f} ms a question (median), "
        f"{record.guards_p95_ms:.1f} ms (95th percentile)"
    )


@prints(MonitorRecord)
def show_monitor(console: Console, record: MonitorRecord) -> None:
    """Print a period with its reference."""
    total = sum(record.statuses.values())
    parts = ", ".join(f"{name} {count}" for name, count in sorted(record.statuses.items()))
    console.print(
        f"{record.start:%Y-%m-%d %H:%M} to {record.end:%Y-%m-%d %H:%M}: {total} ({parts})"
    )
    table = create_plain_table(("feature",), ("PSI", "p", "n", "reference n"))
    for drift in record.drifts:
        table.add_row(
            Text(drift.feature, style="red" if drift.has_drifted else ""),
            f"{drift.psi:.3f}",
            f"{drift.p_value:.2g}",
            str(drift.n),
            str(drift.n_reference),
        )
    console.print(table)
    console.print(f"reference: {record.reference}")
    for name, rate in (
        ("deferred", record.deferred),
        ("deferred before", record.deferred_reference),
        ("helpful", record.helpful),
    ):
        if rate is not None:
            console.print(f"{name}: {format_percent_interval(rate)}, n = {rate.n}")
    console.print(f"letters corrected by askers: {record.corrected}")
    for shadow in record.shadows:
        _show_shadow(console, shadow)
    _show_head(console, record.audit)


def _show_shadow(console: Console, shadow: ShadowComparison) -> None:
    missing = f"skipped {shadow.skipped}, failed {shadow.failed}"
    if shadow.agreement is None or shadow.unsure is None or shadow.unsure_champion is None:
        console.print(f"shadow: {shadow.release} answered nothing; {missing}")
        return
    console.print(
        f"shadow: {shadow.release} answered as the champion {shadow.champion} on {shadow.same} of "
        f"{shadow.agreement.n}, {format_percent_interval(shadow.agreement)}; {missing}"
    )
    console.print(
        f"  too unsure to answer: shadow {format_percent_interval(shadow.unsure)}, "
        f"champion {format_percent_interval(shadow.unsure_champion)}"
    )
    if (found := shadow.reviewed) is not None:
        console.print(
            f"  right on {found.n} that reviewers answered, having seen the champion's: "
            f"both {found.both}, only champion {found.only_champion}, "
            f"only shadow {found.only_shadow}, neither {found.neither}"
        )


@prints(CorrectionsManifest)
def show_corrections(console: Console, record: CorrectionsManifest) -> None:
    """Print the outcome of the reviewed items, and the feedback of askers."""
    (split,) = record.splits
    console.print(
        f"{split.description.n:,} questions of {record.decided:,} decided items "
        f"({record.undecided:,} undecided); for training only"
    )
    table = create_plain_table((), ("n",), texts=("items",))
    for name, n in (
        ("approved", record.approved),
        ("edited", record.edited),
        *((f"left out: {why}", n) for why, n in record.left_out.items()),
        *((f"release {name}", n) for name, n in record.releases.items()),
    ):
        table.add_row(Text(name), f"{n:,}")
    console.print(table)
    if record.marked:
        console.print(f"with a privacy mark: {record.marked:,} questions")
    askers = record.askers
    console.print(
        f"askers: {askers.helpful:,} helpful, {askers.unhelpful:,} not; of {askers.corrected:,} "
        f"corrections reviewers confirmed {askers.confirmed:,}, contradicted "
        f"{askers.contradicted:,}, and {askers.unconfirmed:,} have no reviewer: not used"
    )
