from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from medtune.core.errors import DataError, EmptySplitError, FolderError
from medtune.core.experiment import ColumnMapping, DataConfig
from medtune.core.progress import NoProgress
from medtune.core.records import content_hash
from medtune.core.run_folder import read_record
from medtune.core.schemas.dataset import Exclusion, SnapshotManifest
from medtune.data import snapshot as module
from medtune.data.arrow_table import questions_hash, read_parquet
from medtune.data.load import load_split, read_manifest
from medtune.data.snapshot import (
    Snapshot,
    find_changed_sources,
    find_faults,
    prepare_snapshot,
    read_snapshot,
)

PREPARE = """
import sys
from pathlib import Path
from medtune.core.experiment import DataConfig
from medtune.core.progress import NoProgress
from medtune.data.snapshot import prepare_snapshot
config = DataConfig.model_validate_json(sys.argv[1])
print(prepare_snapshot(config, 17, Path(sys.argv[2]), NoProgress()).manifest.hash)
"""
# What these are on every machine and under every version: whoever changes what is done to data
# must change RULES, and then these.
PINNED = {
    "eb79dd73cf45f2da1bc58aebae43d250579cfe6a74488edcea51809d710eae5a": {},
    "2e6a8bdaba7a376e8e76a39987b42c3f0750c7ed82cdd23613275a2f738963e2": {
        "train_size": 60,
        "validation_size": 20,
        "calibration_size": 40,
        "balance": {"by": "subject", "temperature": 2},
        "curation": {
            "diversity": {"on": True},
            "quality": {"on": True},
            "negation": {"max_share": 0.1},
        },
    },
}
WORDS = "liver spleen kidney heart lung brain bone skin eye ear nose tongue".split()


def write(folder: Path, name: str, stems: list[str], *, faults: int = 0, ids: bool = True) -> str:
    """Write a small MedMCQA file and return its DATA argument."""
    rows: list[dict[str, Any]] = [
        {"question": stem, "opa": f"{stem} a", "opb": f"{stem} b", "opc": "c", "opd": "d"}
        | {"cop": n % 4, "subject_name": f"S{n % 3}"}
        | ({"id": f"{name}-{n}"} if ids else {})
        for n, stem in enumerate([*stems, *(f"bad {n}" for n in range(faults))])
    ]
    for bad in rows[len(stems) :]:
        bad["opb"] = "C"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(map(json.dumps, rows)))
    return f"file:{folder / name}"


def stems(n: int, what: str = "Where") -> list[str]:
    """Questions that are not like each other."""
    return [f"{what} {WORDS[k % 12]}{k} {WORDS[(7 * k + 3) % 12]}{k * k}?" for k in range(n)]


def small(tmp_path: Path, **settings: Any) -> DataConfig:
    """Eight train rows, of which two are evaluated and one is faulty; three evaluated rows."""
    own = stems(7)
    train = write(tmp_path, "train.jsonl", own, faults=1)
    # Written again, the fifth one in capitals; answers as in train.
    dev = write(tmp_path, "dev.jsonl", [own[0], own[5].upper(), "Another thing?"])
    rows = [json.loads(line) for line in (tmp_path / "dev.jsonl").read_text().splitlines()]
    rows[1]["cop"] = 1
    (tmp_path / "dev.jsonl").write_text("\n".join(map(json.dumps, rows)))
    columns = {"answer_base": 0}
    return DataConfig.model_validate(
        {"train": train, "evaluate": (dev,), "columns": columns, **settings}
    )


def made(config: DataConfig, folder: Path, seed: int = 17) -> Snapshot:
    return prepare_snapshot(config, seed, folder, NoProgress())


def ids(snapshot: Snapshot) -> list[str]:
    return snapshot.train.questions.ids


def excluded(folder: Path) -> list[Exclusion]:
    lines = (folder / "excluded.jsonl").read_text().splitlines()
    return [Exclusion.model_validate_json(line) for line in lines]


# One split


def test_the_starter_has_its_own_columns() -> None:
    split = load_split("starter:recall", ColumnMapping(stem="nowhere"))
    assert split.description.n == 80
    assert split.answer_base == 0


def test_a_split_is_described(tmp_path: Path) -> None:
    source = write(tmp_path, "a.jsonl", stems(4), faults=2)
    split = load_split(source)
    assert split.description.source == source
    assert split.description.n == 4
    assert split.description.excluded == {"duplicate options": 2}
    assert split.exclusions == tuple((f"a.jsonl-{n}", "duplicate options") for n in (4, 5))


def test_a_size_takes_the_first_questions_after_cleaning(tmp_path: Path) -> None:
    source = write(tmp_path, "a.jsonl", stems(4))
    assert load_split(source, size=2).questions.ids == ["a.jsonl-0", "a.jsonl-1"]


def test_a_size_beyond_the_split_is_refused_with_both_numbers(tmp_path: Path) -> None:
    source = write(tmp_path, "a.jsonl", stems(4), faults=3)
    with pytest.raises(DataError, match="has 4 usable questions, 5 were asked for"):
        load_split(source, size=5)


def test_the_hash_of_a_split_depends_on_content_and_order_alone(tmp_path: Path) -> None:
    first = load_split(write(tmp_path / "one", "a.jsonl", stems(4))).description.hash
    moved = load_split(write(tmp_path / "two", "a.jsonl", stems(4))).description.hash
    other = load_split(write(tmp_path, "a.jsonl", stems(4)[::-1])).description.hash
    assert first == moved
    assert first != other


def test_the_hash_of_a_split_without_ids_does_not_depend_on_its_folder(tmp_path: Path) -> None:
    hashes = {
        load_split(write(tmp_path / folder, name, stems(4), ids=False)).description.hash
        for folder, name in (("one", "a.jsonl"), ("two", "b.jsonl"))
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
    assert load_split(f"file:{path}:dev", columns).questions.ids == ["q3", "q4"]


# What goes in


def test_overlap_leaves_train_and_stays_in_the_evaluation(tmp_path: Path) -> None:
    snapshot = made(small(tmp_path), tmp_path / "data")
    assert ids(snapshot) == [f"train.jsonl-{n}" for n in (1, 2, 3, 4, 6)]
    assert snapshot.train.description.excluded == {"also evaluated": 2, "duplicate options": 1}
    assert snapshot.evaluated[0].questions.ids == [f"dev.jsonl-{n}" for n in range(3)]


def test_train_size_is_counted_after_everything_else(tmp_path: Path) -> None:
    snapshot = made(small(tmp_path, train_size=3), tmp_path / "data")
    assert len(snapshot.train.questions) == snapshot.train.description.n == 3
    assert snapshot.train.description.excluded["not drawn"] == 2
    first = made(small(tmp_path, train_size=3, sample="first"), tmp_path / "data")
    assert ids(first) == [f"train.jsonl-{n}" for n in (1, 2, 3)]


def test_a_smaller_draw_is_part_of_a_larger_one(tmp_path: Path) -> None:
    config = DataConfig(train="starter:train", evaluate=("starter:recall",), train_size=40)
    less = made(config, tmp_path / "a")
    more = made(config.model_copy(update={"train_size": 100}), tmp_path / "b")
    other = made(config, tmp_path / "c", seed=18)
    assert set(ids(less)) < set(ids(more))
    assert set(ids(less)) != set(ids(other))


def test_overlap_is_searched_in_the_whole_evaluated_split_whatever_its_size(
    tmp_path: Path,
) -> None:
    snapshot = made(small(tmp_path, evaluate_size=1), tmp_path / "data")
    assert ids(snapshot) == [f"train.jsonl-{n}" for n in (1, 2, 3, 4, 6)]
    assert snapshot.evaluated[0].description.n == 1
    assert snapshot.evaluated[0].description.excluded == {"not drawn": 2}


def test_validation_and_calibration_are_cut_from_train(tmp_path: Path) -> None:
    config = DataConfig(validation_size=20, calibration_size=40)
    snapshot = made(config, tmp_path)
    assert snapshot.validation is not None
    assert snapshot.calibration is not None
    parts = [snapshot.train, snapshot.validation, snapshot.calibration]
    assert [len(part.questions) for part in parts] == [260, 20, 40]
    names = [set(part.questions.ids) for part in parts]
    assert sum(map(len, names)) == len(set.union(*names)) == 320
    assert snapshot.train.description.excluded == {
        "cut off for validation": 20,
        "cut off for calibration": 40,
    }


def test_the_reasons_add_up_to_the_rows_read(tmp_path: Path) -> None:
    config = small(tmp_path, train_size=2, validation_size=1)
    manifest = made(config, tmp_path / "data").manifest
    train, cut = manifest.train_split.description, manifest.splits[1].description
    assert train.n + sum(train.excluded.values()) == manifest.sources[0].rows == 8
    assert cut.n == train.excluded["cut off for validation"] == 1


def test_every_id_left_out_has_a_reason_and_repetitions_name_their_twin(tmp_path: Path) -> None:
    config = small(tmp_path)
    manifest = made(config, tmp_path / "data").manifest
    found = {entry.id: (entry.reason, entry.twin) for entry in excluded(tmp_path / "data")}
    assert found == {
        "train.jsonl-7": ("duplicate options", None),
        "train.jsonl-0": ("also evaluated", f"{config.evaluate[0]} dev.jsonl-0"),
        "train.jsonl-5": ("also evaluated", f"{config.evaluate[0]} dev.jsonl-1"),
    }
    counts = Counter(reason for reason, _ in found.values())
    assert counts == manifest.train_split.description.excluded


def test_each_source_may_have_a_mapping_of_its_own(tmp_path: Path) -> None:
    config = small(tmp_path)
    rows = [
        {"q": s, "o": ["x", s], "key": "A" if n else "B"} for n, s in enumerate(stems(3, "Why"))
    ]
    (tmp_path / "own.json").write_text(json.dumps(rows))
    own = f"file:{tmp_path / 'own.json'}"
    mapping = {"stem": "q", "options": ["o"], "answer": "key", "answer_form": "letter"}
    config = DataConfig.model_validate(
        {**config.model_dump(), "evaluate": (own,), "mappings": {own: mapping}}
    )
    snapshot = made(config, tmp_path / "data")
    assert [q.answer_text for q in snapshot.evaluated[0].questions] == [
        stems(3, "Why")[0],
        "x",
        "x",
    ]


def test_the_licence_of_files_is_the_users_word(tmp_path: Path) -> None:
    manifest = made(small(tmp_path, licence="CC0"), tmp_path / "data").manifest
    assert [source.licence for source in manifest.sources] == ["CC0", "CC0"]
    starter = made(DataConfig(licence="CC0"), tmp_path / "starter").manifest
    assert {source.licence for source in starter.sources} == {"Apache-2.0"}


# What is refused


def test_a_train_size_beyond_what_is_left_is_refused_with_both_numbers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 5 usable questions, train_size asks for 6"):
        made(small(tmp_path, train_size=6), tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_split_evaluated_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="an evaluated split is named twice"):
        made(DataConfig(evaluate=("starter:recall", "starter:recall")), tmp_path)


def test_one_split_under_two_spellings_is_still_evaluated_twice(tmp_path: Path) -> None:
    made(DataConfig(evaluate=("starter:recall",)), tmp_path / "one")
    name = f"snapshot:{tmp_path / 'one'}"
    twice = DataConfig(train="starter:transfer", evaluate=(name, f"{name}:evaluated"))
    with pytest.raises(DataError, match="an evaluated split is named twice"):
        made(twice, tmp_path / "two")


def test_training_on_what_is_evaluated_is_refused(tmp_path: Path) -> None:
    same = DataConfig(train="starter:recall", evaluate=("starter:recall",))
    with pytest.raises(EmptySplitError, match="no question is left to train on: 80 × also eval"):
        made(same, tmp_path)


def test_a_place_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="a file exists where a folder is needed"):
        made(small(tmp_path), tmp_path / "file")


# The hash


@pytest.mark.parametrize(("expected", "settings"), PINNED.items(), ids=["plain", "curated"])
def test_the_starters_snapshot_is_the_same_everywhere(
    tmp_path: Path, expected: str, settings: dict[str, Any]
) -> None:
    assert made(DataConfig.model_validate(settings), tmp_path).manifest.hash == expected


def test_the_hash_is_made_of_roles_and_splits(tmp_path: Path) -> None:
    manifest = made(small(tmp_path), tmp_path / "data").manifest
    named = [[split.role, split.description.hash] for split in manifest.splits]
    assert manifest.hash == content_hash(named)
    for split in manifest.splits:
        stored = read_parquet(tmp_path / "data" / split.file)
        assert questions_hash(stored) == split.description.hash
        assert split.description.hash[:12] in split.file


def test_the_hash_changes_with_seed_and_size(tmp_path: Path) -> None:
    config = DataConfig(train_size=30)
    hashes = {made(config, tmp_path / f"s{seed}", seed).manifest.hash for seed in (1, 2)}
    larger = config.model_copy(update={"train_size": 31})
    hashes.add(made(larger, tmp_path / "larger", 1).manifest.hash)
    assert len(hashes) == 3


def test_other_folders_other_processes_same_hash(tmp_path: Path) -> None:
    config = small(tmp_path, train_size=4, validation_size=1)
    expected = made(config, tmp_path / "data").manifest.hash
    for number in (1, 2):
        shutil.copytree(tmp_path, tmp_path.parent / f"{tmp_path.name}-{number}")
        moved = json.loads(config.model_dump_json().replace(str(tmp_path), f"{tmp_path}-{number}"))
        done = subprocess.run(
            [sys.executable, "-c", PREPARE, json.dumps(moved), str(tmp_path / f"p{number}")],
            env={**os.environ, "PYTHONHASHSEED": str(number)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == expected


# On disk


def test_a_snapshot_reads_back(tmp_path: Path) -> None:
    snapshot = made(small(tmp_path, validation_size=1), tmp_path / "data")
    manifest = read_record(tmp_path / "data" / "manifest.json", SnapshotManifest)
    assert manifest == snapshot.manifest
    again = read_snapshot(tmp_path / "data", manifest)
    assert again.train.questions == snapshot.train.questions
    assert again.validation is not None
    assert again.validation.description == manifest.splits[1].description
    assert again.calibration is None
    names = {path.name for path in (tmp_path / "data").iterdir()}
    assert names == {
        "manifest.json",
        "excluded.jsonl",
        "datasheet.md",
        *(split.file for split in manifest.splits),
    }


def test_the_splits_of_a_snapshot_are_sources(tmp_path: Path) -> None:
    snapshot = made(DataConfig(validation_size=20, calibration_size=40), tmp_path)
    assert load_split(f"snapshot:{tmp_path}:train").questions == snapshot.train.questions
    calibration = load_split(f"snapshot:{tmp_path}:calibration")
    assert snapshot.calibration is not None
    assert calibration.questions == snapshot.calibration.questions
    assert load_split(f"snapshot:{tmp_path}:starter-recall").description.n == 80
    with pytest.raises(DataError, match="has no split 'test'") as caught:
        load_split(f"snapshot:{tmp_path}:test")
    assert "starter-transfer" in caught.value.expected


def test_a_snapshot_can_be_trained_on(tmp_path: Path) -> None:
    first = made(DataConfig(train_size=50), tmp_path / "one")
    config = DataConfig(train=f"snapshot:{tmp_path / 'one'}", evaluate=("starter:transfer",))
    second = made(config, tmp_path / "two")
    assert second.train.questions == first.train.questions
    assert second.manifest.sources[0].usable == 50


def test_no_snapshot_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no snapshot"):
        load_split(f"snapshot:{tmp_path / 'none'}")


def test_two_files_of_one_name_are_written_beside_each_other(tmp_path: Path) -> None:
    train = write(tmp_path / "train", "data.jsonl", stems(4))
    devs = tuple(write(tmp_path / name, "data.jsonl", stems(4, name)) for name in ("Which", "When"))
    made(DataConfig(train=train, evaluate=devs), tmp_path / "out")
    assert len(list((tmp_path / "out").glob("data-*.parquet"))) == 2


def test_what_is_valid_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small(tmp_path)
    first = made(config, tmp_path / "data")
    monkeypatch.setattr(module, "build_snapshot", None)  # would fail if it were called
    assert made(config, tmp_path / "data").manifest == first.manifest


@pytest.mark.parametrize("change", ["source", "seed", "setting", "split", "excluded", "manifest"])
def test_what_changed_is_made_again(tmp_path: Path, change: str) -> None:
    config, seed, data = small(tmp_path), 17, tmp_path / "data"
    first = made(config, data)
    train = data / first.manifest.train_split.file
    if change == "source":
        write(tmp_path, "train.jsonl", stems(7, "Why"))
    elif change == "seed":
        seed = 18
    elif change == "setting":
        config = small(tmp_path, train_size=2)
    elif change == "split":
        shutil.copy(data / first.manifest.splits[1].file, train)
    elif change == "excluded":
        (data / "excluded.jsonl").write_text("")
    else:
        text = (data / "manifest.json").read_text()
        (data / "manifest.json").write_text(text.replace(first.manifest.hash, "0" * 64))
    again = made(config, data, seed)
    assert find_faults(data, again.manifest) == []
    assert again.manifest.provenance.created >= first.manifest.provenance.created
    expected = {"source": 7, "setting": 2}.get(change, 5)
    assert again.train.description.n == expected
    # What the former snapshot left behind is gone.
    kept = {split.file for split in again.manifest.splits}
    assert {path.name for path in data.glob("*.parquet")} == kept


def test_faults_are_named(tmp_path: Path) -> None:
    manifest = made(small(tmp_path), tmp_path).manifest
    assert find_faults(tmp_path, manifest) == []
    shutil.copy(tmp_path / manifest.splits[1].file, tmp_path / manifest.train_split.file)
    (tmp_path / manifest.splits[1].file).write_bytes(b"PAR1")
    (tmp_path / "excluded.jsonl").unlink()
    found = find_faults(tmp_path, manifest.model_copy(update={"hash": "0" * 64}))
    assert len(found) == 4
    assert "holds 3 questions" in found[0]
    assert "cannot be read as parquet" in found[1]
    assert "its hash is not that of its splits" in found[2]
    assert "excluded.jsonl is missing or was changed" in found[3]


def test_a_changed_source_is_named(tmp_path: Path) -> None:
    config = small(tmp_path)
    manifest = made(config, tmp_path / "data").manifest
    assert find_changed_sources(manifest) == []
    write(tmp_path, "train.jsonl", stems(7, "Why"))
    (found,) = find_changed_sources(manifest)
    assert found.startswith(f"{config.train} has changed: fingerprint ")


def test_a_kill_at_any_moment_leaves_nothing_half_written(tmp_path: Path) -> None:
    config = DataConfig(validation_size=20, calibration_size=40, train_size=100)
    expected = made(config, tmp_path / "whole").manifest
    data = tmp_path / "data"
    killed = 0
    for attempt in range(60):
        command = [sys.executable, "-c", PREPARE, config.model_dump_json(), str(data)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # Once it has begun to work, a little later every time.
        while not list(data.glob(".work-*")) and process.poll() is None:
            time.sleep(0.001)
        time.sleep(attempt * 0.07)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        manifest = read_record(data / "manifest.json", SnapshotManifest)
        if manifest is not None:
            assert find_faults(data, manifest) == []
            assert manifest.hash == expected.hash
            break
        for path in data.glob("*.parquet"):
            assert path.stem.rpartition("-")[2] == questions_hash(read_parquet(path))[:12]
    assert killed >= 3
    snapshot = made(config, data)
    assert snapshot.manifest.hash == expected.hash
    assert not [path for path in data.iterdir() if path.name.startswith(".")]


def test_the_manifest_of_another_version_is_no_snapshot(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"kind": "snapshot", "train": {}}')
    with pytest.raises(DataError, match="holds no snapshot of this version"):
        read_manifest(tmp_path)


def test_excluded_jsonl_is_sealed_by_the_manifest(tmp_path: Path) -> None:
    manifest = made(small(tmp_path), tmp_path / "data").manifest
    content = (tmp_path / "data" / "excluded.jsonl").read_bytes()
    assert hashlib.sha256(content).hexdigest() == manifest.excluded_hash
