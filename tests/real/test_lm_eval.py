"""Letter scores are those of lm-evaluation-harness.

Its own output is pinned in lm_eval_letters.json, with the recipe that made it:
benchmarks/lm_eval_parity.py asks the installed harness again.
"""

from __future__ import annotations

import json
from pathlib import Path

from eval_speed import STYLE
from lm_eval_parity import agreement, medtune_letters
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
