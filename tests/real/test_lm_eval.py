"""Letter scores are those of lm-evaluation-harness.

Its own output is pinned in lm_eval_letters.json, with the recipe that made it; where the harness
is installed it is asked again.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from eval_speed import STYLE
from lm_eval_parity import agreement, harness_letters, medtune_letters
from medtune.core.prompt import prompt_fingerprint
from medtune.data.load import load_split
from medtune.models.local.local_model import LocalModel

PINNED = json.loads((Path(__file__).parent / "lm_eval_letters.json").read_text())


def test_letters_are_those_of_the_pinned_harness(model: LocalModel) -> None:
    assert PINNED["fingerprint"] == model.describe().fingerprint
    assert PINNED["prompt_hash"] == prompt_fingerprint(STYLE, model.render), (
        f"the default prompt has changed: record it again, {PINNED['recipe']}"
    )
    questions = [q for q in load_split(PINNED["data"]).questions if q.id in PINNED["letters"]]
    assert len(questions) == len(PINNED["letters"]) == 80
    theirs = [PINNED["letters"][q.id] for q in questions]
    found = agreement(medtune_letters(model, questions), theirs)
    assert found["same_choice"] == len(questions)
    assert found["largest_difference"] < 1e-3


@pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None,
    reason="lm-eval is not installed: its pinned output stands in for it",
)
@pytest.mark.parametrize("shots", [0, 3])
@pytest.mark.filterwarnings("ignore")
def test_letters_are_those_of_the_installed_harness(model: LocalModel, shots: int) -> None:
    questions = tuple(load_split("starter:recall", size=24).questions)
    examples = tuple(load_split("starter:train", size=3).questions)[:shots]
    ours = medtune_letters(model, questions, examples)
    found = agreement(ours, harness_letters(model, questions, examples))
    assert found["same_choice"] == len(questions)
    assert found["largest_difference"] < 1e-3
