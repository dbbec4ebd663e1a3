from __future__ import annotations

import csv
import json
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from medtune.core.config import load_experiment, to_toml
from medtune.core.errors import ColumnError, DataError, EmptySplitError, LabelError
from medtune.core.experiment import ColumnMapping, Experiment
from medtune.core.records import LETTERS, Question, normalize_option
from medtune.data.cleaning.clean import Cleaned, clean_rows, parse_option_list
from medtune.data.cleaning.normalize_text import clean_text, contains_image
from medtune.data.sources.files import RawRow
from medtune.data.sources.sources import DataRef, read_rows

LIST = ColumnMapping(id="", stem="q", options=("choices",), answer="key")


def row(answer: object = 0, *options: object, **others: object) -> RawRow:
    """Make a row as MedMCQA has it."""
    shown = options or ("Vitamin A", "Vitamin B", "Vitamin C", "Vitamin D")
    cells = dict(zip(("opa", "opb", "opc", "opd"), [*shown, None, None, None][:4], strict=True))
    return {"question": "Which vitamin?", **cells, "cop": answer, **others}


def cleaned(
    *rows: RawRow, columns: ColumnMapping | None = None, need_labels: bool = True
) -> Cleaned:
    numbered = [(f"row {n}", {"id": f"q{n}", **one}) for n, one in enumerate(rows)]
    return clean_rows(numbered, columns or ColumnMapping(), "file:a.csv", need_labels)


def answers(result: Cleaned) -> list[int | None]:
    return [question.answer for question in result.questions]


# Which option is right


def test_a_zero_proves_that_indices_count_from_0() -> None:
    result = cleaned(row(0), row(3), row(2))
    assert answers(result) == [0, 3, 2]
    assert result.answer_base == 0


def test_an_index_equal_to_the_number_of_options_proves_that_they_count_from_1() -> None:
    result = cleaned(row(1), row(4), row(2))
    assert answers(result) == [0, 3, 1]
    assert result.answer_base == 1


@pytest.mark.parametrize("value", ["2", " 2 ", 2, 2.0])
def test_an_index_may_be_a_text_or_a_whole_float(value: object) -> None:
    assert answers(cleaned(row(0), row(value))) == [0, 2]


def test_indices_that_fit_both_bases_are_refused() -> None:
    with pytest.raises(LabelError) as caught:
        cleaned(row(1), row(2), row(3))
    assert "never 0 and never the number of options in 3 rows" in caught.value.found
    assert "answer_base" in caught.value.fix


def test_two_bases_in_one_file_are_refused_with_both_places() -> None:
    with pytest.raises(LabelError) as caught:
        cleaned(row(1), row(0), row(4))
    assert caught.value.found == (
        "file:a.csv: cop is 0 in row 1 and the number of options in row 2"
    )


@pytest.mark.parametrize(("base", "expected"), [(0, [1, 2]), (1, [0, 1])])
def test_a_base_that_is_said_is_taken(base: int, expected: list[int]) -> None:
    columns = ColumnMapping.model_validate({"answer_base": base})
    result = cleaned(row(1), row(2), columns=columns)
    assert answers(result) == expected
    assert result.answer_base == base


def test_the_base_of_rows_with_different_numbers_of_options() -> None:
    # 3 is the number of options in the second row, though not in the first.
    assert answers(cleaned(row(3), row(3, "a", "b", "c"))) == [2, 2]


@pytest.mark.parametrize(
    "faulty",
    [row(0, None, None, None, None), row(1, "only one"), row(0, "only one")],
    ids=["no option", "one option, index 1", "one option, index 0"],
)
def test_a_row_that_is_left_out_anyway_does_not_decide_about_the_base(faulty: RawRow) -> None:
    from_0 = cleaned(row(0), row(3), faulty)
    assert (answers(from_0), from_0.answer_base) == ([0, 3], 0)
    if faulty["cop"] == 1:
        from_1 = cleaned(row(1), row(4), faulty)
        assert (answers(from_1), from_1.answer_base) == ([0, 3], 1)


def test_letters_are_answers_in_either_case() -> None:
    result = cleaned(row("A"), row("d"), row(" c "))
    assert answers(result) == [0, 3, 2]
    assert result.answer_base is None


def test_an_options_text_is_an_answer_up_to_case_and_white_space() -> None:
    result = cleaned(row("vitamin  C "), row("Vitamin D"))
    assert answers(result) == [2, 3]
    assert result.answer_base is None


def test_a_file_of_texts_may_have_options_that_are_numbers() -> None:
    result = cleaned(row("Vitamin D"), row("2", "4", "3", "2", "1"))
    assert answers(result) == [3, 2]


def test_a_file_of_letters_may_have_options_that_are_letters() -> None:
    # All answers are letters, and only letters fit the first row: "A" is the first option.
    result = cleaned(row("C"), row("A", "B", "A", "AB", "O"))
    assert answers(result) == [2, 0]


def test_a_file_of_indices_may_have_options_that_are_numbers() -> None:
    # All answers are indices, and only indices fit the first row: "2" is the third option.
    result = cleaned(row("0"), row("2", "1", "2", "3", "4"))
    assert answers(result) == [0, 2]


def test_csv_and_jsonl_of_the_same_rows_give_the_same_answers(tmp_path: Path) -> None:
    rows = [{"id": "a", **row(0)}, {"id": "b", **row(1, "1", "2", "3", "4")}]
    with (tmp_path / "a.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    texts = [
        [
            question.answer_text
            for question in clean_rows(
                read_rows(DataRef("file", str(tmp_path / name), None)), ColumnMapping(), name
            ).questions
        ]
        for name in ("a.csv", "a.jsonl")
    ]
    assert texts == [["Vitamin A", "2"], ["Vitamin A", "2"]]


@pytest.mark.parametrize("value", [-1, "-1", -1.0, None, "", math.nan])
def test_a_label_that_is_not_released_is_counted(value: object) -> None:
    result = cleaned(row(0), row(value))
    assert answers(result) == [0]
    assert result.excluded == (("q1", "no label"),)


def test_unlabelled_rows_are_kept_where_no_labels_are_needed() -> None:
    result = cleaned(row(-1), row(None), need_labels=False)
    assert answers(result) == [None, None]
    assert result.excluded == ()


@pytest.mark.parametrize("value", [4, 17, "4", -2])
def test_an_index_outside_the_options_is_refused_by_its_row(value: object) -> None:
    with pytest.raises(LabelError) as caught:
        cleaned(row(0), row(value), columns=ColumnMapping(answer_base=0))
    assert caught.value.found == f"file:a.csv row 1: cop is {value!r}, there are 4 options"
    assert caught.value.expected == "0 to 3, or -1 for no label"


def test_an_index_beyond_the_options_is_refused_when_counting_from_1() -> None:
    with pytest.raises(LabelError) as caught:
        cleaned(row(4), row(5))
    assert caught.value.found == "file:a.csv row 1: cop is 5, there are 4 options"
    assert caught.value.expected == "1 to 4, or -1 for no label"


def test_a_file_of_impossible_indices_is_refused() -> None:
    with pytest.raises(LabelError, match="cop is -2"):
        cleaned(row(-2), row(-3))


@pytest.mark.parametrize("value", ["E", "Vitamin K", "A)", 1.5, True])
def test_an_answer_that_is_no_option_is_refused_by_its_row(value: object) -> None:
    with pytest.raises(LabelError) as caught:
        cleaned(row(0), row(value))
    assert caught.value.found == f"file:a.csv row 1: cop is {value!r}, there are 4 options"
    assert caught.value.expected == (
        "an index, a letter A to D, or an option's text, the same in every row"
    )


# Columns


def test_missing_columns_are_all_named_beside_what_is_there() -> None:
    rows = [("row 0", {"stem": "Which?", "opa": "a", "opb": "b", "right": 0})]
    with pytest.raises(ColumnError) as caught:
        clean_rows(rows, ColumnMapping(), "file:a.csv")
    assert caught.value.found == (
        "file:a.csv lacks the columns question, opc, opd, cop; it has stem, opa, opb, right"
    )
    assert "[data.columns]" in caught.value.fix


def test_one_missing_column_is_named_in_the_singular() -> None:
    lacking = {key: value for key, value in row().items() if key != "cop"}
    with pytest.raises(ColumnError, match="lacks the column cop; it has question, opa"):
        clean_rows([("row 0", lacking)], ColumnMapping(), "a")


@pytest.mark.parametrize("field", ["id", "subject", "topic", "explanation", "group"])
def test_an_optional_column_that_is_named_must_exist(field: str) -> None:
    columns = ColumnMapping.model_validate({field: "nowhere"})
    with pytest.raises(ColumnError, match="lacks the column nowhere"):
        cleaned(row(0), columns=columns)


def test_an_optional_column_that_is_only_a_default_may_be_absent() -> None:
    (question,) = cleaned(row(0)).questions
    assert (question.subject, question.topic, question.explanation, question.group) == (None,) * 4


def test_an_experiment_that_was_written_out_accepts_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "experiment.toml"
    path.write_text(to_toml(Experiment()))
    again = load_experiment(path)
    assert isinstance(again, Experiment)
    first = cleaned(row(0), columns=Experiment().data.columns)
    assert cleaned(row(0), columns=again.data.columns) == first


def test_optional_columns_are_read() -> None:
    others = {"subject_name": "Anatomy", "topic_name": "Limbs", "exp": "Because.", "fact": 7}
    (question,) = cleaned(row(0, **others), columns=ColumnMapping(group="fact")).questions
    assert (question.subject, question.topic) == ("Anatomy", "Limbs")
    assert (question.explanation, question.group) == ("Because.", "7")


def test_a_column_that_is_not_mapped_is_not_read_even_if_it_has_no_name() -> None:
    # A table written with its row numbers has a first column without a name.
    (question,) = clean_rows(
        [("row 0", {"": "0", "id": "q", **row(0)})], ColumnMapping(), "a"
    ).questions
    assert question.group is None


# Options


def test_one_option_is_too_few() -> None:
    result = cleaned(row(0), row(0, "only"))
    assert result.excluded == (("q1", "fewer than 2 options"),)


def test_eleven_options_are_too_many() -> None:
    rows: list[RawRow] = [
        {"q": "Which?", "choices": [f"option {n}" for n in range(count)], "key": 0}
        for count in (10, 11)
    ]
    result = cleaned(*rows, columns=LIST)
    assert [len(question.options) for question in result.questions] == [10]
    assert result.exclusion_counts == {"more than 10 options": 1}


@pytest.mark.parametrize("second", ["Aspirin", "aspirin ", "ASPIRIN", "Aspirin\u200b"])
def test_duplicate_options_are_left_out(second: str) -> None:
    result = cleaned(row(0), row(0, "Aspirin", second, "Morphine", "Codeine"))
    assert result.excluded == (("q1", "duplicate options"),)


@pytest.mark.parametrize("empty", [None, "", "  ", math.nan, "\u200b"])
def test_an_empty_option_in_the_middle_is_left_out(empty: object) -> None:
    result = cleaned(row(0), row(0, "a", empty, "c", "d"))
    assert result.excluded == (("q1", "empty option"),)


@pytest.mark.parametrize("empty", [None, "", " ", math.nan])
def test_options_absent_at_the_end_do_not_exist(empty: object) -> None:
    # PubMedQA's form: three options in a table of four columns.
    result = cleaned(row("maybe", "yes", "no", "maybe", empty), row("yes", "yes", "no", "maybe"))
    assert [q.options for q in result.questions] == [("yes", "no", "maybe")] * 2
    assert [q.answer_text for q in result.questions] == ["maybe", "yes"]


def test_options_as_a_table_of_letters() -> None:
    cells = {
        "A": "Ampicillin",
        "B": "Ceftriaxone",
        "C": "Doxycycline",
        "D": "Nitrofurantoin",
        "E": "Ti",
    }
    (question,) = cleaned({"q": "Which?", "choices": cells, "key": "D"}, columns=LIST).questions
    assert question.options == tuple(cells.values())
    assert question.answer_text == "Nitrofurantoin"


def test_options_as_a_list_of_keys_and_values() -> None:
    cells = [{"key": "A", "value": "Ampicillin"}, {"key": "B", "value": "Ceftriaxone"}]
    one = {"q": "Which?", "choices": cells, "key": "Ceftriaxone"}
    (question,) = cleaned(one, columns=LIST).questions
    assert (question.options, question.answer) == (("Ampicillin", "Ceftriaxone"), 1)


def test_options_as_a_plain_list() -> None:
    (question,) = cleaned(
        {"q": "Which?", "choices": ["a", "b", "c"], "key": 0}, columns=LIST
    ).questions
    assert (question.options, question.answer) == (("a", "b", "c"), 0)


# Texts


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (None, ""),
        (math.nan, ""),
        ("", ""),
        (7, "7"),
        ("  two \t words  ", "two words"),
        ("cafe\u0301", "caf\u00e9"),
        ("50\u00a0mg", "50 mg"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("\u200eleft\u200f", "left"),
        ("a\x00b\x07c\x9d", "abc"),
        ("one\r\ntwo\rthree\n\n four ", "one\ntwo\nthree\nfour"),
        ("a\u2028b\u2003c", "a b c"),
        ("2<3 & β≥α", "2<3 & β≥α"),
    ],
)
def test_a_text_is_tidied(raw: object, text: str) -> None:
    assert clean_text(raw) == text


@given(
    st.lists(st.sampled_from("aé \u0301\u0300\u00a0\u200b\ufeff\x00\t\r\n\u2028\u1100\u1161")).map(
        "".join
    )
)
@example("e\u200b\u0301")
def test_a_tidied_text_is_normal_and_stays_as_it_is(raw: str) -> None:
    text = clean_text(raw)
    assert text == unicodedata.normalize("NFC", text)
    assert clean_text(text) == text
    assert text == text.strip()


def test_a_lone_surrogate_does_not_stop_the_reading() -> None:
    # JSON can write half of an emoji; such a text cannot be encoded, hashed or saved.
    broken = json.loads('"Vitamin \\ud83d"')
    result = cleaned(row(0), row(0, broken, "b", "c", "d"))
    for question in result.questions:
        "".join(question.options).encode()
    assert len(result.questions) + len(result.excluded) == 2


def test_stems_and_options_are_tidied() -> None:
    (question,) = cleaned(row(0, "a\u00a0b", " c ", question=" Which\u200b one? ")).questions
    assert question.stem == "Which one?"
    assert question.options == ("a b", "c")


@pytest.mark.parametrize("stem", [None, "", " \n", math.nan])
def test_an_empty_stem_is_left_out(stem: object) -> None:
    result = cleaned(row(0), row(0, question=stem))
    assert result.excluded == (("q1", "empty stem"),)


# Ids and reasons


def test_a_row_that_stands_twice_is_left_out_the_second_time() -> None:
    rows = [(f"row {n}", {"id": "same", **row(0)}) for n in range(3)]
    result = clean_rows(rows, ColumnMapping(), "a")
    assert [(q.id, q.answer) for q in result.questions] == [("same", 0)]
    assert result.excluded == (
        ("same (row 1)", "id seen before"),
        ("same (row 2)", "id seen before"),
    )


def test_a_row_that_differs_only_in_what_is_tidied_away_is_the_same_row() -> None:
    rows = [("row 0", {"id": "x", **row(0)}), ("row 1", {"id": " x ", **row(0, " Vitamin  A")})]
    rows[1][1].update(row(0), question="<b>Which</b> vitamin?")
    assert clean_rows(rows, ColumnMapping(), "a").exclusion_counts == {"id seen before": 1}


@pytest.mark.parametrize(
    "second",
    [row(0, question="Another?"), row(0, "a", "b"), row(3), row(0, *"BACD"), row(0, *"ABC")],
    ids=["stem", "options", "answer", "order", "fewer"],
)
def test_one_id_for_two_questions_is_refused_with_the_second_place(second: RawRow) -> None:
    first = row(0, *"ABCD") if "opa" in second and second["opa"] in "AB" else row(0)
    rows = [("row 0", {"id": "x7", **first}), ("row 5", {"id": "x7", **second})]
    with pytest.raises(DataError) as caught:
        clean_rows(rows, ColumnMapping(), "file:a.csv")
    assert caught.value.found == (
        "file:a.csv: the id x7 belongs to two different questions, the second in row 5"
    )
    assert 'id = ""' in caught.value.fix


def test_one_id_for_two_questions_in_two_files_is_refused_with_the_file(tmp_path: Path) -> None:
    for name, stem in (("a.jsonl", "One?"), ("b.jsonl", "Two?")):
        (tmp_path / name).write_text(json.dumps({"id": 1, **row(0, question=stem)}))
    rows = read_rows(DataRef("file", str(tmp_path), None))
    with pytest.raises(DataError, match=r"two different questions, the second in b\.jsonl line 1"):
        clean_rows(rows, ColumnMapping(), "a")


@pytest.mark.parametrize("order", [(None, 2), (2, None)])
def test_where_no_labels_are_needed_a_row_without_its_label_is_no_other_question(
    order: tuple[int | None, ...],
) -> None:
    rows = [("row 9", {"id": "zero", **row(0)})]
    rows += [(f"row {n}", {"id": "x", **row(label)}) for n, label in enumerate(order)]
    result = clean_rows(rows, ColumnMapping(), "a", need_labels=False)
    assert result.excluded == (("x (row 1)", "id seen before"),)


def test_the_advice_about_ids_that_do_not_identify_works() -> None:
    rows = [(f"row {n}", {"id": "same", **row(n)}) for n in range(3)]
    assert len(clean_rows(rows, ColumnMapping(id=""), "a").questions) == 3


@pytest.mark.parametrize("order", [(None, 2), (2, None), (None, 2, None, 2)])
def test_of_a_row_with_and_without_its_label_the_labelled_one_stays(
    order: tuple[int | None, ...],
) -> None:
    rows = [("row 9", {"id": "zero", **row(0)})]
    rows += [(f"row {n}", {"id": "x", **row(label)}) for n, label in enumerate(order)]
    result = clean_rows(rows, ColumnMapping(), "a")
    assert [(q.id, q.answer) for q in result.questions] == [("zero", 0), ("x", 2)]
    assert result.exclusion_counts.get("no label", 0) == order.count(None)
    assert result.exclusion_counts.get("id seen before", 0) == order.count(2) - 1


def test_an_id_of_a_row_that_was_left_out_is_still_free() -> None:
    rows = [("row 0", {"id": "same", **row(0, "only")}), ("row 1", {"id": "same", **row(0)})]
    assert [q.id for q in clean_rows(rows, ColumnMapping(), "a").questions] == ["same"]


def test_missing_ids_come_from_the_content() -> None:
    rows = [("row 0", row(0)), ("row 1", row(1, "a", "b")), ("row 2", row(0))]
    first = clean_rows(rows, ColumnMapping(), "a")
    again = clean_rows(list(reversed(rows)), ColumnMapping(), "a")
    ids = [question.id for question in first.questions]
    assert all(re.fullmatch(r"row-[0-9a-f]{16}", name) for name in ids[:2])
    # The same question twice is two rows; overlap search decides about the second.
    assert ids[0] != ids[1]
    assert ids[2] == f"{ids[0]}-2"
    assert first.excluded == ()
    assert set(ids) == {q.id for q in again.questions}


def test_made_ids_do_not_depend_on_the_place_or_the_label() -> None:
    one = clean_rows([("row 0", row(0))], ColumnMapping(answer_base=0), "a")
    two = clean_rows([("row 7", row(3))], ColumnMapping(answer_base=0), "b")
    assert one.questions[0].id == two.questions[0].id


def test_the_third_equal_row_without_an_id_gets_the_third_name() -> None:
    names = clean_rows([(f"row {n}", row(0)) for n in range(3)], ColumnMapping(), "a").questions.ids
    assert names == [names[0], f"{names[0]}-2", f"{names[0]}-3"]


def test_a_row_left_out_without_id_is_named_by_its_place() -> None:
    result = clean_rows([("row 0", row(0)), ("row 1", row(None))], ColumnMapping(), "a")
    assert result.excluded == (("row 1", "no label"),)


def test_reasons_are_counted_the_most_frequent_first() -> None:
    result = cleaned(row(0), row(-1), row(0, "one"), row(-1), row(0, question=""))
    assert list(result.exclusion_counts.items()) == [
        ("no label", 2),
        ("fewer than 2 options", 1),
        ("empty stem", 1),
    ]
    assert sum(result.exclusion_counts.values()) == len(result.excluded)


def test_a_file_without_usable_rows_is_refused_with_counted_reasons() -> None:
    with pytest.raises(EmptySplitError) as caught:
        cleaned(row(-1), row(-1), row(0, "only"))
    assert caught.value.found == (
        "file:a.csv: none of 3 rows is a usable question; 2 × no label; 1 × fewer than 2 options"
    )


def test_no_rows_at_all_are_refused() -> None:
    with pytest.raises(EmptySplitError, match="none of 0 rows"):
        cleaned()


# Pictures

IMAGE = '<img src="ecg.png">'


@pytest.mark.parametrize(
    "faulty",
    [
        row(0, question=f"What is shown? {IMAGE}"),
        row(0, IMAGE, "b", "c", "d"),
        row(0, "a", "b", "c", f"this {IMAGE.upper()}"),
        row(0, question="What is shown? &lt;img src=x&gt;"),
        row(0, question="What? <img src="),
        # A picture is the reason, whatever else is wrong.
        row(0, IMAGE),
        row(0, question=IMAGE),
    ],
)
def test_a_question_about_a_picture_is_left_out(faulty: RawRow) -> None:
    assert cleaned(row(0), faulty).excluded == (("q1", "needs a picture"),)


def test_a_passage_with_a_picture_leaves_its_question_out() -> None:
    columns = ColumnMapping(context="passage")
    result = cleaned(row(0, passage=["a"]), row(0, passage=["a", IMAGE]), columns=columns)
    assert result.excluded == (("q1", "needs a picture"),)


def test_an_explanation_may_have_had_a_picture() -> None:
    (question,) = cleaned(row(0, exp=f"Because. {IMAGE}")).questions
    assert question.explanation == "Because."


# Passages


@pytest.mark.parametrize(
    ("passage", "stem"),
    [
        ("One.", "One.\nWhich vitamin?"),
        (["One.", " Two. "], "One.\nTwo.\nWhich vitamin?"),
        (["One.", None, "", "Two."], "One.\nTwo.\nWhich vitamin?"),
        ([], "Which vitamin?"),
        ("", "Which vitamin?"),
        (None, "Which vitamin?"),
    ],
)
def test_a_passage_stands_before_the_stem(passage: object, stem: str) -> None:
    columns = ColumnMapping(context="about")
    (question,) = cleaned(row(0, about=passage), columns=columns).questions
    assert question.stem == stem


def test_a_passage_without_a_question_is_no_stem() -> None:
    columns = ColumnMapping(context="about")
    rows = row(0, about="One."), row(0, about="One.", question=" ")
    assert cleaned(*rows, columns=columns).excluded == (("q1", "empty stem"),)


# Nested columns


def test_dots_lead_into_nested_cells() -> None:
    columns = ColumnMapping(
        id="",
        stem="a.b.stem",
        options=("a.opa", "a.opb"),
        answer="key.is",
        subject="a.b.subject",
        context="a.pages",
    )
    inner = {"b": {"stem": "Which?", "subject": "Anatomy"}, "opa": "x", "opb": "y", "pages": ["P"]}
    (question,) = cleaned({"a": inner, "key": {"is": "B"}}, columns=columns).questions
    assert (question.stem, question.options) == ("P\nWhich?", ("x", "y"))
    assert (question.answer, question.subject) == (1, "Anatomy")


def test_a_name_with_a_dot_is_first_a_column_of_its_own() -> None:
    columns = ColumnMapping(subject="q.subject")
    one = row(0, **{"q.subject": "flat", "q": {"subject": "nested"}})
    assert cleaned(one, columns=columns).questions[0].subject == "flat"


def test_a_nested_table_that_one_row_lacks_is_only_missing_there() -> None:
    columns = ColumnMapping(subject="meta.subject")
    rows = row(0, meta=None), row(1, meta={"subject": "Anatomy"})
    assert [q.subject for q in cleaned(*rows, columns=columns).questions] == [None, "Anatomy"]


def test_missing_nested_columns_are_named_with_all_others() -> None:
    columns = ColumnMapping(
        stem="data.Question",
        options=("data.Options",),
        answer="answr",
        context="contxt.contexts",
        subject="data.meta.subject",
        group="fact",
    )
    rows: list[RawRow] = [{"data": {"Question": "Which?", "meta": {"Subject": "x"}}, "answer": 0}]
    with pytest.raises(ColumnError) as caught:
        cleaned(*rows, columns=columns)
    assert caught.value.found == (
        "file:a.csv lacks the columns data.Options, answr, data.meta.subject, fact, "
        "contxt.contexts; it has id, data, answer"
    )


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"stem": "nested"}, "nested holds a table where a text is expected: {'stem': 'Which?'}"),
        ({"stem": "list"}, "list holds a list where a text is expected: ['a', 'b']"),
        ({"options": ("arc",)}, "arc holds a list where a text is expected: ['x', 'y']"),
        ({"options": ("odd",)}, "odd holds a table where a text is expected: {'id': 1, 'is': 'x'}"),
        ({"options": ("opa", "nested")}, "opa, nested holds a table where a text is expected"),
        ({"context": "nested"}, "nested holds a table where a text is expected"),
        ({"context": "odd"}, "odd holds a table where a text is expected"),
    ],
)
def test_a_table_is_not_taken_for_a_text(columns: dict[str, Any], found: str) -> None:
    one = row(
        0,
        nested={"stem": "Which?"},
        list=["a", "b"],
        arc={"text": ["x", "y"], "label": ["A", "B"]},
        odd=[{"id": 1, "is": "x"}, {"id": 2, "is": "y"}],
    )
    with pytest.raises(ColumnError) as caught:
        cleaned(one, columns=ColumnMapping.model_validate(columns))
    assert caught.value.found.startswith(f"file:a.csv: {found}")
    assert "dots" in caught.value.fix


# Options of one cell


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        (["x", "y"], ["x", "y"]),
        ({"A": "x", "B": "y"}, ["x", "y"]),
        ({"B": "y", "A": "x"}, ["x", "y"]),
        ({"b": "y", "A": "x", "c": "z"}, ["x", "y", "z"]),
        ({"1": "y", "0": "x"}, ["x", "y"]),
        ({"2": "y", "1": "x"}, ["x", "y"]),
        ({"10": "j", "9": "i"} | {str(n): f"o{n}" for n in range(1, 9)}, None),
        ({"first": "x", "second": "y"}, ["x", "y"]),
        ({"zeta": "x", "beta": "y"}, ["x", "y"]),
        ({"Y": "x", "N": "y"}, ["x", "y"]),
        ([{"key": "B", "value": "y"}, {"key": "A", "value": "x"}], ["x", "y"]),
        ([{"value": "x"}, {"value": "y"}], ["x", "y"]),
        ([{"text": "y", "label": "B"}, {"text": "x", "label": "A"}], ["x", "y"]),
        ([{"text": "x", "label": 1}, {"text": "y", "label": 2}], ["x", "y"]),
        ([("B", "y"), ("A", "x")], ["x", "y"]),
        # What is left out keeps its place.
        ({"A": "x", "C": "z"}, ["x", None, "z"]),
        ({"B": "y", "C": "z"}, [None, "y", "z"]),
        ({"1": "x", "3": "z"}, ["x", None, "z"]),
        ({"2": "y", "3": "z"}, [None, "y", "z"]),
        ([{"key": "A", "value": "x"}, {"key": "A", "value": "y"}], [None, "x", "y"]),
        ("x", ["x"]),
        (None, [None]),
        ([], []),
        ({}, []),
    ],
)
def test_the_options_of_one_cell_stand_where_their_keys_say(
    cell: Any, options: list[str | None] | None
) -> None:
    expected = options or ([f"o{n}" for n in range(1, 9)] + ["i", "j"] if cell else [])
    assert parse_option_list(cell) == expected


@pytest.mark.parametrize("cell", [{"A": "x", "C": "z", "D": "w"}, {"B": "y", "C": "z"}])
def test_an_answer_does_not_move_to_the_place_of_an_option_that_is_missing(
    cell: dict[str, str],
) -> None:
    sound: RawRow = {"q": "Which?", "choices": {"A": "a", "B": "b", "C": "c"}, "key": "B"}
    result = cleaned(sound, {"q": "Which?", "choices": cell, "key": "C"}, columns=LIST)
    assert result.excluded == (("row 1", "empty option"),)


def test_fixed_options_are_those_of_every_row() -> None:
    columns = ColumnMapping(fixed_options=("yes", "no", "maybe"), answer="key")
    result = cleaned(
        {"question": "One?", "key": "maybe"}, {"question": "Two?", "key": "NO"}, columns=columns
    )
    assert [q.options for q in result.questions] == [("yes", "no", "maybe")] * 2
    assert [q.answer_text for q in result.questions] == ["maybe", "no"]


# What was changed


def test_changes_are_counted_by_kind_in_all_that_is_read() -> None:
    faulty = row(0, "a<b>x</b>", "b", "c", "d", question="Wh\u200bich&nbsp;one?", exp="a  b")
    result = cleaned(row(0, exp="plain"), faulty, row(0, question="F\u00c3\u00a9ver?"))
    assert result.normalised == {
        "control characters": 1,
        "HTML entities": 1,
        "HTML tags": 1,
        "spaces": 2,
        "damaged encoding": 1,
    }
    assert result.rows == 3


def test_nothing_is_counted_where_nothing_was_changed() -> None:
    assert cleaned(row(0), row(3)).normalised == {}


# Where questions are kept


def test_a_file_keeps_the_same_questions_as_memory(tmp_path: Path) -> None:
    rows = [(f"row {n}", {"id": f"q{n}", **row(n % 4, exp="x" * 1000)}) for n in range(5000)]
    kept = clean_rows(rows, ColumnMapping(), "a", store=tmp_path / "a.arrow")
    assert kept == clean_rows(rows, ColumnMapping(), "a")
    assert (tmp_path / "a.arrow").stat().st_size > 5_000_000


def test_a_file_is_closed_when_the_rows_cannot_be_read(tmp_path: Path) -> None:
    rows = [("row 0", {"id": "x", **row(0)}), ("row 1", {"id": "x", **row(0, "a", "b")})]
    with pytest.raises(DataError) as caught:
        clean_rows(rows, ColumnMapping(), "a", store=tmp_path / "a.arrow")
    assert str(tmp_path / "a.arrow") not in [file.path for file in psutil.Process().open_files()]
    assert caught.value.found.startswith("a: the id x")


def test_progress_advances_by_one_for_each_row() -> None:
    class Counting:
        done = 0

        def advance(self, by: int = 1) -> None:
            self.done += by

    task = Counting()
    clean_rows([("row 0", row(0)), ("row 1", row(0, "one"))], ColumnMapping(), "a", task=task)  # type: ignore[arg-type]
    assert task.done == 2


# Properties

OPTIONS = st.lists(
    st.text(min_size=1, max_size=8).filter(
        lambda text: (
            len(clean_text(text)) > 1 and not re.fullmatch(r"-?\d+(\.0+)?", clean_text(text))
        )
    ),
    min_size=2,
    max_size=10,
    unique_by=lambda text: normalize_option(clean_text(text)),
)
FORMS = ("from 0", "from 1", "letter", "text")
Layout = Callable[[Sequence[str], Sequence[int]], object]
LAYOUTS: dict[str, Layout] = {
    "list": lambda options, _: list(options),
    "letters": lambda options, order: {LETTERS[n]: options[n] for n in order},
    "small letters": lambda options, order: {LETTERS[n].lower(): options[n] for n in order},
    "numbers from 0": lambda options, order: {str(n): options[n] for n in order},
    "numbers from 1": lambda options, order: {str(n + 1): options[n] for n in order},
    "keys and values": lambda options, order: [
        {"key": LETTERS[n], "value": options[n]} for n in order
    ],
    "texts and labels": lambda options, order: [
        {"text": options[n], "label": LETTERS[n]} for n in order
    ],
    "pairs": lambda options, order: [(LETTERS[n], options[n]) for n in order],
    "columns": lambda options, _: {f"o{n}": text for n, text in enumerate(options)},
}


def as_row(question: Question, form: str, layout: str, order: Sequence[int]) -> dict[str, Any]:
    assert question.answer is not None
    key: dict[str, object] = {
        "from 0": question.answer,
        "from 1": question.answer + 1,
        "letter": LETTERS[question.answer],
        "text": question.answer_text,
    }
    choices = LAYOUTS[layout](question.options, order)
    if layout == "columns":
        empty = {f"o{n}": None for n in range(10)}
        return {"q": question.stem, "data": {**empty, **choices}, "key": key[form]}  # type: ignore[dict-item]
    return {"q": question.stem, "data": {"choices": choices}, "key": key[form]}


@given(st.lists(OPTIONS, min_size=1, max_size=5), st.data())
def test_cleaning_never_moves_the_answers_text(rows: list[list[str]], data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(FORMS))
    layout = data.draw(st.sampled_from(sorted(LAYOUTS)))
    options = tuple(f"data.o{n}" for n in range(10)) if layout == "columns" else ("data.choices",)
    columns = ColumnMapping(id="", stem="q", options=options, answer="key")
    made = [
        Question(
            id=f"q{n}",
            stem=f"stem {n}",
            options=tuple(options),
            answer=data.draw(st.integers(0, len(options) - 1)),
        )
        for n, options in enumerate(rows)
    ]
    # Two rows tell the base: the first option and the last are right once each.
    sure = [
        Question(id="x", stem="first", options=("yes", "no"), answer=0),
        Question(id="y", stem="last", options=("yes", "no"), answer=1),
    ]
    asked = [*sure, *made]
    orders = [data.draw(st.permutations(range(len(q.options)))) for q in asked]
    result = cleaned(
        *(as_row(q, form, layout, order) for q, order in zip(asked, orders, strict=True)),
        columns=columns,
    )
    # A question with a picture is left out, by the test of `contains_image`.
    seen = [question for question in asked if not any(map(contains_image, question.options))]
    assert [q.answer_text for q in result.questions] == [clean_text(q.answer_text) for q in seen]
    assert [q.options for q in result.questions] == [
        tuple(map(clean_text, q.options)) for q in seen
    ]
    assert result.exclusion_counts == (
        {"needs a picture": len(asked) - len(seen)} if seen != asked else {}
    )


@given(st.lists(st.integers(-3, 6), min_size=1, max_size=6))
def test_indices_are_read_from_one_base_or_refused(indices: list[int]) -> None:
    labelled = [index for index in indices if index != -1]
    from_0 = bool(labelled) and all(0 <= index <= 3 for index in labelled)
    from_1 = bool(labelled) and all(1 <= index <= 4 for index in labelled)
    rows = [row(index) for index in indices]
    if from_0 == from_1:
        with pytest.raises((LabelError, EmptySplitError)):
            cleaned(*rows)
    else:
        assert answers(cleaned(*rows)) == [index - from_1 for index in labelled]
