"""From a question that waits at the endpoint to a question that is trained on, and no further."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import CommandLine
from tests.pipeline.serving.endpoint import QUESTION, Endpoint, endpoint

from medtune.core.schemas.corrections import CorrectionOrigin
from medtune.core.schemas.dataset import Exclusion
from medtune.data.load import load_split
from medtune.serving.schemas import Decision
from medtune.serving.storage.store import Store

DRUGS = ["adrenaline", "atropine", "amiodarone", "naloxone", "glucagon", "vecuronium"]
EVALUATED = "Which of the following is the usual first dose of adrenaline in anaphylaxis?"
REFUSED = "holds corrections of the endpoint"


def held(drug: str, **changes: Any) -> dict[str, Any]:
    """Ask for what is held back for a person: a dose."""
    # Of other numbers each: with the same options they would be near-duplicates.
    least = sum(map(ord, drug)) + 1
    options = [f"{least} mg", f"{2 * least} mg", f"{3 * least} mg", f"{4 * least} mg"]
    return {"stem": f"What is the usual dose of {drug} in adults?", "options": options, **changes}


def asked(made: Endpoint, question: dict[str, Any]) -> str:
    reply = made.ask(question).json()
    assert reply["status"] == "pending_review", reply
    return str(reply["request_id"])


def decide(store: Store, number: str, reviewer: str, **decision: Any) -> None:
    store.reviews.claim(reviewer, 600, number)
    store.reviews.decide(number, reviewer, Decision(**decision))


@pytest.fixture
def numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Have an endpoint asked, commented and reviewed; return what was asked by its request."""
    with endpoint(tmp_path) as made:
        found = {drug: asked(made, held(drug)) for drug in DRUGS}
        found["again"] = asked(made, held("adrenaline"))
        found["marked"] = asked(made, held("insulin for Mr John Fletcher"))
        found["evaluated"] = asked(made, held("", stem=EVALUATED))
        found["plain"] = str(made.ask(QUESTION).json()["request_id"])
        said = made.client.post
        for name, what in (
            ("adrenaline", {"helpful": True, "corrected": "A"}),  # as the reviewer
            ("atropine", {"helpful": False, "corrected": "D"}),  # not as the reviewer
            ("amiodarone", {"corrected": "B"}),  # rejected
            ("plain", {"helpful": False, "corrected": "C"}),  # nobody looked at it
        ):
            assert said("/v1/feedback", json={"request_id": found[name], **what}).is_success
        store = made.store
        decide(store, found["adrenaline"], "ann", kind="edit", chosen=0)
        decide(store, found["again"], "bob", kind="edit", chosen=0)
        store.reviews.request_second_opinion(found["atropine"], "ann")
        decide(store, found["atropine"], "ann", kind="edit", chosen=1, note="Mr Fletcher's file")
        decide(store, found["atropine"], "bob", kind="edit", chosen=2)
        decide(store, found["atropine"], "cy", kind="edit", chosen=1)
        decide(store, found["amiodarone"], "ann", kind="reject")
        store.reviews.request_second_opinion(found["naloxone"], "ann")
        decide(store, found["naloxone"], "ann", kind="approve")  # the second opinion is missing
        decide(store, found["glucagon"], "ann", kind="approve")
        decide(store, found["marked"], "ann", kind="edit", chosen=3)
        decide(store, found["evaluated"], "ann", kind="edit", chosen=0)
    capsys.readouterr()  # the endpoint's log
    return found


@pytest.fixture
def command(tmp_path: Path) -> tuple[str, ...]:
    database = f"sqlite:///{tmp_path / 'e.db'}"
    return ("monitor", "corrections", "--database", database, "--out", "c")


def evaluation_file(folder: Path) -> str:
    """Write an evaluation split that holds one of the corrected questions."""
    rows = [
        {**held("", stem=EVALUATED), "id": "dev-0", "answer": 0},
        *(
            {"id": q.id, "stem": q.stem, "options": list(q.options), "answer": q.answer}
            for q in load_split("starter:recall").questions[:20]
        ),
    ]
    (folder / "dev.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return "file:dev.jsonl"


def test_what_reviewers_settled_becomes_a_train_split(
    medtune: CommandLine, numbers: dict[str, str], command: tuple[str, ...]
) -> None:
    found = medtune.record(*command)
    assert found["kind"] == "corrections"
    # adrenaline twice, atropine, glucagon, marked, evaluated; amiodarone was rejected
    assert (found["decided"], found["approved"], found["edited"]) == (7, 1, 5)
    assert found["left_out"] == {"rejected": 1}
    assert found["undecided"] == 2  # naloxone's second opinion, vecuronium
    assert found["marked"] == 1
    assert found["releases"] == {"fake:constant": 6}
    assert found["askers"] == {
        "said": 4,
        "helpful": 1,
        "unhelpful": 2,
        "corrected": 4,
        "confirmed": 1,
        "contradicted": 1,
        "unconfirmed": 2,
    }
    (split,) = found["splits"]
    assert split["description"]["source"] == "corrections of the endpoint, release fake:constant"
    questions = load_split("snapshot:c", for_training=True).questions
    assert [(q.stem, q.answer) for q in questions] == [
        ("What is the usual dose of adrenaline in adults?", 0),
        ("What is the usual dose of atropine in adults?", 1),
        ("What is the usual dose of glucagon in adults?", 0),
        ("What is the usual dose of insulin for Mr [name 1] in adults?", 3),
        (EVALUATED, 0),
    ]
    lines = Path("c/origins.jsonl").read_text().splitlines()
    origins = [CorrectionOrigin.model_validate_json(line) for line in lines]
    assert [one.request_id for one in origins[:2]] == [numbers["adrenaline"], numbers["atropine"]]
    assert [one.asker_agrees for one in origins] == [True, False, None, None, None, None]
    assert origins[1].opinions == 3
    (out,) = Path("c/excluded.jsonl").read_text().splitlines()
    assert Exclusion.model_validate_json(out).id == numbers["amiodarone"]
    # No question of which only the asker said something, and nothing that a reviewer wrote.
    whole = b"".join(path.read_bytes() for path in Path("c").iterdir())
    assert b"scurvy" not in whole
    assert b"Fletcher" not in whole
    assert b"ann" not in Path("c/origins.jsonl").read_bytes()


def test_the_same_store_gives_the_same_bytes(
    medtune: CommandLine, numbers: dict[str, str], command: tuple[str, ...]
) -> None:
    first = medtune.record(*command)
    before = {path.name: path.read_bytes() for path in Path("c").iterdir() if path.suffix}
    assert medtune.record(*command) == first
    assert {path.name: path.read_bytes() for path in Path("c").iterdir() if path.suffix} == before
    again = medtune.record(*command[:-1], "d")
    assert again["hash"] == first["hash"]
    for name in set(before) - {"manifest.json"}:
        assert (Path("d") / name).read_bytes() == before[name]


def test_the_table_says_what_became_of_what(
    medtune: CommandLine, numbers: dict[str, str], command: tuple[str, ...]
) -> None:
    code, out, err = medtune(*command)
    assert code == 0
    assert "5 questions of 7 decided items (2 undecided); for training only" in out
    assert "left out: rejected" in out
    assert "with a privacy mark: 1 questions" in out
    assert "confirmed 1, contradicted 1, and 2 have no reviewer" in " ".join(out.split())
    assert "data.train = snapshot:c" in err


def test_an_experiment_trains_on_them_without_what_it_evaluates(
    medtune: CommandLine, numbers: dict[str, str], command: tuple[str, ...], tmp_path: Path
) -> None:
    medtune.record(*command)
    (tmp_path / "e.toml").write_text(
        '[data]\ntrain = "snapshot:c"\n'
        f'evaluate = ["{evaluation_file(tmp_path)}", "starter:transfer"]\n'
        '[data.columns]\nstem = "stem"\noptions = ["options"]\nanswer = "answer"\n'
        "answer_base = 0\n"
    )
    found = medtune.record("prepare", "e.toml", "--out", "p")
    train, dev, transfer = found["splits"]
    assert [one["purpose"] for one in found["splits"]] == ["training", "any", "any"]
    # "evaluated" equals a question of dev.jsonl: it leaves train, and dev stays as it is.
    assert train["description"]["n"] == 4
    assert train["description"]["excluded"] == {"also evaluated": 1}
    assert (dev["description"]["n"], transfer["description"]["n"]) == (21, 80)
    left = Path("p/data/excluded.jsonl").read_text().splitlines()
    assert [Exclusion.model_validate_json(line).twin for line in left] == ["file:dev.jsonl dev-0"]
    assert medtune("prepare", "e.toml", "--out", "p", "--verify")[0] == 0
    # What was prepared from them is marked as they are; what it is evaluated on is not.
    code, _, err = medtune("evaluate", "fake:oracle", "snapshot:p/data:train")
    assert (code, REFUSED in err) == (2, True)
    medtune.record("evaluate", "fake:oracle", "snapshot:p/data:dev")


COMMANDS = [
    "evaluate fake:oracle snapshot:c",
    "evaluate fake:oracle snapshot:c:train --method generate",
    "study robustness fake:oracle snapshot:c",
    "study decoding fake:oracle snapshot:c",
    "bench fake:oracle --data snapshot:c",
    "parity fake:oracle fake:oracle --data snapshot:c",
    "compress embedded:smollm2-135m snapshot:c",
    'prepare --set data.evaluate=["snapshot:c"]',
    "prepare --set data.train=snapshot:c --set data.validation_size=2",
    "prepare --set data.train=snapshot:c --set data.calibration_size=2",
    "study prompts --set model.source=fake:noisy --set data.train=snapshot:c "
    "--set data.calibration_size=2",
]


def test_nothing_examines_on_them(
    medtune: CommandLine, numbers: dict[str, str], command: tuple[str, ...], tmp_path: Path
) -> None:
    medtune.record(*command)
    for line in COMMANDS:
        code, out, err = medtune(*line.split())
        assert (code, out) == (2, ""), line
        assert REFUSED in err, (line, err)
        assert "expected: for evaluation" in err
        assert "to do: " in err
    assert not list(tmp_path.rglob("record.json"))


def test_they_may_be_shown_as_worked_examples(
    medtune: CommandLine, numbers: dict[str, str], command: tuple[str, ...]
) -> None:
    medtune.record(*command)
    shots = ("--shots", "2", "--shots-from", "snapshot:c")
    assert medtune.record("evaluate", "fake:oracle", "starter:recall", *shots)["shots"] == 2


@pytest.mark.parametrize("name", ["snapshot:c", "c"])
def test_they_may_be_searched(
    medtune: CommandLine, numbers: dict[str, str], command: tuple[str, ...], name: str
) -> None:
    medtune.record(*command)
    questions = load_split("snapshot:c", for_training=True).questions
    record = medtune.record("index", "build", name, "--out", "ix")
    assert record["manifest"]["passages"] == len(questions) > 2


def test_a_store_without_reviews_gives_nothing(
    medtune: CommandLine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with endpoint(tmp_path) as made:
        number = asked(made, held("adrenaline"))
        asked(made, held("atropine"))
        decide(made.store, number, "ann", kind="reject")
    capsys.readouterr()
    code, out, err = medtune(
        "monitor", "corrections", "--database", f"sqlite:///{tmp_path / 'e.db'}", "--out", "c"
    )
    assert (code, out) == (2, "")
    assert "none of 1 decided items can be trained on; 1 × rejected; 1 are undecided" in err
    assert "review what waits" in err
    assert not Path("c").exists()
