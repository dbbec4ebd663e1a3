from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medtune.core.errors import PredictionsError
from medtune.core.records import Outcome, Prediction
from medtune.evaluation.parsing.saved_outputs import read_saved_outputs

RESULT = {
    "id": "q-1",
    "question": "Which drug treats CMV retinitis?",
    "opa": "Acyclovir",
    "opb": "Ganciclovir",
    "opc": "Amantadine",
    "opd": "Flucytosine",
    "cop": 1,
    "ground_truth": "Ganciclovir",
    "prediction": "The answer is: Ganciclovir",
    "correct": True,
    "match_type": "exact",
}


def notebook_file(folder: Path, *results: Any) -> Path:
    path = folder / "evaluation.json"
    path.write_text(json.dumps({"n_total": len(results), "results": list(results)}, indent=2))
    return path


def predictions_file(folder: Path, *predictions: Prediction) -> Path:
    path = folder / "predictions.jsonl"
    lines = [p.model_dump_json(exclude_defaults=True) for p in predictions]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def prediction(**changes: Any) -> Prediction:
    settings: dict[str, Any] = {
        "id": "p-1",
        "stem": "Is it so?",
        "subject": None,
        "options": ("Yes", "No", "Maybe"),
        "answer": 0,
        "chosen": 1,
        "outcome": Outcome.WRONG,
        "text": "No",
    }
    return Prediction(**(settings | changes))


def test_reads_the_notebooks_file(tmp_path: Path) -> None:
    (output,) = read_saved_outputs(notebook_file(tmp_path, RESULT))
    assert output.id == "q-1"
    assert output.options == ("Acyclovir", "Ganciclovir", "Amantadine", "Flucytosine")
    assert output.answer == 1
    assert output.text == "The answer is: Ganciclovir"


@pytest.mark.parametrize(
    ("cop", "answer"), [("a", 0), ("b", 1), ("C", 2), ("d", 3), (0, 0), (3, 3)]
)
def test_the_key_may_be_a_letter_or_an_index(tmp_path: Path, cop: object, answer: int) -> None:
    result = {k: v for k, v in RESULT.items() if k != "ground_truth"}
    (output,) = read_saved_outputs(notebook_file(tmp_path, result | {"cop": cop}))
    assert output.answer == answer


@pytest.mark.parametrize("cop", [-1, 4, "e", "", "ab", None, 1.5, "1"])
def test_a_key_outside_the_options_is_refused(tmp_path: Path, cop: object) -> None:
    path = notebook_file(tmp_path, RESULT, RESULT | {"cop": cop, "ground_truth": ""})
    with pytest.raises(PredictionsError, match=r"result 1: cop .* is outside the options"):
        read_saved_outputs(path)


def test_a_key_that_contradicts_the_truth_is_refused(tmp_path: Path) -> None:
    # A file that counts from 1: cop 2 would be Amantadine, the truth says Ganciclovir.
    with pytest.raises(PredictionsError, match="cop 2"):
        read_saved_outputs(notebook_file(tmp_path, RESULT | {"cop": 2}))


def test_a_missing_id_becomes_the_place(tmp_path: Path) -> None:
    nameless = {k: v for k, v in RESULT.items() if k != "id"}
    outputs = read_saved_outputs(notebook_file(tmp_path, nameless, nameless | {"id": None}))
    assert [output.id for output in outputs] == ["0", "1"]


@pytest.mark.parametrize("key", ["opa", "opd", "cop", "prediction"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    broken = {k: v for k, v in RESULT.items() if k != key}
    with pytest.raises(PredictionsError, match=key):
        read_saved_outputs(notebook_file(tmp_path, broken))


@pytest.mark.parametrize("key", ["opa", "prediction"])
def test_a_null_is_missing_and_not_the_word_none(tmp_path: Path, key: str) -> None:
    with pytest.raises(PredictionsError, match=key):
        read_saved_outputs(notebook_file(tmp_path, RESULT | {key: None}))


@pytest.mark.parametrize(
    "content",
    [
        '{"results": [{"opa": "x"',
        "",
        "[]",
        "{}",
        "3",
        "true",
        '{"results": null}',
        '{"results": "x"}',
    ],
)
def test_a_damaged_notebook_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text(content)
    with pytest.raises(PredictionsError, match=r"evaluation\.json"):
        read_saved_outputs(path)


def test_a_notebook_file_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PredictionsError):
        read_saved_outputs(notebook_file(tmp_path))


def test_reads_predictions_with_text(tmp_path: Path) -> None:
    (output,) = read_saved_outputs(predictions_file(tmp_path, prediction()))
    assert (output.id, output.options, output.answer, output.text) == (
        "p-1",
        ("Yes", "No", "Maybe"),
        0,
        "No",
    )


def test_an_empty_text_is_a_text(tmp_path: Path) -> None:
    (output,) = read_saved_outputs(predictions_file(tmp_path, prediction(text="")))
    assert output.text == ""


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x1c", "\r", "\n"])
def test_line_separators_inside_a_text_do_not_break_lines(tmp_path: Path, separator: str) -> None:
    text = f"The answer is:{separator}No"
    (output,) = read_saved_outputs(predictions_file(tmp_path, prediction(text=text)))
    assert output.text == text
    path = tmp_path / "notebook.json"
    path.write_text(
        json.dumps({"results": [RESULT | {"prediction": text}]}, ensure_ascii=False),
        encoding="utf-8",
    )
    assert read_saved_outputs(path)[0].text == text


def test_scores_are_no_texts(tmp_path: Path) -> None:
    path = predictions_file(tmp_path, prediction(), prediction(id="p-2", text=None))
    with pytest.raises(PredictionsError, match=r"(?s)p-2.*--method generate"):
        read_saved_outputs(path)


@pytest.mark.parametrize("answer", [-1, 3])
def test_a_key_outside_a_predictions_options_is_refused(tmp_path: Path, answer: int) -> None:
    with pytest.raises(PredictionsError, match="p-1"):
        read_saved_outputs(predictions_file(tmp_path, prediction(answer=answer)))


def test_a_cut_line_is_named(tmp_path: Path) -> None:
    path = predictions_file(tmp_path, prediction(), prediction(id="p-2"))
    path.write_text(path.read_text()[:-20])
    with pytest.raises(PredictionsError, match="line 2"):
        read_saved_outputs(path)


@pytest.mark.parametrize("name", ["evaluation.json", "predictions.jsonl"])
def test_files_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(PredictionsError, match="does not exist"):
        read_saved_outputs(path)
    path.write_bytes(b'{"text": "\xff"}')
    with pytest.raises(PredictionsError, match="not UTF-8"):
        read_saved_outputs(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(PredictionsError, match="is a folder"):
        read_saved_outputs(path)


def test_an_empty_jsonl_is_refused(tmp_path: Path) -> None:
    (tmp_path / "predictions.jsonl").write_text("")
    with pytest.raises(PredictionsError, match="empty"):
        read_saved_outputs(tmp_path / "predictions.jsonl")
