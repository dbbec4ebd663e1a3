"""Find the parts of a question in a dataset's row, as a harness logs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medtune.core.errors import ColumnError
from medtune.core.experiment import ColumnMapping

STEMS = (
    *("stem", "question", "Question", "QUESTION", "query", "problem", "prompt", "sent1", "goal"),
    *("ctx", "input", "sentence"),
)
LISTS = ("options", "choices", "endings", "candidates")
SETS = (
    ("opa", "opb", "opc", "opd"),
    ("ending0", "ending1", "ending2", "ending3"),
    ("option_a", "option_b", "option_c", "option_d"),
    ("option_a", "option_b", "option_c", "option_d", "option_e"),
    ("A", "B", "C", "D"),
    ("A", "B", "C", "D", "E"),
    ("choice1", "choice2", "choice3", "choice4"),
    ("option1", "option2"),
    ("sol1", "sol2"),
)
TOPICS = ("topic", "topic_name")
GROUP_COLUMN = "medtune_group"
"""Column of `Prediction.group` in logs that medtune writes."""
SUBJECTS = ("subject", "subject_name", "category", "discipline")
IDS = ("id", "question_id", "qid", "uid")


@dataclass(frozen=True, slots=True)
class DocumentFields:
    """Names of a row's columns; None where the usual names are looked for."""

    stem: str | None = None
    options: tuple[str, ...] | None = None
    subject: str | None = None
    id: str | None = None

    @classmethod
    def from_mapping(cls, columns: ColumnMapping) -> DocumentFields:
        """Take what a mapping names other than its defaults."""
        usual = ColumnMapping()
        return cls(
            columns.stem if columns.stem != usual.stem else None,
            columns.options if columns.options != usual.options else None,
            columns.subject if columns.subject != usual.subject else None,
            columns.id if columns.id != usual.id else None,
        )

    def find_stem(self, doc: Mapping[str, Any]) -> str | None:
        """Find the question's text; None where no column holds one.

        Raises:
            ColumnError: The named column is missing.
        """
        return _first_text(doc, STEMS if self.stem is None else (_existing(doc, self.stem),))

    def find_subject(self, doc: Mapping[str, Any]) -> str | None:
        """Find the subject; None where no column holds one.

        Raises:
            ColumnError: The named column is missing.
        """
        names = SUBJECTS if self.subject is None else (_existing(doc, self.subject),)
        return _first_text(doc, names)

    def find_topic(self, doc: Mapping[str, Any]) -> str | None:
        """Find the subdivision of the subject; None where no column holds one."""
        return _first_text(doc, TOPICS)

    def find_id(self, doc: Mapping[str, Any]) -> str | None:
        """Find the id; None where no column holds one.

        Raises:
            ColumnError: The named column is missing.
        """
        for name in IDS if self.id is None else (_existing(doc, self.id),):
            value = doc.get(name)
            if isinstance(value, str | int) and str(value).strip():
                return str(value)
        return None

    def find_options(self, doc: Mapping[str, Any]) -> tuple[str, ...] | None:
        """Find the texts of the options; None where no column holds them.

        Raises:
            ColumnError: A named column is missing.
        """
        if self.options is not None:
            names = [_existing(doc, name) for name in self.options]
            if len(names) == 1:
                return _texts(doc[names[0]])
            return _texts([doc[name] for name in names])
        for name in LISTS:
            if (found := _texts(doc.get(name))) is not None:
                return found
        for columns in reversed(SETS):
            if all(column in doc for column in columns):
                found = _texts([doc[column] for column in columns])
                if found is not None:
                    return found
        return None


def _existing(doc: Mapping[str, Any], name: str) -> str:
    if name not in doc:
        raise ColumnError(
            f"the log's rows have no column {name!r}",
            expected=f"one of {', '.join(map(repr, doc))}",
            fix="name another with --map",
        )
    return name


def _first_text(doc: Mapping[str, Any], names: Sequence[str]) -> str | None:
    for name in names:
        value = doc.get(name)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return None


def _texts(value: object) -> tuple[str, ...] | None:
    """Return texts from a list, from a list of {"text": ...}, from {"text": [...]} or by letter."""
    if isinstance(value, Mapping):
        inner = value.get("text")
        return _texts(inner if isinstance(inner, list) else list(value.values()))
    if not isinstance(value, list | tuple) or len(value) < 2:
        return None
    texts = [item.get("text") if isinstance(item, Mapping) else item for item in value]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        return None
    return tuple(text.strip() for text in texts if isinstance(text, str))
