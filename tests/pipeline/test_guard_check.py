"""Anybody's lines against the guards: what is printed, counted, and shown on the page."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import CommandLine

from medtune.guardrails.policy import STARTER_POLICY
from medtune.guardrails.privacy.tagger import load_default_tagger, write_tagger

NAMED: dict[str, Any] = {
    "id": 7,
    "stem": "Mr Karl Weber, 54, has chest pain. Which drug is given first?",
    "options": ["Aspirin", "Heparin, as Mrs Ada Brown had"],
    "source": "somebody's own field",
}
PLAIN = {
    "id": "p",
    "stem": "Which vitamin prevents scurvy?",
    "options": ["Ascorbic acid", "Retinol"],
}


def write(path: Path, *lines: dict[str, Any] | str) -> str:
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("".join(f"{text}\n" for text in texts))
    return str(path)


def test_every_line_is_answered(medtune: CommandLine, tmp_path: Path) -> None:
    code, out, err = medtune("guard", "check", write(tmp_path / "q.jsonl", NAMED, "", PLAIN))
    assert code == 0
    named, plain = map(json.loads, out.splitlines())
    assert named["id"] == "7"
    assert [(s["field"], s["kind"]) for s in named["spans"]] == [
        ("stem", "name"), ("options.1", "name")
    ]  # fmt: skip
    stem, option = named["spans"]
    assert NAMED["stem"][stem["start"] : stem["end"]] == "Karl Weber"
    assert NAMED["options"][1][option["start"] : option["end"]] == "Ada Brown"
    assert named["redacted"]["stem"].startswith("Mr [name 1], 54,")
    assert named["redacted"]["options"] == ["Aspirin", "Heparin, as Mrs [name 2] had"]
    assert "privacy.redacted" in named["reasons"]
    assert plain == {
        "id": "p", "action": "allow", "reasons": [], "spans": [],
        "redacted": {"stem": PLAIN["stem"], "options": PLAIN["options"], "subject": None},
    }  # fmt: skip
    assert "1 allow" in err


def test_what_is_too_large_is_refused_unread(medtune: CommandLine, tmp_path: Path) -> None:
    large = {**PLAIN, "stem": "Mr Karl Weber " * 1000}
    _, out, _ = medtune("guard", "check", write(tmp_path / "q.jsonl", large))
    found = json.loads(out)
    assert (found["action"], found["reasons"]) == ("refuse", ["size.stem"])
    assert (found["spans"], found["redacted"]) == ([], None)


def test_what_is_expected_is_counted_and_errors_are_shown(
    medtune: CommandLine, tmp_path: Path
) -> None:
    spans = [
        {"field": "stem", "start": 3, "end": 13, "kind": "name"},
        {"field": "stem", "start": 41, "end": 45, "kind": "name"},  # "drug" is none
    ]
    lines = (
        {
            **NAMED,
            "topic": "names",
            "expected": ["allow", "annotate", "defer"],
            "expected_spans": spans,
        },
        {**PLAIN, "expected": "refuse"},
        {**PLAIN, "id": "untouched", "expected": "allow", "expected_spans": []},
        {**NAMED, "id": "touched<", "expected_spans": []},
    )
    page = tmp_path / "errors.html"
    code, _, err = medtune(
        "guard", "check", write(tmp_path / "q.jsonl", *lines), "--page", str(page), "--out", "o"
    )
    assert code == 0
    said = " ".join(err.split())
    assert "names: name: 50.0 %" in said
    assert "refuse: 0.0 %" in said
    assert "no identifier: 50.0 %" in said
    html = page.read_text()
    assert "3 lines not as expected" in html
    assert "allow where refuse is expected" in html
    assert '<mark class="missed" title="name, missed">drug</mark>' in html
    assert '<mark class="found" title="name, found">Karl Weber</mark>' in html
    assert "touched&lt;" in html
    assert ">untouched<" not in html
    assert len((tmp_path / "o").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2: Invalid JSON"),
        ('{"id": "a", "options": []}', "line 2: stem: Field required"),
        ('{"id": "a", "stem": 3}', "line 2: stem: "),
        ('{"id": "a", "stem": "b", "expected": "allowed"}', "line 2: expected.0: "),
        *(
            (
                json.dumps({"id": "a", "stem": "b", "options": ["c"], "expected_spans": [span]}),
                f"line 2: Value error, expected_spans: {span['field']} {span['start']} to",
            )
            for span in (
                {"field": "stem", "start": 0, "end": 10**9, "kind": "name"},
                {"field": "stem", "start": 1, "end": 1, "kind": "name"},
                {"field": "option.0", "start": 0, "end": 1, "kind": "name"},
                {"field": "options.²", "start": 0, "end": 1, "kind": "name"},
            )
        ),
    ],
)
def test_a_line_that_is_no_question_is_named(
    medtune: CommandLine, tmp_path: Path, line: str, said: str
) -> None:
    file = write(tmp_path / "q.jsonl", PLAIN, line)
    code, out, err = medtune("guard", "check", file)
    assert code == 2
    assert said in " ".join(err.split())
    assert len(out.splitlines()) == 1, "what came before is not lost"
    assert medtune("guard", "check", file, "--out", str(tmp_path / "o"))[0] == 2
    assert (tmp_path / "o").read_text() == out


@pytest.mark.parametrize("content", [b"", b"\xff\xfe"])
def test_what_is_no_file_of_lines_is_refused(
    medtune: CommandLine, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "q.jsonl").write_bytes(content)
    code, out, err = medtune("guard", "check", str(tmp_path / "q.jsonl"))
    assert (code, out) == (2, "")
    assert "q.jsonl" in err


def test_a_text_is_redacted(medtune: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear Mrs Ada Brown,\ncall 07700 900318.\nMrs Ada Brown")
    code, out, _ = medtune("guard", "redact", str(tmp_path / "letter.txt"))
    assert code == 0
    assert out == "Dear Mrs [name 1],\ncall [phone 2].\nMrs [name 1]"


def test_the_standard_input_is_redacted() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "medtune", "guard", "redact", "-"],
        input=b"Mr Karl Weber, 54\n", capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout == b"Mr [name 1], 54\n"


def presidio_policy(folder: Path) -> str:
    path = folder / "policy.toml"
    text = STARTER_POLICY.read_text()
    path.write_text(text.replace("[privacy]\n", '[privacy]\nengine = "presidio"\n'))
    return str(path)


def test_a_policy_names_presidio(medtune: CommandLine, tmp_path: Path) -> None:
    key = "123e4567-e89b-12d3-a456-426614174000"
    line = {"id": "w", "stem": f"The key {key} was used. Which?", "options": ["a", "b"]}
    lines, policy = write(tmp_path / "q.jsonl", line), presidio_policy(tmp_path)
    for more, spans in (((), 0), (("--policy", policy), 1)):
        _, out, _ = medtune("guard", "check", lines, *more)
        assert len(json.loads(out)["spans"]) == spans
    text = tmp_path / "letter.txt"
    text.write_text(f"The key {key} was used.\n")
    _, out, _ = medtune("guard", "redact", str(text), "--policy", policy)
    assert out == "The key [document 1] was used.\n"


def test_another_tagger_is_used(medtune: CommandLine, tmp_path: Path) -> None:
    shipped = load_default_tagger()
    never = dict.fromkeys(shipped.trained.thresholds, 1.1)
    blind = shipped.trained.model_copy(update={"thresholds": never})
    write_tagger(tmp_path / "blind.zip", blind, shipped._weights)
    lines = write(tmp_path / "q.jsonl", NAMED)
    _, out, _ = medtune("guard", "check", lines, "--tagger", str(tmp_path / "blind.zip"))
    assert json.loads(out)["spans"] == []
    code, _, err = medtune("guard", "check", lines, "--tagger", lines)
    assert code == 2
    assert "cannot be read as a tagger" in err


@pytest.mark.parametrize(
    "unit",
    [
        "Mr Karl Weber, MRN 4482913, was seen. ",
        "患者は山田太郎さん、Пациент Иван Петров, रोगी राम कुमार. ",
        "a\u200bb\u2060c\u202ed\ufe0f ",
        "x",
        "\n",
    ],
)
def test_100_kb_are_redacted_in_seconds(medtune: CommandLine, tmp_path: Path, unit: str) -> None:
    text = (unit * (100_000 // len(unit.encode()) + 1)).encode()[:100_000].decode(errors="ignore")
    (tmp_path / "large.txt").write_text(text)
    start = time.process_time()
    code, out, _ = medtune("guard", "redact", str(tmp_path / "large.txt"))
    assert time.process_time() - start < 20
    assert code == 0
    assert "Weber" not in out
    line = {"id": "large", "stem": text, "options": [text, "b"]}
    _, out, _ = medtune("guard", "check", write(tmp_path / "q.jsonl", line))
    assert json.loads(out)["reasons"][0].startswith("size.")


@pytest.mark.parametrize("command", ["train", "train-tagger"])
def test_too_few_exam_questions_are_refused(
    medtune: CommandLine, tmp_path: Path, command: str
) -> None:
    out = tmp_path / "trained"
    code, _, err = medtune("guard", command, "--exam", "starter:train", "--out", str(out))
    assert code == 2
    assert "starter:train has" in err
    assert "more than the 2,000 that are held out" in err
    assert not out.exists()
