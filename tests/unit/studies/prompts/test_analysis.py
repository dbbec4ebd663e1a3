from __future__ import annotations

import pytest
from tests.unit.reports.test_run import evaluation, questions

from medtune.studies.prompts.analysis import build_prompt_study_record, find_most_accurate
from medtune.studies.prompts.schema import PromptVariant

ASKED, OTHERS = questions(40), questions(60)
OWN, BETTER, WORSE = (
    PromptVariant(system=name, option="{letter}. {text}", instruction="", shots=0)
    for name in ("own", "better", "worse")
)


def test_the_best_is_chosen_and_what_is_left_of_its_gain_is_told() -> None:
    found = {
        OWN: evaluation("own prompt", ASKED, 20),
        BETTER: evaluation("prompt 1", ASKED, 26),
        WORSE: evaluation("prompt 2", ASKED, 10),
    }
    assert find_most_accurate(found) == BETTER
    own, chosen = evaluation("own prompt", OTHERS, 30), evaluation("prompt 1", OTHERS, 31)
    record = build_prompt_study_record("e", found, own, chosen, 1.0)
    assert [p.gain for p in record.points] == pytest.approx([0, 6 / 40, -10 / 40])
    for point in record.points[1:]:
        assert point.gain_low < point.gain < point.gain_high
    assert record.comparison.difference == pytest.approx(1 / 60)
    assert record.verdict.startswith("The best of 3 prompts gains +15.0 points on the calibration")
    assert "+1.7 on the reported split: No detectable change" in record.verdict


def test_of_equals_the_first_is_chosen() -> None:
    found = {OWN: evaluation("own", ASKED, 20), BETTER: evaluation("b", ASKED, 20)}
    assert find_most_accurate(found) == OWN
    own = evaluation("own", OTHERS, 30)
    record = build_prompt_study_record("e", found, own, own, 1.0)
    assert record.verdict.startswith("The experiment's own prompt is the best of 2")
