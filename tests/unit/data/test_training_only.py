from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet
import pytest

from medtune.core.errors import DataError, EmptySplitError
from medtune.core.experiment import ColumnMapping, DataConfig
from medtune.core.progress import NoProgress
from medtune.core.records import Question
from medtune.core.run_folder import read_record
from medtune.core.schemas.corrections import AskersRecord, CorrectionOrigin, CorrectionsManifest
from medtune.core.schemas.dataset import Exclusion, SnapshotManifest, SplitRecord
from medtune.data.arrow_table import QuestionTable, write_parquet
from medtune.data.corrections_snapshot import (
    Corrections,
    clean_corrections,
    name_corrections_source,
    write_corrections,
)
from medtune.data.load import load_split, read_manifest
from medtune.data.snapshot import prepare_snapshot
from medtune.data.training_only import (
    correction_id,
    infer_purpose,
    is_correction,
    refuse_corrections,
)

NOBODY = AskersRecord(
    said=0, helpful=0, unhelpful=0, corrected=0, confirmed=0, contradicted=0, unconfirmed=0
)
ONE_LIST = ColumnMapping(stem="stem", options=("options",), answer="answer", answer_base=0)
STARTER = load_split("starter:train").questions[:40]


def corrections(questions: QuestionTable = STARTER) -> Corrections:
    """Make corrections of the starter's questions: as if they had been asked at an endpoint."""
    rows = [
        (
            f"req-{number}",
            {
                "id": correction_id(q.stem, q.options),
                "stem": q.stem,
                "options": list(q.options),
                "answer": q.answer,
                "subject": q.subject,
            },
        )
        for number, q in enumerate(questions)
    ]
    source = name_corrections_source(["r-1"])
    made = clean_corrections(rows, source).questions
    origins = tuple(
        CorrectionOrigin(
            id=name, request_id=f"req-{n}", release="r-1", decision="approve", opinions=1
        )
        for n, name in enumerate(made.ids)
    )
    return Corrections(source, made, origins, (("req-x", "rejected"),), 3, 0, NOBODY)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "corrections"
    made.mkdir()
    write_corrections(corrections(), made)
    return made


def config(folder: Path, **settings: object) -> DataConfig:
    return DataConfig.model_validate({"train": f"snapshot:{folder}", **settings})


# The mark


def test_the_mark_is_made_of_the_question() -> None:
    name = correction_id("Which?", ("a", "b"))
    assert is_correction(name)
    assert name == correction_id("Which?", ["a", "b"])
    assert name != correction_id("Which?", ["b", "a"])
    assert name != correction_id("Which", ["a", "b"])


@pytest.mark.parametrize(
    ("name", "marked"),
    [
        ("correction-0123456789abcdef", True),
        ("correction-0123456789abcdef~2", True),  # repeated by the balance
        ("correction-0123456789abcdef0", False),
        ("correction-12", False),
        ("my-correction-0123456789abcdef", False),
        ("row-0123456789abcdef", False),
    ],
)
def test_only_such_ids_are_marked(name: str, marked: bool) -> None:
    assert is_correction(name) is marked
    assert infer_purpose(["q1", name]) == ("training" if marked else "any")


def test_a_refusal_says_found_expected_and_fix() -> None:
    refuse_corrections(["q1", "q2"], "file:x")
    with pytest.raises(DataError) as caught:
        refuse_corrections(["q1", "correction-0123456789abcdef"], "file:x", "use file:y")
    assert caught.value.found == (
        "file:x holds corrections of the endpoint (1 of them), which are for training only"
    )
    assert "were not selected" in caught.value.expected
    assert caught.value.fix == "use file:y"


# The snapshot


def test_it_is_a_snapshot_of_one_split(folder: Path) -> None:
    manifest = read_record(folder / "manifest.json", CorrectionsManifest)
    assert manifest is not None
    (split,) = manifest.splits
    assert (split.role, split.purpose, split.description.n) == ("train", "training", 40)
    assert split.description.source == "corrections of the endpoint, release r-1"
    assert (manifest.decided, manifest.approved, manifest.edited) == (41, 40, 0)
    assert manifest.left_out == {"rejected": 1}
    assert manifest.releases == {"r-1": 40}
    questions = load_split(f"snapshot:{folder}", for_training=True).questions
    assert [q.model_copy(update={"id": ""}) for q in questions] == [
        q.model_copy(update={"id": "", "topic": None, "explanation": None, "group": None})
        for q in STARTER
    ]
    lines = (folder / "excluded.jsonl").read_text().splitlines()
    assert [Exclusion.model_validate_json(line).id for line in lines] == ["req-x"]
    assert len((folder / "origins.jsonl").read_text().splitlines()) == 40


def test_the_same_corrections_leave_every_byte_as_it_is(folder: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write_corrections(corrections(), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    other = tmp_path / "other"
    other.mkdir()
    again = write_corrections(corrections(), other)
    for name in set(before) - {"manifest.json"}:
        assert (other / name).read_bytes() == before[name]
    assert again.hash == json.loads(before["manifest.json"])["hash"]


def test_other_corrections_take_their_place(folder: Path) -> None:
    manifest = write_corrections(corrections(STARTER[:9]), folder)
    assert [path.name for path in folder.glob("*.parquet")] == [manifest.splits[0].file]
    assert read_record(folder / "manifest.json", CorrectionsManifest) == manifest


def test_a_prepared_snapshot_is_not_overwritten(tmp_path: Path) -> None:
    prepare_snapshot(DataConfig(), 17, tmp_path, NoProgress())
    with pytest.raises(DataError, match="holds other data"):
        write_corrections(corrections(), tmp_path)
    assert len(read_manifest(tmp_path).splits) == 3


def test_nothing_to_teach_is_said_in_terms_of_reviews() -> None:
    row = {"id": "a", "stem": "Which?", "options": ["[name 1]", "[name 1]"], "answer": 0}
    with pytest.raises(EmptySplitError, match="duplicate options") as caught:
        clean_corrections([("req-1", {**row, "subject": None})], "corrections")
    assert "approved or edited" in caught.value.expected
    assert "/review" in caught.value.fix


def test_several_releases_are_named_in_order() -> None:
    assert (
        name_corrections_source(["v2", "v1", "v2"])
        == "corrections of the endpoint, releases v1, v2"
    )


# Where they are refused, and where not


def test_they_are_not_examined_on(folder: Path) -> None:
    with pytest.raises(DataError, match="for training only"):
        load_split(f"snapshot:{folder}")
    with pytest.raises(DataError, match="for training only"):
        load_split(f"snapshot:{folder}:train")


def test_nor_are_copies_in_another_form(folder: Path, tmp_path: Path) -> None:
    (parquet,) = folder.glob("*.parquet")
    copies = tmp_path / "copies"
    copies.mkdir()
    shutil.copy(parquet, copies / "mine.parquet")
    rows = pyarrow.parquet.read_table(parquet).to_pylist()
    # One among many others is enough.
    mixed = [q.model_dump(mode="json") for q in STARTER[20:]] + rows[:1]
    (copies / "mixed.jsonl").write_text("\n".join(map(json.dumps, mixed)))
    for source in ("mine.parquet", "mixed.jsonl"):
        with pytest.raises(DataError, match="for training only"):
            load_split(f"file:{copies / source}", ONE_LIST)
        assert load_split(f"file:{copies / source}", ONE_LIST, for_training=True).questions


def test_nor_is_the_file_itself_without_its_ids(folder: Path) -> None:
    (parquet,) = folder.glob("*.parquet")
    nameless = ONE_LIST.model_copy(update={"id": ""})
    with pytest.raises(DataError, match="for training only"):
        load_split(f"file:{parquet}", nameless)


def test_a_manifest_that_calls_them_unmarked_does_not_help(folder: Path, tmp_path: Path) -> None:
    prepared = tmp_path / "p"
    prepare_snapshot(config(folder), 17, prepared, NoProgress())
    path = prepared / "manifest.json"
    path.write_text(path.read_text().replace('"purpose": "training"', '"purpose": "any"'))
    with pytest.raises(DataError, match="for training only"):
        load_split(f"snapshot:{prepared}:train")


def test_an_experiment_is_not_evaluated_on_them(folder: Path, tmp_path: Path) -> None:
    settings = DataConfig(evaluate=("starter:recall", f"snapshot:{folder}"))
    with pytest.raises(DataError, match="for training only"):
        prepare_snapshot(settings, 17, tmp_path / "p", NoProgress())
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("role", ["validation", "calibration"])
def test_no_validation_or_calibration_is_cut_from_them(
    folder: Path, tmp_path: Path, role: str
) -> None:
    with pytest.raises(DataError, match=f"#{role} holds") as caught:
        prepare_snapshot(config(folder, **{f"{role}_size": 4}), 17, tmp_path / "p", NoProgress())
    assert caught.value.fix == f"set data.{role}_size = 0"


def test_beside_other_questions_they_stay_in_train(folder: Path, tmp_path: Path) -> None:
    """Files of splits have one form, so that a folder of them is a source."""
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    (parquet,) = folder.glob("*.parquet")
    shutil.copy(parquet, mixed)
    others = load_split("starter:train").questions[40:140]
    write_parquet(others, mixed / "others.parquet")
    settings = DataConfig(
        train=f"file:{mixed}", columns=ONE_LIST, validation_size=10, calibration_size=30
    )
    made = prepare_snapshot(settings, 17, tmp_path / "p", NoProgress())
    assert made.validation is not None
    assert made.calibration is not None
    cut_off = {*made.validation.questions.ids, *made.calibration.questions.ids}
    assert len(cut_off) == 40
    assert cut_off < set(others.ids)
    assert len(made.train.questions) == 140 - 40
    assert [s.purpose for s in made.manifest.splits] == ["training", *["any"] * 4]
    # Of 100 others no 100 can be cut off, with or without 40 corrections beside them.
    greedy = settings.model_copy(update={"calibration_size": 90})
    with pytest.raises(DataError, match=r"without corrections: 100 questions .* 100 are there"):
        prepare_snapshot(greedy, 17, tmp_path / "q", NoProgress())


def test_a_question_like_a_correction_is_not_cut_off_either(tmp_path: Path) -> None:
    """A cluster is never parted: what hangs together with a correction stays with it in train."""
    first, *rest = STARTER[:12]
    marked = first.model_copy(update={"id": correction_id(first.stem, first.options)})
    twins = [marked, first.model_copy(update={"stem": first.stem.upper()}), *rest]
    write_parquet(twins, tmp_path / "t.parquet")
    for seed in range(8):
        settings = DataConfig.model_validate(
            {
                "train": f"file:{tmp_path / 't.parquet'}",
                "columns": ONE_LIST,
                "calibration_size": 9,
                "overlap": {"within_train": "keep"},
            }
        )
        made = prepare_snapshot(settings, seed, tmp_path / f"{seed}", NoProgress())
        assert {marked.id, first.id} <= set(made.train.questions.ids)


def test_what_is_built_of_them_is_marked_and_the_rest_is_not(folder: Path, tmp_path: Path) -> None:
    prepared = prepare_snapshot(config(folder), 17, tmp_path / "p", NoProgress())
    source = load_split(f"snapshot:{folder}", for_training=True)
    assert prepared.train.questions.ids == source.questions.ids
    assert [split.purpose for split in prepared.manifest.splits] == ["training", "any", "any"]
    assert "for training only" in (tmp_path / "p" / "datasheet.md").read_text()
    with pytest.raises(DataError, match="for training only"):
        load_split(f"snapshot:{tmp_path / 'p'}:train")
    assert load_split(f"snapshot:{tmp_path / 'p'}:starter-recall").description.n == 80
    # And so is what is built of that, however often.
    again = config(tmp_path / "p", train_size=20, curation={"diversity": {"on": True}})
    made = prepare_snapshot(again, 17, tmp_path / "q", NoProgress())
    assert made.manifest.train_split.purpose == "training"
    with pytest.raises(DataError, match="for training only"):
        prepare_snapshot(
            DataConfig(evaluate=(f"snapshot:{tmp_path / 'q'}:train",)),
            17,
            tmp_path / "r",
            NoProgress(),
        )


def test_one_without_any_is_for_any_purpose(tmp_path: Path) -> None:
    manifest = prepare_snapshot(DataConfig(), 17, tmp_path, NoProgress()).manifest
    assert {split.purpose for split in manifest.splits} == {"any"}
    assert "for training only" not in (tmp_path / "datasheet.md").read_text()


def test_a_manifest_from_before_the_mark_is_still_read(tmp_path: Path) -> None:
    manifest = prepare_snapshot(DataConfig(), 17, tmp_path, NoProgress()).manifest
    tree = json.loads((tmp_path / "manifest.json").read_text())
    for split in tree["splits"]:
        del split["purpose"]
    assert SnapshotManifest.model_validate(tree) == manifest
    (tmp_path / "manifest.json").write_text(json.dumps(tree))
    assert load_split(f"snapshot:{tmp_path}:train").description.n == 320


# Overlap


def test_what_equals_an_evaluated_question_is_not_trained_on(tmp_path: Path) -> None:
    recall = load_split("starter:recall").questions
    shown = recall[3].permute_options((1, 0, 3, 2))  # another order of the options hides nothing
    capital = recall[5].model_copy(update={"stem": recall[5].stem.upper()})
    folder = tmp_path / "c"
    folder.mkdir()
    write_corrections(
        corrections(QuestionTable.from_questions([*STARTER[:6], shown, capital])), folder
    )
    made = prepare_snapshot(config(folder), 17, tmp_path / "p", NoProgress())
    assert len(made.train.questions) == 6
    assert made.manifest.train_split.description.excluded == {"also evaluated": 2}
    lines = (tmp_path / "p" / "excluded.jsonl").read_text().splitlines()
    found = {e.twin for e in map(Exclusion.model_validate_json, lines)}
    assert found == {f"starter:recall {recall[3].id}", f"starter:recall {recall[5].id}"}


def test_corrections_that_contradict_each_other_go(tmp_path: Path) -> None:
    first = STARTER[0]
    assert first.answer is not None
    # Two items whose options stood in another order: their ids differ, the question is one.
    turned = first.permute_options((1, 0, 3, 2))
    wrong = turned.model_copy(update={"answer": (turned.answer or 0) ^ 1})
    folder = tmp_path / "c"
    folder.mkdir()
    write_corrections(corrections(QuestionTable.from_questions([*STARTER[:6], wrong])), folder)
    made = prepare_snapshot(config(folder), 17, tmp_path / "p", NoProgress())
    assert made.manifest.train_split.description.excluded == {"conflicting answers": 2}


# The record


def test_a_manifest_of_corrections_cannot_call_itself_anything_else(folder: Path) -> None:
    tree = json.loads((folder / "manifest.json").read_text())
    for change in (
        {"splits": [{**tree["splits"][0], "purpose": "any"}]},
        {"splits": [{**tree["splits"][0], "role": "evaluated"}]},
        {"decided": 7},
    ):
        with pytest.raises(ValueError, match=r"training only|do not add up"):
            CorrectionsManifest.model_validate({**tree, **change})


def test_a_split_says_what_it_is_for(folder: Path) -> None:
    tree = json.loads((folder / "manifest.json").read_text())["splits"][0]
    with pytest.raises(ValueError, match="purpose"):
        SplitRecord.model_validate({**tree, "purpose": "evaluation"})


def test_a_snapshot_has_the_splits_that_it_has(folder: Path) -> None:
    with pytest.raises(DataError, match="has no split 'validation'"):
        load_split(f"snapshot:{folder}:validation", for_training=True)


def test_a_repeated_correction_stays_one(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    names = load_split(f"snapshot:{folder}", for_training=True).questions.ids
    repeated = [
        Question(id=f"{name}~2", stem=f"Which {name}?", options=("a", "b"), answer=0)
        for name in names[:2]
    ]
    write_parquet(repeated, tmp_path / "x" / "r.parquet")
    with pytest.raises(DataError, match=r"2 of them"):
        load_split(f"file:{tmp_path / 'x' / 'r.parquet'}", ONE_LIST)
