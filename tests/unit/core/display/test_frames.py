from __future__ import annotations

import sys

import pytest

from medtune.core.display.frames import make_frame, proportion_cells
from medtune.core.errors import MedtuneError
from medtune.core.records import Proportion


def test_a_frame_has_a_row_for_each_row_and_columns_without_any() -> None:
    assert make_frame([{"a": 1}, {"a": 2}])["a"].tolist() == [1, 2]
    assert list(make_frame([], ["a", "b"]).columns) == ["a", "b"]


def test_without_pandas_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MedtuneError, match="pip install pandas"):
        make_frame([{"a": 1}])


def test_a_missing_proportion_is_missing() -> None:
    share = Proportion(value=0.5, low=0.4, high=0.6, n=9)
    assert proportion_cells("x", share) == {"x": 0.5, "x_low": 0.4, "x_high": 0.6}
    assert proportion_cells("x", None) == {"x": None, "x_low": None, "x_high": None}
