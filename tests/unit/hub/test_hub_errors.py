from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub
import pytest
from huggingface_hub.errors import (
    HfHubHTTPError,
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
)

from medtune.core.errors import (
    DataError,
    FolderError,
    HubError,
    MedtuneError,
    UnknownModelError,
)
from medtune.hub.hub_errors import (
    HubRepository,
    explain_hub_error,
    is_hub_offline,
    translate_hub_errors,
)

MODEL = HubRepository("model", "org/name", "v2", "use path:DIR")
DATA = HubRepository("dataset", "org/name", None, "pass the data as file:PATH")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

    def refs(*_: Any, **__: Any) -> None:
        raise httpx2.ConnectError("no network in this test")

    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_refs", refs)


def refusal(status: int, code: str = "", message: str = "") -> HfHubHTTPError:
    headers = {"X-Error-Code": code, "X-Error-Message": message}
    request = httpx2.Request("GET", "https://huggingface.co/org/name/resolve/v2/config.json")
    response = httpx2.Response(status, headers=headers, request=request)
    return HfHubHTTPError("refused", response=response)


@pytest.mark.parametrize(
    ("value", "offline"), [("1", True), ("true", True), ("ON", True), ("0", False), ("", False)]
)
def test_hub_offline(monkeypatch: pytest.MonkeyPatch, value: str, offline: bool) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert is_hub_offline() is offline


@pytest.mark.parametrize(
    ("error", "kind", "found", "fix"),
    [
        (refusal(401, "GatedRepo"), HubError, "is gated, and no token was sent", "accept the"),
        (refusal(403, "GatedRepo"), HubError, "was not accepted with this token", "set HF_TOKEN"),
        (refusal(401, "RepoNotFound"), UnknownModelError, "no valid token was sent", "spelling"),
        (refusal(404, "RepoNotFound"), UnknownModelError, "closed to this token", "HF_TOKEN"),
        (refusal(404, "RevisionNotFound"), UnknownModelError, "no revision v2 of it", "@REVISION"),
        (refusal(404, "EntryNotFound"), UnknownModelError, "has no file config.json", "revision"),
        (refusal(401, "", "Invalid credentials"), HubError, "401: Invalid cred", "token is wrong"),
        (refusal(403), HubError, "status 403: Forbidden", "right to this repository"),
        (refusal(429), HubError, "status 429", "wait some minutes"),
        (refusal(503), HubError, "status 503", "try again later, or use path:DIR"),
    ],
)
def test_what_the_hub_refuses_has_a_reason_and_a_remedy(
    error: HfHubHTTPError, kind: type[MedtuneError], found: str, fix: str
) -> None:
    # As huggingface_hub does, wrapped in an error that says less.
    wrapped = LocalEntryNotFoundError("see above")
    wrapped.__cause__ = error
    for raised in (error, wrapped):
        told = explain_hub_error(raised, MODEL)
        assert type(told) is kind
        assert found in told.found
        assert fix in told.fix


def test_a_missing_dataset_is_a_fault_of_the_data() -> None:
    assert type(explain_hub_error(refusal(404, "RepoNotFound"), DATA)) is DataError


@pytest.mark.parametrize(
    ("error", "found", "fix"),
    [
        (httpx2.ConnectError("refused"), "cannot be reached and the model", "use path:DIR"),
        (LocalEntryNotFoundError("not cached"), "is not in the local cache", "go online once"),
        (ConnectionError("no route"), "(https://huggingface.co) cannot be reached", "go online"),
        (httpx2.RemoteProtocolError("closed"), "download broke off", "same command again"),
        (OSError("Consistency check failed: 3 of 5"), "download broke off", "same command"),
        (
            IncompleteSnapshotError("2 files", snapshot_path="x"),
            "download was not finished",
            "go online once",
        ),
    ],
)
def test_a_hub_out_of_reach_is_one_sentence(error: Exception, found: str, fix: str) -> None:
    with pytest.raises(HubError) as caught, translate_hub_errors(MODEL):
        raise error
    assert caught.value.found.startswith("hub:org/name@v2: ")
    assert found in caught.value.found
    assert fix in caught.value.fix


def test_offline_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    told = explain_hub_error(LocalEntryNotFoundError("not cached"), DATA)
    assert "HF_HUB_OFFLINE is set and the dataset is not in the local cache" in told.found
    assert told.fix == "unset it once, or pass the data as file:PATH"


def test_a_full_disk_is_no_fault_of_the_network() -> None:
    with pytest.raises(FolderError, match="the disk is full"), translate_hub_errors(MODEL):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_revision_that_is_not_there_lists_what_there_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refs(*_: Any, repo_type: str, **__: Any) -> Any:
        assert repo_type == "model"
        made = [{"name": f"b{n}", "ref": "", "targetCommit": ""} for n in range(25)]
        info = [huggingface_hub.GitRefInfo(r["name"], r["ref"], r["targetCommit"]) for r in made]
        return huggingface_hub.GitRefs(branches=info, converts=[], tags=[])

    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_refs", refs)
    told = explain_hub_error(refusal(404, "RevisionNotFound"), MODEL)
    assert told.expected.startswith("a commit, or one of b0, b1, ")
    assert told.expected.endswith("b19, 5 more")
