"""The shipped learned guard is what its command makes of examples and MedMCQA's questions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tests.conftest import CommandLine

from medtune.guardrails.classifier.fit import WEIGHT_DIGITS
from medtune.guardrails.classifier.learned import load_classifier, load_default_classifier

STEP = 1.01 * 10.0**-WEIGHT_DIGITS
"""A step of the last stored digit, and what floating point adds."""


def test_training_again_gives_the_shipped_guard(
    medtune: CommandLine, real_data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "learned.json.gz"
    exam = f"file:{real_data}/medmcqa_train.parquet"
    code, said, err = medtune("guard", "train", "--exam", exam, "--out", str(out))
    assert code == 0, err
    assert "held out kinds" in said
    made, there = load_classifier(out).trained, load_default_classifier().trained
    for new, old in ((made.kinds, there.kinds), (made.orders, there.orders)):
        assert new.trained_on == old.trained_on
        assert new.words == old.words
        assert new.pieces == old.pieces
        # Another machine's last bit may round a number the other way: one step of the last digit.
        assert np.allclose(new.weights, old.weights, rtol=0, atol=STEP)
        assert abs(new.temperature - old.temperature) <= STEP
