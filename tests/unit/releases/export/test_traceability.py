from __future__ import annotations

import re

from tests.unit.data.test_datasheet import tables
from tests.unit.releases.export import dossiers as make

from medtune.releases.export.context import ReleaseContext
from medtune.releases.export.render import render_traceability
from medtune.releases.gate_schema import Evidence

NEVER = {
    "represent the patients", "achieve together", "Carbon and water", "Independent audit",
    "label and review",
}  # fmt: skip
"""Points that no release of medtune's answers."""


def rows(context: ReleaseContext) -> list[list[str]]:
    return [row for table in tables(render_traceability(context)) for row in table[2:]]


def test_all_points_are_there_and_each_is_answered_or_said_not_to_be() -> None:
    practice, health, language = tables(render_traceability(make.context()))
    assert [row[0] for row in practice[2:]] == [str(n) for n in range(1, 11)]
    assert [row[0] for row in health[2:]] == [str(n) for n in range(1, 7)]
    assert {row[0] for row in language[2:]} == {"developer", "provider", "deployer"}
    for row in rows(make.context()):
        assert len(row) == 4
        assert row[2]


def test_what_nothing_answers_is_said_whatever_was_measured() -> None:
    for point in NEVER:
        (row,) = [row for row in rows(make.context()) if point in row[1]]
        assert row[2].startswith("not covered")
    assert "no claim of conformity" in render_traceability(make.context())


def test_answers_are_figures_of_the_records() -> None:
    text = render_traceability(make.context())
    assert "0 of 300 frozen questions were trained on" in text
    assert "right 33.6 % (32.2–35.1, n = 4,183)" in text
    assert "identifiers missed 0.0 % (0.0–7.1, n = 50)" in text
    assert "11 of 11 rules passed, 0 waived" in text
    assert re.search(r"rule search passed \(accuracy at worst \+\d\.\d points against a text", text)
    evidence = make.EVIDENCE.model_copy(
        update={
            "regression": make.regression(trained_on=4),
            "safety": make.safety(identifiers_missed=0.0632),
        }
    )
    text = render_traceability(make.context(evidence))
    assert "4 of 300 frozen questions were trained on" in text
    assert "identifiers missed 6.3 %" in text
    assert "rule regression failed" in text
    assert "The gate said: refused (10 of 11 rules passed" in text


def test_what_nobody_knows_is_said() -> None:
    assert "what the base model was pretrained on is not known" in render_traceability(
        make.context()
    )
    unknown = make.EVIDENCE.model_copy(update={"regression": make.regression(trained_on=None)})
    (row,) = [r for r in rows(make.context(unknown)) if r[1].startswith("Training data are")]
    assert row[2].startswith("not covered: whether frozen questions were trained on is not known")


def test_what_was_not_measured_is_not_covered() -> None:
    bare = make.context(Evidence(), asked=False, release=make.release(calibration=None))
    text = render_traceability(bare)
    assert text.count("not covered: not measured") >= 4
    assert "the gate was not asked" in text
    assert "nothing is deferred by confidence" in text
    assert "%" not in text


def test_who_answers_for_a_waived_rule_is_named() -> None:
    slow = make.EVIDENCE.model_copy(update={"bench": None})
    verdict = make.verdict(slow, waivers=(make.WAIVER,))
    text = render_traceability(make.context(slow).model_copy(update={"verdict": verdict}))
    assert "Ann \\| Bo answers for the rule latency: the machine was busy that day" in text
