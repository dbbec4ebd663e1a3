from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from medtune.cli.output.console import lay_out
from medtune.core.intervals import wilson_interval
from medtune.core.records import Proportion
from medtune.reports.result_table import (
    PAGE,
    Column,
    ResultTable,
    estimate,
    label,
    number,
    p_value,
    percent,
    span,
    text,
)

Row = tuple[str, Proportion | None]
COLUMNS: list[Column[Row]] = [
    label("model", lambda r: r[0]),
    estimate("correct %", lambda r: r[1]),
    estimate("gain", lambda r: (0.1, -0.02, 0.2) if r[1] else None, spec="+.1f"),
    percent("chance %", lambda r: r[1]),
    number("n", lambda r: r[1].n if r[1] else None),
    p_value("p", lambda r: 0.00001 if r[1] else 0.5, PAGE),
    span("range", lambda _: (0.1, 0.25), PAGE),
    text("prompt", lambda r: "<b>|" if r[1] else None, kind="code"),
]
TABLE = ResultTable(COLUMNS, [("a", wilson_interval(300, 1200)), ("b", None)])


def test_a_page_has_every_column_and_long_dashes() -> None:
    heads, rows = TABLE.layout("page")
    names = ["model", "correct %", "95 %", "gain", "95 %", "chance %", "n", "p", "range", "prompt"]
    assert [head for head, _ in heads] == names
    assert rows[0] == [
        *("a", "25.0", "22.6–27.5", "+10.0", "-2.0 to +20.0", "25.0", "1,200", "< 0.0001"),
        *("10.0–25.0", "<b>|"),
    ]
    assert rows[1] == ["b", *[None] * 6, "0.5000", "10.0–25.0", None]


def test_markdown_has_a_value_and_its_interval_in_one_cell() -> None:
    assert TABLE.to_markdown().splitlines() == [
        "| model | correct % (95 %) | gain (95 %) | chance % | n | prompt |",
        "| --- | --- | --- | --- | --- | --- |",
        "| a | 25.0 (22.6-27.5) | +10.0 (-2.0 to +20.0) | 25.0 | 1,200 | <b>\\| |",
        "| b | – | – | – | – | – |",
    ]


@pytest.mark.parametrize("width", [50, 120])
def test_a_terminal_shows_the_same_figures(width: int) -> None:
    out = StringIO()
    Console(file=out, width=width, markup=False, highlight=False).print(lay_out(TABLE))
    words = out.getvalue().split()
    for word in ("25.0", "22.6-27.5", "+10.0", "1,200", "<b>|", "b"):
        assert word in words
    assert "0.5000" not in words
