"""The passage index on a real PostgreSQL, which is started for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from tests.real.postgres_server import Server, start_server

from medtune.core.errors import RetrievalError
from medtune.core.progress import NoProgress
from medtune.models.open_index import open_index
from medtune.retrieval.postgres_index import PostgresIndex, build_postgres_index
from medtune.retrieval.schema import Passage, PassageSource, SearchHit

pytestmark = pytest.mark.postgres

PASSAGES = [
    Passage(
        id=f"p{row}",
        text=text,
        question=question,
        answer=answer,
        options=(answer, "None"),
        source="train",
        licence="MIT",
    )
    for row, (question, answer, text) in enumerate(
        [
            ("Drug of choice in anaphylaxis", "Adrenaline", "Given into the muscle of the thigh."),
            ("Drug that slows the heart", "Metoprolol", "It blocks beta receptors."),
            ("Antidote of heparin", "Protamine", "Not vitamin K, which reverses warfarin's drug."),
            ("Antidote of 5µg digoxin", "Fab's \\ fragments", "Antibodies bind the\0 drug."),
        ]
    )
]
SOURCES = [PassageSource(source="train", licence="MIT", passages=len(PASSAGES))]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with start_server() as server:
        yield server


@pytest.fixture
def url(server: Server) -> str:
    return server.fresh()


@pytest.fixture
def index(url: str, tmp_path: Path) -> Iterator[PostgresIndex]:
    index = build(url, tmp_path / "index")
    yield index
    index.close()


def build(url: str, folder: Path, passages: list[Passage] = PASSAGES) -> PostgresIndex:
    return build_postgres_index(passages, SOURCES, folder, "english", url, NoProgress())


def execute(url: str, statement: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def rows(found: list[list[SearchHit]]) -> list[list[int]]:
    return [[hit.place for hit in hits] for hits in found]


def test_finds_by_stems_and_ranks_rare_words_higher(index: PostgresIndex) -> None:
    found = index.search(["which drugs reverse heparin?", "anaphylaxis", "nothing in common"], 2)
    assert rows(found)[0][0] == 2
    assert rows(found)[1:] == [[0], []]
    assert found[0][0].score > found[0][1].score


def test_part_leaves_explanations_out(index: PostgresIndex) -> None:
    assert rows(index.search(["warfarin"], 3)) == [[2]]
    assert rows(index.search(["warfarin"], 3, "question")) == [[]]


def test_excluded_rows_are_left_out(index: PostgresIndex) -> None:
    assert sorted(rows(index.search(["antidote"], 3))[0]) == [2, 3]
    assert rows(index.search(["antidote"], 3, excluded=[2])) == [[3]]


def test_query_without_words_finds_nothing(index: PostgresIndex) -> None:
    assert index.search(["", "the of ' & | !"], 3) == [[], []]


def test_passages_are_kept_as_they_are_except_nul(index: PostgresIndex) -> None:
    assert [index.passage(row) for row in range(3)] == PASSAGES[:3]
    assert index.passage(3).text == "Antibodies bind the\ufffd drug."
    assert index.passage(3).answer == "Fab's \\ fragments"


def test_word_of_any_length_is_found(url: str, tmp_path: Path) -> None:
    word = "gattaca" * 1000
    index = build(url, tmp_path / "index", [Passage(id="a", text=f"{word} {word}", source="t")])
    assert rows(index.search([word], 1)) == [[0]]
    index.close()


def test_texts_have_one_part(url: str, tmp_path: Path) -> None:
    texts = [Passage(id="a", text="Adrenaline first.", source="guide.txt")]
    index = build(url, tmp_path / "index", texts)
    assert rows(index.search(["adrenaline"], 3, "question")) == [[0]]
    index.close()


def test_same_content_is_reused(index: PostgresIndex, url: str, tmp_path: Path) -> None:
    again = build(url, tmp_path / "again")
    assert again.manifest.hash == index.manifest.hash
    assert rows(again.search(["anaphylaxis"], 1)) == [[0]]
    again.close()


def test_folder_opens_the_database_that_it_names(index: PostgresIndex) -> None:
    opened = open_index(index.folder)
    assert isinstance(opened, PostgresIndex)
    assert rows(opened.search(["anaphylaxis"], 1)) == [[0]]
    opened.close()


def test_two_indexes_share_a_database(index: PostgresIndex, url: str, tmp_path: Path) -> None:
    other = build(url, tmp_path / "other", PASSAGES[:1])
    assert rows(other.search(["drug"], 9)) == [[0]]
    assert len(index.search(["drug"], 9)[0]) == 4
    other.close()


def test_changed_row_is_found_on_opening_and_repaired(index: PostgresIndex, url: str) -> None:
    table = f"medtune_passages_{index.manifest.hash[:16]}"
    execute(url, f"UPDATE {table} SET answer = 'Atropine' WHERE place = 0")
    with pytest.raises(RetrievalError, match="was changed"):
        PostgresIndex.open(index.folder)
    repaired = build(url, index.folder)
    assert repaired.passage(0) == PASSAGES[0]
    repaired.close()


def test_missing_tables_are_found_on_opening(index: PostgresIndex, url: str) -> None:
    execute(url, f"DROP TABLE medtune_vectors_{index.manifest.hash[:16]}")
    with pytest.raises(RetrievalError, match="holds no index"):
        PostgresIndex.open(index.folder)


def test_failed_build_leaves_nothing(url: str, tmp_path: Path) -> None:
    execute(url, "CREATE TABLE medtune_indexes (hash text)")  # someone else's table
    with pytest.raises(RetrievalError, match="cannot be read or written"):
        build(url, tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_database_that_goes_away(index: PostgresIndex, server: Server) -> None:
    server.stop("immediate")
    try:
        with pytest.raises(RetrievalError, match="cannot be read or written"):
            index.search(["anaphylaxis"], 1)
        with pytest.raises(RetrievalError, match="cannot be read or written") as caught:
            PostgresIndex.open(index.folder)
        assert "start the server" in caught.value.fix
    finally:
        server.start()
    assert rows(index.search(["anaphylaxis"], 1)) == [[0]]


@pytest.mark.parametrize(
    ("address", "message"),
    [("not a url", "cannot be parsed"), ("sqlite:///index.db", "cannot be written to sqlite")],
)
def test_address_that_cannot_be_used(address: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RetrievalError, match=message):
        build(address, tmp_path / "index")


def test_password_is_not_written(server: Server, url: str, tmp_path: Path) -> None:
    secret = url.replace("postgres@", "postgres:secret@")
    index = build(secret, tmp_path / "index")
    assert "secret" not in (index.folder / "manifest.json").read_text()
    index.close()
