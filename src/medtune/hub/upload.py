"""Upload a folder to a model repository of the Hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medtune.core.errors import HubError, InputError
from medtune.hub.hub_errors import TOKEN_HINT, HubRepository, explain_hub_error
from medtune.hub.progress_bars import restore_progress_bars

WRITE_HINT = (
    f"take a token of the write role (https://huggingface.co/settings/tokens): {TOKEN_HINT}"
)


@dataclass(frozen=True, slots=True)
class HubCommit:
    """A commit on the Hub."""

    commit: str
    url: str
    private: bool
    """Whether the repository is private."""


def check_token(repository: HubRepository) -> None:
    """Check that there is a token to upload with.

    Raises:
        HubError: There is none.
    """
    from huggingface_hub import get_token

    if get_token() is None:
        raise HubError(f"{repository}: there is no token to write with", fix=WRITE_HINT)


@restore_progress_bars()
def upload_folder(
    folder: Path, repository: HubRepository, message: str, private: bool
) -> HubCommit:
    """Upload a folder in one commit; create the repository and the branch if needed.

    Args:
        folder: The files.
        repository: Its revision is a branch.
        message: Message of the commit.
        private: Whether only the owner may see the repository; an existing one must be private
            then, and otherwise stays as it is.

    Raises:
        InputError: The repository is public, and was to be private.
        HubError: The Hub cannot be reached, or refuses.
    """
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    api, name, branch = HfApi(), repository.name, repository.revision
    disable_progress_bars()
    try:
        api.create_repo(name, private=private or None, exist_ok=True)
        is_private = bool(api.model_info(name).private)
        if private and not is_private:
            raise InputError(
                f"{repository} exists already, and is public",
                expected="a new or a private repository with --private",
                fix="leave --private out, choose another name, or make it private on its page",
            )
        if branch is not None:
            api.create_branch(name, branch=branch, exist_ok=True)
        done = api.upload_folder(
            repo_id=name, folder_path=folder, revision=branch, commit_message=message
        )
    except InputError:
        raise
    except (OSError, httpx2.HTTPError, ValueError) as error:
        raise _explain_upload_error(error, repository) from error
    return HubCommit(str(done.oid), str(done.commit_url), is_private)


def _explain_upload_error(error: Exception, repository: HubRepository) -> HubError:
    from huggingface_hub import constants

    told = explain_hub_error(error, repository)
    if getattr(getattr(error, "response", None), "status_code", None) in (401, 403):
        return HubError(told.found, fix=WRITE_HINT)
    if getattr(error, "response", None) is not None:
        return HubError(told.found, expected=told.expected, fix=told.fix)
    if isinstance(error, ValueError):  # the metadata of the card, by the Hub's own rules
        return HubError(f"{repository}: the Hub refuses the files: {error}")
    return HubError(
        f"{repository}: the Hub ({constants.ENDPOINT}) cannot be reached, or the upload broke off",
        fix="give the same command again: files that arrived are not sent twice",
    )
