from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtune.core.schemas.guardrails import Inquiry
from medtune.guardrails.privacy.check_digits import (
    is_kvnr,
    is_luhn_valid,
    is_nhs_number,
    is_verhoeff_valid,
)
from medtune.guardrails.privacy.identifiers import find_identifiers, redact_inquiry


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Mr Desmond Okafor, 67, has pain", [("name", "Desmond Okafor")]),
        ("seen by Dr. Priya Raman", [("name", "Priya Raman")]),
        ("my wife Lieve was there", [("name", "Lieve")]),
        ("The form says Winifred Oakhurst came", [("name", "Winifred Oakhurst")]),
        ("call +44 113 496 0465 now", [("phone", "+44 113 496 0465")]),
        ("mobile 07700 900318", [("phone", "07700 900318")]),
        ("write to a.b+c@clinic.example today", [("email", "a.b+c@clinic.example")]),
        ("MRN: 00482913, stable", [("record", "00482913")]),
        ("DOB 03/11/1949, female", [("birth", "03/11/1949")]),
        ("born on 5 May 1980 in Bonn", [("birth", "5 May 1980")]),
        ("mr rahman is in bay 3", [("name", "rahman")]),
        ("Okonkwo, Chidi (bed 4) slept", [("name", "Okonkwo, Chidi")]),
        ("Mrs J Abiola, TAH", [("name", "J Abiola")]),
        ("Mr Wilson's seizures stopped", [("name", "Wilson")]),
        ("The child, Olumide, aged 3, limps", [("name", "Olumide")]),
        ("Notes of KLM^ADA were lost", [("name", "KLM^ADA")]),
        (
            "MRN 00-33-41-87, merged with 00-38-12-45",
            [("record", "00-33-41-87"), ("record", "00-38-12-45")],
        ),
        ("Lab no. HS/24/10233 came", [("record", "HS/24/10233")]),
        ("Ana Kovac (12/05/1961) came", [("name", "Ana Kovac"), ("birth", "12/05/1961")]),
        ("hi im sarah jones and my son tom has a rash", [("name", "sarah jones"), ("name", "tom")]),
        ("1/2/1990 is her birthday", [("birth", "1/2/1990")]),
        ("my page www.my-page.example/me here", [("web", "www.my-page.example/me")]),
        ("seen from 192.0.2.44 at night", [("web", "192.0.2.44")]),
        ("posted by @dizzy_anna today", [("web", "@dizzy_anna")]),
        ("Passport PA4471820 was copied", [("document", "PA4471820")]),
        ("serial no. RTX-663201H, two shocks", [("device", "RTX-663201H")]),
        ("bleep 4417 please", [("phone", "4417")]),
        ("My back hurts. Geraint Llewellyn-Foss.", [("name", "Geraint Llewellyn-Foss")]),
        ("SSN 612-05-3874 on file", [("insurance", "612-05-3874")]),
        ("lives at 12 Harbour Road, Hull HU7 4DT", [("address", "12 Harbour Road, Hull HU7 4DT")]),
    ],
)
def test_identifiers_are_found(text: str, found: list[tuple[str, str]]) -> None:
    assert [(f.kind, text[f.start : f.end]) for f in find_identifiers(text)] == found


@pytest.mark.parametrize(
    "text",
    [
        "Kernohan's notch is seen in uncal herniation",
        "Dr. Apgar's score at 5 minutes was 9",
        "Austin Flint murmur and Graham Steell murmur",
        "Werner Syndrome, Marfan syndrome and Down syndrome",
        "Give 0.5-1.5 mg; INR 2.0-3.0; 120/80; T2N1M0; E11.9; PMID 99123456",
        "Ruth Race and Karl Landsteiner wrote on groups. Ann Intern Med. 2005;142(3):233-9",
        "Ja",
        "Ramesh",
        "Какой витамин предотвращает цингу?",
        "कौन सा विटामिन स्कर्वी को रोकता है?",
        "壊血病を予防するビタミンはどれか。",
        "Welches Vitamin verhindert Skorbut? Ein 45-jähriger Mann klagt über Brustschmerzen.",
        "He has Crohn's and she has Graves'; May and June; 10-May; Ludwig's angina",
        "EC 3.4.21.5 is thrombin; see https://doi.org/10.1000/xyz123; PF-06463922; NCT01234567",
        "the mr angiography and a mr scan; 08:00-16:00; I.V. Dextrose",
        "a 1:10,000 dilution, 2019; 393: 1201-9, ab-104225",
        "Mr of 66,500 and a Miss-sense change; MS and Ms spectra",
        "the 2010 WHO criteria in a 22-year-old street vendor",
    ],
)
def test_eponyms_and_numbers_stay(text: str) -> None:
    assert find_identifiers(text) == []


PIECES = (
    "MRN 00-33-41-87", "00-38-12-45", "Mr Karl Weber", "+44 161 496 0000", "12/05/1961", "in Leeds",
    "AB123456", "ext 22", "Mr Karl Weber (12-05-1961)", "Hospital no 10-04-1961",
)  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=8).map(", ".join))
def test_what_is_tagged_and_what_has_a_format_do_not_overlap(text: str) -> None:
    assert all(a.end <= b.start for a, b in pairwise(find_identifiers(text)))


@pytest.mark.parametrize("before", ["", "a b " * 200, "word " * 500])
def test_a_link_is_found_whole_however_long(before: str) -> None:
    link = f"https://portal.example.org/patients/{'a1b2/' * 300}SECRET"
    (found,) = find_identifiers(f"{before}{link} and more")
    assert (found.kind, found.end - found.start) == ("web", len(link))


def test_the_same_gets_the_same_mark_and_options_stay_apart() -> None:
    asked = Inquiry(
        stem="Mr Karl Weber and Mrs Ana Weber were seen. Mr Karl Weber is",
        options=("Mr Karl Weber", "Mrs Ana Weber", "ill"),
    )
    clean = redact_inquiry(asked)
    assert clean.stem == "Mr [name 1] and Mrs [name 2] were seen. Mr [name 1] is"
    assert clean.options == ("Mr [name 1]", "Mrs [name 2]", "ill")
    assert redact_inquiry(Inquiry(stem="Nothing here", options=("a", "b"))).stem == "Nothing here"


def test_check_digits() -> None:
    # Published specimens: Visa's test number, Verhoeff's example 2363, the NHS's 943 476 5919.
    assert is_luhn_valid("4111 1111 1111 1111")
    assert not is_luhn_valid("4111 1111 1111 1112")
    assert is_verhoeff_valid("2363")
    assert not is_verhoeff_valid("2364")
    assert is_nhs_number("943 476 5919")
    assert not is_nhs_number("943 476 5918")
    assert is_luhn_valid("४१११ ११११ ११११ ११११")
    assert is_nhs_number("٩٤٣ ٤٧٦ ٥٩١٩")
    assert is_kvnr("A123456780")
    assert not is_kvnr("A123456781")


@given(st.text(max_size=400))
def test_any_text_is_read_and_spans_stand_apart(text: str) -> None:
    found = find_identifiers(text)
    assert all(0 <= f.start < f.end <= len(text) for f in found)
    assert all(a.end <= b.start for a, b in pairwise(found))
