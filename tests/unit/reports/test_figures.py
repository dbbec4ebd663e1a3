from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from medtune.core.errors import FolderError
from medtune.core.intervals import wilson_interval
from medtune.core.prompt import PromptStyle
from medtune.core.records import (
    EvaluationRecord,
    LossPoint,
    Outcome,
    Prediction,
    Proportion,
    SplitDescription,
)
from medtune.core.schemas.analysis import (
    CalibrationReport,
    Flips,
    PairedSlice,
    ReliabilityBin,
    RiskCurve,
)
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import ExamResult, make_evaluation_record
from medtune.models.fake import FakeModel
from medtune.reports.behaviour_figures import (
    plot_letters_over_orders,
    plot_reliability,
    plot_risk_coverage,
    plot_rotations,
)
from medtune.reports.comparison_figures import (
    MAX_LABEL_CHARACTERS,
    MODEL_COLOURS,
    ForestRow,
    plot_baselines,
    plot_forest,
)
from medtune.reports.figures import (
    FIGURE_FORMATS,
    AccuracyRow,
    _clear,
    plot_accuracy,
    plot_bars,
    plot_letters,
    plot_loss,
)


def record(label: str, chosen: Sequence[int | None], **changes: Any) -> EvaluationRecord:
    predictions = [
        Prediction(
            stem="Why?",
            id=str(n),
            subject=None,
            options=("Yes", "No", "Maybe"),
            answer=n % 3,
            chosen=given,
            outcome=Outcome.UNPARSED
            if given is None
            else (Outcome.CORRECT if given == n % 3 else Outcome.WRONG),
        )
        for n, given in enumerate(chosen)
    ]
    exam = Exam(
        questions=(),
        data=SplitDescription(source="starter:recall", n=len(chosen), excluded={}, hash="h"),
        style=PromptStyle(),
        method="letter",
        normalization="byte",
    )
    made = make_evaluation_record(
        FakeModel("noisy", {}), exam, label, STRICT_PARSER, predictions, ExamResult(1.0)
    )
    return made.model_copy(update=changes)


BASE = record("base", [0, 0, 0, 0, 1, 2, 0])
TUNED = record("tuned", [0, 1, 2, 0, 1, 2, 0])
LOST = record("tuned", [None] * 7)
LOSSES = [LossPoint(step=s, loss=2.0 / s, learning_rate=1e-3) for s in range(1, 30)]

CALIBRATION = CalibrationReport(
    error=0.123,
    brier=0.7,
    log_loss=1.3,
    bins=(
        ReliabilityBin(confidence=0.3, accuracy=wilson_interval(2, 10)),
        ReliabilityBin(confidence=0.8, accuracy=wilson_interval(10, 10)),
    ),
)
CURVE = RiskCurve(coverage=(0.01, 0.5, 1.0), risk=(1.0, 0.2, 0.4), area=0.321, best=0.1)
FLIPS = Flips(
    orders=2,
    any=wilson_interval(3, 10),
    pairs=0.3,
    accuracy=(wilson_interval(4, 10), wilson_interval(7, 10)),
    letters={"A": 15, "B": 5},
    recalls={"A": wilson_interval(8, 10), "B": wilson_interval(4, 10)},
    rstd=0.2,
)
BOTH = ("base", "tuned")


def shift(only_a: int, only_b: int, p_holm: float | None) -> PairedSlice:
    return PairedSlice(
        dimension="subject",
        name="Surgery",
        accuracy_a=wilson_interval(only_a, 20),
        accuracy_b=wilson_interval(only_b, 20),
        only_a=only_a,
        only_b=only_b,
        difference=(only_b - only_a) / 20,
        difference_low=-0.4,
        difference_high=0.9,
        p_value=p_holm,
        p_holm=p_holm,
    )


def forest(*shifts: PairedSlice, names: Sequence[str] = BOTH) -> str:
    rows = [
        ForestRow(f"Subject {number}", (s.accuracy_a, s.accuracy_b)[-len(names) :], s)
        for number, s in enumerate(shifts)
    ]
    return plot_forest(rows, names)


FIGURES: list[Callable[[], str]] = [
    lambda: plot_accuracy([BASE, TUNED]),
    lambda: plot_accuracy([LOST]),
    lambda: plot_letters([BASE, TUNED]),
    lambda: plot_letters([LOST, LOST]),
    lambda: plot_loss([LOSSES]),
    lambda: plot_loss([LOSSES[:1]]),
    lambda: plot_bars({"A": [10, 20]}, BOTH, lying=True),
    lambda: plot_baselines([BASE]),
    lambda: plot_baselines([LOST, TUNED]),
    lambda: forest(shift(0, 12, 0.01), shift(5, 2, None)),
    lambda: plot_forest([ForestRow("Skin", (wilson_interval(0, 1),))], ["tuned"]),
    lambda: plot_reliability([CALIBRATION, None], BOTH),
    lambda: plot_risk_coverage([None, CURVE], BOTH),
    lambda: plot_rotations([FLIPS, FLIPS], BOTH),
    lambda: plot_letters_over_orders([None, FLIPS], BOTH),
]


def label(svg: str) -> str:
    return ElementTree.fromstring(svg).attrib["aria-label"]


def texts(svg: str) -> list[str]:
    space = "{http://www.w3.org/2000/svg}"
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{space}text")]


@pytest.mark.parametrize("draw", FIGURES)
def test_a_figure_is_one_svg_that_never_changes(draw: Callable[[], str]) -> None:
    svg = draw()
    assert svg == draw()
    assert svg.startswith("<svg")
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert not re.search(r"\b(nan|inf)\b", svg, re.IGNORECASE)
    assert "metadata" not in svg
    assert ElementTree.fromstring(svg).attrib["role"] == "img"
    assert label(svg)
    # transparent, so that it reads on light and dark pages
    assert not re.search(r"fill: ?#ffffff(?!; opacity: 0)", svg)


def test_accuracies_are_labelled_and_written() -> None:
    found = texts(plot_accuracy([BASE, TUNED]))
    assert "starter:recall · letter · base" in found
    assert "starter:recall · letter · tuned" in found
    # base: places 0, 3, 4, 5, 6 are right, 5 / 7 = 71.4 %; tuned: all
    assert {"71.4", "100.0"} <= set(found)
    assert any("Wilson 95 %" in text and "chance" in text for text in found)


@pytest.mark.parametrize(
    ("chance", "majority", "clear"),
    [(0.6, 0.7, 50), (0.51, 0.7, 51), (0.55, 0.51, 55), (0.1, 0.2, 50)],
)
def test_no_mark_covers_the_figure_of_a_row(chance: float, majority: float, clear: int) -> None:
    value = Proportion(value=0.4, low=0.3, high=0.5, n=80)
    assert _clear(AccuracyRow("a", value, chance, majority)) == pytest.approx(clear)


def test_letters_that_anyone_gave_or_that_were_right_are_shown() -> None:
    found = texts(plot_letters([BASE, record("tuned", [0] * 7, letters_chosen={"J": 7})]))
    assert {"A", "B", "C", "J"} <= set(found)
    assert {"right", "base", "tuned"} <= set(found)


def test_other_losses_draw_other_curves() -> None:
    assert plot_loss([LOSSES]) != plot_loss([LOSSES[:-1]])


def test_no_figure_is_kept_open() -> None:
    from matplotlib import pyplot

    plot_loss([LOSSES])
    assert pyplot.get_fignums() == []


def test_figures_of_one_page_share_no_id() -> None:
    found = [set(re.findall(r'\bid="([^"]+)"', draw())) for draw in FIGURES]
    assert all(found)
    assert sum(map(len, found)) == len(set().union(*found))


def test_baselines_are_drawn_under_the_models() -> None:
    tuned = TUNED.model_copy(update={"options_only": wilson_interval(3, 7)})
    svg = plot_baselines([BASE, tuned])
    found = texts(svg)
    names = ["tuned", "base", "tuned, options only", "always A", "chance"]
    assert [text for text in found if text in names] == names
    # 7 / 7, 5 / 7, 3 / 7; A is right on 3 of 7; 1 / 3
    values = ["100.0", "71.4", "42.9", "42.9", "33.3"]
    assert [text for text in found if "." in text] == values
    assert "base: 71.4 (35.9 to 91.8)" in label(svg)
    assert "chance: 33.3" in label(svg)


def test_a_forest_shows_names_counts_and_differences() -> None:
    svg = forest(shift(0, 12, 0.01), shift(5, 2, 0.05), shift(5, 2, 0.01), shift(2, 3, None))
    found = texts(svg)
    assert [text for text in found if text.startswith("Subject")] == [
        f"Subject {number}" for number in range(4)
    ]
    assert found.count("20") >= 4  # n of each
    assert "n" in found
    assert any(text.startswith("difference, points") for text in found)
    assert "Subject 0: base 0.0 (0.0 to 16.1), tuned 60.0" in label(svg)
    alone = texts(forest(shift(0, 12, 0.01), names=["tuned"]))
    assert "tuned" not in alone  # one model needs no legend


def thick(svg: str) -> list[str]:
    """Colours of the differences that are drawn as found."""
    return re.findall(r"stroke: (#\w{6}); stroke-width: 2.2", svg)


def test_only_differences_that_stand_the_correction_are_filled() -> None:
    assert thick(forest(shift(0, 12, 0.049), shift(5, 2, 0.01), shift(1, 9, 0.05))) == [
        MODEL_COLOURS[1],
        MODEL_COLOURS[0],
    ]
    assert thick(forest(shift(2, 12, None))) == []


def test_a_model_keeps_its_look_where_the_other_is_missing() -> None:
    for alone in (
        plot_reliability([None, CALIBRATION], BOTH),
        plot_risk_coverage([None, CURVE], BOTH),
        plot_rotations([None, FLIPS], BOTH),
        plot_letters_over_orders([None, FLIPS], BOTH),
    ):
        assert MODEL_COLOURS[1] in alone
        assert MODEL_COLOURS[0] not in alone
        assert "tuned" in texts(alone)
        assert "base" not in texts(alone)


def test_what_is_drawn_is_said() -> None:
    assert "base 12.3" in label(plot_reliability([CALIBRATION, None], BOTH))
    assert "tuned 32.1, at best 10.0" in label(plot_risk_coverage([None, CURVE], BOTH))
    assert "base: 40.0 (16.8 to 68.7), 70.0" in label(plot_rotations([FLIPS, None], BOTH))
    assert "A: right 50.0, base 75.0" in label(plot_letters_over_orders([FLIPS, None], BOTH))


def test_the_first_few_answers_set_no_scale() -> None:
    # risk 1.0 at 1 % coverage, 0.4 at most from 5 % on: the axis ends at 50 %
    ticks = [text for text in texts(plot_risk_coverage([CURVE], ["tuned"])) if text.isdigit()]
    assert ticks.count("100") == 1
    assert ticks.count("50") == 1


@pytest.mark.parametrize("name", ["x" * 80, "cost $5 or $6", "a_b^c", "<b> & co", "$x^{$"])
def test_names_are_shown_as_they_are_and_never_too_long(name: str) -> None:
    rows = [ForestRow(name, (wilson_interval(1, 4),) * 2)]
    shown = name if len(name) <= MAX_LABEL_CHARACTERS else name[: MAX_LABEL_CHARACTERS - 1] + "…"
    found = texts(plot_forest(rows, [name, "tuned"]))
    assert found.count(shown) == 2
    assert name in label(plot_forest(rows, [name, "tuned"]))
    assert shown in texts(plot_baselines([BASE.model_copy(update={"label": name})]))
    assert shown in texts(plot_letters_over_orders([FLIPS], [name]))
    assert name in texts(plot_letters([BASE.model_copy(update={"label": name})]))
    assert name in texts(plot_bars({name: [1.0]}, ["x"], lying=True))
    assert any(name in t for t in texts(plot_accuracy([record(name, [0])])))


def seen(colour: str, matrix: Sequence[Sequence[float]]) -> list[float]:
    """Say how a colour looks to the colour-blind, linear RGB (Machado et al. 2009)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return [sum(m * c for m, c in zip(row, linear, strict=True)) for row in matrix]


PROTAN = (
    (0.152286, 1.052583, -0.204868),
    (0.114503, 0.786281, 0.099216),
    (-0.003882, -0.048116, 1.051998),
)
DEUTAN = (
    (0.367322, 0.860646, -0.227968),
    (0.280085, 0.672501, 0.047413),
    (-0.011820, 0.042940, 0.968881),
)
TRITAN = (
    (1.255528, -0.076749, -0.178779),
    (-0.078411, 0.930809, 0.147602),
    (0.004733, 0.691367, 0.303900),
)


@pytest.mark.parametrize("matrix", [PROTAN, DEUTAN, TRITAN])
def test_the_colour_blind_tell_two_models_apart(matrix: Sequence[Sequence[float]]) -> None:
    a, b = (seen(colour, matrix) for colour in MODEL_COLOURS)
    assert max(abs(x - y) for x, y in zip(a, b, strict=True)) > 0.2


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    for name in ("a", "b"):
        plot_reliability([CALIBRATION, CALIBRATION], ["base $5", "tuned"]).save(folder / name)
    return folder


def test_a_figure_is_saved_in_three_formats_that_never_change(saved: Path) -> None:
    assert {path.name for path in saved.iterdir()} == {
        f"{name}.{kind}" for name in "ab" for kind in FIGURE_FORMATS
    }
    for kind, begin in (("svg", b"<svg"), ("pdf", b"%PDF"), ("png", b"\x89PNG")):
        drawn = (saved / f"a.{kind}").read_bytes()
        assert drawn.startswith(begin)
        assert drawn == (saved / f"b.{kind}").read_bytes()


def test_the_printed_figure_embeds_fonts_that_journals_take(saved: Path) -> None:
    printed = (saved / "a.pdf").read_bytes()
    assert b"/Type3" not in printed
    assert b"/FontFile2" in printed
    assert b"CreationDate" not in printed


def test_the_png_is_opaque_and_sharp(saved: Path) -> None:
    from matplotlib.image import imread

    pixels = imread(saved / "a.png")
    assert pixels.shape[0] > 1000
    assert (pixels[0, 0] == 1).all()


def test_a_figure_that_cannot_be_written_is_a_folder_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(FolderError, match="cannot write"):
        plot_reliability([CALIBRATION], ["tuned"]).save(tmp_path / "taken" / "a")
    assert (tmp_path / "taken").read_text() == "x"
