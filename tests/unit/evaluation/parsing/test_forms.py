"""Forms in which models are asked to give an answer, each with what only looks like it."""

from __future__ import annotations

import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from medtune.core.records import LETTERS
from medtune.evaluation.parsing.strict import parse_answer

VIRAL = ("Acyclovir", "Ganciclovir", "Amantadine", "Foscarnet")
SIZES = ("< 5 cm", "> 5 cm", "5 cm", "10 cm")
LENGTHS = ("602 micrometer", "62 micrometer", "62 millimeter", "6 micrometer")
TIMES = ("6 hrs", "12 hrs", "12 weeks", "24 hrs")
DOSES = ("10 mg", "10 µg", "10 g", "10 ml")
VIRAL_READ: dict[str, list[tuple[str, int]]] = {
    "boxed": [
        (r"\boxed{B}", 1),
        (r"\boxed{\text{B}}", 1),
        (r"\[ \boxed{\textbf{B}} \]", 1),
        (r"$$\boxed{\text{(B)}}$$", 1),
        (r"\boxed{B. Ganciclovir}", 1),
        (r"\boxed{Ganciclovir}", 1),
        (r"The answer is \boxed{B}.", 1),
        (r"Therefore the drug is $\boxed{B}$.", 1),
        ("CMV is treated so.\n\n**Final answer:** $\\boxed{B}$", 1),
    ],
    "json": [
        ('{"answer": "B"}', 1),
        ('```json\n{\n  "answer": "B"\n}\n```', 1),
        ('Here is the JSON:\n```json\n{"answer": "B"}\n```', 1),
        ('{"answer": "B. Ganciclovir"}', 1),
        ('{"answer": ["B"]}', 1),
        ('{"answer": "Ganciclovir", "confidence": 0.9}', 1),
        ('{"final_answer": "B", "explanation": "It inhibits the polymerase."}', 1),
        ('{"explanation": "The \\"other\\" drugs are weak.", "correctOption": "(B)"}', 1),
        ('{"reasoning": "CMV", "answer_letter": "B", "answer_text": "Ganciclovir"}', 1),
        ('{"answer": "B", "explanation": "Ganciclovir inhib', 1),
    ],
    "quotes": [
        ('The answer is "D"', 3),
        ('The answer is "D".', 3),
        ("The answer is “D”.", 3),
        ("The answer is 'D'.", 3),
        ('The answer is "D. Foscarnet"', 3),
        ('The correct answer is "Foscarnet".', 3),
    ],
    "tag": [
        ("<answer>D</answer>", 3),
        ("<answer>\nD\n</answer>", 3),
        ("<answer>D</answer>.", 3),
        ("<answer>D. Foscarnet</answer>", 3),
        ("<answer>D", 3),
        ("It is used.\n<ANSWER>D</ANSWER>", 3),
        ("<final_answer>D</final_answer>", 3),
        ("<think>A?</think><answer>D</answer>", 3),
    ],
    "last line": [
        ("#### D", 3),
        ("It inhibits.\n#### D", 3),
        ("Step 1.\nStep 2.\n\n#### (D)", 3),
        ("It inhibits.\n#### D. Foscarnet", 3),
        ("Answer: B\n#### Explanation", 1),
    ],
    "conclusion": [
        ("Therefore, option D is correct", 3),
        ("It crosses the barrier.\nTherefore, the option D is correct.", 3),
        ("Thus option (D) is the correct answer.", 3),
        ("Hence, option D (Foscarnet) is correct.", 3),
        ("So, choice D is right because the others fail.", 3),
    ],
    "choice": [
        ("I choose (D)", 3),
        ("I choose D.", 3),
        ("I would choose option D.", 3),
        ("The option I would choose is D", 3),
        ("I'd go with D. Foscarnet", 3),
        ("I will go with (D) because it is safe", 3),
        ("I select: (D)", 3),
        ("I pick Foscarnet", 3),
    ],
    "abbreviation": [
        ("Ans. D", 3),
        ("Ans. (D)", 3),
        ("Ans. D. Foscarnet", 3),
        ("Ans - D", 3),
    ],
    "dash": [
        ("Correct answer - D", 3),
        ("Correct answer – D. Foscarnet", 3),
        ("Answer—D", 3),
    ],
    "quotation": [
        ("> C. Amantadine", 2),
        (">C. Amantadine", 2),
        ("> C) Amantadine", 2),
        ("> **C.** Amantadine", 2),
        ("> C. Amantadine\n\nIt is used.", 2),
    ],
    "full width": [
        ("Ｂ", 1),
        ("（Ｂ）", 1),
        ("【B】", 1),
        ("Answer：Ｂ", 1),
        ("Ａｎｓｗｅｒ：　Ｂ。", 1),
        ("Ｂ．Ganciclovir", 1),
    ],
    "hypothesis": [
        ("The answer would be B.", 1),
        ("The answer is B.\nIf she were pregnant, the answer would be A.", 1),
        # the question's own words
        ("If the virus is resistant, the drug given is: B. Ganciclovir", 1),
        ("The patient should be treated; the answer is B.", 1),
        ("She had fever, so the answer is B.", 1),
        ("Based on the information provided, the answer is B.", 1),
    ],
    "doubt": [
        ("There is no doubt: the answer is B.", 1),
        ("Without a doubt the answer is B.", 1),
        ("It is hard to tell, but the answer is B.", 1),
        ("Many say A, but the answer is B.", 1),
        ("I would say that the answer is B.", 1),
        ("We can say the correct answer is B.", 1),
        ("Some say the answer is A. The answer is B.", 1),
    ],
    "heading": [
        ("## Answer\nB", 1),
        ("**Final Answer**\n\n(B)", 1),
        ("The virus is resistant.\n\nCorrect answer\nB. Ganciclovir", 1),
    ],
    "other signs": [
        ("Answer → B", 1),
        ("Answer => B", 1),
        ("Answer -> B. Ganciclovir", 1),
        ("The answer is «B».", 1),
        ("The answer is „B“.", 1),
    ],
}
VIRAL_UNREAD: dict[str, list[str]] = {
    "boxed": [
        r"\boxed{B} or \boxed{C}",
        r"\boxed{B or C}",
        r"\boxed{BC}",
        r"\boxed{E}",
        r"\boxed{}",
        r"\boxed{B",
        r"\boxed{A} is wrong",
        r"\boxed{B} Acyclovir",
        r"It is not \boxed{B}",
        r"The answer is A, not \boxed{B}",
        r"The answer is C. \boxed{B}",
        r"If it were HSV, \boxed{A}",
    ],
    "json": [
        '{"answer": "B", "answer": "C"}',
        '{"answer": "B", "final_answer": "C"}',
        '{"answer": "B", "answer_text": "Foscarnet"}',
        '{"answer": "B"} or {"answer": "C"}',
        '{"answer": ["B", "C"]}',
        '{"answer": "B or C"}',
        '{"answer": "A/B/C/D"}',
        '{"answer": "E"}',
        '{"answer": "not B"}',
        '{"answer": "None of these"}',
        '{"answer": "<letter>"}',
        '{"answer": null}',
        '{"answer": true}',
        '{"answer": {"letter": "B"}}',
        '{"wrong_answer": "B"}',
        '{"A": "Acyclovir", "B": "Ganciclovir"}',
        '{"question": "Which drug?", "answer": "B"}',
        '{"question": "The drug is", "answer": "B"}',
    ],
    "quotes": [
        'The answer is not "D"',
        'The answer is "D" or "B".',
        'The answer is "none".',
        '"The answer is D" is wrong.',
        '"Which drug is given?" The answer is "D"',
    ],
    "tag": [
        "<answer>D or B</answer>",
        "<answer>B</answer><answer>D</answer>",
        "<answer></answer>",
        "<answer>E</answer>",
        "<answer>not D</answer>",
        "<answer>A. Foscarnet</answer>",
        "<answer>D</answer> is wrong",
        "I would not say <answer>D</answer>",
        "<answers>D</answers>",
    ],
    "last line": [
        "#### D or E",
        "#### not D",
        "#### E",
        "#### Explanation",
        # headings of a review of the options, also of one that was cut off
        "#### A. Acyclovir\nIt is weak.\n#### B. Ganciclovir",
        "## A. Acyclovir\nIt is weak.\n#### B. Ganciclovir",
        "#### A. Acyclovir\nAcyclovir is a drug against herpes.",
    ],
    "conclusion": [
        "Option D is incorrect",
        "Therefore, option D is incorrect",
        "Therefore, option D is not correct",
        "Therefore, options B and D are correct",
        "Therefore, option D or B is correct",
        "Therefore, option B is correct and option D is correct",
        "Therefore, option D is wrong and option B is correct.",
        "Therefore, option A, Foscarnet, is correct",
        "If it were HSV, then therefore option A is correct.",
        "It is not so that therefore option D is correct",
    ],
    "choice": [
        "I would not choose (D)",
        "I don't choose (D)",
        "I cannot choose (D)",
        "I would choose not D",
        "I choose (D) or (C)",
        "I choose (D) and (B)",
        "I choose D over B",
        "I choose neither",
        "I choose (D) as the wrong answer",
        "I would choose (D) only if she were pregnant",
        "If I choose (D), she may die.",
        "Should I choose (D)?",
    ],
    "abbreviation": [
        "Ans. D is wrong",
        "Ans. D or B",
        "Ans. not D",
        "Ans. D. Acyclovir",
        "Ans. A patient with CMV",
    ],
    "dash": [
        "Correct answer - D or B",
        "Correct answer - not D",
        "Correct answer - D\nCorrect answer - B",
        "Wrong answer - D",
        "Incorrect answer – D",
    ],
    "quotation": [
        "> A. Acyclovir\n> B. Ganciclovir",
        "> C. Foscarnet",
        "> C. Amantadine is wrong",
        "> Which drug is used?\n> C. Amantadine",
    ],
    "full width": [
        "Ａ ｏｒ Ｂ",
        "Ｅ",
        "Ａ．Ganciclovir",
        "Ｂ？",
    ],
    "hypothesis": [
        "If she were pregnant, the answer would be A.",
        "If the lesion were at C5, the answer is A",
        "Unless she is pregnant, the answer is A.",
        "Otherwise, the answer would be A.",
        "The answer would be A if she were pregnant.",
        "If so, I choose (D)",
        "Had she been pregnant, the answer would be A.",
        "Were it resistant, I would choose A.",
        "Should there be a relapse, the answer is A.",
        "Provided that she is pregnant, the answer is A.",
        "In case of pregnancy the answer is A.",
        "It is unclear whether the answer is A.",
        "Let us assume the answer is A.",
    ],
    "doubt": [
        "I doubt that the answer is A.",
        "It is hard to say that the answer is A.",
        "It is tempting to say the answer is A.",
        "A common mistake is to say the answer is A.",
        "Many students would say that the answer is A.",
        "Some people think the answer is A.",
        "My friend claims the correct answer is A.",
        "I was told the answer is A.",
    ],
    "heading": [
        "## Answer\nA. Acyclovir\nB. Ganciclovir",
        "## Answer choices\nA",
        "Final answer\nnot A",
        "Answer\nBoth A and C",
    ],
    "other signs": [
        "Answer -> A or B",
        "A -> B",
        "Acyclovir → Ganciclovir",
        "The answer is «A» or «B».",
    ],
}
AMOUNTS: list[tuple[str, tuple[str, ...], int | None]] = [
    ("602 micrometers", LENGTHS, 0),
    ("602 µm", LENGTHS, 0),
    ("A. 602 microns", LENGTHS, 0),
    ("602 millimeters", LENGTHS, None),
    ("602 centimetres", LENGTHS, None),
    ("602", LENGTHS, None),
    ("62 millimetres", LENGTHS, 2),
    ("B. 12 hours", TIMES, 1),
    ("12 hours", TIMES, 1),
    ("The answer is: 12 h", TIMES, 1),
    ("B. 12 days", TIMES, None),
    ("B. 12 weeks", TIMES, None),
    ("12 days", TIMES, None),
    ("12 minutes", TIMES, None),
    ("6 hours or 12 hours", TIMES, None),
    ("10mg", DOSES, 0),
    ("10 milligrams", DOSES, 0),
    ("10 micrograms", DOSES, 1),
    ("10 mcg", DOSES, 1),
    ("10 grams", DOSES, 2),
    ("10 litres", DOSES, None),
    ("A. 10 micrograms", DOSES, None),
    ("> 5 cm", SIZES, 1),
    ("> 5 centimetres", SIZES, 1),
    ("The size is:\n> 5 cm", SIZES, 1),
    ("> 10 cm", SIZES, None),
]


def test_every_form_has_its_look_alike() -> None:
    assert VIRAL_READ.keys() == VIRAL_UNREAD.keys()
    assert len(VIRAL_READ) >= 12


@pytest.mark.parametrize(
    ("text", "expected"), [case for cases in VIRAL_READ.values() for case in cases]
)
def test_the_form_is_read(text: str, expected: int) -> None:
    reading = parse_answer(text, VIRAL)
    assert reading.chosen == expected, reading.reason


@pytest.mark.parametrize("text", [text for texts in VIRAL_UNREAD.values() for text in texts])
def test_what_only_looks_like_it_stays_unread(text: str) -> None:
    reading = parse_answer(text, VIRAL)
    assert reading.chosen is None, reading.reason


@pytest.mark.parametrize(("text", "options", "expected"), AMOUNTS)
def test_a_unit_may_be_written_otherwise_but_be_no_other(
    text: str, options: tuple[str, ...], expected: int | None
) -> None:
    reading = parse_answer(text, options)
    assert reading.chosen == expected, reading.reason


FRAMES = st.sampled_from(
    [
        r"\boxed{%s}",
        r"$\boxed{\text{%s}}$",
        '{"answer": "%s"}',
        '```json\n{\n  "final_answer": "%s"\n}\n```',
        'The answer is "%s".',
        "<answer>%s</answer>",
        "It is used.\n<answer>\n%s\n</answer>",
        "It is used.\n#### %s",
        "I choose (%s)",
        "Ans. %s",
        "Correct answer - %s",
    ]
)


@settings(max_examples=150)
@given(FRAMES, FRAMES, st.integers(0, 3), st.integers(0, 3))
def test_every_form_gives_its_letter_and_two_forms_with_two_letters_none(
    frame: str, other: str, index: int, second: int
) -> None:
    assume(not frame.startswith("It is used.\n#### "))  # that is the last line
    said = frame % LETTERS[index]
    assert parse_answer(said, VIRAL).chosen == index
    both = f"{said}\n{other % LETTERS[second]}"
    assert parse_answer(both, VIRAL).chosen in ({index, None} if index == second else {None}), both


@pytest.mark.parametrize(
    "unit",
    [
        *("a", " ", "\n", "B. ", "a) ", "(x)", "( ", "[", "> ", "- ", "#### ", "...", "1. ", "α"),
        *("B\n", "a\n", "x is ", "answer is ", "The answer is B. ", "I choose ", "if ", "not "),
        *("Ganciclovir is ", "Ganciclovir. ", "because ", "which NOT ", "therefore option a "),
        *("\\boxed{", "\\boxed{B}", "\\text{", "<answer>", "</answer>", "<think>", "<|", "$", "``"),
        *('{"a":', "{", '"a":"', '"', '\\"', '"a":[', "12 hours ", "'", "``` "),
    ],
)
def test_a_long_text_takes_no_longer_than_its_length_asks(unit: str) -> None:
    """200,000 characters of one repetition: 0.2 s at most; a quadratic pattern takes minutes."""
    text = (unit * (200_000 // len(unit) + 1))[:200_000]
    for said in (text, f"x{text}x", f"The answer is {text}", f"Ganciclovir {text}"):
        # By this thread's clock: the process may still have the threads of other tests.
        started = time.thread_time()
        parse_answer(said, VIRAL)
        assert time.thread_time() - started < 3


def test_a_loop_is_no_answer() -> None:
    assert parse_answer("The answer is B. " * 3, VIRAL).chosen == 1
    reading = parse_answer("The answer is B. " * 1000, VIRAL)
    assert (reading.chosen, reading.reason) == (None, "announces answers without end")
