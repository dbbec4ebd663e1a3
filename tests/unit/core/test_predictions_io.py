from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medtune.core.errors import FolderError, PredictionsError
from medtune.core.predictions_io import (
    DRAFT_FILE,
    PREDICTIONS_FILE,
    RECORD_FILE,
    PredictionsDraft,
    read_evaluation,
    read_lines,
    read_predictions,
    write_evaluation,
)
from medtune.core.records import (
    EvaluationRecord,
    ModelDescription,
    Outcome,
    OutcomeCounts,
    Prediction,
    Proportion,
    Provenance,
    SplitDescription,
)


def record(n: int) -> EvaluationRecord:
    share = Proportion(value=1 / n, low=0.0, high=1.0, n=n)
    return EvaluationRecord(
        inputs="i",
        label="base",
        model=ModelDescription(
            source="fake:noisy", fingerprint="f", parameters=0, dtype="none", device="none"
        ),
        data=SplitDescription(source="starter:recall", n=n, excluded={}, hash="h"),
        prompt_hash="p",
        method="cloze",
        normalization="byte",
        counts=OutcomeCounts(n=n, correct=1, wrong=n - 1, unparsed=0, abstained=0),
        accuracy=share,
        answer_rate=share,
        chance=0.25,
        majority=share,
        majority_letter="A",
        letters_chosen={"A": n},
        letters_right={"A": 1},
        duration_s=0.5,
        questions_per_s=2.0 * n,
        provenance=Provenance(
            medtune="0",
            commit=None,
            python="3.11",
            platform="linux",
            cpu="c",
            cores=1,
            gpu=None,
            packages={},
            created="2025-01-01T00:00:00+00:00",
            command="medtune evaluate",
        ),
    )


def prediction(identity: str, text: str = "The answer is: naïve") -> Prediction:
    return Prediction(
        stem="Why?",
        id=identity,
        subject="Anatomy",
        options=("yes", "no"),
        answer=1,
        chosen=0,
        outcome=Outcome.WRONG,
        logprobs=(-0.1, -2.25),
        text=text,
    )


UNPARSED = Prediction(
    stem="Why?",
    id="u",
    subject=None,
    options=("yes", "no"),
    answer=1,
    chosen=None,
    outcome=Outcome.UNPARSED,
)


def written(folder: Path, count: int = 3) -> Path:
    write_evaluation(folder, record(count), [prediction(f"q{i}") for i in range(count)])
    return folder


def test_an_evaluation_reads_back(tmp_path: Path) -> None:
    folder = written(tmp_path / "eval" / "base-cloze")
    assert read_evaluation(folder) == (record(3), [prediction(f"q{i}") for i in range(3)])
    assert sorted(path.name for path in folder.iterdir()) == [PREDICTIONS_FILE, RECORD_FILE]
    assert (folder / PREDICTIONS_FILE).read_text(encoding="utf-8").count("\n") == 3


def test_an_unparsed_prediction_without_subject_reads_back(tmp_path: Path) -> None:
    write_evaluation(tmp_path, record(1), [UNPARSED])
    assert read_evaluation(tmp_path)[1] == [UNPARSED]


@pytest.mark.parametrize(
    "mark", ["\n", "\r\n", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"], ids=ascii
)
def test_free_text_with_line_separators_reads_back(tmp_path: Path, mark: str) -> None:
    odd = prediction("q0", text=f"one{mark}two")
    write_evaluation(tmp_path, record(1), [odd])
    assert read_evaluation(tmp_path)[1] == [odd]


def test_the_record_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(FolderError, match=r"predictions\.jsonl: the disk is full"):
        written(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_last_line_is_refused_by_its_number(tmp_path: Path) -> None:
    path = written(tmp_path) / PREDICTIONS_FILE
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(PredictionsError) as caught:
        read_evaluation(tmp_path)
    assert f"{path} line 3 is no prediction" in caught.value.found
    assert "truncated" in caught.value.fix


def test_a_missing_last_line_is_refused_with_both_counts(tmp_path: Path) -> None:
    path = written(tmp_path) / PREDICTIONS_FILE
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:-1]), encoding="utf-8")
    with pytest.raises(PredictionsError, match=r"has 2 lines, its record counts 3"):
        read_evaluation(tmp_path)


def test_predictions_beyond_the_record_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path) / PREDICTIONS_FILE
    path.write_text(path.read_text(encoding="utf-8") * 2, encoding="utf-8")
    with pytest.raises(PredictionsError, match=r"has 6 lines, its record counts 3"):
        read_evaluation(tmp_path)


def test_a_folder_without_record_holds_no_evaluation(tmp_path: Path) -> None:
    with pytest.raises(PredictionsError, match="holds no evaluation"):
        read_evaluation(tmp_path / "none")
    (written(tmp_path) / RECORD_FILE).write_text("{")
    with pytest.raises(PredictionsError, match="holds no evaluation"):
        read_evaluation(tmp_path)


def test_a_record_without_predictions_is_refused(tmp_path: Path) -> None:
    (written(tmp_path) / PREDICTIONS_FILE).unlink()
    with pytest.raises(PredictionsError, match=r"predictions\.jsonl does not exist"):
        read_evaluation(tmp_path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / PREDICTIONS_FILE).write_bytes(b"")
    with pytest.raises(PredictionsError, match="is empty"):
        read_predictions(tmp_path / PREDICTIONS_FILE)


def test_a_file_that_is_not_utf8_is_refused_at_its_byte(tmp_path: Path) -> None:
    (tmp_path / PREDICTIONS_FILE).write_bytes(b'{"id": "\xff"}\n')
    with pytest.raises(PredictionsError, match="is not UTF-8 at byte 8") as caught:
        read_predictions(tmp_path / PREDICTIONS_FILE)
    assert isinstance(caught.value.__cause__, UnicodeDecodeError)


def test_a_folder_or_a_path_below_a_file_is_no_file_of_predictions(tmp_path: Path) -> None:
    with pytest.raises(PredictionsError, match="is a folder"):
        read_lines(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(PredictionsError):
        read_lines(tmp_path / "file" / PREDICTIONS_FILE)


def test_lines_of_saved_outputs_are_read_as_they_stand(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\n  two \n", encoding="utf-8")
    assert read_lines(tmp_path / "a.txt") == ["one", "", "  two "]


# Drafts

IDS = ["q0", "q1", "q2", "q3", "q4"]
KEPT = [prediction(name, text=f"naïve\u2028{name}\r\nélan") for name in IDS]


def drafted(folder: Path, count: int = 3, inputs: str = "i") -> Path:
    """Keep so many predictions."""
    draft = PredictionsDraft(folder, inputs)
    assert draft.read(IDS) == []
    draft.append(KEPT[:count])
    return folder / DRAFT_FILE


def test_a_draft_reads_back_as_far_as_it_goes(tmp_path: Path) -> None:
    drafted(tmp_path)
    draft = PredictionsDraft(tmp_path, "i")
    assert draft.read(IDS) == KEPT[:3]
    draft.append(KEPT[3:4])
    draft.append(KEPT[4:])
    assert PredictionsDraft(tmp_path, "i").read(IDS) == KEPT
    assert PredictionsDraft(tmp_path, "i").read(IDS) == KEPT  # reading changes nothing


def test_a_draft_of_other_inputs_is_begun_anew(tmp_path: Path) -> None:
    path = drafted(tmp_path)
    assert PredictionsDraft(tmp_path, "other").read(IDS) == []
    assert path.read_text() == '{"inputs": "other"}\n'
    assert PredictionsDraft(tmp_path, "i").read(IDS) == []


def test_a_draft_goes_no_further_than_its_questions(tmp_path: Path) -> None:
    drafted(tmp_path)
    assert PredictionsDraft(tmp_path, "i").read(IDS[:2]) == KEPT[:2]
    assert PredictionsDraft(tmp_path, "i").read(IDS) == KEPT[:2]


@pytest.mark.parametrize(
    ("ids", "count"),
    [
        (["q0", "q2", "q1", "q3", "q4"], 1),
        (["q1", "q0", "q2", "q3", "q4"], 0),
        (["q0", "q1", "x", "q2", "q3"], 2),
        ([], 0),
    ],
)
def test_questions_in_another_order_are_asked_again(
    tmp_path: Path, ids: list[str], count: int
) -> None:
    drafted(tmp_path)
    assert PredictionsDraft(tmp_path, "i").read(ids) == KEPT[:count]


@settings(max_examples=150)
@given(st.data())
def test_wherever_a_draft_is_torn_whole_lines_are_kept(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("torn")
    path = drafted(folder)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    # A line is whole when it lacks its end of line at most.
    ends = [n for n, byte in enumerate(whole) if byte == 10]
    kept = sum(cut >= end for end in ends[1:])
    draft = PredictionsDraft(folder, "i")
    assert draft.read(IDS) == KEPT[:kept]
    draft.append(KEPT[kept:])
    assert PredictionsDraft(folder, "i").read(IDS) == KEPT


def cut_out(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[1], *lines[3:]]


@pytest.mark.parametrize(
    ("damage", "count"),
    [
        (lambda _: [], 0),
        (lambda lines: lines[1:], 0),
        (lambda _: [os.urandom(4000)], 0),
        (lambda lines: [lines[0], b"\xff\x00\x80" * 50], 0),
        (lambda lines: [lines[0], lines[1], b"\n", *lines[2:]], 1),
        (lambda lines: [lines[0], lines[1], b"{}\n", *lines[2:]], 1),
        (lambda lines: [lines[0], lines[1], b"null\n", *lines[2:]], 1),
        (lambda lines: [lines[0], lines[1], lines[1], *lines[2:]], 1),
        (cut_out, 1),
        (lambda lines: [b'{"inputs": "i", "more": 1}\n', *lines[1:]], 0),
    ],
)
def test_a_damaged_draft_is_kept_up_to_its_damage(
    tmp_path: Path, damage: Callable[[list[bytes]], list[bytes]], count: int
) -> None:
    path = drafted(tmp_path)
    path.write_bytes(b"".join(damage(path.read_bytes().splitlines(keepends=True))))
    draft = PredictionsDraft(tmp_path, "i")
    assert draft.read(IDS) == KEPT[:count]
    draft.append(KEPT[count:])
    assert PredictionsDraft(tmp_path, "i").read(IDS) == KEPT


def test_a_draft_is_removed_once_and_for_all(tmp_path: Path) -> None:
    path = drafted(tmp_path)
    draft = PredictionsDraft(tmp_path, "i")
    draft.delete()
    assert not path.exists()
    draft.delete()


def failing(code: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "permission")],
)
def test_a_draft_that_cannot_be_written_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    path = drafted(tmp_path)
    before, draft = path.read_bytes(), PredictionsDraft(tmp_path, "i")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", failing(code))
        with pytest.raises(FolderError, match=words) as caught:
            draft.append(KEPT[3:])
        assert str(path) in caught.value.found
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(code))
        with pytest.raises(FolderError, match=words):
            draft.read(IDS)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_draft_that_may_not_be_read_is_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafted(tmp_path)
    monkeypatch.setattr(Path, "read_text", failing(errno.EACCES))
    with pytest.raises(FolderError, match="permission denied"):
        PredictionsDraft(tmp_path, "i").read(IDS)


def test_an_older_record_never_vouches_for_newer_predictions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The same number of lines: nothing in the file itself would give it away.
    written(tmp_path)
    fsync, calls = os.fsync, []

    def full_at_the_second(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "full")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full_at_the_second)
    with pytest.raises(FolderError, match=r"record\.json: the disk is full"):
        write_evaluation(tmp_path, record(3), [prediction(f"x{i}") for i in range(3)])
    with pytest.raises(PredictionsError, match="holds no evaluation"):
        read_evaluation(tmp_path)
