from __future__ import annotations

import math
import re

import pytest
from tests.unit.reports.test_run import evaluation, questions

from medtune.core.errors import PredictionsError
from medtune.core.predictions_io import Evaluation
from medtune.core.protocols import Decoding
from medtune.core.records import Outcome
from medtune.studies.decoding.analysis import build_decoding_record
from medtune.studies.decoding.page import plot_accuracy_speed, render
from medtune.studies.decoding.schema import SETTINGS, DecodingPoint, DecodingRecord, Setting

ASKED = questions(20)
GREEDY, HOT, LETTER = Setting(), Setting(temperature=1.0, top_k=50), Setting(method="letter")


def sat(right: int, speed: float, written: int | None = 5, drop: int = 0) -> Evaluation:
    """Make up an examination: the first are right, the last have no answer."""
    record, predictions = evaluation("m", ASKED, right, "generate" if written else "letter")
    changed = [
        p.model_copy(update={"written": written, "stopped": None if written is None else True})
        for p in predictions
    ]
    for place in range(len(changed) - drop, len(changed)):
        changed[place] = changed[place].model_copy(
            update={"chosen": None, "outcome": Outcome.UNPARSED}
        )
    return Evaluation(record.model_copy(update={"questions_per_s": speed}), changed)


def study(**found: list[Evaluation]) -> DecodingRecord:
    settings = {"greedy": GREEDY, "hot": HOT, "letter": LETTER}
    return build_decoding_record({settings[name]: some for name, some in found.items()}, 10.0, 11.0)


def point(record: DecodingRecord, setting: Setting) -> DecodingPoint:
    return next(p for p in record.points if p.setting == setting)


def test_speed_quality_and_consistency_add_up() -> None:
    # Hot: 12 questions right in all repeats, 4 in one of four, of which none is ever unanswered.
    hot = [sat(16, 4.0), sat(12, 2.0), sat(12, 4.0), sat(12, 4.0)]
    record = study(greedy=[sat(10, 10.0)], hot=hot, letter=[sat(9, 100.0, None)])
    found = point(record, HOT)
    assert found.repeats == 4
    assert found.accuracy == pytest.approx((16 + 36) / 80)
    # 20 questions in 5, 10, 5 and 5 s: 20 in 6.25 s on average.
    assert found.questions_per_s == pytest.approx(20 / 6.25)
    # Four questions have outcomes 3 : 1, of whose six pairs three agree.
    assert found.agreement == pytest.approx((16 + 4 * 0.5) / 20)
    bits = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert found.entropy == pytest.approx(4 * bits / 20)
    assert (found.written, found.stop_rate) == (5.0, 1.0)
    assert found.behind == 0
    greedy, letter = point(record, GREEDY), point(record, LETTER)
    assert (greedy.agreement, greedy.entropy) == (None, None)  # not measured is not 1
    assert (letter.written, letter.stop_rate) == (None, None)
    assert greedy.behind == pytest.approx(0.15)
    assert greedy.behind_low < greedy.behind < greedy.behind_high
    assert (record.cell_s, record.duration_s, record.n) == (10.0, 11.0, 20)


def test_the_unbeaten_are_those_with_nothing_faster_and_better() -> None:
    record = study(greedy=[sat(10, 10.0)], hot=[sat(9, 9.0)] * 2, letter=[sat(5, 100.0, None)])
    assert [p.pareto for p in record.points] == [True, False, True]
    alike = study(greedy=[sat(10, 10.0)], letter=[sat(10, 10.0, None)])
    assert [p.pareto for p in alike.points] == [True, True]


def test_the_fastest_that_is_not_detectably_worse_is_recommended() -> None:
    near = study(greedy=[sat(10, 10.0)], letter=[sat(9, 100.0, None)])
    assert near.recommended == "letter"
    assert near.verdict.startswith("Recommended: likelihood of the letter, 45.0 %")
    assert "not detectably more" in near.verdict
    far = study(greedy=[sat(18, 10.0)], letter=[sat(2, 100.0, None)])
    assert far.recommended == "greedy-50tokens"
    assert far.verdict.endswith("no other setting is more accurate.")


def test_repeats_that_never_differ_agree() -> None:
    found = point(study(hot=[sat(10, 1.0), sat(10, 1.0)]), HOT)
    assert (found.agreement, found.entropy) == (1.0, 0.0)
    # An answer that is none is an outcome as well.
    mixed = point(study(hot=[sat(10, 1.0), sat(10, 1.0, drop=4)]), HOT)
    assert mixed.agreement == pytest.approx(16 / 20)


def test_other_questions_are_refused() -> None:
    record, predictions = sat(10, 1.0)
    with pytest.raises(PredictionsError, match="the same questions"):
        study(greedy=[sat(10, 1.0)], letter=[Evaluation(record, predictions[1:])])


def test_every_setting_has_a_name_and_words_of_its_own() -> None:
    names = [setting.name for setting in SETTINGS]
    assert len(set(names)) == len({s.display_name for s in SETTINGS}) == len(SETTINGS) == 22
    assert all(re.fullmatch(r"[a-z0-9.-]+", name) for name in names)
    assert Setting(temperature=0.3, top_p=0.9, top_k=50).name == "t0.3-p0.9-k50-50tokens"
    assert Setting(beams=4, max_new_tokens=1).display_name == "4 beams, 1 token"
    assert Setting(temperature=0.7, beams=2).to_decoding(3) == Decoding(50, 0.7, 1.0, 0, 2, 3)


def test_the_page_names_what_is_recommended_and_draws_every_point() -> None:
    record = study(
        greedy=[sat(10, 10.0)], hot=[sat(9, 5.0), sat(8, 5.0)], letter=[sat(9, 99.0, None)]
    )
    page = render(record)
    assert page.count('<th scope="row">') == 3
    assert page.count(">recommended<") == 1
    assert record.verdict in page
    figure = plot_accuracy_speed(record)
    assert "mathdefault" not in figure
    assert "likelihood of the letter: 45.0 % at 99.0 questions/s" in figure
    assert figure == plot_accuracy_speed(record)
    dearer = replace_speed(record)
    assert plot_accuracy_speed(dearer) != figure


def replace_speed(record: DecodingRecord) -> DecodingRecord:
    first, *others = record.points
    slower = first.model_copy(update={"questions_per_s": first.questions_per_s / 2})
    return record.model_copy(update={"points": (slower, *others)})
