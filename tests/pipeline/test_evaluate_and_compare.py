from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import CommandLine

from medtune.data.load import load_split


def predictions(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


def write_rows(path: Path, order: tuple[int, ...]) -> str:
    """Write the recall split in another order of its options, as anybody's own file."""
    rows = []
    for question in load_split("starter:recall").questions:
        asked = question.permuted(order)
        options = dict(zip(("opa", "opb", "opc", "opd"), asked.options, strict=True))
        rows.append({"id": asked.id, "question": asked.stem, **options, "cop": asked.answer})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"file:{path}"


@pytest.mark.parametrize("method", ["letter", "cloze", "generate"])
@pytest.mark.parametrize("split", ["train", "recall", "transfer"])
def test_the_oracle_scores_everything(medtune: CommandLine, split: str, method: str) -> None:
    found = medtune.record("evaluate", "fake:oracle", f"starter:{split}", "--method", method)
    assert found["accuracy"]["value"] == 1.0
    assert found["counts"]["n"] == {"train": 320, "recall": 80, "transfer": 80}[split]
    assert found["counts"]["unparsed"] == 0
    assert found["method"] == method
    assert found["chance"] == pytest.approx(0.25)


def test_the_fakes_behave_alike_in_every_order(medtune: CommandLine, tmp_path: Path) -> None:
    noisy: dict[str, set[str]] = {}
    for order in list(itertools.permutations(range(4)))[::5]:
        data = write_rows(tmp_path / "own.jsonl", order)
        constant = medtune.record("evaluate", "fake:constant", data, "--out", "constant")
        share_of_a = constant["letters_right"]["A"] / 80
        assert constant["accuracy"]["value"] == pytest.approx(share_of_a)
        assert constant["letters_chosen"] == {"A": 80}
        assert medtune.record("evaluate", "fake:oracle", data)["accuracy"]["value"] == 1.0
        medtune.record("evaluate", "fake:noisy", data, "--out", "noisy")
        for row in predictions(tmp_path / "noisy"):
            noisy.setdefault(row["id"], set()).add(row["options"][row["chosen"]])
    assert len(noisy) == 80
    assert {len(texts) for texts in noisy.values()} == {1}


def test_what_is_written_adds_up(medtune: CommandLine, tmp_path: Path) -> None:
    found = medtune.record("evaluate", "fake:biased", "starter:transfer", "--out", "e")
    assert json.loads((tmp_path / "e" / "record.json").read_text()) == found
    rows = predictions(tmp_path / "e")
    correct = [row for row in rows if row["outcome"] == "correct"]
    assert len(rows) == found["counts"]["n"] == found["data"]["n"]
    assert len(correct) == found["counts"]["correct"]
    assert all(row["chosen"] == row["answer"] for row in correct)
    assert found["accuracy"]["value"] == len(correct) / len(rows)
    assert found["provenance"]["packages"]["scipy"]
    assert len({row["id"] for row in rows}) == len(rows)


def test_limit_takes_the_first_questions(medtune: CommandLine, tmp_path: Path) -> None:
    found = medtune.record("evaluate", "fake:noisy", "starter:recall", "--limit", 9, "--out", "e")
    first = load_split("starter:recall").questions[:9]
    assert [row["id"] for row in predictions(tmp_path / "e")] == [q.id for q in first]
    assert found["counts"]["n"] == 9


def test_shots_are_part_of_what_was_examined(medtune: CommandLine) -> None:
    common = ("evaluate", "fake:noisy", "starter:recall", "--out", "e")
    plain = medtune.record(*common)
    shot = medtune.record(*common, "--shots", 3, "--shots-from", "starter:train")
    again = medtune.record(*common, "--shots", 3, "--shots-from", "starter:train")
    assert plain["inputs"] != shot["inputs"]
    assert again == shot


def test_all_labelled_questions_may_be_shots(medtune: CommandLine) -> None:
    found = medtune.record(
        *("evaluate", "fake:oracle", "starter:recall", "--limit", 2),
        *("--shots", 320, "--shots-from", "starter:train"),
    )
    assert found["accuracy"]["value"] == 1.0


def test_a_second_run_does_nothing_and_a_changed_one_runs(
    medtune: CommandLine, tmp_path: Path
) -> None:
    first = ("evaluate", "fake:noisy", "starter:recall", "--out", "e")
    medtune(*first)
    before = (tmp_path / "e" / "record.json").stat().st_mtime_ns
    assert "still valid" in medtune(*first)[2]
    assert (tmp_path / "e" / "record.json").stat().st_mtime_ns == before
    code, _, err = medtune(*first, "--method", "cloze")
    assert code == 0
    assert "still valid" not in err


def test_a_cut_file_is_mended_by_evaluating_again(medtune: CommandLine, tmp_path: Path) -> None:
    arguments = ("evaluate", "fake:noisy", "starter:recall", "--out", "e")
    medtune(*arguments)
    path = tmp_path / "e" / "predictions.jsonl"
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    code, _, err = medtune("compare", "e", "e")
    assert code == 2
    assert "evaluate again" in err
    assert medtune(*arguments)[0] == 0
    assert path.read_text() == whole


def test_a_folder_that_is_in_use_is_refused(medtune: CommandLine, tmp_path: Path) -> None:
    from medtune.core.folder import locked

    with locked(tmp_path / "e"):
        code, _, err = medtune("evaluate", "fake:noisy", "starter:recall", "--out", "e")
    assert code == 2
    assert "in use by another run" in err


def test_compare_finds_the_better_model(medtune: CommandLine) -> None:
    for kind in ("constant", "oracle"):
        medtune("evaluate", f"fake:{kind}", "starter:recall", "--out", kind)
    found = medtune.record("compare", "constant", "oracle")
    right = found["both"]
    assert (found["n"], found["only_a"], found["neither"]) == (80, 0, 0)
    assert found["only_b"] == 80 - right
    assert found["difference"] == pytest.approx(1 - right / 80)
    assert "fake:oracle is better than fake:constant" in found["verdict"]
    back = medtune.record("compare", "oracle", "constant")
    assert "fake:constant is worse than fake:oracle" in back["verdict"]


def test_compare_says_when_nothing_can_be_told(medtune: CommandLine) -> None:
    for kind in ("constant", "noisy"):
        medtune("evaluate", f"fake:{kind}", "starter:recall", "--out", kind, "--limit", 20)
    found = medtune.record("compare", "constant", "noisy")
    assert found["verdict"].startswith("No detectable change")
    code, out, _ = medtune("compare", "constant", "noisy")
    assert code == 0  # no verdict is a failure
    assert found["verdict"] in " ".join(out.split())


def test_compare_reads_free_answers_that_name_no_option(
    medtune: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medtune.core.model import Generation
    from medtune.models.fake import FakeModel

    medtune("evaluate", "fake:noisy", "starter:recall", "--method", "generate", "--out", "a")
    monkeypatch.setattr(
        FakeModel, "generate", lambda self, asked, how: [Generation("Hm.", 1, True) for _ in asked]
    )
    medtune("evaluate", "fake:oracle", "starter:recall", "--method", "generate", "--out", "b")
    assert {row["outcome"] for row in predictions(tmp_path / "b")} == {"unparsed"}
    found = medtune.record("compare", "a", "b")
    assert found["accuracy_b"]["value"] == 0.0


def test_compare_reads_questions_without_a_subject(medtune: CommandLine, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "own.jsonl", (0, 1, 2, 3))
    for kind in ("constant", "oracle"):
        medtune("evaluate", f"fake:{kind}", data, "--out", kind)
    assert medtune.record("compare", "constant", "oracle")["n"] == 80


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("starter:recall", "--method", "cloze"), "one method for both"),
        (("starter:transfer",), "0 are the same"),
        (("starter:recall", "--limit", "79"), "79 are the same"),
    ],
)
def test_compare_refuses_what_cannot_be_paired(
    medtune: CommandLine, changes: tuple[str, ...], message: str
) -> None:
    medtune("evaluate", "fake:oracle", "starter:recall", "--out", "a")
    medtune("evaluate", "fake:oracle", *changes, "--out", "b")
    code, out, err = medtune("compare", "a", "b", "--json")
    assert (code, out) == (2, "")
    assert message in err


def test_compare_refuses_another_order_of_the_options(medtune: CommandLine, tmp_path: Path) -> None:
    for name, order in (("a", (0, 1, 2, 3)), ("b", (1, 0, 2, 3))):
        medtune("evaluate", "fake:oracle", write_rows(tmp_path / "own.jsonl", order), "--out", name)
    code, _, err = medtune("compare", "a", "b")
    assert code == 2
    assert "0 are the same" in err
