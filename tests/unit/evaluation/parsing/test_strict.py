from __future__ import annotations

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from medtune.core.records import LETTERS, Outcome
from medtune.evaluation.parsing.line import LineReading
from medtune.evaluation.parsing.option_match import normalize_for_matching
from medtune.evaluation.parsing.strict import parse_answer

VIRAL = ("Acyclovir", "Ganciclovir", "Amantadine", "Foscarnet")
HODGKIN = (
    "lymphocyte-predominant Hodgkin disease (HD)",
    "nodular-sclerosing HD",
    "mixed-cellularity HD",
    "lymphocyte-depleted HD, reticular type",
)
SUGAR = ("Hypoglycemia", "Hyperglycemia", "Hyponatremia", "Hypernatremia")
BLOCKERS = ("α-blocker", "β-blocker", "Calcium channel blocker", "ACE inhibitor")
DOSES = ("10 mg", "100 mg", "1 mg", "1000 mg")
PAIN = ("Pain", "Chest pain", "Abdominal pain", "Fever")
NUMBERS = ("1", "2", "3", "4")
DECIMALS = ("1.5", "15", "0.5", "5")
SIZES = ("< 5 cm", "> 5 cm", "5 cm", "10 cm")
VOLTS = ("-70 mV", "+70 mV", "-90 mV", "0 mV")
GERMS = ("H. pylori", "E. coli", "C. jejuni", "S. typhi")
BLOOD = ("O", "A", "B", "AB")
HEPATITIS = ("Hepatitis A", "Hepatitis B", "Hepatitis C", "Hepatitis E")
ALL = ("Albumin", "Globulin", "Prealbumin", "All of the above")
NONE = ("Albumin", "Globulin", "Prealbumin", "None of the above")
TRUTH = ("Yes", "No", "Maybe")
MOVES = ("Adduction of the arm", "Flexion of the knee", "Pronation", "Supination")
PRESSURE = ("Increased preload and afterload", "Sepsis", "Tamponade", "Embolism")
LEUKEMIA = ("Acute lymphoblastic leukemia (ALL)", "Hairy cell leukemia", "CML", "CLL")
FRENCH = ("Ménière's disease", "Sjögren's syndrome", "Guillain-Barré syndrome", "Behçet's disease")
ORGANS = ("Spleen", "Liver", "Kidney", "Pancreas")
BRITISH = ("Luteinising hormone", "Haemolytic anaemia", "Warthin tumour", "Diarrhoea")
SIX = ("Iron", "Zinc", "Copper", "Iodine", "Selenium", "Fluoride")

# (output, options, index of the option that it gives; None: unparsed), labelled by hand
CASES: list[tuple[str, tuple[str, ...], int | None]] = [
    # letters, in every form
    ("B", VIRAL, 1),
    ("b", VIRAL, 1),
    ("B.", VIRAL, 1),
    ("B)", VIRAL, 1),
    ("(B)", VIRAL, 1),
    ("(b)", VIRAL, 1),
    ("[B]", VIRAL, 1),
    ("B:", VIRAL, 1),
    ("B!", VIRAL, 1),
    (" B \n", VIRAL, 1),
    ("Option B", VIRAL, 1),
    ("option (b).", VIRAL, 1),
    ("Choice B.", VIRAL, 1),
    ("Answer B", VIRAL, 1),
    ("F", SIX, 5),
    ("E", VIRAL, None),
    ("Option E", VIRAL, None),
    ("K", VIRAL, None),
    ("Z", VIRAL, None),
    # announced letters
    ("Answer: B", VIRAL, 1),
    ("Answer:B", VIRAL, 1),
    ("ANSWER: b", VIRAL, 1),
    ("Ans: B", VIRAL, 1),
    ("The answer is B", VIRAL, 1),
    ("The answer is B.", VIRAL, 1),
    ("The answer is: (B)", VIRAL, 1),
    ("The correct answer is option B.", VIRAL, 1),
    ("The correct answer is: Option (B).", VIRAL, 1),
    ("The best choice is B.", VIRAL, 1),
    ("The correct option would be B.", VIRAL, 1),
    ("The answer to this question is B.", VIRAL, 1),
    ("Therefore, the correct answer is B.", VIRAL, 1),
    ("Since the patient is not allergic, the answer is B.", VIRAL, 1),
    ("The correct answer is:\n\nB", VIRAL, 1),
    ("Explanation: it inhibits the polymerase of CMV.\n\nAnswer: B", VIRAL, 1),
    ("<think>Perhaps A? No.</think>\n\nB", VIRAL, 1),
    ("<think>The answer is A. Hmm, wait", VIRAL, None),
    # letter and text that agree
    ("B. Ganciclovir", VIRAL, 1),
    ("b) ganciclovir", VIRAL, 1),
    ("B.Ganciclovir", VIRAL, 1),
    ("B Ganciclovir", VIRAL, 1),
    ("B - Ganciclovir", VIRAL, 1),
    ("B: Ganciclovir.", VIRAL, 1),
    ("B (Ganciclovir)", VIRAL, 1),
    ("Ganciclovir (B)", VIRAL, 1),
    ("Ganciclovir (option B).", VIRAL, 1),
    ("Option B: Ganciclovir", VIRAL, 1),
    ("Option B) Ganciclovir", VIRAL, 1),
    ("The correct answer is B) Ganciclovir", VIRAL, 1),
    ("Answer: B. Ganciclovir", VIRAL, 1),
    ("Answer: (B) Ganciclovir.", VIRAL, 1),
    ("The correct answer is:\n\nB) Ganciclovir", VIRAL, 1),
    ("The answer is B. Ganciclovir is active against CMV.", VIRAL, 1),
    ("B\nGanciclovir", VIRAL, 1),
    ("Answer: B. 100 mg", DOSES, 1),
    ("B. E. coli", GERMS, 1),
    # letter and a reason
    ("B. The other drugs have no effect on CMV.", VIRAL, 1),
    ("B because it inhibits the polymerase.", VIRAL, 1),
    ("The answer is B, because CMV retinitis needs it.", VIRAL, 1),
    ("Option B is correct.", VIRAL, 1),
    ("B is the correct answer.", VIRAL, 1),
    ("B is the right choice because it crosses the membrane.", VIRAL, 1),
    # markdown
    ("**B**", VIRAL, 1),
    ("**B.** Ganciclovir", VIRAL, 1),
    ("**Answer:** B", VIRAL, 1),
    ("**Answer: B**", VIRAL, 1),
    ("Answer: **B. Ganciclovir**", VIRAL, 1),
    ("The correct answer is: **Option B: Ganciclovir**", VIRAL, 1),
    ("*Ganciclovir*", VIRAL, 1),
    ("`B`", VIRAL, 1),
    ("- Ganciclovir", VIRAL, 1),
    # the option's text
    ("Ganciclovir", VIRAL, 1),
    ("ganciclovir.", VIRAL, 1),
    ('"Ganciclovir"', VIRAL, 1),
    ("The answer is: Ganciclovir", VIRAL, 1),
    ("1. The answer is: Ganciclovir", VIRAL, 1),
    ("3rd answer is: Ganciclovir", VIRAL, 1),
    ("The drug of choice is Ganciclovir.", VIRAL, 1),
    ("Ganciclovir is the drug of choice.", VIRAL, 1),
    ("Ganciclovir. It inhibits viral DNA synthesis.", VIRAL, 1),
    ("Ganciclovir, a guanine analogue, is used here.", VIRAL, 1),
    ("Ganciclovir because it is active against CMV.", VIRAL, 1),
    ("Answer: Ganciclovir\n\nGanciclovir is a guanine analogue.", VIRAL, 1),
    ("Menieres disease", FRENCH, 0),
    ("Guillain Barre Syndrome", FRENCH, 2),
    ("beta blocker", BLOCKERS, 1),
    ("The answer is: Beta-blocker", BLOCKERS, 1),
    ("All of the above", ALL, 3),
    ("None of the above", NONE, 3),
    ("The answer is: No", TRUTH, 1),
    # special tokens
    ("Ganciclovir<|im_end|>", VIRAL, 1),
    ("The answer is: Ganciclovir<|eot_id|>", VIRAL, 1),
    ("<|im_start|>B<|im_end|>", VIRAL, 1),
    ("B</s>", VIRAL, 1),
    ("B<|im_end|>\n<|im_start|>user\nAnswer: C<|im_end|>", VIRAL, 1),
    # nothing
    ("", VIRAL, None),
    (" \n\t ", VIRAL, None),
    ("<|im_end|>", VIRAL, None),
    ("<|im_start|><|endoftext|></s><pad>", VIRAL, None),
    ("...", VIRAL, None),
    ("I do not know.", VIRAL, None),
    ("As an AI model I cannot give medical advice.", VIRAL, None),
    ("A 45-year-old man presents with floaters.", VIRAL, None),
    ("Valganciclovir", VIRAL, None),
    # two answers
    ("A or B", VIRAL, None),
    ("A and B", VIRAL, None),
    ("A, B", VIRAL, None),
    ("A/B", VIRAL, None),
    ("A. or B.", VIRAL, None),
    ("A. B. C. D.", VIRAL, None),
    ("A\nB", VIRAL, None),
    ("Both A and B are correct.", VIRAL, None),
    ("Acyclovir or Ganciclovir", VIRAL, None),
    ("Ganciclovir and Foscarnet", VIRAL, None),
    ("Ganciclovir or cidofovir", VIRAL, None),
    ("The answer is A. The answer is B.", VIRAL, None),
    ("The answer is: Acyclovir\nThe answer is: Ganciclovir", VIRAL, None),
    ("A\nAnswer: B", VIRAL, None),
    ("Ganciclovir. Acyclovir is weaker.", VIRAL, None),
    ("Answer: B: Ganciclovir and D: Foscarnet", VIRAL, None),
    # negated
    ("not B", VIRAL, None),
    ("The answer is not B.", VIRAL, None),
    ("I don't think the answer is B.", VIRAL, None),
    ("It is not true that the answer is B", VIRAL, None),
    ("The wrong answer is B.", VIRAL, None),
    ("The incorrect option is: Ganciclovir", VIRAL, None),
    ("B is incorrect.", VIRAL, None),
    ("B is not the correct answer.", VIRAL, None),
    ("Ganciclovir is not the answer.", VIRAL, None),
    ("Ganciclovir is wrong.", VIRAL, None),
    ("None of these", VIRAL, None),
    ("Neither Acyclovir nor Ganciclovir", VIRAL, None),
    # a letter that contradicts its text
    ("A. Ganciclovir", VIRAL, None),
    ("The correct answer is C) Ganciclovir", VIRAL, None),
    ("Ganciclovir (A)", VIRAL, None),
    ("A\nGanciclovir", VIRAL, None),
    ("A. 100 mg", DOSES, None),
    ("A. 500 mg", DOSES, None),
    ("C. difficile", GERMS, None),
    ("E. Ganciclovir", VIRAL, None),
    # dumps and echoes
    ("A. Acyclovir\nB. Ganciclovir\nC. Amantadine\nD. Foscarnet", VIRAL, None),
    ("1. Globulin\n2. Albumin\n3. Prealbumin\n4. All of the above", ALL, None),
    ("Acyclovir, Ganciclovir, Amantadine, Foscarnet", VIRAL, None),
    ("A. Acyclovir B. Ganciclovir C. Amantadine D. Foscarnet", VIRAL, None),
    ("A. Acyclovir\nB. Ganciclovir\nC. Aman", VIRAL, None),
    ("The answer is one of:\n- Acyclovir\n- Ganciclovir", VIRAL, None),
    ("Which drug treats CMV retinitis?", VIRAL, None),
    ("1. All are true about CMV except:\nA. Acyclovir\nB. Ganciclovir", VIRAL, None),
    # new questions
    ("3. Which is the most common cause of sudden death?\nA. Anemia\nB. Anuria", VIRAL, None),
    ("Question: A man has a cough.\nAnswer: B", VIRAL, None),
    ("Q: A man has a cough.\nB", VIRAL, None),
    ("B\n\nQuestion: A man has a cough. What is it?\nAnswer: C", VIRAL, 1),
    ("The answer is: C1?", VIRAL, None),
    ("Is it Ganciclovir?", VIRAL, None),
    # brackets and abbreviations
    ("lymphocyte-predominant HD", HODGKIN, 0),
    ("lymphocyte-predominant Hodgkin disease", HODGKIN, 0),
    ("The answer is: Lymphocyte predominant Hodgkin disease (HD)", HODGKIN, 0),
    ("lymphocyte-depleted HD, reticular type", HODGKIN, 3),
    ("lymphocyte-depleted HD", HODGKIN, None),
    ("Hodgkin disease", HODGKIN, None),
    ("ALL", LEUKEMIA, 0),
    ("Acute lymphoblastic leukemia", LEUKEMIA, 0),
    # misspellings: forgiven only where they cannot become another option or the opposite
    ("Gancicloviir", VIRAL, 1),
    ("Gancilovir", VIRAL, 1),
    ("Gancicolvir", VIRAL, 1),
    ("Hodgkin lymphocyte", HODGKIN, None),
    ("Sjogrens sydrome", FRENCH, 1),
    ("Ileum of the pelvis", ("Ilium of the pelvis", "Femur", "Tibia", "Sacrum"), None),
    ("Trohcanter", ("Trochanter", "Femur", "Tibia", "Sacrum"), 0),
    ("Hyperglycemia", SUGAR, 1),
    ("Hypoglycemia", SUGAR, 0),
    ("Hyperglycmia", SUGAR, None),
    ("Hypogycemia", SUGAR, None),
    ("Hypoglycemia", ("Hyperglycemia", "Sepsis", "Uremia", "Stroke"), None),
    ("Hypoparathyroidism", ("Hyperparathyroidism", "Sepsis", "Uremia", "Stroke"), None),
    ("gamma-blocker", BLOCKERS, None),
    ("Abduction of the arm", MOVES, None),
    ("Decreased preload and afterload", PRESSURE, None),
    ("Asystole", ("Systole", "Embolism", "Fibrillation", "Tamponade"), None),
    ("Osteoblast", ("Osteoclast", "Fibroblast cell", "Neuron", "Monocyte"), None),
    # numbers and signs
    ("10 mg", DOSES, 0),
    ("The answer is: 100 mg", DOSES, 1),
    ("1000 mg", DOSES, 3),
    ("50 mg", DOSES, None),
    ("3", NUMBERS, 2),
    ("The answer is 3.", NUMBERS, 2),
    ("5", NUMBERS, None),
    ("1.5", DECIMALS, 0),
    ("15", DECIMALS, 1),
    ("0.5", DECIMALS, 2),
    ("5", DECIMALS, 3),
    ("25", DECIMALS, None),
    ("<5 cm", SIZES, 0),
    ("More than 5 cm", SIZES, 1),
    ("The answer is: 5 cm", SIZES, 2),
    ("−70 mV", VOLTS, 0),
    ("+70 mV", VOLTS, 1),
    ("70 mV", VOLTS, None),
    # options inside options, options that look like letters or articles
    ("Pain", PAIN, 0),
    ("Chest pain", PAIN, 1),
    ("The answer is: chest pain, which is typical.", PAIN, 1),
    ("Back pain", PAIN, None),
    ("E. coli", GERMS, 1),
    ("E. coli is the most common cause.", GERMS, 1),
    ("Hepatitis A", HEPATITIS, 0),
    ("Hepatitis B is the most common cause.", HEPATITIS, 1),
    ("Hepatitis", HEPATITIS, None),
    ("AB", BLOOD, 3),
    ("C. B", BLOOD, 2),
    ("B. A", BLOOD, 1),
    # sentences that lead up to an option
    ("The drug used here is ganciclovir.", VIRAL, 1),
    ("The drug is likely ganciclovir, a guanine analogue.", VIRAL, 1),
    ("The virus is treated by ganciclovir. It inhibits viral DNA synthesis.", VIRAL, 1),
    ("The organ injured is the spleen.", ORGANS, 0),
    ("It is stored mainly as iron. (A)", SIX, 0),
    ("The drug is [B]. Ganciclovir.", VIRAL, 1),
    ("The drug is B. Ganciclovir.", VIRAL, 1),
    ("The drug that would NOT help is ganciclovir.", VIRAL, 1),
    ("All of these are given by mouth EXCEPT ganciclovir.", VIRAL, 1),
    ("The drug is A. Ganciclovir.", VIRAL, None),
    ("The drug is [A]. Ganciclovir.", VIRAL, None),
    ("The drug is not ganciclovir.", VIRAL, None),
    ("The drug that is NOT correct is ganciclovir.", VIRAL, None),
    ("The drug is ganciclovir or cidofovir.", VIRAL, None),
    ("The drug is valganciclovir.", VIRAL, None),
    ("The drug to avoid is ganciclovir.", VIRAL, None),
    ("It is treated by an analogue such as ganciclovir.", VIRAL, None),
    ("It is hard to say whether it is ganciclovir.", VIRAL, None),
    ("The patient is treated with ganciclovir. He then gets foscarnet.", VIRAL, None),
    ("CMV is resistant to ganciclovir.", VIRAL, None),
    ("The diagnosis is rupture of the spleen.", ORGANS, None),
    ("The symptom is severe pain.", PAIN, None),
    ("It is not stored as iron. (A)", SIX, None),
    # a sentence that opens with one: a verdict, not a description
    ("Ganciclovir is the best choice. Acyclovir is a weaker drug.", VIRAL, 1),
    ("Ganciclovir is the correct answer.", VIRAL, 1),
    ("Ganciclovir is an antiviral drug that is given into a vein.", VIRAL, None),
    ("Ganciclovir is given into a vein.", VIRAL, None),
    ("Ganciclovir is the best choice. Acyclovir is the best choice.", VIRAL, None),
    ("Ganciclovir is the drug to avoid.", VIRAL, None),
    # announced below, or beside a list
    ("The most likely diagnosis in a man of 40 is:\n\nB. E. coli", GERMS, 1),
    ("A. Acyclovir\nB. Ganciclovir\nC. Amantadine\nD. Foscarnet\nThe answer is B.", VIRAL, 1),
    ("The answer is B.\n\nA. Acyclovir is weaker.\nC. Amantadine is for flu.", VIRAL, 1),
    ("Here is the answer.\nB. Ganciclovir\n\nIt inhibits viral DNA synthesis.", VIRAL, 1),
    ("The answer is: \\boxed{B}", VIRAL, 1),
    ("The answer is: \\boxed{\\text{Ganciclovir}}", VIRAL, 1),
    ("The answer is: ... B. Ganciclovir", VIRAL, 1),
    ("The answer is:\nA. Acyclovir\nB. Ganciclovir", VIRAL, None),
    ("Let us look at each option:\n\nA. Acyclovir", VIRAL, None),
    ("Let us look at each option:\n\nA. Acyclovir: It is weak.\n\nB. Ganciclovir", VIRAL, None),
    ("Here are the options.\nB. Ganciclovir", VIRAL, None),
    ("A: Acyclovir is a drug.\nB: Ganciclovir is a drug", VIRAL, None),
    ("A: Acyclovir\nIt is a drug.\nThe correct answer is:\nC", VIRAL, None),
    ("A. Ganciclovir\n\nThe correct answer is B. Ganciclovir.", VIRAL, None),
    ("A. Acyclovir\nB. Ganciclovir\nThe answer is not B.", VIRAL, None),
    # a letter with its text cut short, or with two letters
    ("B. Ganciclo", VIRAL, 1),
    ("D. lymphocyte-depleted HD", HODGKIN, 3),
    ("B. Gan", VIRAL, None),
    ("A. Ganciclo", VIRAL, None),
    ("B. Hepatitis", HEPATITIS, None),
    ("A. 10", DOSES, None),
    ("B) Ganciclovir (B)", VIRAL, 1),
    ("B) Ganciclovir (A)", VIRAL, None),
    ("B) Ganciclovir (E)", VIRAL, None),
    ("B. Ganciclovir. A. Acyclovir is weaker.", VIRAL, None),
    ("B. Ganciclovir is used. Acyclovir is weaker.", VIRAL, 1),
    ("B. Ganciclovir is not the correct answer.", VIRAL, None),
    # British and American spelling; an abbreviation that the answer adds
    ("The answer is: Luteinizing hormone", BRITISH, 0),
    ("Luteinizing hormone (LH) is the immediate trigger.", BRITISH, 0),
    ("Hemolytic anemia", BRITISH, 1),
    ("B. Hemolytic anemia", BRITISH, 1),
    ("Warthin tumor", BRITISH, 2),
    ("Diarrhea", BRITISH, 3),
]


def _unique() -> list[tuple[str, tuple[str, ...], int | None]]:
    return [case for number, case in enumerate(CASES) if case not in CASES[:number]]


def test_the_table_is_large_and_has_no_doubles() -> None:
    assert len(CASES) == len(_unique()) >= 80
    assert sum(expected is None for _, _, expected in CASES) >= 40


@pytest.mark.parametrize(("text", "options", "expected"), CASES)
def test_reads_as_a_person_would(text: str, options: tuple[str, ...], expected: int | None) -> None:
    reading = parse_answer(text, options)
    assert reading.chosen == expected, reading.reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("Which drug?", "asks a question"),
        ("not B", "negated"),
        ("E", "no such letter"),
        ("A. Ganciclovir", "letter contradicts text"),
        ("The answer is A. The answer is B.", "two answers"),
        ("A. Acyclovir\nB. Ganciclovir", "lists the options"),
        ("Acyclovir or Ganciclovir", "names several options"),
        ("Rest and fluids", "names no option"),
        ("B", "letter"),
        ("B. Ganciclovir", "letter and text"),
        ("Ganciclovir", "option text"),
    ],
)
def test_says_why(text: str, reason: str) -> None:
    assert parse_answer(text, VIRAL).reason == reason


def test_outcome_compares_with_the_key() -> None:
    assert LineReading(2, "letter").grade(2) is Outcome.CORRECT
    assert LineReading(1, "letter").grade(2) is Outcome.WRONG
    assert LineReading(0, "letter").grade(0) is Outcome.CORRECT
    assert LineReading(None, "empty").grade(0) is Outcome.UNPARSED


# fmt: off
WORDS = st.sampled_from([
    "acute", "chronic", "pain", "of", "the", "a", "renal", "artery", "vein", "left", "type", "1",
    "2", "10", "α", "β", "<", ">", "+", "IgA", "B", "E.", "coli", "hypo", "hyper", "is", "not",
    "answer", "option", "(HD)", "Ménière's", "and", "or", "all", "none",
])
MARKS = st.sampled_from(["A", "B)", "(C)", "D.", "J", ":", "\n", "?", "Answer:", "<|"])
DRUGS = st.sampled_from(["aspirin", "heparin", "warfarin", "digoxin", "insulin", "lithium"])
# fmt: on
PHRASES = st.lists(WORDS, min_size=1, max_size=5).map(" ".join)
# One line each; special tokens and thoughts are not text.
LINES = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="|"), min_size=1
).filter(lambda text: "think" not in text)


def _distinct(options: list[str]) -> bool:
    folded = [normalize_for_matching(option) for option in options]
    return all(folded) and len(set(folded)) == len(folded)


OPTIONS = st.lists(
    PHRASES | LINES, min_size=2, max_size=10, unique_by=normalize_for_matching
).filter(_distinct)


@settings(max_examples=150)
@given(OPTIONS, st.data())
def test_an_options_own_text_is_that_option(options: list[str], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(options) - 1))
    assert parse_answer(options[index], options).chosen == index
    assert parse_answer(f"  {options[index]} ", options).chosen == index


@settings(max_examples=60)
@given(OPTIONS)
def test_a_dump_is_never_an_answer(options: list[str]) -> None:
    lettered = [f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False)]
    numbered = [f"{number}. {text}" for number, text in enumerate(options, 1)]
    for lines in (options, lettered, numbered, [f"- {text}" for text in options]):
        assert parse_answer("\n".join(lines), options).chosen is None


@settings(max_examples=60)
@given(
    st.lists(DRUGS, min_size=2, max_size=6, unique=True),
    st.sampled_from([", ", " ", "; ", " / ", " and ", " or "]),
)
def test_a_dump_on_one_line_is_never_an_answer(options: list[str], between: str) -> None:
    assert parse_answer(between.join(options), options).chosen is None
    assert parse_answer("The answer is: " + between.join(options), options).chosen is None
    letters = between.join(f"{c}. {o}" for c, o in zip(LETTERS, options, strict=False))
    assert parse_answer(letters, options).chosen is None


@settings(max_examples=120)
@given(
    st.text() | st.lists(WORDS | MARKS).map(" ".join),
    OPTIONS,
)
@example("İ", ["Iron", "Zinc"])  # its lower case matches "i" without being a letter of ours
@example("ı)", ["Iron", "Zinc"])
@example("The answer is: İ", ["Iron", "Zinc"])
def test_any_text_reads_as_an_option_or_as_none(text: str, options: list[str]) -> None:
    reading = parse_answer(text, options)
    assert reading.chosen is None or 0 <= reading.chosen < len(options)
    assert reading.reason


@settings(max_examples=60)
@given(st.sampled_from("ABCDEFGHIJ"), st.integers(2, 10))
def test_a_letter_beyond_the_options_is_unparsed(letter: str, count: int) -> None:
    options = [f"substance number {number}" for number in range(11, 11 + count)]
    expected = LETTERS.index(letter) if LETTERS.index(letter) < count else None
    for text in (letter, f"({letter.lower()})", f"Answer: {letter}.", f"**{letter}**"):
        assert parse_answer(text, options).chosen == expected


# fmt: off
NAMES = st.sampled_from([
    "Ganciclovir", "Wilson disease", "Squamous cell carcinoma", "Haemolytic uraemic syndrome",
    "Guillain-Barré syndrome", "Type II pneumocytes", "Human papillomavirus 16", "Vitamin K",
    "Closure of the aortic valve", "Ménière disease", "Fall in temperature", "IgA nephropathy",
    "Rise in red cell 2,3-BPG", "100 mg", "β-blocker", "Necrotising enterocolitis", "> 5 cm",
    "Thyromental distance of 4 cm", "Wrinkled 'washerwoman' skin of the palms", "E. coli",
    "Posterior shoulder dislocation", "Staphylococcus aureus", "Second molar", "Factor XIII",
])
# fmt: on
QUESTIONS = st.lists(NAMES, min_size=2, max_size=5, unique=True)
STEMS = st.sampled_from(
    [
        "Which of these is NOT a cause of {}?",
        "A man of 60 has {}. What is the diagnosis?",
        "All of the following are found in {} EXCEPT:",
        "The commonest finding beside {} is:",
    ]
)


@settings(max_examples=120)
@given(QUESTIONS, st.data())
def test_letter_and_text_are_read_together(options: list[str], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(options) - 1))
    other = data.draw(st.integers(0, len(options) - 1))
    letter, text = LETTERS[index], options[other]
    expected = index if index == other else None
    for form in (f"{letter}. {text}", f"({letter}) {text}", f"{text} ({letter})"):
        for said in (form, f"The answer is: {form}", f"**{form}**", f"{form}<|im_end|>"):
            assert parse_answer(said, options).chosen == expected, said


@settings(max_examples=120)
@given(QUESTIONS, st.data())
def test_what_is_announced_is_read_and_what_is_denied_is_not(
    options: list[str], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(options) - 1))
    letter, text = LETTERS[index], options[index]
    for said in (f"The answer is: {text}", f"Answer: {text}.", f"The diagnosis is:\n{text}"):
        assert parse_answer(said, options).chosen == index, said
    answers = (letter, text)
    denied = [f"{lead} {said}" for said in answers for lead in ("not", "The answer is not")]
    denied += [f"{said} {end}" for said in answers for end in ("is wrong.", "is incorrect.")]
    for said in (*denied, f"It is not {text}.", f"I do not think that the answer is {letter}."):
        assert parse_answer(said, options).chosen is None, said


@settings(max_examples=80)
@given(QUESTIONS, STEMS, st.data())
def test_an_echo_of_the_question_is_never_an_answer(
    options: list[str], stem: str, data: st.DataObject
) -> None:
    stem = stem.format(data.draw(st.sampled_from(["fever", "gout", *options])))
    listed = "\n".join(f"{c}. {o}" for c, o in zip(LETTERS, options, strict=False))
    for said in (stem, f"{stem}\n{listed}", f"Question: {stem}\n{listed}"):
        assert parse_answer(said, options).chosen is None, said


@settings(max_examples=120)
@given(QUESTIONS, st.text() | st.lists(WORDS | MARKS | NAMES).map(" ".join), st.data())
def test_permuting_the_options_permutes_the_reading(
    options: list[str], text: str, data: st.DataObject
) -> None:
    # A letter names a place in the order, a text does not.
    assume(not set(normalize_for_matching(text).split()) & set("abcdefghij"))
    order = data.draw(st.permutations(range(len(options))))
    shown = [options[index] for index in order]
    chosen, moved = parse_answer(text, options).chosen, parse_answer(text, shown).chosen
    assert (chosen is None) == (moved is None)
    assert chosen is None or moved is None or options[chosen] == shown[moved]


@settings(max_examples=150)
@given(QUESTIONS, st.data())
def test_one_edit_never_reads_as_another_option(options: list[str], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(options) - 1))
    text = options[index]
    place = data.draw(st.integers(0, len(text) - 1))
    put = data.draw(st.sampled_from(["", *"aeioxrst"]))
    edited = text[:place] + put + text[place + data.draw(st.integers(0, 1)) :]
    for said in (edited, f"The answer is: {edited}"):
        assert parse_answer(said, options).chosen in (index, None), said


@settings(max_examples=50)
@given(st.permutations(range(4)))
def test_the_text_read_does_not_depend_on_the_order(order: list[int]) -> None:
    assume(order != [0, 1, 2, 3])
    shown = [VIRAL[index] for index in order]
    for text in ("Ganciclovir is best.", "The answer is: Ganciclovir", "Gancicloviir"):
        chosen = parse_answer(text, shown).chosen
        assert chosen is not None
        assert shown[chosen] == "Ganciclovir"
