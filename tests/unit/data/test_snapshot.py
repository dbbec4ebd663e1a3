from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet
import pytest

from medtune.core.config import ColumnMapping, DataConfig
from medtune.core.errors import DataError, EmptySplitError, FolderError
from medtune.core.folder import read_record
from medtune.core.records import Question, content_hash
from medtune.data.snapshot import (
    STARTER_COLUMNS,
    SnapshotManifest,
    file_name,
    load_snapshot,
    load_split,
    write_parquet,
    write_snapshot,
)

HASH = """
import sys
from medtune.core.config import DataConfig
from medtune.data.snapshot import load_snapshot
print(load_snapshot(DataConfig(train=sys.argv[1], evaluate=sys.argv[2:])).manifest.hash)
"""


def write(folder: Path, name: str, stems: list[str], *, faults: int = 0, ids: bool = True) -> str:
    """Write a small MedMCQA file and return its DATA argument."""
    rows = [
        {"question": stem, "opa": "a", "opb": "b", "opc": "c", "opd": "d", "cop": n % 4}
        | ({"id": stem} if ids else {})
        for n, stem in enumerate([*stems, *(f"bad {n}" for n in range(faults))])
    ]
    for bad in rows[len(stems) :]:
        bad["opb"] = "A"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(map(json.dumps, rows)))
    return f"file:{folder / name}"


def small(tmp_path: Path, **settings: int) -> DataConfig:
    """Eight train rows, of which two are evaluated and one is faulty; three evaluated rows."""
    train = write(tmp_path, "train.jsonl", [f"s{n}" for n in range(7)], faults=1)
    dev = write(tmp_path, "dev.jsonl", ["s0", "x1", "S5?"])
    return DataConfig.model_validate({"train": train, "evaluate": (dev,), **settings})


# One split


def test_the_starter_has_its_own_columns() -> None:
    split = load_split("starter:recall", ColumnMapping(stem="nowhere"))
    assert split.description.n == 80
    assert split.answer_base == 0
    assert STARTER_COLUMNS.stem == "stem"


def test_a_split_is_described(tmp_path: Path) -> None:
    source = write(tmp_path, "a.jsonl", ["s0", "s1"], faults=2)
    split = load_split(source)
    assert split.description.source == source
    assert split.description.n == 2
    assert split.description.excluded == {"duplicate options": 2}
    assert split.exclusions == (("bad 0", "duplicate options"), ("bad 1", "duplicate options"))


def test_a_size_takes_the_first_questions_after_cleaning(tmp_path: Path) -> None:
    source = write(tmp_path, "a.jsonl", ["s0", "s1", "s2"])
    assert [question.id for question in load_split(source, size=2).questions] == ["s0", "s1"]


def test_a_size_beyond_the_split_is_refused_with_both_numbers(tmp_path: Path) -> None:
    source = write(tmp_path, "a.jsonl", ["s0", "s1"], faults=3)
    with pytest.raises(DataError, match="has 2 usable questions, 3 were asked for"):
        load_split(source, size=3)


def test_the_hash_of_a_split_depends_on_content_and_order_alone(tmp_path: Path) -> None:
    stems = ["s0", "s4", "s8"]
    first = load_split(write(tmp_path / "one", "a.jsonl", stems)).description.hash
    moved = load_split(write(tmp_path / "two", "b.jsonl", stems)).description.hash
    other = load_split(write(tmp_path, "c.jsonl", ["s4", "s0", "s8"])).description.hash
    assert first == moved
    assert first != other


def test_the_hash_of_a_split_without_ids_does_not_depend_on_its_folder(tmp_path: Path) -> None:
    hashes = {
        load_split(write(tmp_path / folder, "a.jsonl", ["s0", "s1"], ids=False)).description.hash
        for folder in ("one", "two")
    }
    assert len(hashes) == 1


def test_the_split_column_of_a_file_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [
        {"id": f"q{n}", "q": f"s{n}", "o": ["a", "b"], "k": n % 2, "fold": "dev" if n > 2 else "t"}
        for n in range(5)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    columns = ColumnMapping(stem="q", options=("o",), answer="k", split="fold")
    split = load_split(f"file:{path}:dev", columns)
    assert [question.id for question in split.questions] == ["q3", "q4"]


# A snapshot


def test_overlap_leaves_train_before_its_size_is_counted_off(tmp_path: Path) -> None:
    snapshot = load_snapshot(small(tmp_path, train_size=3))
    assert [question.id for question in snapshot.train.questions] == ["s1", "s2", "s3"]
    assert snapshot.train.description.n == 3
    assert snapshot.train.description.excluded == {"duplicate options": 1, "also evaluated": 2}
    assert [question.id for question in snapshot.evaluated[0].questions] == ["s0", "x1", "S5?"]


def test_only_the_evaluated_questions_are_removed_from_train(tmp_path: Path) -> None:
    snapshot = load_snapshot(small(tmp_path, evaluate_size=1))
    assert [question.id for question in snapshot.train.questions] == [f"s{n}" for n in range(1, 7)]


def test_no_train_question_stands_in_any_evaluated_split() -> None:
    snapshot = load_snapshot(DataConfig(evaluate=("starter:recall", "starter:train")[:1]))
    evaluated = {q.stem for split in snapshot.evaluated for q in split.questions}
    assert not evaluated & {q.stem for q in snapshot.train.questions}
    assert snapshot.train.description.n == 320


def test_a_train_size_beyond_what_is_left_is_refused_with_both_numbers(tmp_path: Path) -> None:
    assert load_snapshot(small(tmp_path, train_size=5)).train.description.n == 5
    with pytest.raises(DataError, match="has 5 usable questions, train_size asks for 6"):
        load_snapshot(small(tmp_path, train_size=6))


def test_a_split_evaluated_twice_is_refused() -> None:
    with pytest.raises(DataError, match="an evaluated split is named twice"):
        load_snapshot(DataConfig(evaluate=("starter:recall", "starter:recall")))


def test_one_split_under_two_spellings_is_still_evaluated_twice() -> None:
    with pytest.raises(DataError, match="an evaluated split is named twice"):
        load_snapshot(DataConfig(train="starter:recall", evaluate=("starter", "starter:train")))


def test_training_on_what_is_evaluated_is_refused() -> None:
    with pytest.raises(EmptySplitError, match="every question also stands in an evaluated split"):
        load_snapshot(DataConfig(train="starter:recall", evaluate=("starter:recall",)))


def test_the_manifest_tells_every_row_left_out_with_its_reason(tmp_path: Path) -> None:
    config = small(tmp_path)
    manifest = load_snapshot(config).manifest
    assert manifest.exclusions == {
        config.train: {
            "bad 0": "duplicate options",
            "s0": "also evaluated",
            "s5": "also evaluated",
        },
        config.evaluate[0]: {},
    }
    assert manifest.answer_bases == {config.train: 0, config.evaluate[0]: 0}


def test_the_manifests_reasons_add_up_to_its_counts_when_ids_repeat(tmp_path: Path) -> None:
    train = write(tmp_path, "train.jsonl", ["s0", "s1", "s1", "s1", "s2"])
    dev = write(tmp_path, "dev.jsonl", ["x0"])
    manifest = load_snapshot(DataConfig(train=train, evaluate=(dev,))).manifest
    assert manifest.train.excluded == {"id seen before": 2}
    assert Counter(manifest.exclusions[train].values()) == manifest.train.excluded


def test_the_hash_of_a_snapshot_is_made_of_its_splits_in_order(tmp_path: Path) -> None:
    snapshot = load_snapshot(small(tmp_path))
    hashes = [split.description.hash for split in (snapshot.train, *snapshot.evaluated)]
    assert snapshot.manifest.hash == content_hash(hashes)


def test_the_hash_of_a_snapshot_changes_with_its_size(tmp_path: Path) -> None:
    hashes = {load_snapshot(small(tmp_path, train_size=n)).manifest.hash for n in (3, 4, 5)}
    assert len(hashes) == 3


def test_two_processes_give_the_same_hash(tmp_path: Path) -> None:
    config = small(tmp_path)
    for train, evaluate in (
        ("starter:train", ("starter:recall", "starter:transfer")),
        (config.train, config.evaluate),
    ):
        expected = load_snapshot(DataConfig(train=train, evaluate=evaluate)).manifest.hash
        for seed in ("1", "2"):
            done = subprocess.run(
                [sys.executable, "-c", HASH, train, *evaluate],
                env={**os.environ, "PYTHONHASHSEED": seed},
                capture_output=True,
                text=True,
                check=True,
            )
            assert done.stdout.strip() == expected


# On disk


def test_a_written_snapshot_reads_back(tmp_path: Path) -> None:
    snapshot = load_snapshot(small(tmp_path))
    manifest = write_snapshot(snapshot, tmp_path / "data")
    names = {path.name for path in (tmp_path / "data").iterdir()}
    assert names == {"manifest.json", "train.parquet", "dev.parquet"}
    assert read_record(tmp_path / "data" / "manifest.json", SnapshotManifest) == manifest
    again = load_split(f"file:{tmp_path / 'data' / 'train.parquet'}", STARTER_COLUMNS)
    assert again.questions == snapshot.train.questions
    assert again.description.hash == snapshot.train.description.hash


def test_every_split_of_the_starter_is_written_under_its_name(tmp_path: Path) -> None:
    write_snapshot(load_snapshot(DataConfig()), tmp_path)
    names = sorted(path.name for path in tmp_path.glob("*.parquet"))
    assert names == ["starter-recall.parquet", "starter-train.parquet", "starter-transfer.parquet"]


def test_splits_whose_files_have_the_same_name_are_written_beside_each_other(
    tmp_path: Path,
) -> None:
    train = write(tmp_path / "train", "data.jsonl", ["s0", "s1", "s2"])
    dev = write(tmp_path / "dev", "data.jsonl", ["x0", "x1"])
    write_snapshot(load_snapshot(DataConfig(train=train, evaluate=(dev,))), tmp_path / "out")
    rows = [
        pyarrow.parquet.read_metadata(path).num_rows
        for path in (tmp_path / "out").glob("*.parquet")
    ]
    assert sorted(rows) == [2, 3]


def test_parquet_keeps_every_field(tmp_path: Path) -> None:
    questions = (
        Question(
            id="é",
            stem="two\nlines",
            options=("α", "{text}", "c"),
            answer=2,
            subject="S",
            topic="T",
            explanation="E",
            group="G",
        ),
        Question(id="b", stem="s", options=("yes", "no"), answer=None),
    )
    write_parquet(questions, tmp_path / "a.parquet")
    rows = pyarrow.parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert [Question.model_validate(row) for row in rows] == list(questions)


def test_a_snapshot_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="a file stands where a folder should be"):
        write_snapshot(load_snapshot(small(tmp_path)), tmp_path / "file")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("starter:recall", "starter-recall"),
        ("hub:org/name:validation", "name-validation"),
        ("hub:org/name@abc:test", "name-test"),
        ("file:/x/val.parquet", "val"),
        ("file:/x/val.parquet:dev", "val-dev"),
    ],
)
def test_a_source_becomes_a_files_name(source: str, name: str) -> None:
    assert file_name(source) == name
