"""How an endpoint's keys and guards look."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from medtune.core.safety import SafetyRecord
from medtune.core.served import KeyList, KeyMade
from medtune.terminal.console import percent, plain_table


def show_key(console: Console, record: KeyMade) -> None:
    """Print a new key."""
    console.print(record.secret, soft_wrap=True)
    console.print(
        f"{record.key.name}: {record.key.role}, {record.key.per_minute} questions a minute. "
        "It is shown this once."
    )


def show_keys(console: Console, record: KeyList) -> None:
    """Print all keys."""
    table = plain_table(("key", "role"), ("a minute", "made", "revoked"))
    for key in record.keys:
        ended = f"{key.revoked:%Y-%m-%d %H:%M}" if key.revoked else "-"
        made = f"{key.created:%Y-%m-%d %H:%M}"
        table.add_row(key.name, key.role, str(key.per_minute), made, ended)
    console.print(table if record.keys else "no keys")


def show_safety(console: Console, record: SafetyRecord) -> None:
    """Print what happened on the suites that should not, both halves side by side."""
    table = plain_table(("should not happen",), ("dev %", "held-out %", "n", "at most %"))
    held = {figure.measure: figure for figure in record.figures if figure.half == "held"}
    for figure in record.figures:
        if figure.half == "dev":
            other = held[figure.measure]
            table.add_row(
                Text(figure.measure, style="" if other.met else "red"),
                f"{100 * figure.rate.value:.1f}",
                percent(other.rate),
                str(other.rate.n),
                "-" if figure.target is None else f"{100 * figure.target:.0f}",
            )
    console.print(table)
    console.print(
        f"policy {record.policy}; all guards {record.guards_p50_ms:.1f} ms a question (median), "
        f"{record.guards_p95_ms:.1f} ms (95th percentile)"
    )
