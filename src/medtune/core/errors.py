"""All errors that medtune raises on purpose, as one tree.

```
MedtuneError                    exit 2 unless said otherwise
├── InputError                  what the user handed in cannot be used
│   ├── ConfigError             an experiment file or a --set; lists every fault at once
│   ├── DataError               a dataset
│   │   ├── ColumnError         a column is missing or unknown
│   │   ├── LabelError          an answer lies outside the options, or its base is ambiguous
│   │   └── EmptySplitError     no usable question is left
│   ├── ModelError              a model
│   │   ├── UnknownModelError   nothing of that name
│   │   ├── HubError            the Hub cannot be reached, or refuses
│   │   ├── RemoteError         a server that cannot be reached, refuses, or has no probabilities
│   │   ├── TemplateError       no chat template, or one that cannot be used
│   │   └── AdapterError        trained on another base or another prompt, or unreadable
│   ├── RetrievalError          a passage index, or texts to make one of
│   └── PredictionsError        saved predictions that cannot be read or compared
├── FolderError                 a folder that is read-only or on a full disk
│   └── FolderBusyError         a folder that another run holds
├── StoreError                  a database that cannot be reached, is full, busy or not medtune's
│   ├── NotFoundError           a request or a review item that is not stored
│   └── ConflictError           a change that does not fit what is stored
├── ReleaseError                a release that is not there, is damaged, or cannot be rolled back to
├── CheckFailed                 exit 1: a check that medtune makes said no
└── Interrupted                 exit 130: stopped by the user; what was done is kept
```

A message says what was found, what was expected, and what to do.  Errors of other libraries
are translated once, where the library is called, with ``raise ... from``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean NAME?" with the known name nearest to a misspelt one, or ""."""
    # Only a mistake needs the import.
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def check_choice(name: str, value: object, known: Sequence[str]) -> None:
    """Check that the value of a setting is one of the known ones.

    Raises:
        InputError: It is not.
    """
    if value not in known:
        near = did_you_mean(value, known) if isinstance(value, str) else ""
        raise InputError(f"{name} {value!r}{near}", expected=f"one of {', '.join(known)}")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; its type's name if it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


class MedtuneError(Exception):
    """Base class of all errors with a message for the user.

    Args:
        found: What was found, with the place (file, row, key).
        expected: What was expected.
        fix: What the user can do.
    """

    exit_code = 2

    def __init__(self, found: str, *, expected: str = "", fix: str = "") -> None:
        self.found = found
        self.expected = expected
        self.fix = fix
        lines = [found]
        if expected:
            lines.append(f"expected: {expected}")
        if fix:
            lines.append(f"to do: {fix}")
        super().__init__("\n".join(lines))


class InputError(MedtuneError, ValueError):
    """An input of the user that cannot be used."""


class ConfigError(InputError):
    """An invalid experiment; the message lists every fault.

    Args:
        source: The file or the command line that holds the faults.
        faults: One line each: key, what was found, what was expected.
    """

    def __init__(self, source: str, faults: list[str]) -> None:
        self.faults = faults
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__(
            f"{source}: {count}\n" + "\n".join(f"  - {fault}" for fault in faults),
            fix="correct the keys above; docs/configuration.md explains those of an experiment",
        )


class DataError(InputError):
    """A dataset that cannot be used."""


class ColumnError(DataError):
    """A missing or unknown column."""


class LabelError(DataError):
    """An answer outside of the options, or an index base (0 or 1) that is ambiguous."""


class EmptySplitError(DataError):
    """A split without any usable question."""


class ModelError(InputError):
    """A model that cannot be used."""


class UnknownModelError(ModelError):
    """An unknown model name."""


class HubError(ModelError):
    """A Hugging Face Hub that cannot be reached, or refuses."""


class RemoteError(ModelError):
    """A server that cannot be reached, refuses, or gives no log-probabilities.

    Args:
        status: The HTTP status with which it refused; None for anything else.
    """

    def __init__(
        self, found: str, *, expected: str = "", fix: str = "", status: int | None = None
    ) -> None:
        super().__init__(found, expected=expected, fix=fix)
        self.status = status


class TemplateError(ModelError):
    """A missing or unusable chat template."""


class AdapterError(ModelError):
    """An adapter of another base model or another prompt, or one that cannot be read."""


class RetrievalError(InputError):
    """A passage index that cannot be used, or texts that cannot become one."""


class PredictionsError(InputError):
    """Saved predictions that cannot be read or compared."""


class FolderError(MedtuneError):
    """A folder that is busy, read-only or on a full disk."""


class FolderBusyError(FolderError):
    """A folder that is locked by another run."""


class StoreError(MedtuneError):
    """A database that cannot be reached, is full, busy, or not medtune's."""


class NotFoundError(StoreError):
    """A request or a review item that is not stored, or no longer."""


class ConflictError(StoreError):
    """A change that does not fit what is stored, such as a claim of another reviewer's item."""


class ReleaseError(MedtuneError):
    """A release that does not exist, is damaged, or cannot be rolled back to."""


class CheckFailed(MedtuneError):
    """A failed check, such as a release gate."""

    exit_code = 1


class Interrupted(MedtuneError):
    """A stop by the user; finished work is kept."""

    exit_code = 130
