"""The server that the tests of models ask."""

from __future__ import annotations

from tests.unit.models.conftest import no_key, server

__all__ = ["no_key", "server"]
