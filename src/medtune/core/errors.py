"""Every error that medtune raises on purpose, as one tree.

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
│   └── PredictionsError        saved predictions that cannot be read or compared
├── FolderError                 a folder that is read-only, on a full disk, or
│   └── FolderBusyError         held by another run
├── StoreError                  a database that cannot be reached, is full, busy or not medtune's
│   └── ReviewError             an item that is not there, or is another's to decide
├── ReleaseError                a release that is not there, is damaged, or cannot be rolled back to
├── CheckFailed                 exit 1: a check that medtune makes said no
└── Interrupted                 exit 130: stopped by the user; what was done is kept
```

A message says what was found, what was expected, and what to do.  Errors of other libraries
are translated once, where the library is called, with ``raise ... from``.
"""

from __future__ import annotations


class MedtuneError(Exception):
    """The root: an error whose message is meant for the person at the keyboard.

    Args:
        found: What is the case, with the place (file, row, key).
        expected: What would have been right.
        fix: What to do about it.
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
    """What the user handed in cannot be used."""


class ConfigError(InputError):
    """An experiment that cannot be run; every fault is listed.

    Args:
        source: The file or the command line that holds the faults.
        faults: One line each: key, what was found, what was expected.
    """

    def __init__(self, source: str, faults: list[str]) -> None:
        self.faults = faults
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__(
            f"{source}: {count}\n" + "\n".join(f"  - {fault}" for fault in faults),
            fix="mend the keys above; `medtune run --help` names the ways to set them",
        )


class DataError(InputError):
    """A dataset that cannot be used."""


class ColumnError(DataError):
    """A column is missing or unknown."""


class LabelError(DataError):
    """An answer lies outside the options, or its base (0 or 1) cannot be told."""


class EmptySplitError(DataError):
    """No usable question is left."""


class ModelError(InputError):
    """A model that cannot be used."""


class UnknownModelError(ModelError):
    """Nothing goes by that name."""


class HubError(ModelError):
    """The Hub cannot be reached, or refuses."""


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
    """The tokenizer has no chat template, or one that cannot be used."""


class AdapterError(ModelError):
    """An adapter of another base model or another prompt, or one that cannot be read."""


class PredictionsError(InputError):
    """Saved predictions that cannot be read or compared."""


class FolderError(MedtuneError):
    """A folder that is busy, read-only or on a full disk."""


class FolderBusyError(FolderError):
    """A folder that another run holds."""


class StoreError(MedtuneError):
    """A database that cannot be reached, is full, busy, or not medtune's."""


class ReviewError(StoreError):
    """An item under review that is not there, or is another's to decide."""


class ReleaseError(MedtuneError):
    """A release that is not there, is damaged, or cannot be rolled back to."""


class CheckFailed(MedtuneError):
    """A check that medtune makes said no."""

    exit_code = 1


class Interrupted(MedtuneError):
    """Stopped by the user; what was done is kept."""

    exit_code = 130
