from __future__ import annotations

import csv
import io
import re
from typing import Any

import pytest
from tests.unit.analysis.synthetic import evaluation, predictions

from medtune.analysis.compare import compare_evaluations
from medtune.analysis.paired_slices import compare_slices
from medtune.core.intervals import wilson_interval
from medtune.core.predictions_io import Evaluation
from medtune.core.records import ComparisonRecord, EvaluationRecord, SearchBaseline
from medtune.core.schemas.analysis import PairedSlice
from medtune.reports.comparison_table import (
    CSV_COLUMNS,
    escape_latex,
    render_csv_table,
    render_latex_table,
)

N = 120
EVIL = r"50%_of $x^2$ & {more} \input{secret} #1 ~ <b> | y"
SEARCH = SearchBaseline(
    index="i" * 64, passages=1320, accuracy=wilson_interval(50, N), only_model=30, only_search=11,
    p_value=0.004,
)  # fmt: skip
Tabled = tuple[ComparisonRecord, EvaluationRecord, EvaluationRecord, tuple[PairedSlice, ...]]


@pytest.fixture(scope="module")
def tabled() -> Tabled:
    given = predictions(N, 0.4, 1, cyclic=False), predictions(N, 2.5, 2, cyclic=False)
    blind = wilson_interval(30, N)
    a = evaluation("base", given[0], options_only=blind)
    b = evaluation(EVIL, given[1])
    b = Evaluation(b[0].model_copy(update={"search": SEARCH}), b[1])
    return compare_evaluations(a, b), a[0], b[0], compare_slices(*given)


def check_latex(text: str) -> None:
    """Check what LaTeX itself would refuse: braces, environments, dollars, columns, specials."""
    text = "\n".join(line for line in text.split("\n") if not line.startswith("%"))
    bare = re.sub(r"\\[\\{}$&%#_,]", lambda m: "\\\\" if m[0] == "\\\\" else "", text)
    depth = 0
    for sign in bare:
        depth += {"{": 1, "}": -1}.get(sign, 0)
        assert depth >= 0
    assert depth == 0
    assert bare.count("$") % 2 == 0
    assert not set("#~^%") & set(bare)
    assert not re.search(r"_", bare)
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", bare):
        assert kind == "begin" or opened.pop() == name
        if kind == "begin":
            opened.append(name)
    assert opened == []
    known = {
        "begin", "end", "centering", "caption", "toprule", "midrule", "bottomrule",
        "textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater",
        "textbar",
    }  # fmt: skip
    assert set(re.findall(r"\\([A-Za-z]+)", bare)) <= known
    body = bare.partition(r"\toprule")[2].partition(r"\bottomrule")[0]
    assert "&" not in bare.partition(r"\toprule")[0]
    rows = [line for line in body.splitlines() if line and line != r"\midrule"]
    assert len(rows) > 5
    for row in rows:
        assert row.endswith(r"\\")
        assert row.count("&") == 3, row


def test_the_latex_table_is_well_formed_whatever_the_names(tabled: Tabled) -> None:
    record, a, b, _ = tabled
    text = render_latex_table(record, a, b)
    check_latex(text)
    assert r"\input{secret}" not in text
    assert escape_latex(EVIL) in text


def test_a_quotation_mark_needs_no_other_encoding() -> None:
    assert escape_latex('the "best" one') == r'the \string"best\string" one'


def test_the_check_finds_what_is_not_escaped(tabled: Tabled) -> None:
    record, a, b, _ = tabled
    text = render_latex_table(record, a, b)
    for bad in ("base & more", "base_1", "ba{se", "ba$e", r"\input base"):
        with pytest.raises(AssertionError):
            check_latex(text.replace("base", bad, 1))


def test_the_latex_table_has_every_number(tabled: Tabled) -> None:
    record, a, b, _ = tabled
    text = render_latex_table(record, a, b)
    for p in (record.accuracy_a, record.accuracy_b, a.majority, a.options_only, SEARCH.accuracy):
        assert p is not None
        row = (
            f"& {round(p.value * p.n)} / {p.n} & {100 * p.value:.1f} & "
            f"{100 * p.low:.1f}--{100 * p.high:.1f}"
        )
        assert row in text
    ends = [100 * x for x in (record.difference, record.difference_low, record.difference_high)]
    assert "& ${:+.1f}$ & ${:+.1f}$ to ${:+.1f}$".format(*ends) in text
    assert f"correct on {record.only_a} questions" in text
    assert f"on {record.only_b}; exact McNemar" in text
    assert re.search(r"\$p (= 0\.\d{4}|< 0\.0001)\$", text)
    assert "Holm" not in text
    held = record.model_copy(update={"p_holm": 0.0321})
    assert "Holm's correction $p = 0.0321$" in render_latex_table(held, a, b)


def test_the_csv_table_is_read_back_to_the_last_digit(tabled: Tabled) -> None:
    record, a, b, slices = tabled
    rows: list[dict[str, Any]] = [
        *csv.DictReader(io.StringIO(render_csv_table(record, a, b, slices)))
    ]
    assert tuple(rows[0]) == CSV_COLUMNS
    whole = [row for row in rows if row["dimension"] == "all"]
    first, second = (row for row in whole if row["quantity"] == "accuracy")
    assert (first["model"], second["model"]) == ("base", EVIL)
    assert float(second["value"]) == record.accuracy_b.value
    (difference,) = (row for row in whole if row["quantity"] == "difference")
    assert float(difference["low"]) == record.difference_low
    assert float(difference["p_value"]) == record.p_value
    assert int(difference["only_b"]) == record.only_b
    assert difference["p_holm"] == ""  # missing, not zero
    baselines = [row["model"] for row in whole if row["quantity"] == "baseline"]
    assert baselines == [
        "chance", f"always {a.majority_letter}", "base, without the stem",
        "text search (1,320 passages)",
    ]  # fmt: skip
    assert len(rows) == len(whole) + 3 * len(slices)
    surgery = next(s for s in slices if s.name == "Surgery")
    found = next(r for r in rows if r["name"] == "Surgery" and r["quantity"] == "difference")
    assert float(found["value"]) == surgery.difference
