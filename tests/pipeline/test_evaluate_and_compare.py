from __future__ import annotations

import errno
import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from tests.conftest import CommandLine

from medtune.data.load import load_split


def predictions(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


def write_rows(path: Path, order: tuple[int, ...]) -> str:
    """Write the recall split in another order of its options, as anybody's own file."""
    rows = []
    for question in load_split("starter:recall").questions:
        asked = question.permute_options(order)
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
        shutil.rmtree(tmp_path / "constant", ignore_errors=True)
        shutil.rmtree(tmp_path / "noisy", ignore_errors=True)
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
    assert found.pop("written") == {
        "record": "e/record.json", "predictions": "e/predictions.jsonl"
    }  # fmt: skip
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
    common = ("evaluate", "fake:noisy", "starter:recall")
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


def test_a_second_run_does_nothing_and_a_changed_one_has_another_folder(
    medtune: CommandLine, tmp_path: Path
) -> None:
    first = ("evaluate", "fake:noisy", "starter:recall", "--out", "e")
    medtune(*first)
    before = (tmp_path / "e" / "record.json").stat().st_mtime_ns
    assert "still valid" in medtune(*first)[2]
    assert (tmp_path / "e" / "record.json").stat().st_mtime_ns == before
    code, out, err = medtune(*first, "--method", "cloze")
    assert (code, out) == (2, "")
    assert "e contains the result of another evaluation" in err
    assert (tmp_path / "e" / "record.json").stat().st_mtime_ns == before
    assert medtune(*first)[0] == 0


CONFIGURATIONS = [
    "",
    "--limit 5",
    "--limit 6",
    "--method cloze",
    "--method cloze --normalization token",
    "--method cloze --normalization sum",
    "--method generate",
    "--method generate --form text",
    "--method generate --constrained",
    "--method generate --max-new-tokens 7",
    "--orders cyclic",
    "--orders pride",
    "--variant options-only",
    "--options-only 0",
    "--shots 1 --shots-from starter:train",
    "--shots 2 --shots-from starter:train --shots-by random",
    "--shots 2 --shots-from starter:transfer --shots-by random",
]


def test_no_result_is_written_over_one_of_another_configuration(
    medtune: CommandLine, tmp_path: Path
) -> None:
    written: dict[str, str] = {}
    for configuration in CONFIGURATIONS:
        arguments = ("evaluate", "fake:noisy", "starter:recall", *configuration.split())
        found = medtune.record(*arguments)
        folder = str(Path(found["written"]["record"]).parent)
        assert folder not in written.values(), configuration
        assert (tmp_path / found["written"]["predictions"]).is_file()
        written[configuration] = folder
        assert "still valid" in medtune(*arguments)[2]
    assert len(list((tmp_path / "runs" / "eval").iterdir())) == len(CONFIGURATIONS)


def test_a_record_of_an_older_version_is_not_written_over(
    medtune: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "record.json").write_text('{"kind": "evaluation"}')
    code, _, err = medtune("evaluate", "fake:noisy", "starter:recall", "--out", "e")
    assert (code, "contains the result of another evaluation" in err) == (2, True)
    assert (tmp_path / "e" / "record.json").read_text() == '{"kind": "evaluation"}'


def test_changed_data_under_one_name_has_another_folder(
    medtune: CommandLine, tmp_path: Path
) -> None:
    folders = set()
    for order in ((0, 1, 2, 3), (1, 2, 3, 0)):
        data = write_rows(tmp_path / "own.jsonl", order)
        folders.add(medtune.record("evaluate", "fake:noisy", data)["written"]["record"])
    assert len(folders) == 2


def test_a_label_names_a_result_anew_without_asking_again(
    medtune: CommandLine, tmp_path: Path
) -> None:
    common = ("evaluate", "fake:noisy", "starter:recall", "--out", "e")
    assert medtune.record(*common)["label"] == "fake:noisy"
    code, out, err = medtune(*common, "--label", "mine", "--json")
    assert (code, "still valid" in err, json.loads(out)["label"]) == (0, True, "mine")
    assert json.loads((tmp_path / "e" / "record.json").read_text())["label"] == "mine"


def test_two_results_of_one_label_are_told_apart(medtune: CommandLine, tmp_path: Path) -> None:
    for kind in ("noisy", "constant"):
        medtune.record(
            *("evaluate", f"fake:{kind}", "starter:recall", "--label", "tuned"),
            *("--out", f"runs/{kind}/eval"),
        )
    found = medtune.record("compare", "runs/noisy/eval", "runs/constant/eval")
    assert (found["a"], found["b"]) == ("tuned (noisy)", "tuned (constant)")
    assert "tuned (constant) is" in found["verdict"]
    assert found["verdict"].count("tuned (noisy)") == 1
    page = Path(found["written"]["report"]).read_text()
    assert "tuned (noisy)" in page
    assert "tuned (constant)" in page
    sized = medtune.record(
        "study",
        "test-size",
        "runs/noisy/eval",
        "runs/constant/eval",
        "--sizes",
        "20",
        "--draws",
        200,
    )
    assert [exam["label"] for exam in sized["evaluations"]] == ["tuned (noisy)", "tuned (constant)"]


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
    from medtune.core.run_folder import lock_folder

    with lock_folder(tmp_path / "e"):
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
    from medtune.core.protocols import Generation
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


def test_another_order_of_the_options_is_compared_and_said(
    medtune: CommandLine, tmp_path: Path
) -> None:
    for name, order in (("a", (0, 1, 2, 3)), ("b", (1, 0, 2, 3))):
        medtune("evaluate", "fake:oracle", write_rows(tmp_path / "own.jsonl", order), "--out", name)
    compared = medtune.record("compare", "a", "b")
    assert compared["both"] == compared["n"]
    assert any("paired by their words" in note for note in compared["notes"])


# Orders, baselines, worked examples, constraints


def test_all_orders_are_written_and_read_back(medtune: CommandLine, tmp_path: Path) -> None:
    arguments = ("evaluate", "fake:biased", "starter:recall", "--orders", "cyclic", "--out", "e")
    found = medtune.record(*arguments)
    assert (found["orders"], found["prior"]) == ("cyclic", None)
    for row in predictions(tmp_path / "e"):
        assert len(row["orders"]) == 4
        columns = zip(*(answer["probabilities"] for answer in row["orders"]), strict=True)
        assert row["probabilities"] == pytest.approx([sum(column) / 4 for column in columns])
        assert row["chosen"] == row["probabilities"].index(max(row["probabilities"]))
    assert medtune.record(*arguments) == found


@pytest.mark.parametrize("method", ["letter", "cloze"])
def test_orders_change_what_a_biased_model_gets_right(medtune: CommandLine, method: str) -> None:
    common = ("evaluate", "fake:biased", "starter:recall", "--method", method)
    given, cyclic, pride = (
        medtune.record(*common, "--orders", orders) for orders in ("given", "cyclic", "pride")
    )
    assert len({found["inputs"] for found in (given, cyclic, pride)}) == 3
    # Its leaning is one of places alone: both ways of taking it out find what it knows.
    assert cyclic["accuracy"]["value"] > given["accuracy"]["value"]
    assert pride["accuracy"]["value"] > given["accuracy"]["value"]
    # exp(-1.5) from one place to the next; texts are compared per byte, and need not follow it.
    if method == "cloze":
        return
    weights = [2.718281828459045 ** (-1.5 * place) for place in range(4)]
    assert pride["prior"] == {"4": pytest.approx([w / sum(weights) for w in weights])}


@pytest.mark.parametrize(
    ("arguments", "n"), [((), 80), (("--options-only", 10), 10), (("--options-only", 0), None)]
)
def test_the_baseline_without_stems(
    medtune: CommandLine, arguments: tuple[object, ...], n: int | None
) -> None:
    found = medtune.record("evaluate", "fake:noisy", "starter:recall", *arguments, "--out", "e")
    assert found["counts"]["n"] == 80
    assert (found["options_only"] or {"n": None})["n"] == n
    free = medtune.record(
        *("evaluate", "fake:noisy", "starter:recall", "--method", "generate", *arguments)
    )
    assert free["options_only"] is None


@pytest.mark.parametrize("by", ["fixed", "random", "subject"])
def test_worked_examples_by_choice(medtune: CommandLine, tmp_path: Path, by: str) -> None:
    arguments = (
        *("evaluate", "fake:noisy", "starter:recall", "--shots", 3),
        *("--shots-from", "starter:train", "--shots-by", by),
    )
    found = medtune.record(*arguments)
    assert (found["shots"], found["shots_by"]) == (3, by)
    assert medtune.record(*arguments) == found
    name = "fake-noisy-starter-recall-letter-3-shot" + ("" if by == "fixed" else f"-{by}")
    (folder,) = (tmp_path / "runs" / "eval").iterdir()
    assert folder.name == f"{name}-{found['inputs'][:8]}"


@pytest.mark.parametrize("form", ["letter", "text"])
def test_constrained_answers_are_options(medtune: CommandLine, tmp_path: Path, form: str) -> None:
    arguments = (
        *("evaluate", "fake:oracle", "starter:recall", "--method", "generate", "--form", form),
        "--constrained",
    )
    found = medtune.record(*arguments, "--out", "e")
    assert (found["constrained"], found["accuracy"]["value"]) == (True, 1.0)
    for row in predictions(tmp_path / "e"):
        right = row["options"][row["answer"]]
        text = "ABCD"[row["answer"]] if form == "letter" else f"The answer is: {right}"
        assert row["text"] == text


def test_constrained_and_free_answers_lie_side_by_side(
    medtune: CommandLine, tmp_path: Path
) -> None:
    arguments = ("evaluate", "fake:oracle", "starter:recall", "--method", "generate")
    free = medtune.record(*arguments)
    bound = medtune.record(*arguments, "--constrained")
    folders = [tmp_path / Path(one["written"]["record"]).parent for one in (free, bound)]
    compared = medtune.record("compare", *folders)
    assert compared["differs"] == ["constraint on the answers"]
    assert free["inputs"] != bound["inputs"]


@pytest.mark.parametrize(
    "variant", ["options-only", "none-of-the-above", "stem-injection", "option-injection"]
)
def test_variants_are_examined_and_not_compared_with_plain_questions(
    medtune: CommandLine, variant: str
) -> None:
    common = ("evaluate", "fake:noisy", "starter:recall")
    found = medtune.record(*common, "--variant", variant, "--out", "v")
    assert (found["variant"], found["options_only"]) == (variant, None)
    medtune.record(*common, "--out", "plain")
    code, out, err = medtune("compare", "plain", "v", "--json")
    assert (code, out) == (2, "")
    assert f"fake:noisy (plain) was asked plain questions, fake:noisy (v) {variant} ones" in err
    assert "to do: compare variants of the questions with `medtune study robustness`" in err
    assert medtune.record("compare", "v", "v")["n"] == found["counts"]["n"]


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (
            ("--method", "generate", "--orders", "cyclic"),
            ["--orders cyclic with free answers", "expected: --method letter or cloze"],
        ),
        (("--method", "generate", "--orders", "pride"), ["--orders pride with free answers"]),
        (
            ("--variant", "stem-injection", "--orders", "cyclic"),
            ["--variant stem-injection with --orders cyclic", "expected: one of the two"],
        ),
        (
            ("--constrained",),
            ["--constrained with answers that are scored", "expected: --method generate"],
        ),
        (
            ("--shots", "2", "--shots-by", "random"),
            ["--shots 2 without --shots-from", "expected: a split that is not evaluated"],
        ),
    ],
)
def test_options_that_do_not_go_together(
    medtune: CommandLine, arguments: tuple[str, ...], messages: list[str]
) -> None:
    code, out, err = medtune("evaluate", "fake:noisy", "starter:recall", *arguments, "--json")
    assert (code, out) == (2, "")
    for message in messages:
        assert message in err
    assert not Path("runs").exists()


# Interrupted


def test_an_interrupted_evaluation_goes_on(
    medtune: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medtune.models.fake import FakeModel

    arguments = ("evaluate", "fake:noisy", "starter:train", "--out", "e", "--json")
    score, calls = FakeModel.score, []

    def interrupted(self: FakeModel, requests: Any) -> Any:
        calls.append(len(requests))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return score(self, requests)

    with monkeypatch.context() as patch:
        patch.setattr(FakeModel, "score", interrupted)
        code, out, _ = medtune(*arguments)
    assert (code, out) == (130, "")
    assert (tmp_path / "e" / "predictions.draft.jsonl").read_text().count("\n") == 257
    code, out, err = medtune("compare", "e", "e")
    assert (code, "holds no evaluation" in err) == (2, True)

    calls.clear()
    monkeypatch.setattr(FakeModel, "score", interrupted)
    code, out, err = medtune(*arguments, "--options-only", 0)
    assert code == 130  # another exam: it begins anew, and is interrupted again
    monkeypatch.setattr(FakeModel, "score", score)
    code, out, err = medtune(*arguments, "--options-only", 0)
    assert code == 0
    assert "resumes after the 256 questions that were answered before" in err
    assert json.loads(out)["resumed_at"] == 256
    assert [row["id"] for row in predictions(tmp_path / "e")] == [
        q.id for q in load_split("starter:train").questions
    ]
    assert not (tmp_path / "e" / "predictions.draft.jsonl").exists()


# Comparisons as a whole


def test_a_comparison_writes_its_report_with_links_that_lead_somewhere(
    medtune: CommandLine, tmp_path: Path
) -> None:
    for name, kind in (("a", "biased"), ("b", "noisy")):
        for split in ("recall", "transfer"):
            medtune.record(
                *("evaluate", f"fake:{kind}", f"starter:{split}"), "--out", f"evals/{name}-{split}"
            )
    found = medtune.record(
        *("compare", "evals/a-recall", "evals/b-recall", "--out", "deep/er/report"),
        *("--calibration-a", "evals/a-transfer", "--calibration-b", "evals/b-transfer"),
    )
    place = tmp_path / "deep" / "er" / "report"
    assert found.pop("written")["report"] == "deep/er/report/report.html"
    assert json.loads((place / "comparison.json").read_text()) == found
    for name in ("a", "b"):
        analysis = json.loads((place / f"analysis-{name}.json").read_text())
        assert analysis["folder"] == f"../../../evals/{name}-recall"
        assert analysis["selective"]["calibrated_on"] == "starter:transfer"
    page = (place / "report.html").read_text()
    assert not re.search(r"(?:src|href)=[\"']?https?:", page)
    links = re.findall(r'href="([^"#:]+)"', page)
    assert any(link.endswith("evals/a-recall/predictions.jsonl") for link in links)
    for link in links:
        assert (place / unquote(link)).is_file(), link


def test_a_comparison_says_where_its_report_is(medtune: CommandLine, tmp_path: Path) -> None:
    for kind in ("constant", "oracle"):
        medtune("evaluate", f"fake:{kind}", "starter:recall", "--limit", 20, "--out", kind)
    code, out, err = medtune("compare", "constant", "oracle")
    assert code == 0
    assert "report: runs/compare/constant-oracle/report.html" in err
    assert "fake:oracle is better than fake:constant" in " ".join(out.split())
    assert (tmp_path / "runs/compare/constant-oracle/report.html").is_file()


@pytest.mark.parametrize(
    ("extra", "differs"),
    [
        ((), []),
        (("--orders", "cyclic"), ["orders of the options"]),
        (("--shots", 2, "--shots-from", "starter:train"), ["worked examples"]),
    ],
)
def test_a_comparison_says_in_what_else_two_exams_differ(
    medtune: CommandLine, extra: tuple[object, ...], differs: list[str]
) -> None:
    medtune.record("evaluate", "fake:biased", "starter:recall", "--out", "a")
    medtune.record("evaluate", "fake:noisy", "starter:recall", *extra, "--out", "b")
    assert medtune.record("compare", "a", "b")["differs"] == differs


def test_a_calibration_on_the_wrong_side_is_refused(medtune: CommandLine) -> None:
    for kind in ("biased", "noisy"):
        medtune.record("evaluate", f"fake:{kind}", "starter:recall", "--out", kind)
    medtune.record("evaluate", "fake:noisy", "starter:transfer", "--out", "c")
    code, out, err = medtune("compare", "biased", "noisy", "--calibration-a", "c", "--json")
    assert (code, out) == (2, "")
    assert "the calibration differs from the evaluation in its model" in err
    assert not Path("runs/compare").exists()
    found = medtune.record("compare", "biased", "noisy", "--calibration-b", "c")
    assert found["n"] == 80


def test_a_report_that_cannot_be_written(
    medtune: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    medtune.record("evaluate", "fake:noisy", "starter:recall", "--limit", 5, "--out", "a")
    (tmp_path / "file").write_text("")
    code, out, err = medtune("compare", "a", "a", "--out", "file/report", "--json")
    assert (code, out) == (2, "")
    assert "cannot write" in err

    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr("medtune.core.run_folder.tempfile.NamedTemporaryFile", read_only)
    code, out, err = medtune("compare", "a", "a", "--out", "report", "--json")
    assert (code, out) == (2, "")
    assert "cannot write report/comparison.json: the file system is read-only" in err
    assert not (tmp_path / "report").exists()
