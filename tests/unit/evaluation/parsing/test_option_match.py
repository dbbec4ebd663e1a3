from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medtune.evaluation.parsing.option_match import (
    find_mentioned_options,
    match_option,
    normalize_for_matching,
    option_spellings,
)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Vitamin  C.", "vitamin c"),
        ("VITAMIN-C", "vitamin c"),
        ("Ménière's", "menieres"),
        ("Burkitt’s lymphoma", "burkitts lymphoma"),
        ("β-blocker", "beta blocker"),
        ("Β-BLOCKER", "beta blocker"),  # a capital Greek beta
        ("5 µg", "5 microgram"),  # the micro sign and the Greek letter are one
        ("5 μg", "5 microgram"),
        ("5mcg", "5 microgram"),
        ("602 micrometres", "602 micrometer"),
        ("1.5 hrs", "1 point 5 hour"),
        ("mg of iron", "mg of iron"),  # no number: no unit
        ("10 mmol", "10 mmol"),
        ("The liver", "liver"),
        ("Rupture of the spleen", "rupture of spleen"),
        ("Hepatitis A", "hepatitis a"),
        ("AN", "an"),  # an abbreviation, not an article
        ("50 %", "50 percent"),
        ("Na+", "na plus"),
        ("< 5", "less than 5"),
        ("≥5", "at least 5"),
        ("-5 D", "minus 5 d"),
        ("5-10", "5 10"),
        ("0.5", "0 point 5"),
        (".5", "point 5"),
        ("↑ calcium", "increased calcium"),
        ("depression & mania", "depression and mania"),
        ("CO₂", "co2"),
        ("ﬁbrin", "fibrin"),
        ("Haemoglobin", "hemoglobin"),
        ("Oedema", "edema"),
        ("Oesophageal tumours", "esophageal tumors"),
        ("Luteinising", "luteinizing"),
        ("ionisation", "ionization"),
        ("litre", "liter"),
        ("Sulphonamide", "sulfonamide"),
        ("TOE", "toe"),  # an abbreviation: not TE
        ("four hours", "four hours"),
        ("disease", "disease"),
        ("...", ""),
        ("", ""),
    ],
)
def test_fold(text: str, folded: str) -> None:
    assert normalize_for_matching(text) == folded


@settings(max_examples=120)
@given(st.text())
def test_fold_leaves_words_with_single_spaces(text: str) -> None:
    assert normalize_for_matching(f" {text}\n") == normalize_for_matching(text)
    assert normalize_for_matching(text) == " ".join(normalize_for_matching(text).split())
    assert all(word.isalnum() for word in normalize_for_matching(text).split())


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ("Aspirin", {"aspirin"}),
        ("Factor VIII (antihemophilic)", {"factor viii antihemophilic", "factor viii"}),
        ("Hodgkin disease (HD)", {"hodgkin disease hd", "hodgkin disease", "hd"}),
        # EB does not spell "virus (EB)": no abbreviation of what stands before it.
        ("Some virus (EB)", {"some virus eb", "some virus"}),
        (
            "Lambert-Eaton myasthenic syndrome (LEMS)",
            {"lambert eaton myasthenic syndrome lems", "lambert eaton myasthenic syndrome", "lems"},
        ),
        ("(+)-Catechin", {"plus catechin", "catechin"}),
        ("...", set()),
    ],
)
def test_spellings(option: str, names: set[str]) -> None:
    assert option_spellings(option) == names


def test_the_options_own_text_beats_another_options_short_form() -> None:
    options = ("Lymphoma (Hodgkin)", "Lymphoma")
    assert match_option("Lymphoma", options) == 1
    assert match_option("lymphoma (hodgkin)", options) == 0


def test_a_short_form_of_two_options_names_neither() -> None:
    assert match_option("Lymphoma", ("Lymphoma (Hodgkin)", "Lymphoma (Burkitt)")) is None


def test_an_abbreviation_may_be_added_where_it_spells_the_words_before_it() -> None:
    options = ("Luteinising hormone", "Lymphoma", "Lymphoma (Burkitt)")
    assert match_option("Luteinizing hormone (LH)", options) == 0
    assert match_option("Luteinising hormone (FSH)", options) is None
    assert match_option("Lymphoma (Hodgkin)", options) is None


def test_options_that_fold_alike_are_never_told_apart() -> None:
    assert match_option("vitamin c", ("Vitamin C", "vitamin-C")) is None


def test_a_leading_article_may_be_added_but_no_name_is_lost() -> None:
    assert match_option("A stroke", ("Stroke", "Sepsis")) == 0
    assert match_option("Vitamin", ("Vitamin A", "Vitamin B")) is None
    assert match_option("A band", ("A band", "I band")) == 0


@pytest.mark.parametrize(
    "pair",
    [
        ("hypothyroidism", "hyperthyroidism"),
        ("hypoparathyroidism", "hyperparathyroidism"),
        ("abduction", "adduction"),
        ("afferent", "efferent"),
        ("osteoblast", "osteoclast"),
        ("peroneal nerve", "perineal nerve"),
        ("systolic", "asystolic"),
        ("typical", "atypical"),
        ("intracellular", "intercellular"),
        ("glomerulonephritis", "glomerulonephrosis"),
        ("galactose", "galactase"),
        ("dysphagia", "dysphasia"),
        ("increased cardiac output", "decreased cardiac output"),
        ("alpha receptor", "beta receptor"),
        ("10 milligrams", "100 milligrams"),
        ("interleukin 1", "interleukin 2"),
        ("interleukin1", "interleukin11"),
    ],
)
def test_no_misspelling_crosses_to_another_meaning(pair: tuple[str, str]) -> None:
    for said, option in (pair, pair[::-1]):
        assert match_option(said, (option, "Something else entirely")) is None
        assert match_option(said, (option, said)) == 1


@pytest.mark.parametrize(
    "said",
    ["ganciclovr", "gancicloovir", "gancicolvir", "GANCICLOVR.", "the ganciclovr"],
)
def test_one_slip_in_a_long_word_is_forgiven(said: str) -> None:
    assert match_option(said, ("Ganciclovir", "Foscarnet")) == 0


@pytest.mark.parametrize("said", ["gancclovr", "xganciclovir", "gancicluvir", "ganci clovir"])
def test_more_than_a_slip_is_not(said: str) -> None:
    assert match_option(said, ("Ganciclovir", "Foscarnet")) is None


def test_no_slip_is_forgiven_beside_a_near_option() -> None:
    assert match_option("acyclovirr", ("Acyclovir", "Foscarnet")) == 0
    # hyperglycmia -> hypoglycemia: e to o, r dropped, e added: 3 edits
    assert match_option("hyperglycmia", ("Hyperglycemia", "Hypoglycemia")) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("pain", {0}),
        ("severe chest pain", {1}),
        ("chest pain and pain elsewhere", {0, 1}),
        ("painful", set()),
        ("Fever, with chest pain", {1, 2}),
        ("", set()),
    ],
)
def test_mentioned_options(text: str, found: set[int]) -> None:
    assert find_mentioned_options(text, ("Pain", "Chest pain", "Fever")) == found


def test_an_option_that_stands_only_in_longer_ones_is_not_mentioned() -> None:
    assert find_mentioned_options("x y x y", ("y", "x y")) == {1}
