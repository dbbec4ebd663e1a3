"""What needs CUDA; everything here is skipped where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.real.conftest import source, starter, tiny_source

__all__ = ["source", "starter", "tiny_source"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(missing)
