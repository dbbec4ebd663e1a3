"""Read a user's own texts: Markdown, plain text, and tables with a column of texts.

A table is read as texts if it has a column "text" and none of a question: no options.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from medtune.core.errors import DataError
from medtune.data.cleaning.normalize_text import clean_text
from medtune.data.sources.files import FILE_READERS, read_file, read_text

MARKDOWN_SUFFIXES = frozenset({".md", ".markdown"})
TEXT_SUFFIXES = MARKDOWN_SUFFIXES | {".txt"}
TABLE_SUFFIXES = frozenset(FILE_READERS) - TEXT_SUFFIXES
TEXT_COLUMN = "text"
_QUESTION_COLUMNS = frozenset({"options", "opa", "question", "stem"})
_NOTES = re.compile(r"(?:readme|licen[cs]e|changelog|notice|citation)\b", re.I)
_FRONT_MATTER = re.compile(r"---\n.*?\n---\n", re.S)
_PARAGRAPHS = re.compile(r"\n[^\S\n]*\n\s*")


@dataclass(frozen=True, slots=True)
class Document:
    """A text: a file, a section of a Markdown file, or a row of a table."""

    file: str
    """Path below the folder that was named; the name of a single file."""
    text: str
    """Paragraphs, separated by blank lines; "" if there is none."""
    title: str | None = None
    """Title of the row, or the headings of the section, joined by " > "."""
    id: str | None = None
    """Id of the row."""
    licence: str | None = None


def find_text_files(path: Path) -> list[Path]:
    """Find the files of texts of a path; none if it holds tables of questions.

    Raises:
        DataError: A folder holds texts beside tables of questions, or a file cannot be read.
    """
    if path.is_file():
        if path.suffix.lower() not in TEXT_SUFFIXES | TABLE_SUFFIXES:
            raise DataError(
                f"{path}: unknown format {path.suffix or '(no suffix)'}",
                expected=", ".join(sorted(TEXT_SUFFIXES | TABLE_SUFFIXES)),
                fix="save it as plain text, Markdown or CSV",
            )
        return [path] if _holds_texts(path) else []
    found = [
        file
        for file in sorted(path.rglob("*"))
        if file.suffix.lower() in TEXT_SUFFIXES | TABLE_SUFFIXES
        and file.is_file()
        and not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)
    ]
    questions = [f for f in found if f.suffix.lower() in TABLE_SUFFIXES and not _holds_texts(f)]
    if not questions:
        return found
    # A data set usually comes with notes about itself.
    texts = [f for f in found if f not in questions and not _NOTES.match(f.name)]
    if texts:
        raise DataError(
            f"{path} holds texts ({texts[0].name}) beside tables without a column "
            f"{TEXT_COLUMN!r} ({questions[0].name})",
            expected="texts alone, or tables of questions alone",
            fix="name one file, or move the others away",
        )
    return []


def read_documents(path: Path, files: list[Path]) -> Iterator[Document]:
    """Read the texts of files.

    Args:
        path: The file, or the folder that the files' names are shown below.
        files: Files of texts, as `find_text_files` finds them.

    Raises:
        DataError: A file is damaged, in an unknown encoding, or not readable.
    """
    for file in files:
        name = file.name if file == path else file.relative_to(path).as_posix()
        # A file's name may hold bytes that are no UTF-8.
        name = name.encode(errors="surrogateescape").decode(errors="replace")
        suffix = file.suffix.lower()
        if suffix in MARKDOWN_SUFFIXES:
            yield from _read_markdown(name, read_text(file))
        elif suffix in TEXT_SUFFIXES:
            yield Document(name, _clean_paragraphs(read_text(file)))
        else:
            for _, row in read_file(file):
                yield Document(
                    name,
                    _clean_paragraphs(row.get(TEXT_COLUMN)),
                    clean_text(row.get("title")) or None,
                    clean_text(row.get("id")) or None,
                    clean_text(row.get("licence") or row.get("license")) or None,
                )


def _holds_texts(file: Path) -> bool:
    if file.suffix.lower() not in TABLE_SUFFIXES:
        return True
    for _, row in islice(read_file(file), 1):
        return TEXT_COLUMN in row and _QUESTION_COLUMNS.isdisjoint(row)
    return False


def _clean_paragraphs(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    paragraphs = map(clean_text, _PARAGRAPHS.split(value.replace("\r\n", "\n")))
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _read_markdown(name: str, text: str) -> Iterator[Document]:
    """Cut a Markdown text at its headings; a section without text is left to its parts."""
    from markdown_it import MarkdownIt

    text = _FRONT_MATTER.sub("", text, count=1) if text.startswith("---\n") else text
    lines = text.splitlines()
    tokens = MarkdownIt().parse("\n".join(lines))
    starts: list[tuple[int, int, list[str]]] = [(0, 0, [])]  # heading's lines, headings above
    levels: list[tuple[int, str]] = []
    for token, inline in pairwise(tokens):
        if token.type == "heading_open" and token.map is not None and token.level == 0:
            level = int(token.tag[1:])
            levels = [above for above in levels if above[0] < level]
            levels.append((level, clean_text(inline.content)))
            starts.append((token.map[0], token.map[1], [title for _, title in levels if title]))
    ends = [start for start, _, _ in starts[1:]] + [len(lines)]
    found = False
    for (_, start, titles), end in zip(starts, ends, strict=True):
        if body := _clean_paragraphs("\n".join(lines[start:end])):
            yield Document(name, body, " > ".join(titles) or None)
            found = True
    if not found:
        yield Document(name, "")
