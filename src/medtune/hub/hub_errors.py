"""Translate the errors of the Hub's clients: what was refused, and what the user can do.

The Hub says why it refuses in headers (`X-Error-Code`), which `huggingface_hub` and `datasets` wrap
in exceptions of many classes; the first answer of the Hub in the chain of exceptions decides.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medtune.core.errors import DataError, HubError, MedtuneError, UnknownModelError
from medtune.core.run_folder import translate_disk_errors

MAX_LISTED_REVISIONS = 20
"""Most branches and tags listed in an error message."""
TOKEN_HINT = "set HF_TOKEN, or log in with `hf auth login`"


@dataclass(frozen=True, slots=True)
class HubRepository:
    """A repository of models or datasets, as a user names it."""

    kind: Literal["model", "dataset"]
    name: str
    """ORG/NAME."""
    revision: str | None = None
    """Branch, tag or commit; None is the main branch."""
    instead: str = ""
    """What can be used instead when the Hub is out of reach."""

    def __str__(self) -> str:
        """Return the reference as on the command line."""
        return f"hub:{self.name}" + (f"@{self.revision}" if self.revision else "")


def is_hub_offline() -> bool:
    """Return whether HF_HUB_OFFLINE is set."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


@contextmanager
def translate_hub_errors(repository: HubRepository) -> Iterator[None]:
    """Translate the errors of a download.

    Raises:
        UnknownModelError: There is no such model or revision.
        DataError: There is no such dataset or revision.
        HubError: The Hub cannot be reached, or refuses.
        FolderError: The local cache cannot be written.
    """
    import httpx2
    from huggingface_hub import constants

    try:
        with translate_disk_errors(Path(constants.HF_HUB_CACHE)):
            yield
    except MedtuneError:
        raise
    except (OSError, httpx2.HTTPError) as error:
        raise explain_hub_error(error, repository) from error


def explain_hub_error(error: BaseException, repository: HubRepository) -> MedtuneError:
    """Return medtune's error for an error of the Hub's clients."""
    answer = find_answer(error)
    if answer is None:
        return _explain_silence(error, repository)
    code, kind, name = answer.headers.get("X-Error-Code", ""), repository.kind, repository.name
    missing = UnknownModelError if kind == "model" else DataError
    if code == "GatedRepo":
        return HubError(
            f"{repository} is gated, and its licence was not accepted with this token"
            if answer.status_code == 403
            else f"{repository} is gated, and no token was sent",
            expected="a token of an account that the owner has given access",
            fix=f"accept the licence on {_page(repository)}, then {TOKEN_HINT}",
        )
    if code == "RevisionNotFound":
        there = _list_revisions(repository)
        return missing(
            f"the Hub has {kind} {name}, but no revision {repository.revision} of it",
            expected=f"a commit, or one of {', '.join(there)}" if there else "a branch or a commit",
            fix=f"name it: hub:{name}@REVISION",
        )
    if code == "EntryNotFound":
        return missing(
            f"{repository} has no file {answer.request.url.path.rpartition('/')[2]}",
            fix="try another revision, or check the repository's files on its page",
        )
    if code == "RepoNotFound":
        return missing(
            f"the Hub has no {kind} {name}, or it is private and "
            + ("no valid token was sent" if answer.status_code == 401 else "closed to this token"),
            expected=f"a public {kind}, or a token that may read it",
            fix=f"check the spelling; for a private {kind} {TOKEN_HINT}",
        )
    return HubError(
        f"{repository}: the Hub answers with status {answer.status_code}: {_say_why(answer)}",
        fix=_advise(answer.status_code, repository),
    )


def find_refusal(repository: HubRepository) -> Exception | None:
    """Ask the Hub why it does not give a repository out; None if it does, or does not answer.

    `datasets` drops the Hub's answer from the error that it raises.
    """
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api, kind = HfApi(), repository.kind
    try:
        api.repo_info(repository.name, repo_type=kind, revision=repository.revision)
        api.auth_check(repository.name, repo_type=kind)
    except HfHubHTTPError as error:
        return error
    except (OSError, httpx2.HTTPError):
        return None
    return None


def find_answer(error: BaseException) -> Any | None:
    """Find the HTTP response of the Hub in a chain of exceptions; None if it did not answer."""
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        response = getattr(at, "response", None)
        if getattr(response, "status_code", None) is not None:
            return response
        at = at.__cause__ or at.__context__
    return None


def _explain_silence(error: BaseException, repository: HubRepository) -> HubError:
    """Explain an error without an answer of the Hub: offline, out of reach, or broken off."""
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.errors import IncompleteSnapshotError

    again = "go online once"
    if isinstance(error, IncompleteSnapshotError):
        what = "its download was not finished, and the Hub cannot be reached"
    elif isinstance(error, httpx2.RemoteProtocolError) or "Consistency check" in str(error):
        what = "the download broke off"
        again = "give the same command again: files that arrived whole are kept"
    elif is_hub_offline():
        what = f"HF_HUB_OFFLINE is set and the {repository.kind} is not in the local cache"
        again = "unset it once"
    else:
        what = (
            f"the Hub ({constants.ENDPOINT}) cannot be reached and the {repository.kind} is not in "
            "the local cache"
        )
    instead = f", or {repository.instead}" if repository.instead else ""
    return HubError(f"{repository}: {what}", fix=f"{again}{instead}")


def _advise(status: int, repository: HubRepository) -> str:
    if status == 401:
        return f"the token is wrong or has expired: {TOKEN_HINT}"
    if status == 403:
        return f"use a token with the right to this repository: {TOKEN_HINT}"
    if status == 429:
        return f"wait some minutes; with a token the limit is higher: {TOKEN_HINT}"
    return "try again later" + (f", or {repository.instead}" if repository.instead else "")


def _say_why(answer: Any) -> str:
    return str(answer.headers.get("X-Error-Message") or answer.reason_phrase)


def _page(repository: HubRepository) -> str:
    from huggingface_hub import constants

    prefix = "datasets/" if repository.kind == "dataset" else ""
    return f"{constants.ENDPOINT}/{prefix}{repository.name}"


def _list_revisions(repository: HubRepository) -> list[str]:
    """List the branches and tags of a repository; empty if the Hub does not tell."""
    import httpx2
    from huggingface_hub import HfApi

    try:
        refs = HfApi().list_repo_refs(repository.name, repo_type=repository.kind)
    except (OSError, httpx2.HTTPError):
        return []
    names = [ref.name for ref in (*refs.branches, *refs.tags)]
    more = len(names) - MAX_LISTED_REVISIONS
    return [*names[:MAX_LISTED_REVISIONS], *([f"{more} more"] if more > 0 else [])]
