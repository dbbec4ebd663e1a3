from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet
import pytest
from tests.conftest import CommandLine

from medtune.data.load import load_split

OPTIONS = {"opa": "Acyclovir", "opb": "Ganciclovir", "opc": "Amantadine", "opd": "Flucytosine"}
OUTPUTS = [
    # (output, right index, notebook's matcher, strict parser)
    ("1. The answer is: Ganciclovir", 1, "exact", "correct"),
    ("1. The answer is: Acyclovir", 1, "no_match", "wrong"),
    ("A. Acyclovir\nB. Ganciclovir\nC. Amantadine\nD. Flucytosine", 1, "exact", "unparsed"),
    ("It is not Ganciclovir", 1, "exact", "unparsed"),
    ("B", 1, "no_match", "correct"),
    ("Which drug treats herpes?", 1, "no_match", "unparsed"),
    ("", 1, "no_match", "unparsed"),
    ("The answer is: Amantadine<|im_end|>", 2, "exact", "correct"),
]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    results = [
        {"id": f"r{n}", "question": "Which?", **OPTIONS, "cop": cop, "prediction": text}
        for n, (text, cop, _, _) in enumerate(OUTPUTS)
    ]
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps({"n_total": len(results), "results": results}, indent=2))
    return path


def test_rescore_as_the_notebook_did(medtune: CommandLine, saved: Path) -> None:
    found = medtune.record("rescore", saved, "--matcher", "notebook")
    exact = sum(match == "exact" for _, _, match, _ in OUTPUTS)
    assert (found["exact"], found["partial"]) == (exact, 0) == (4, 0)
    assert found["counts"] == {"n": 8, "correct": 4, "wrong": 4, "unparsed": 0, "abstained": 0}
    assert found["accuracy"]["value"] == 0.5


def test_rescore_strictly(medtune: CommandLine, saved: Path) -> None:
    found = medtune.record("rescore", saved)
    assert found["matcher"] == "strict"
    assert found["counts"] == {"n": 8, "correct": 3, "wrong": 1, "unparsed": 4, "abstained": 0}
    assert found["answer_rate"]["value"] == 0.5
    assert found["exact"] is None


def test_rescore_shows_a_table(medtune: CommandLine, saved: Path) -> None:
    code, out, _ = medtune("rescore", saved)
    assert code == 0
    assert "37.5 %" in out  # 3 / 8


def test_rescore_agrees_with_the_evaluation_it_reads(medtune: CommandLine) -> None:
    arguments = ("starter:recall", "--method", "generate", "--out", "e")
    examined = medtune.record("evaluate", "fake:biased", *arguments)
    found = medtune.record("rescore", "e/predictions.jsonl")
    assert found["counts"] == examined["counts"]
    assert found["accuracy"] == examined["accuracy"]


def test_rescore_wants_texts(medtune: CommandLine) -> None:
    medtune("evaluate", "fake:noisy", "starter:recall", "--out", "e")
    code, out, err = medtune("rescore", "e/predictions.jsonl", "--json")
    assert (code, out) == (2, "")
    assert "holds scores, no texts" in err
    assert "--method generate" in err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        ("{", "not JSON"),
        ("{}", "results"),
        ('{"results": [{"opa": "x"}]}', "is missing"),
        ('{"results": []}', "results"),
    ],
)
def test_rescore_of_a_bad_file(
    medtune: CommandLine, tmp_path: Path, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "bad.json").write_text(content)
    code, out, err = medtune("rescore", "bad.json", "--json")
    assert (code, out) == (2, "")
    assert message in err


STARTER_FILE = ["--set", "data.train=file:train.jsonl"]
STARTER_FILE += ["--set", 'data.columns={stem="stem", options=["options"], answer="answer"}']


def write_starter_file(folder: Path, leave_out: int = 0) -> None:
    """Write the starter's train questions as somebody's own file."""
    lines = [q.model_dump_json() for q in load_split("starter:train").questions]
    (folder / "train.jsonl").write_text("\n".join(lines[leave_out:]))


def test_prepare_writes_the_snapshot(medtune: CommandLine, tmp_path: Path) -> None:
    found = medtune.record("prepare", "--out", "p")
    data = tmp_path / "p" / "data"
    assert found["kind"] == "snapshot"
    assert json.loads((data / "manifest.json").read_text()) == found
    assert [split["description"]["n"] for split in found["splits"]] == [320, 80, 80]
    for split in found["splits"]:
        rows = pyarrow.parquet.read_table(data / split["file"]).to_pylist()
        source = split["description"]["source"]
        assert [row["id"] for row in rows] == [q.id for q in load_split(source).questions]
    assert found["hash"][:12] in (data / "datasheet.md").read_text()
    assert found["hash"] in (tmp_path / "p" / "data.html").read_text()


def test_prepare_gives_the_same_hash_again(medtune: CommandLine) -> None:
    first = medtune.record("prepare", "--out", "a")
    assert medtune.record("prepare", "--out", "b")["hash"] == first["hash"]
    less = medtune.record("prepare", "--out", "c", "--set", "data.train_size=10")
    assert less["splits"][0]["description"]["n"] == 10
    assert less["hash"] != first["hash"]


def test_prepare_again_says_that_the_snapshot_is_valid(medtune: CommandLine) -> None:
    assert medtune("prepare", "--out", "p")[0] == 0
    code, _, err = medtune("prepare", "--out", "p")
    assert code == 0
    assert "still valid" in err


def test_verify_makes_the_snapshot_again(medtune: CommandLine, tmp_path: Path) -> None:
    made = medtune.record("prepare", "--out", "p")
    found = medtune.record("prepare", "--out", "p", "--verify")
    assert found["faults"] == []
    assert found["remade"] == found["hash"] == made["hash"]
    assert found["questions"] == 480
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == [
        ".lock",
        "data",
        "data.html",
    ]


def test_verify_names_what_was_tampered_with(medtune: CommandLine, tmp_path: Path) -> None:
    own = [*STARTER_FILE, "--out", "p"]
    write_starter_file(tmp_path)
    made = medtune.record("prepare", *own)
    train = tmp_path / "p" / "data" / made["splits"][0]["file"]
    recall = tmp_path / "p" / "data" / made["splits"][1]["file"]
    train.write_bytes(recall.read_bytes())
    write_starter_file(tmp_path, leave_out=1)
    code, out, err = medtune("prepare", *own, "--verify", "--json")
    found = json.loads(out)
    assert code == 1
    assert len(found["faults"]) == 3
    assert "holds 80 questions" in found["faults"][0]
    assert "file:train.jsonl has changed" in found["faults"][1]
    assert "made again it has the hash" in found["faults"][2]
    assert "3 faults" in err
    (tmp_path / "train.jsonl").unlink()
    code, out, _ = medtune("prepare", *own, "--verify")
    assert code == 1
    assert "cannot be made again: train.jsonl does not exist" in " ".join(out.split())


def test_verify_without_a_snapshot(medtune: CommandLine) -> None:
    code, _, err = medtune("prepare", "--out", "nothing", "--verify")
    assert code == 2
    assert "holds no snapshot" in err


def test_inspect_proposes_a_mapping_that_works(medtune: CommandLine, tmp_path: Path) -> None:
    rows = [
        "No,Question Stem,Option A,Option B,Option C,Option D,Correct Answer,Specialty",
        *(
            f'{n},"Which one, of these, is {n + 20}?",{n + 20},{n + 21},{n + 22},{n + 23},A,Maths'
            for n in range(12)
        ),
    ]
    (tmp_path / "own.csv").write_text("\n".join(rows))
    found = medtune.record("prepare", "--inspect", "own.csv")
    assert found["problems"] == []
    assert len(found["questions"]) == 10
    assert found["questions"][0] == (
        "system: You answer medical exam questions.\n"
        "user: Which one, of these, is 20?\nA. 20\nB. 21\nC. 22\nD. 23\n"
        "Answer with the letter of the right option.\nassistant: A"
    )
    toml = f'name = "own"\n[data]\ntrain = "file:own.csv"\n{found["toml"]}\n'
    (tmp_path / "own.toml").write_text(toml)
    made = medtune.record("prepare", "own.toml", "--out", "p")
    assert made["sources"][0]["usable"] == 12
    assert made["splits"][0]["profile"]["subjects"] == {
        "Maths": made["splits"][0]["description"]["n"]
    }
    code, out, _ = medtune("prepare", "--inspect", "own.csv")
    assert code == 0
    assert "Correct Answer" in out


def test_inspect_says_what_must_be_settled_by_hand(medtune: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("question,a,b,note\nWhy?,x,y,hm\nHow?,v,w,well\n")
    found = medtune.record("prepare", "--inspect", "own.csv")
    (problem,) = found["problems"]
    assert "no column looks like the right answer" in problem
    assert found["questions"] == []


def test_inspect_of_a_missing_file(medtune: CommandLine) -> None:
    code, _, err = medtune("prepare", "--inspect", "none.csv")
    assert code == 2
    assert "none.csv does not exist" in err


def test_prepare_removes_what_is_also_evaluated(medtune: CommandLine, tmp_path: Path) -> None:
    rows = [
        {"id": f"t{n}", "question": f"Which number is {n}?", "opa": f"{n}", "opb": f"{n + 1}",
         "opc": f"{n + 2}", "opd": f"{n + 3}", "cop": 0}
        for n in range(20, 30)
    ]  # fmt: skip
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    # The same question with its options the other way round.
    turned = rows[3] | {"id": "v1", "opa": "26", "opb": "25", "opc": "24", "opd": "23", "cop": 3}
    other = rows[4] | {"id": "v2", "question": "Another stem?"}
    (tmp_path / "val.jsonl").write_text(json.dumps(turned) + "\n" + json.dumps(other))
    (tmp_path / "own.toml").write_text(
        '[data]\ntrain = "file:train.jsonl"\nevaluate = ["file:val.jsonl"]\n'
        "[data.columns]\nanswer_base = 0\n"
    )
    found = medtune.record("prepare", "own.toml", "--out", "p")
    assert found["splits"][0]["description"]["n"] == 9
    assert found["splits"][0]["description"]["excluded"] == {"also evaluated": 1}
    (line,) = (tmp_path / "p" / "data" / "excluded.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "source": "file:train.jsonl",
        "id": "t23",
        "reason": "also evaluated",
        "twin": "file:val.jsonl v1",
    }


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.train_size=321", "train_size asks for 321"),
        ("data.evaluate_size=81", "81 were asked for"),
        ('data.evaluate=["starter:recall", "starter:recall"]', "named twice"),
        (
            'data.evaluate=["starter:train"]',
            "no question is left to train on: 320 × also evaluated",
        ),
        ('data.train="file:none.csv"', "does not exist"),
    ],
)
def test_prepare_of_what_cannot_be_used(
    medtune: CommandLine, tmp_path: Path, setting: str, message: str
) -> None:
    code, out, err = medtune("prepare", "--set", setting, "--out", "p", "--json")
    assert (code, out) == (2, "")
    assert message in err
    assert not (tmp_path / "p").exists()


def test_prepare_shows_the_counts(medtune: CommandLine) -> None:
    code, out, err = medtune("prepare", "--out", "p")
    assert code == 0
    assert "320" in out
    assert "snapshot" in err
