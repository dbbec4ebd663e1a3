from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.batch_audit.chats import STYLES, Chats, open_chats


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all tokenizers."""
    return tmp_path_factory.mktemp("tokenizers")


@pytest.fixture(scope="session")
def styles(folder: Path) -> dict[str, Chats]:
    return {name: open_chats(folder, name) for name in STYLES}


@pytest.fixture
def chatml(styles: dict[str, Chats]) -> Chats:
    return styles["chatml"]


@pytest.fixture
def llama3(styles: dict[str, Chats]) -> Chats:
    return styles["llama3"]


@pytest.fixture
def base(styles: dict[str, Chats]) -> Chats:
    return styles["base"]
