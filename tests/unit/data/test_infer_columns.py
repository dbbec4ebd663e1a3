from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medtune.core.errors import DataError
from medtune.core.experiment import ColumnMapping
from medtune.core.records import LETTERS
from medtune.data.infer_columns import (
    SAMPLE_ROWS,
    InferredColumns,
    infer_columns,
    list_columns,
    sample_rows,
)
from medtune.data.sources.files import RawRow, read_file

DRUGS = ("Aspirin", "Morphine", "Codeine", "Heparin")


def located(rows: list[RawRow]) -> list[tuple[str, RawRow]]:
    return [(f"row {n}", row) for n, row in enumerate(rows)]


def proposed(*rows: RawRow) -> InferredColumns:
    return infer_columns(located(list(rows)), "file:a.csv")


def given_parts(found: InferredColumns) -> dict[str, Any]:
    """What a proposal says that is not the default; "" for what it says there is not."""
    plain = ColumnMapping()
    parts = {name: getattr(found.mapping, name) for name in ColumnMapping.model_fields}
    return {name: value for name, value in parts.items() if value != getattr(plain, name)}


def answer_texts(found: InferredColumns) -> list[str]:
    assert found.problems == []
    assert found.cleaned is not None
    return [question.answer_text for question in found.cleaned.questions]


def four(names: tuple[str, str, str, str]) -> RawRow:
    return dict(zip(names, DRUGS, strict=True))


# Layouts


def test_medmcqa_is_read_as_the_default() -> None:
    row = {"id": "1", "question": "Which?", **four(("opa", "opb", "opc", "opd")), "cop": 0}
    row |= {"choice_type": "single", "exp": "e", "subject_name": "S", "topic_name": "T"}
    found = proposed(row, {**row, "id": "2", "cop": 3})
    assert found.mapping == ColumnMapping()
    assert answer_texts(found) == ["Aspirin", "Heparin"]
    assert found.why["answer"] == "100 % of the values of cop fit the options"
    assert found.why["options"] == "opa, opb, opc, opd are a series"


def test_a_spreadsheet_with_spaced_headers(tmp_path: Path) -> None:
    header = ["No", "Question", *(f"Option {c}" for c in "ABCD"), "Correct Answer", "Explanation"]
    with (tmp_path / "a.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow([*header, "Specialty"])
        writer.writerow([1, "Which?", *DRUGS, "B", "Because.", "Pain"])
        writer.writerow([2, "What?", *DRUGS, "D", "", "Blood"])
    found = infer_columns(sample_rows(read_file(tmp_path / "a.csv")), "a")
    assert given_parts(found) == {
        "id": "",
        "stem": "Question",
        "options": ("Option A", "Option B", "Option C", "Option D"),
        "answer": "Correct Answer",
        "subject": "Specialty",
        "topic": "",
        "explanation": "Explanation",
    }
    assert answer_texts(found) == ["Morphine", "Heparin"]


@pytest.mark.parametrize(
    "names",
    [
        ("A", "B", "C", "D"),
        ("a", "b", "c", "d"),
        ("option_a", "option_b", "option_c", "option_d"),
        ("optionA", "optionB", "optionC", "optionD"),
        ("OptA", "OptB", "OptC", "OptD"),
        ("op1", "op2", "op3", "op4"),
        ("Option-0", "Option-1", "Option-2", "Option-3"),
        ("choice1", "choice2", "choice3", "choice4"),
        ("ending0", "ending1", "ending2", "ending3"),
        ("Answer 1", "Answer 2", "Answer 3", "Answer 4"),
        ("1", "2", "3", "4"),
        ("data.opa", "data.opb", "data.opc", "data.opd"),
    ],
)
def test_a_series_of_columns_is_the_options(names: tuple[str, str, str, str]) -> None:
    rows = [{"question": f"Which {n}?", **four(names), "label": key} for n, key in enumerate("AD")]
    found = proposed(*rows)
    assert found.mapping.options == names
    assert answer_texts(found) == ["Aspirin", "Heparin"]


def test_a_series_is_in_the_order_of_its_marks_not_of_its_columns() -> None:
    row = {"opd": "Heparin", "opb": "Morphine", "opc": "Codeine", "opa": "Aspirin"}
    found = proposed({"question": "Which?", **row, "answer": "B"})
    assert found.mapping.options == ("opa", "opb", "opc", "opd")
    assert answer_texts(found) == ["Morphine"]


def test_ten_numbered_columns_are_ten_options() -> None:
    names = tuple(f"option{n}" for n in range(1, 11))
    row = {"question": "Which?", **{name: f"drug {name}" for name in names}, "label": 10}
    found = proposed(row)
    assert found.mapping.options == names
    assert answer_texts(found) == ["drug option10"]


def test_the_longest_series_is_the_options() -> None:
    # "B" fits the two choices as well.
    row = {"question": "Which?", "choice1": "x", "choice2": "y", **four(("A", "B", "C", "D"))}
    found = proposed({**row, "key": "B"})
    assert found.mapping.options == ("A", "B", "C", "D")
    assert answer_texts(found) == ["Morphine"]


@pytest.mark.parametrize("names", [("opa", "opb", "opd"), ("op1", "op3", "op4"), ("opb", "opc")])
def test_a_series_with_a_gap_is_none_since_letters_would_shift(names: tuple[str, ...]) -> None:
    row = {"question": "Which?", **dict(zip(names, DRUGS, strict=False)), "answer": "B"}
    found = proposed(row)
    assert found.problems[0].startswith("no columns look like the options: set options under")


@pytest.mark.parametrize(
    ("choices", "key"),
    [
        (list(DRUGS), 3),
        (list(DRUGS), "D"),
        (list(DRUGS), "heparin"),
        (dict(zip("ABCD", DRUGS, strict=True)), "D"),
        (dict(zip("DCBA", DRUGS[::-1], strict=True)), "D"),
        ([{"key": k, "value": v} for k, v in zip("ABCD", DRUGS, strict=True)], "D"),
        ([{"label": k, "text": v} for k, v in zip("ABCD", DRUGS, strict=True)], "D"),
    ],
)
def test_a_list_of_options_in_one_column(choices: object, key: object) -> None:
    zero = {"question": "Which?", "choices": list(DRUGS), "label": 0}
    rows = [{"question": "What?", "choices": choices, "label": key}]
    found = proposed(*([zero] if key == 3 else []), *rows)
    assert (found.mapping.options, found.mapping.answer) == (("choices",), "label")
    assert answer_texts(found)[-1] == "Heparin"
    assert found.why["options"] == "choices holds a list of options"


@pytest.mark.parametrize(
    "cell",
    ["(a) {} (b) {} (c) {} (d) {}", "A. {}\nB. {}\nC. {}\nD. {}", '["{}", "{}", "{}", "{}"]'],
)
def test_a_text_that_holds_the_options_is_found_by_its_name(cell: str) -> None:
    row = {"question": "Which?", "options": cell.format(*DRUGS), "answer": "B"}
    found = proposed(row)
    assert found.mapping.options == ("options",)
    assert answer_texts(found) == ["Morphine"]


def test_few_texts_that_hold_no_options_do_not_hide_the_column_but_are_left_out() -> None:
    row = {"question": "Which?", "options": "(a) x (b) y", "answer": "B"}
    found = proposed(
        {**row, "options": "see above"}, *({**row, "question": f"{n}?"} for n in range(60))
    )
    assert found.mapping.options == ("options",)
    assert found.cleaned is not None
    assert sum(found.cleaned.exclusion_counts.values()) == 1


def test_a_list_under_an_unusual_name_is_found_by_its_answer() -> None:
    row = {"question": "Which?", "refs": ["x", "y"], "drugs": list(DRUGS), "answer": "Codeine"}
    found = proposed(row)
    assert found.mapping.options == ("drugs",)
    assert found.why["options"] == "drugs holds a list of 2 to 10 texts"


def test_arc_as_its_authors_wrote_it() -> None:
    choices = [{"text": v, "label": k} for k, v in zip("ABCD", DRUGS, strict=True)]
    row = {"id": "1", "question": {"stem": "Which?", "choices": choices}, "answerKey": "C"}
    found = proposed(row)
    assert given_parts(found) == {
        "stem": "question.stem",
        "options": ("question.choices",),
        "answer": "answerKey",
        "subject": "",
        "topic": "",
        "explanation": "",
    }
    assert answer_texts(found) == ["Codeine"]


@pytest.mark.parametrize("stem", ["question", "question_stem"])
@pytest.mark.parametrize("order", [("text", "label"), ("label", "text")])
def test_arc_and_its_kin_as_the_hub_has_them(stem: str, order: tuple[str, str]) -> None:
    table = {"text": list(DRUGS), "label": list("ABCD")}
    choices = {name: table[name] for name in order}
    rows = [{"id": str(n), stem: f"Which {n}?", "choices": choices, "answerKey": "C"} for n in "12"]
    found = proposed(*rows)
    assert (found.mapping.stem, found.mapping.options) == (stem, ("choices.text",))
    assert answer_texts(found) == ["Codeine", "Codeine"]


def test_mmlu_pro_has_its_answer_twice() -> None:
    row = {"question_id": 70, "question": "Which?", "options": list(DRUGS), "answer": "A"}
    row |= {"answer_index": 0, "cot_content": "", "category": "health", "src": "ori"}
    found = proposed(row)
    assert (found.mapping.id, found.mapping.answer) == ("question_id", "answer_index")
    assert found.mapping.subject == "category"
    assert answer_texts(found) == ["Aspirin"]


@pytest.mark.parametrize(
    "texts", [("yes", "no", "maybe"), ("Yes", "No"), ("true", "false"), ("no", "yes")]
)
def test_answers_that_all_questions_share_are_fixed_options(texts: tuple[str, ...]) -> None:
    rows: list[RawRow] = [{"question": f"Is it {n}?", "answer": t} for n, t in enumerate(texts)]
    found = proposed(*rows)
    usual = sorted(texts, key=["yes", "no", "maybe", "true", "false", "Yes", "No"].index)
    assert found.mapping.fixed_options == tuple(usual)
    assert answer_texts(found) == list(texts)
    assert found.why["options"] == f"answer is always one of {', '.join(usual)}"


def test_few_words_that_come_again_and_again_are_fixed_options() -> None:
    words = ("benign", "malignant", "unclear")
    rows: list[RawRow] = [{"question": f"What is {n}?", "label": words[n % 3]} for n in range(15)]
    assert proposed(*rows).mapping.fixed_options == words
    assert proposed(*rows[:14]).mapping.fixed_options == ()


@pytest.mark.parametrize("values", ["ABCD", ("1", "2", "3", "4"), ("0", "-1"), (0, 1, 2)])
def test_letters_and_numbers_are_no_fixed_options(values: Any) -> None:
    rows: list[RawRow] = [{"question": f"Which {n}?", "label": values[n % 2]} for n in range(100)]
    found = proposed(*rows)
    assert found.mapping.fixed_options == ()
    assert found.problems[0].startswith("no columns look like the options")


def test_a_table_is_not_proposed_where_a_text_is_needed() -> None:
    about = {"contexts": ["P1.", "P2."], "labels": ["A", "B"], "meshes": ["x", "y"]}
    rows: list[RawRow] = [
        {"question": f"Is it {n}?", "context": about, "subject": {"is": "x"}, "answer": text}
        for n, text in enumerate(("yes", "no"))
    ]
    found = proposed(*rows)
    assert (found.mapping.context, found.mapping.subject) == ("context.contexts", "")
    assert found.cleaned is not None
    assert found.cleaned.questions[0].stem == "P1.\nP2.\nIs it 0?"


def test_a_question_is_found_by_its_question_marks() -> None:
    rows = [
        {"note": "Seen?", "wording": f"Which {n}?", **four(("A", "B", "C", "D")), "key": "A"}
        for n in range(3)
    ]
    rows[0]["note"] = rows[1]["note"] = "x"
    found = proposed(*rows)
    assert found.mapping.stem == "wording"
    assert found.why["stem"] == "3 of 3 values hold a question mark"


def test_passages_and_explanations_are_no_options_though_a_number_fits_them() -> None:
    lists = {"contexts": ["P1.", "P2."], "rationale": ["E1.", "E2."], "topic": ["x", "y"]}
    found = proposed({"question": "Which?", **lists, "drugs": list(DRUGS), "label": 0})
    assert found.mapping.options == ("drugs",)
    assert (found.mapping.context, found.mapping.explanation) == ("contexts", "")
    assert found.cleaned is not None
    assert found.cleaned.questions[0].stem == "P1.\nP2.\nWhich?"


def test_a_list_of_tables_is_no_list_of_options() -> None:
    pages = [{"page": 1, "of": "x"}, {"page": 2, "of": "y"}]
    found = proposed({"question": "Which?", "choices": pages, "drugs": list(DRUGS), "label": 0})
    assert found.mapping.options == ("drugs",)


def test_the_column_of_splits_is_found() -> None:
    row = {"question": "Which?", **four(("A", "B", "C", "D")), "key": "A", "fold": "train"}
    assert proposed(row).mapping.split == "fold"


def test_the_usual_name_wins_over_the_order_of_columns() -> None:
    row: dict[str, object] = {"text": "A passage.", "question": "Which?", "choices": list(DRUGS)}
    row |= {"answer": "Aspirin", "answer_idx": "A", "label": 1}
    found = proposed(row)
    assert (found.mapping.stem, found.mapping.answer) == ("question", "answer_idx")


def test_a_few_answers_that_fit_nothing_do_not_hide_the_column_but_are_told() -> None:
    rows = [{"question": f"Which {n}?", "choices": list(DRUGS), "label": "A"} for n in range(100)]
    rows[7]["label"] = "Paracetamol"
    found = proposed(*rows)
    assert found.mapping.answer == "label"
    assert found.why["answer"] == "99 % of the values of label fit the options"
    assert found.problems == [
        "file:a.csv row 7: label is 'Paracetamol', there are 4 options: check answer, answer_form "
        "and answer_base under [data.columns], or --map"
    ]
    assert found.cleaned is None


# What must be settled


def test_a_base_that_cannot_be_told_is_a_problem_with_its_fix() -> None:
    rows = [{"question": f"Which {n}?", "choices": list(DRUGS), "label": n} for n in (1, 2, 3)]
    found = proposed(*rows)
    assert found.mapping.answer == "label"
    assert found.problems == [
        "file:a.csv: label is never 0 and never the number of options in 3 rows, so it may count "
        "from 0 or from 1: say which: answer_base = 0 (or 1) under [data.columns], or "
        "--map answer_base=0"
    ]
    assert found.cleaned is None


def test_two_forms_that_fit_are_a_problem_with_their_fix() -> None:
    row = {"question": "Which group?", "choices": ["B", "A", "AB", "O"], "answer": "A"}
    (problem,) = proposed(row).problems
    assert "fits in two ways, as letter and as text" in problem
    assert 'answer_form = "letter"' in problem


def test_a_missing_answer_names_the_options_and_all_columns() -> None:
    row = {"question": "Which?", **four(("A", "B", "C", "D")), "key": "Paracetamol", "x": 1}
    found = proposed(row)
    assert found.problems == [
        "no column looks like the right answer among A, B, C, D: set answer under [data.columns], "
        "or --map answer=, to one of question, A, B, C, D, key, x"
    ]
    assert found.mapping.options == ("A", "B", "C", "D")
    assert found.why["options"] == "A, B, C, D are a series"
    assert found.cleaned is None


def test_missing_options_and_a_missing_question_are_both_named() -> None:
    found = proposed({"x": "statement", "y": 1.5})
    assert found.problems == [
        "no column looks like the question: set stem under [data.columns], or "
        "--map stem=, to one of x, y",
        "no columns look like the options: set options under [data.columns], or --map options=, "
        "one column each or one that holds a list, or fixed_options where all questions share them",
    ]


def test_ids_that_do_not_identify_are_a_problem() -> None:
    rows = [
        {"id": 1, "question": f"Which {n}?", "choices": list(DRUGS), "label": "A"} for n in range(2)
    ]
    (problem,) = proposed(*rows).problems
    assert "the id 1 belongs to two different questions" in problem


def test_a_file_without_labels_is_shown_without_answers() -> None:
    row = {"question": "Which?", **four(("opa", "opb", "opc", "opd")), "cop": -1}
    found = proposed(row)
    assert found.problems == []
    assert found.cleaned is not None
    assert [question.answer for question in found.cleaned.questions] == [None]


def test_no_row_is_refused() -> None:
    with pytest.raises(DataError, match="holds no row"):
        infer_columns([], "file:a.csv")


# Columns and samples


def test_columns_are_listed_with_dots_and_the_first_example() -> None:
    rows = located(
        [
            {"q": None, "meta": {"topic": "x", "deep": {"er": 1}}, "options": {"A": "a", "B": "b"}},
            {"q": "Why?  <b>So</b>", "late": "y" * 200, "meta": None},
        ]
    )
    assert list_columns(rows) == {
        "q": "Why? So",
        "meta": "{'topic': 'x', 'deep': {'er': 1}}",
        "meta.topic": "x",
        "meta.deep": "{'er': 1}",
        "meta.deep.er": "1",
        "options": "{'A': 'a', 'B': 'b'}",
        "late": "y" * 79 + "…",
    }


def test_only_the_first_rows_are_looked_at(tmp_path: Path) -> None:
    with (tmp_path / "a.jsonl").open("w") as handle:
        for n in range(SAMPLE_ROWS):
            handle.write(json.dumps({"n": n}) + "\n")
        handle.write("this would be refused\n")
    rows = sample_rows(read_file(tmp_path / "a.jsonl"))
    assert [row["n"] for _, row in rows] == list(range(SAMPLE_ROWS))


@given(st.data())
@settings(max_examples=100)
def test_a_proposal_without_problems_reads_every_answer_rightly(data: st.DataObject) -> None:
    """Whatever the columns are called and in which order they stand."""
    count = data.draw(st.integers(2, 5))
    rows = data.draw(st.integers(2, 4))
    right = [0, count - 1, *(data.draw(st.integers(0, count - 1)) for _ in range(rows - 2))]
    stem = data.draw(st.sampled_from(["question", "Stem", "query", "Frage"]))
    key = data.draw(st.sampled_from(["cop", "answer", "Correct Answer", "label", "gold"]))
    head = data.draw(st.sampled_from(["op", "option ", "", "choice_", "Ending"]))
    listed = data.draw(st.booleans())
    form = data.draw(st.sampled_from(["from 0", "from 1", "letter", "text"]))
    made: list[RawRow] = []
    for n, index in enumerate(right):
        options = [f"drug {n} {place}" for place in range(count)]
        written: dict[str, object] = {
            "from 0": index,
            "from 1": index + 1,
            "letter": LETTERS[index],
            "text": options[index],
        }
        cells = (
            {"choices": options}
            if listed
            else {f"{head}{LETTERS[place]}": text for place, text in enumerate(options)}
        )
        row = {stem: f"Which drug {n}?", **cells, key: written[form], "page": n + 100}
        made.append({name: row[name] for name in data.draw(st.permutations(list(row)))})
    found = proposed(*made)
    assert answer_texts(found) == [f"drug {n} {index}" for n, index in enumerate(right)]
