from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from medtune.core.errors import AdapterError
from medtune.core.prompt import PromptStyle
from medtune.models.weights_card import CARD_FILE, WeightsCard, hash_file_cached, read_card

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / WEIGHTS).write_bytes(b"weights")
    card = WeightsCard(
        base="embedded:smollm2-135m",
        base_fingerprint="f",
        prompt_hash="p",
        style=PromptStyle(system="Be brief."),
        target="text",
        data_hash="d",
        config_hash="c",
        weights_hash=hashlib.sha256(b"weights").hexdigest(),
        medtune="0.1.0",
    )
    (folder / CARD_FILE).write_text(card.model_dump_json(indent=2))
    return folder


def test_reads_back_what_was_written(adapter: Path) -> None:
    card = read_card(adapter)
    assert card.base == "embedded:smollm2-135m"
    assert card.style.system == "Be brief."
    assert card.target == "text"


def test_file_hash_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    # sha256 of nothing
    assert hash_file_cached(tmp_path / "empty") == (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


def test_changed_weights_are_refused(adapter: Path) -> None:
    (adapter / WEIGHTS).write_bytes(b"weightz")
    with pytest.raises(AdapterError, match=r"(?s)adapter_model.safetensors has sha256 .*changed"):
        read_card(adapter)


@pytest.mark.parametrize("name", [CARD_FILE, WEIGHTS])
def test_a_missing_file_is_named(adapter: Path, name: str) -> None:
    (adapter / name).unlink()
    with pytest.raises(AdapterError, match=f"no adapter of medtune's: {name} is missing"):
        read_card(adapter)


def test_no_folder_and_no_adapter_folder(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(AdapterError, match="no adapter of medtune's"):
            read_card(place)
    (tmp_path / "file").touch()
    with pytest.raises(AdapterError, match="no adapter of medtune's"):
        read_card(tmp_path / "file")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"kind": "evaluation"}'])
def test_a_damaged_card_is_refused(adapter: Path, content: bytes) -> None:
    (adapter / CARD_FILE).write_bytes(content)
    with pytest.raises(AdapterError, match=r"medtune\.json cannot be read"):
        read_card(adapter)


@pytest.mark.parametrize("scheme", ["openvino", "openvino-int8", "int4"])
def test_a_scheme_that_there_is_no_more_is_refused(adapter: Path, scheme: str) -> None:
    card = json.loads((adapter / CARD_FILE).read_text()) | {"kind": "model", "scheme": scheme}
    (adapter / CARD_FILE).write_text(json.dumps(card))
    message = rf"adapter is packed as {scheme}, which[\s\S]*one of merge, [\s\S]*medtune compress"
    with pytest.raises(AdapterError, match=message):
        read_card(adapter)


def test_an_unknown_field_is_refused(adapter: Path) -> None:
    card = json.loads((adapter / CARD_FILE).read_text())
    (adapter / CARD_FILE).write_text(json.dumps(card | {"secret": 1}))
    with pytest.raises(AdapterError, match="secret"):
        read_card(adapter)
