from __future__ import annotations

import math

import numpy as np
import pytest

from medtune.serving.monitoring.drift import categorical_drift, numeric_drift


def test_the_index_by_hand() -> None:
    drift = categorical_drift("subject", ["a"] * 40 + ["b"] * 60, ["a"] * 60 + ["b"] * 40)
    p, q = 40.5 / 101, 60.5 / 101
    assert drift.psi == pytest.approx(2 * (q - p) * math.log(q / p))
    assert [b.name for b in drift.bins] == ["a", "b"]
    assert (drift.n_reference, drift.n) == (100, 100)
    assert drift.has_drifted


def test_rare_names_are_counted_together() -> None:
    drift = categorical_drift("subject", ["a"] * 50 + ["x", "y"], ["a"] * 50 + ["z"])
    assert [b.name for b in drift.bins] == ["a", "others"]
    assert not drift.has_drifted


def test_without_a_change_the_p_value_is_uniform() -> None:
    rng = np.random.default_rng(0)
    found = [
        numeric_drift("length", rng.normal(size=400).tolist(), rng.normal(size=300).tolist())
        for _ in range(300)
    ]
    share = np.mean([drift.p_value < 0.1 for drift in found])
    # The reference's own quantiles are its bins: the test is a little too careful, never too bold.
    assert share < 0.13
    assert np.mean([drift.has_drifted for drift in found]) < 0.03


def test_a_shift_is_seen_and_equal_numbers_share_a_bin() -> None:
    rng = np.random.default_rng(1)
    drift = numeric_drift(
        "confidence", rng.normal(size=400).tolist(), (rng.normal(size=400) + 1).tolist()
    )
    assert drift.has_drifted
    assert sum(b.reference for b in drift.bins) == pytest.approx(1)
    same = numeric_drift("confidence", [0.5] * 50, [0.5] * 50)
    assert same.psi == pytest.approx(0)
    assert same.p_value == 1.0 or len(same.bins) == 2
