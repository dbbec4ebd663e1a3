from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from medtune.core.errors import DataError
from medtune.data.sources.documents import Document, find_text_files, read_documents


def read(path: Path) -> list[Document]:
    files = find_text_files(path)
    assert files
    return list(read_documents(path, files))


def test_markdown_is_cut_at_its_headings_which_stay_with_their_text(tmp_path: Path) -> None:
    path = tmp_path / "notes.md"
    path.write_text(
        "---\ntitle: Notes\n---\nBefore any heading.\n\n# Shock\n\n## Anaphylaxis ##\nAdrenaline,\n"
        "at once.\n\nThen fluids.\n```sh\n# no heading\n```\n> # quoted\n\nSepsis\n------\n"
        "Antibiotics &amp; fluids.\n\n# Empty\n"
    )
    assert [(d.title, d.text) for d in read(path)] == [
        (None, "Before any heading."),
        (
            "Shock > Anaphylaxis",
            "Adrenaline,\nat once.\n\nThen fluids.\n```sh\n# no heading\n```\n> # quoted",
        ),
        ("Shock > Sepsis", "Antibiotics & fluids."),
    ]


def test_plain_text_keeps_its_paragraphs(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("one\r\ntwo\r\n\r\n\u200b\r\n  three\ttabs".encode())
    assert read(path) == [Document("a.txt", "one\ntwo\n\nthree tabs")]


def test_plain_text_of_windows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("Ménière – Schwindel".encode("cp1252"))
    assert read(path)[0].text == "Ménière – Schwindel"


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv"])
def test_tables_with_a_column_of_texts(tmp_path: Path, name: str) -> None:
    rows = [
        {"id": "x1", "text": "Adrenaline.", "title": "Shock", "license": "CC-BY-4.0"},
        {"id": "x2", "text": " ", "title": "", "license": ""},
    ]
    if name.startswith("a.json"):
        lines = [json.dumps(row) for row in rows]
        text = "\n".join(lines) if name == "a.jsonl" else f"[{','.join(lines)}]"
    else:
        mark = "," if name == "a.csv" else "\t"
        text = "\n".join(mark.join(cells) for cells in (rows[0], *(r.values() for r in rows)))
    (tmp_path / name).write_text(text)
    assert read(tmp_path / name) == [
        Document(name, "Adrenaline.", "Shock", "x1", "CC-BY-4.0"),
        Document(name, "", None, "x2", None),
    ]


def test_a_text_that_is_no_text_is_missing(tmp_path: Path) -> None:
    rows = ['{"text": null}', '{"text": 7}', '{"text": ["x"]}', '{"other": "x"}']
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    assert [d.text for d in read(tmp_path / "a.jsonl")] == [""] * 4


def test_halves_of_characters_in_json_are_removed(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "half \\ud83d of one", "id": "\\udc00 1"}')
    assert read(tmp_path / "a.jsonl") == [Document("a.jsonl", "half of one", None, "1")]


QUESTION = '{"question": "Which?", "opa": "a", "opb": "b", "cop": 0, "text": "x"}'


@pytest.mark.parametrize(
    "line", [QUESTION, '{"stem": "Which?", "text": "x"}', '{"text": "Which?", "options": ["a"]}']
)
def test_a_table_of_questions_is_none_of_texts(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.jsonl").write_text(line)
    assert find_text_files(tmp_path / "a.jsonl") == []
    assert find_text_files(tmp_path) == []


def test_a_folder_is_read_in_order_with_names_below_it(tmp_path: Path) -> None:
    for name in ("b.md", "sub/a.txt", "a.TXT", ".hidden/x.md", "_build/x.md", "figure.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"text of {name}")
    (tmp_path / "facts.jsonl").write_text('{"text": "a fact"}')
    (tmp_path / "lost.md").symlink_to(tmp_path / "nowhere")
    assert [d.file for d in read(tmp_path)] == ["a.TXT", "b.md", "facts.jsonl", "sub/a.txt"]


def test_a_name_that_is_no_utf8_is_shown_all_the_same(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.md")
    (tmp_path / name).write_text("text")
    (document,) = read(tmp_path)
    assert document.file.encode() == "caf\ufffd.md".encode()


def test_a_data_set_with_notes_about_itself_holds_questions(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(QUESTION)
    for name in ("README.md", "LICENSE.txt", "readme.de.md"):
        (tmp_path / name).write_text("about the data")
    assert find_text_files(tmp_path) == []


def test_texts_beside_questions_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(QUESTION)
    (tmp_path / "notes.md").write_text("a text")
    with pytest.raises(DataError, match=r"texts \(notes.md\) beside tables .*\(train.jsonl\)"):
        find_text_files(tmp_path)


@pytest.mark.parametrize(
    ("name", "make", "found"),
    [
        ("a.pdf", lambda p: p.write_bytes(b"%PDF"), "unknown format .pdf"),
        ("a.docx", lambda p: p.write_bytes(b"PK"), "unknown format .docx"),
        ("a", lambda p: p.write_bytes(b"x"), r"unknown format \(no suffix\)"),
        ("a.txt", lambda p: p.write_bytes("wide".encode("utf-16")), "is not UTF-8"),
        ("a.md", lambda p: p.write_bytes(b"\x00\xff\xfe\x81"), "is not UTF-8"),
        ("a.jsonl", lambda p: p.write_text('{"text": '), "line 1 is not JSON"),
    ],
)
def test_files_that_cannot_be_read_are_named(
    tmp_path: Path, name: str, make: Callable[[Path], object], found: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(DataError, match=found):
        read(tmp_path / name)


def test_a_file_that_went_away_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.txt cannot be read: No such file"):
        list(read_documents(tmp_path, [tmp_path / "gone.txt"]))
