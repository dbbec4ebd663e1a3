from __future__ import annotations

from pathlib import Path

import pytest

from medtune.core.errors import FolderError
from medtune.core.protocols import ScoreRequest
from medtune.core.run_folder import lock_folder
from medtune.models.fake import FakeModel
from medtune.workflows.distributed import lock_on_main, run_distributed, run_on_main, split_requests


def asked(*ids: str) -> list[ScoreRequest]:
    return [ScoreRequest(name, "", ("a", "b"), (), "", (" a", " b")) for name in ids]


@pytest.mark.parametrize(
    ("ids", "count", "shares"),
    [
        ("abcdef", 2, ["abc", "def"]),
        ("abcdef", 4, ["a", "bc", "d", "ef"]),
        ("abc", 1, ["abc"]),
        # The orders of one question stay together.
        ("aaaabbbbcccc", 2, ["aaaa", "bbbbcccc"]),
        ("aabbcd", 3, ["aa", "bb", "cd"]),
        # Fewer questions than processes: some have nothing to do.
        ("ab", 4, ["", "a", "", "b"]),
        ("", 2, ["", ""]),
    ],
)
def test_requests_are_cut_between_questions(ids: str, count: int, shares: list[str]) -> None:
    requests = asked(*ids)
    found = ["".join(r.id for r in requests[part]) for part in split_requests(requests, count)]
    assert found == shares
    assert "".join(found) == ids


def test_one_process_works_with_the_model_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    model = FakeModel("constant", {})
    assert run_distributed(model, lambda shared: shared is model)
    assert run_on_main(lambda: 3) == 3


def test_the_first_process_alone_holds_the_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with lock_folder(tmp_path):
        with pytest.raises(FolderError, match="in use"), lock_on_main(tmp_path):
            pass
        monkeypatch.setenv("RANK", "1")
        with lock_on_main(tmp_path):
            pass
