from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from medtune.core.errors import UnknownModelError
from medtune.core.run_folder import hash_file
from medtune.models import open_model, sources
from medtune.models.gguf_file import find_gguf_path, read_gguf
from medtune.models.open_model import find_unloaded_model
from medtune.models.sources import measure_weights_size, resolve_model


def written(path: Path, tokenizer: str = "gpt2", parts: int = 1, kind: str = "model") -> Path:
    """Write a file of one small tensor with a header as llama.cpp's converter writes it."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type(kind)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
    if tokenizer:
        writer.add_tokenizer_model(tokenizer)
    if parts > 1:
        writer.add_uint16("split.count", parts)
    writer.add_tensor("token_embd.weight", np.ones((8, 32), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_the_header_says_what_the_file_holds(tmp_path: Path) -> None:
    path = written(tmp_path / "m.gguf")
    found = read_gguf(path)
    assert (found.architecture, found.parameters, found.scheme) == ("llama", 256, "gguf-q4_k_m")
    assert found.fingerprint == hash_file(path)
    assert measure_weights_size(f"path:{path}") == path.stat().st_size


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("path:/a/m.gguf", Path("/a/m.gguf")),
        ("path:m.gguf", Path("m.gguf")),
        ("path:folder", None),
        ("hub:org/m.gguf", None),
    ],
)
def test_a_file_is_known_by_its_name(name: str, path: Path | None) -> None:
    assert find_gguf_path(name) == path


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9, 0.99])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, share: float) -> None:
    path = written(tmp_path / "m.gguf")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UnknownModelError, match=r"damaged or cut short|of version"):
        read_gguf(path)


def test_a_damaged_header_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "m.gguf")
    content = bytearray(path.read_bytes())
    content[24:40] = b"\xff" * 16
    path.write_bytes(content)
    with pytest.raises(UnknownModelError, match="damaged or cut short") as caught:
        read_gguf(path)
    assert "sha256" in caught.value.fix


@pytest.mark.parametrize(
    ("content", "found", "fix"),
    [
        (b"PK\x03\x04", "is no GGUF file: it begins with b'PK", "fetch the file again"),
        (b"", "is no GGUF file", "fetch the file again"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is no GGUF file", "git lfs pull"),
        (b"GGUF\x01\0\0\0" + bytes(40), "GGUF file of version 1", "fetch a newer file"),
        (b"GGUF\0\0\0\x03" + bytes(40), "GGUF file of version 50331648", "little-endian"),
    ],
)
def test_what_is_no_gguf_is_refused(tmp_path: Path, content: bytes, found: str, fix: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(UnknownModelError) as caught:
        read_gguf(path)
    assert found in caught.value.found
    assert fix in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match="is no file"):
        resolve_model(f"path:{tmp_path / 'none.gguf'}")


def test_one_part_of_several_is_refused_by_name_or_by_content(tmp_path: Path) -> None:
    for path, count in ((tmp_path / "m-00001-of-00003.gguf", 1), (tmp_path / "m.gguf", 2)):
        with pytest.raises(UnknownModelError, match=r"one of [23] parts") as caught:
            read_gguf(written(path, parts=count))
        assert "llama-gguf-split --merge" in caught.value.fix


@pytest.mark.parametrize(("tokenizer", "kind"), [("", "model"), ("gpt2", "adapter")])
def test_what_is_no_language_model_is_refused(tmp_path: Path, tokenizer: str, kind: str) -> None:
    with pytest.raises(UnknownModelError, match="holds no language model"):
        read_gguf(written(tmp_path / "m.gguf", tokenizer, kind=kind))


def test_llama_cpp_runs_it_unless_a_precision_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "m.gguf")
    converted: list[Path] = []

    def convert(file: Any, target: Path, progress: Any) -> Path:
        converted.append(target)
        return tmp_path

    monkeypatch.setattr(sources, "convert_gguf", convert)
    monkeypatch.setenv("MEDTUNE_CACHE", str(tmp_path / "cache"))
    name = f"path:{path}"
    for installed, dtype, as_it_is in [
        (True, "auto", True),
        (True, "float32", False),
        (False, "auto", False),
    ]:
        monkeypatch.setattr(open_model, "has_llama_cpp", lambda there=installed: there)
        assert (find_unloaded_model(name, None, dtype, progress=None) is None) is as_it_is  # type: ignore[arg-type]
    assert converted == [tmp_path / "cache" / f"m-{hash_file(path)[:12]}"] * 2
