from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from medtune.cli.output.console import open_console
from medtune.cli.output.study import show_study
from medtune.core.intervals import wilson_interval
from medtune.core.provenance import collect_provenance
from medtune.core.records import ComparisonRecord
from medtune.studies.test_size.page import (
    plot_accuracy_by_size,
    plot_difference_by_size,
    plot_power,
    render,
)
from medtune.studies.test_size.schema import (
    AccuracyAtSize,
    AccuracyBySize,
    DifferenceAtSize,
    DifferenceBySize,
    SampleSizeRecord,
    SampleSpread,
    StratifiedSpread,
)

SPREAD = SampleSpread(mean=0.31, deviation=0.1, low=0.1, high=0.5, least=0.05, most=0.7)
STRATIFIED = StratifiedSpread(
    spread=SPREAD,
    standard_error=0.09,
    ratio=0.9123,
    ratio_low=0.8456,
    ratio_high=0.9789,
    subjects_missed=3,
)


def exam(label: str, sizes: tuple[int, ...] = (20, 200, 220), **changes: Any) -> AccuracyBySize:
    return AccuracyBySize(
        label=label,
        accuracy=wilson_interval(66, sizes[-1]),
        chance=0.25,
        majority=wilson_interval(70, sizes[-1]),
        majority_letter="B",
        sizes=tuple(
            AccuracyAtSize(
                n=n,
                spread=SPREAD,
                standard_error=0.101,
                standard_error_finite=0.0987 if n < sizes[-1] else 0.0,
                half_width=0.19,
                coverage=0.951,
                excludes_chance=0.123,
                excludes_majority=0.067,
                **changes,
            )
            for n in sizes
        ),
    )


def difference(wrong_sign: float | None = 0.0123, needed: int | None = 1234) -> DifferenceBySize:
    comparison = ComparisonRecord(
        split="starter:recall",
        method="letter",
        a="base",
        b="<tuned>",
        n=220,
        both=50,
        only_a=16,
        only_b=30,
        neither=124,
        accuracy_a=wilson_interval(66, 220),
        accuracy_b=wilson_interval(80, 220),
        difference=14 / 220,
        difference_low=0.005,
        difference_high=0.12,
        p_value=0.0541,
        minimum_detectable=0.086,
        verdict="v",
    )
    sizes = tuple(
        DifferenceAtSize(
            n=n,
            spread=SPREAD,
            standard_error=0.1,
            standard_error_finite=0.09,
            power=0.11,
            power_fresh=0.22,
            wrong_sign=wrong_sign,
            minimum_detectable=0.345,
        )
        for n in (20, 200, 220)
    )
    return DifferenceBySize(
        comparison=comparison,
        discordance=46 / 220,
        sizes=sizes,
        needed=needed,
        needed_if_smaller=None,
    )


def study(
    *exams: AccuracyBySize, gap: DifferenceBySize | None = None, **changes: Any
) -> SampleSizeRecord:
    record = SampleSizeRecord(
        split="starter:recall",
        method="letter",
        n=220,
        draws=2_000,
        seed=0,
        left_out=(),
        subjects=None,
        evaluations=exams,
        difference=gap,
        verdict="The verdict.",
        subjects_verdict=None,
        provenance=collect_provenance(),
    )
    return record.model_copy(update=changes)


def texts(svg: str) -> list[str]:
    space = "{http://www.w3.org/2000/svg}"
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{space}text")]


@pytest.mark.parametrize(
    "svg",
    [
        lambda: plot_accuracy_by_size([exam("base")]),
        lambda: plot_accuracy_by_size([exam("base"), exam("tuned")]),
        lambda: plot_accuracy_by_size([exam("base", (220,))]),
        lambda: plot_difference_by_size(difference()),
        lambda: plot_power(difference()),
        lambda: plot_power(difference(wrong_sign=None)),
    ],
)
def test_a_figure_is_one_svg_that_never_changes(svg: Any) -> None:
    drawn = svg()
    assert drawn == svg()
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    assert not re.search(r"\b(nan|inf)\b", drawn, re.IGNORECASE)


def test_figures_name_what_they_show() -> None:
    accuracy = texts(plot_accuracy_by_size([exam("base"), exam("tuned")]))
    assert {"base", "tuned", "chance", "majority letter", "20", "220"} <= set(accuracy)
    # 200 would be written over 220
    assert "200" not in accuracy
    assert "minimum detectable, both signs" in texts(plot_difference_by_size(difference()))
    assert "wrong sign, subsamples" in texts(plot_power(difference()))
    assert "wrong sign, subsamples" not in texts(plot_power(difference(wrong_sign=None)))


def test_the_page_of_one() -> None:
    page = render(study(exam("base")))
    assert page.index("The verdict.") < page.index("<svg")
    assert page.count("<svg") == 1
    for cell in ("9.87", "10.10", "95.1", "12.3", "6.7", "10.0–50.0", "5.0–70.0", "19.0"):
        assert cell in page
    for absent in ("Detectable", "by subject", "Sizes left out", "<script", "<link", " src="):
        assert absent not in page


def test_the_page_of_two() -> None:
    page = render(study(exam("base"), exam("<tuned>"), gap=difference(), left_out=(500, 1_000)))
    assert page.count("<svg") == 3
    assert "<tuned>" not in page
    assert "&lt;tuned&gt; against base" in page
    assert "Sizes left out, since there are only 220 questions: 500, 1,000." in page
    for cell in ("34.5", "11.0", "22.0", "1.23", "= 0.0541", "+6.4", "20.9"):
        assert cell in page


def test_the_page_by_subject() -> None:
    record = study(
        exam("base", stratified=STRATIFIED), subjects=7, subjects_verdict="Subjects' verdict."
    )
    page = render(record)
    assert "Subjects&#39; verdict." in page
    assert "each of the 7 subjects" in page
    for cell in ("0.912", "0.846–0.979", '<td class="n">3</td>', "0.912"):  # 0.09 / 0.0987
        assert cell in page
    still = STRATIFIED.model_copy(update={"ratio": None, "ratio_low": None, "ratio_high": None})
    assert "0.846" not in render(study(exam("base", stratified=still), subjects=7))


def test_the_terminal_shows_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    record = study(
        exam("base", stratified=STRATIFIED),
        exam("<tuned>"),
        gap=difference(),
        left_out=(500, 1_000),
        subjects_verdict="By subject.",
    )
    show_study(open_console(stderr=False), record)
    out = capsys.readouterr().out
    assert "…" not in out
    for text in (
        *("starter:recall · letter · base: 30.0 %, n = 220; 2,000 subsamples", "10.0-50.0"),
        *("9.87", "95.1", "12.3", "0.912", "<tuned> against base", "+10.0 to +50.0", "34.5"),
        *("22.0", "11.0", "1.23", "only 220 questions: 500, 1,000"),
    ):
        assert text in out
    assert out.rstrip().endswith("The verdict.\nBy subject.")


def test_the_terminal_writes_a_dash_for_what_there_is_none_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    still = STRATIFIED.model_copy(update={"ratio": None, "ratio_low": None, "ratio_high": None})
    record = study(exam("base", stratified=still), gap=difference(wrong_sign=None))
    show_study(open_console(stderr=False), record)
    rows = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert sum(row.endswith(" -") for row in rows) == 6
