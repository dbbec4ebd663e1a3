"""A server for all tests of remote models, and no key of the person who runs them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.unit.models.openai_server import OpenAiServer, serving


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MEDTUNE_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[OpenAiServer]:
    with serving(OpenAiServer()) as running:
        yield running
