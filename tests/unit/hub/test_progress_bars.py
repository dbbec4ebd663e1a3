from __future__ import annotations

from collections.abc import Iterator

import pytest
from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)
from transformers.utils import logging

from medtune.hub.progress_bars import restore_progress_bars


@pytest.fixture(autouse=True)
def bars() -> Iterator[None]:
    with restore_progress_bars():
        yield


@pytest.mark.parametrize("of_hub", [True, False])
@pytest.mark.parametrize("of_transformers", [True, False])
def test_bars_are_afterwards_as_they_were(of_hub: bool, of_transformers: bool) -> None:
    (logging.enable_progress_bar if of_transformers else logging.disable_progress_bar)()
    (enable_progress_bars if of_hub else disable_progress_bars)()
    with restore_progress_bars():
        logging.disable_progress_bar()
    assert logging.is_progress_bar_enabled() is of_transformers
    assert are_progress_bars_disabled() is not of_hub
