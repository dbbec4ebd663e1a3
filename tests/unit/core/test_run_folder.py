from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from medtune.core.errors import FolderError
from medtune.core.records import Record
from medtune.core.run_folder import (
    lock_folder,
    read_record,
    read_valid_record,
    replace_folder,
    translate_disk_errors,
    write_atomic,
    write_record,
    write_text,
)

HOLD = """
import sys
from pathlib import Path
from medtune.core.run_folder import lock_folder
with lock_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


class Step(Record):
    inputs: str
    value: int


class Note(Record):
    text: str


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run another process that holds the folder until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def fail_with(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fsync(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)


def test_a_text_is_written_whole_and_makes_its_folders(tmp_path: Path) -> None:
    target = tmp_path / "new" / "deep" / "a.txt"
    write_text(target, "naïve\n")
    assert target.read_bytes() == b"na\xc3\xafve\n"
    assert [path.name for path in target.parent.iterdir()] == ["a.txt"]


def test_a_written_file_may_be_read_by_others(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "x")
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o644


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "a long first version")
    write_text(target, "short")
    assert target.read_text() == "short"


@pytest.mark.parametrize("raised", [ValueError, KeyboardInterrupt])
def test_an_error_while_writing_leaves_nothing_behind(
    tmp_path: Path, raised: type[BaseException]
) -> None:
    def write(handle: IO[bytes]) -> None:
        handle.write(b"half")
        raise raised

    with pytest.raises(raised):
        write_atomic(tmp_path / "a.txt", write)
    assert list(tmp_path.iterdir()) == []


def test_an_error_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    def write(handle: IO[bytes]) -> None:
        handle.write(b"half")
        raise ValueError

    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(ValueError):
        write_atomic(target, write)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("number", "sentence", "advice"),
    [
        (errno.ENOSPC, "the disk is full", "free some space"),
        (errno.EDQUOT, "the disk quota is used up", "free some space"),
        (errno.EFBIG, "the file is larger than is allowed", "ulimit"),
        (errno.EROFS, "the file system is read-only", "writable folder"),
        (errno.EACCES, "permission denied", "folder that you may write"),
        (errno.EPERM, "operation not permitted", "folder that you may write"),
    ],
)
def test_a_fault_of_the_disk_is_told_in_one_sentence_and_the_old_file_stays(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    sentence: str,
    advice: str,
) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    fail_with(monkeypatch, number)
    with pytest.raises(FolderError) as caught:
        write_text(target, "new")
    assert caught.value.found == f"cannot write {target}: {sentence}"
    assert advice in caught.value.fix
    assert isinstance(caught.value.__cause__, OSError)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_unknown_fault_of_the_disk_passes_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(monkeypatch, errno.EIO)
    with pytest.raises(OSError) as caught:
        write_text(tmp_path / "a.txt", "new")
    assert caught.value.errno == errno.EIO
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="a file exists where a folder is needed"):
        write_text(tmp_path / "file" / "a.txt", "x")
    with pytest.raises(FolderError, match="part of the path is a file"):
        write_text(tmp_path / "file" / "deep" / "a.txt", "x")
    with pytest.raises(FolderError, match="a file exists"), lock_folder(tmp_path / "file"):
        pass


def test_disk_errors_lets_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(KeyError), translate_disk_errors(tmp_path):
        raise KeyError


def test_a_lock_makes_its_folder_and_yields_it(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "runs" / "one") as folder:
        assert folder == tmp_path / "runs" / "one"
        assert (folder / ".lock").read_text() == str(os.getpid())


def test_a_folder_is_locked_again_after_its_lock_ended(tmp_path: Path) -> None:
    with pytest.raises(KeyError), lock_folder(tmp_path):
        raise KeyError
    with lock_folder(tmp_path):
        pass


def test_a_second_lock_in_one_process_is_refused(tmp_path: Path) -> None:
    with lock_folder(tmp_path), pytest.raises(FolderError, match="in use"), lock_folder(tmp_path):
        pass


def test_a_lock_held_by_another_process_is_refused_and_freed_when_that_is_killed(
    tmp_path: Path,
) -> None:
    with holder(tmp_path) as other:
        with pytest.raises(FolderError) as caught, lock_folder(tmp_path):
            pass
        assert caught.value.found == f"{tmp_path} is in use by another run (process {other.pid})"
        assert caught.value.expected == "one run per folder"
        other.kill()  # SIGKILL: no handler, no clean-up
        other.wait()
        with lock_folder(tmp_path):
            assert (tmp_path / ".lock").read_text() == str(os.getpid())


def test_a_refused_lock_does_not_wipe_out_its_holder(tmp_path: Path) -> None:
    with lock_folder(tmp_path):
        for _ in range(2):
            with pytest.raises(FolderError, match=f"process {os.getpid()}"), lock_folder(tmp_path):
                pass


def test_a_disk_that_is_full_at_the_lock_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.TextIOWrapper):
        failed = False

        def flush(self) -> None:
            if not self.failed:
                self.failed = True
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    raw = (tmp_path / ".lock").open("ab+")
    monkeypatch.setattr(Path, "open", lambda path, mode: Full(raw))
    with pytest.raises(FolderError, match="the disk is full"), lock_folder(tmp_path):
        pass


def test_a_record_reads_back(tmp_path: Path) -> None:
    write_record(tmp_path / "r.json", Step(inputs="a", value=3))
    assert (tmp_path / "r.json").read_text() == '{\n  "inputs": "a",\n  "value": 3\n}\n'
    assert read_record(tmp_path / "r.json", Step) == Step(inputs="a", value=3)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"inputs": "a", "value": ',
        b"[]",
        b"\xff\xfe",
        b'{"inputs": "a"}',
        b'{"inputs": "a", "value": "many"}',
        b'{"inputs": "a", "value": 1, "gone": 2}',
    ],
    ids=["empty", "brace", "cut", "list", "bytes", "missing", "type", "unknown"],
)
def test_a_damaged_or_older_record_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.json").write_bytes(content)
    assert read_record(tmp_path / "r.json", Step) is None


def test_a_record_that_is_not_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert read_record(tmp_path / "none.json", Step) is None
    assert read_record(tmp_path / "file" / "r.json", Step) is None


def test_a_record_is_valid_only_for_its_own_inputs(tmp_path: Path) -> None:
    write_record(tmp_path / "r.json", Step(inputs="a", value=3))
    assert read_valid_record(tmp_path / "r.json", Step, "a") == Step(inputs="a", value=3)
    assert read_valid_record(tmp_path / "r.json", Step, "b") is None
    assert read_valid_record(tmp_path / "none.json", Step, "a") is None


def test_a_record_without_inputs_is_never_valid(tmp_path: Path) -> None:
    write_record(tmp_path / "r.json", Note(text="a"))
    assert read_valid_record(tmp_path / "r.json", Note, "a") is None


def test_a_replaced_folder_can_be_read_by_others_and_is_whole_or_as_before(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    with replace_folder(folder) as staging:
        (staging / "old").write_text("x")
    assert folder.stat().st_mode & 0o777 == 0o755
    with pytest.raises(KeyboardInterrupt), replace_folder(folder) as staging:  # noqa: PT012
        (staging / "new").write_text("x")
        raise KeyboardInterrupt
    assert [path.name for path in folder.iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
