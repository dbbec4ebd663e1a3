from __future__ import annotations

import json
import math
import re
import time
import unicodedata
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from medtune.data.cleaning.normalize_text import (
    clean_text,
    contains_image,
    has_damaged_encoding,
    shorten_for_message,
)

KINDS = {
    "line ends",
    "control characters",
    "HTML entities",
    "HTML tags",
    "spaces",
    "Unicode NFC",
}
# What goes wrong in cells, in pieces that can meet inside each other.
PIECES = st.sampled_from(
    [
        *("a", "é", "e\u0301", "\u0301", "\u1100\u1161", "Å", "10", "7", "<", ">", "&", ";", "="),
        *("<b>", "</b>", "<br>", "<br/>", "< p>", "<sup>", "</sup>", "<sub>2</sub>", "<img src=x>"),
        *("<a href='x'>", '<a href="', "<p class=x>", "<o:p>", "<7", ">3", "<i", "b>", "/"),
        *("&amp;", "&lt;", "&gt;", "&nbsp;", "&#8722;", "&#x3c;", "&amp", "amp;", "lt;", "&bogus;"),
        *("\u00a0", "\u2028", "\u200b", "\ufeff", "\u202e", "\u00ad", "\x00", "\x85", "\ud83d"),
        *(" ", "  ", "\t", "\n", "\r\n", "\r", "\x0b", "\x0c", "\ufffd", "Ã©"),
    ]
)


@pytest.mark.parametrize(
    ("raw", "text", "kinds"),
    [
        ("plain", "plain", []),
        ("two words", "two words", []),
        ("β≥α, naïve", "β≥α, naïve", []),
        (" at both ends\n", "at both ends", []),
        # Line ends
        ("a\r\nb\rc", "a\nb\nc", ["line ends"]),
        ("a\x0bb\x0cc", "a\nb\nc", ["line ends"]),
        # Control characters
        ("a\tb", "a b", ["control characters"]),
        ("a\x00b\x07c", "abc", ["control characters"]),
        ("Aspi\u00adrin\u200b", "Aspirin", ["control characters"]),
        ("\u202eright\u202c \u2066left\u2069", "right left", ["control characters"]),
        ("half \ud83d", "half", ["control characters"]),
        # Joiners carry meaning in some scripts.
        ("می\u200cخواهم", "می\u200cخواهم", []),
        # Entities
        ("AT&amp;T", "AT&T", ["HTML entities"]),
        ("&lt;7 and &gt;3", "<7 and >3", ["HTML entities"]),
        ("&#946;&#x3b1;&beta;", "βαβ", ["HTML entities"]),
        ("&amp;amp;lt;7", "<7", ["HTML entities"]),
        ("a&nbsp;b", "a b", ["HTML entities", "spaces"]),
        ("R&D; S&P;", "R&D; S&P;", []),
        ("AT&T", "AT&T", []),
        # Tags
        ("<p>One</p><p>Two</p>", "One\nTwo", ["HTML tags", "spaces"]),
        ("a<br>b<BR />c", "a\nb\nc", ["HTML tags"]),
        ("<ul><li>a</li></ul>", "a", ["HTML tags", "spaces"]),
        ("<B>bold</B> <i>it</i>", "bold it", ["HTML tags"]),
        ('<a href="x.html">see</a>', "see", ["HTML tags"]),
        ("<td colspan=2>x</td>", "x", ["HTML tags"]),
        ("&lt;b&gt;x&lt;/b&gt;", "x", ["HTML entities", "HTML tags"]),
        ('see <a href=" the vein', "see  the vein".replace("  ", " "), ["HTML tags", "spaces"]),
        # Raised and lowered
        ("10<sup>6</sup>", "10^6", ["HTML tags"]),
        ("10<sup>&minus;6</sup>", "10^−6", ["HTML entities", "HTML tags"]),
        ("10<sup> -10.5 </sup>", "10^-10.5", ["HTML tags"]),
        ("10<sup><b>6</b></sup>", "10^6", ["HTML tags"]),
        ('10<sup style="x">6</sup>', "10^6", ["HTML tags"]),
        ("(10)<sup>6</sup>", "(10)^6", ["HTML tags"]),
        ("Na<sup>+</sup>", "Na^+", ["HTML tags"]),
        ("CO<sub>2</sub>", "CO2", ["HTML tags"]),
        ("<sup>6</sup>", "6", ["HTML tags"]),
        ("10<sup>6", "106", ["HTML tags"]),
        # Spaces
        ("a  b\u2003c", "a b c", ["spaces"]),
        ("a \n\n b", "a\nb", ["spaces"]),
        # NFC
        ("cafe\u0301", "café", ["Unicode NFC"]),
        ("\u212b", "Å", ["Unicode NFC"]),
        # A character that is removed brings two others together.
        ("e\u200b\u0301", "é", ["Unicode NFC", "control characters"]),
        ("<\u200bb>x", "x", ["HTML tags", "control characters"]),
        ("<<b>b>x", "x", ["HTML tags"]),
        ("&am<b></b>p;", "&", ["HTML entities", "HTML tags"]),
    ],
)
def test_what_is_changed_in_a_text_is_counted_once_by_kind(
    raw: str, text: str, kinds: list[str]
) -> None:
    changes: Counter[str] = Counter()
    assert clean_text(raw, changes) == text
    assert sorted(changes.elements()) == sorted(kinds)


@pytest.mark.parametrize(
    "text",
    [
        "<7 and >3",
        "pH<7.35 or >7.45",
        "a<b and c>d",
        "S<P and P>Q",
        "A <B or C> D",
        "p <p of the other> x",
        "I<I and U>U",
        "<or =5 lesions compared with>",
        "<GFR and clearance>",
        "x <- y -> z",
        "<= 5 and >= 3",
        "if <a = 3 and b> then",
        "<7>",
        "<>",
        "1 < p",
    ],
)
def test_a_comparison_is_no_tag(text: str) -> None:
    assert clean_text(text) == text


@given(st.lists(PIECES, max_size=12).map("".join))
@example("<<b>b>")
@example("&amp;lt;img src=x&amp;gt;")
@example("&amp;#38;lt;")
@settings(max_examples=500)
def test_a_tidied_text_is_normal_and_nothing_more_is_found_to_change(raw: str) -> None:
    changes: Counter[str] = Counter()
    text = clean_text(raw, changes)
    again: Counter[str] = Counter()
    assert clean_text(text, again) == text
    assert not again
    assert text == unicodedata.normalize("NFC", text)
    assert text == text.strip()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]|[^\S\n]{2}|\n\n", text)
    text.encode()
    # Each cell counts once per kind, and a cell that changed counts.
    assert set(changes) <= KINDS
    assert set(changes.values()) <= {1}
    assert changes or text == raw.strip()


@given(st.text())
def test_any_text_can_be_tidied(raw: str) -> None:
    text = clean_text(raw)
    assert clean_text(text) == text
    text.encode()


@given(st.text(st.characters(codec="ascii", exclude_characters="<&", exclude_categories=["Cc"])))
def test_plain_words_stay_as_they_are_but_for_spaces(raw: str) -> None:
    assert clean_text(raw) == " ".join(raw.split())


def test_counts_add_up_over_cells() -> None:
    changes: Counter[str] = Counter({"spaces": 5})
    for raw in ("a  b", "c", "<b>d</b>", "e   f <i></i> g"):
        clean_text(raw, changes)
    assert changes == {"spaces": 7, "HTML tags": 2}


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (None, ""),
        (math.nan, ""),
        (0, "0"),
        (-1, "-1"),
        (2.0, "2.0"),
        (True, "True"),
        ("na\u00efve".encode(), "na\u00efve"),
        (b"na\xefve", "na\ufffdve"),
    ],
)
def test_a_cell_that_is_no_text_becomes_one(raw: object, text: str) -> None:
    assert clean_text(raw) == text


@pytest.mark.parametrize(
    "raw",
    [
        "&" + "amp;" * 100_000 + "lt;",
        "<" * 1200 + "b>" * 1200,
        "<a " * 20_000,
        "<p class" * 20_000,
        "&" * 100_000,
        " \n" * 100_000,
        "a\u0301" * 50_000,
        "10<sup>" * 20_000,
    ],
    ids=[
        "encoded again",
        "nested",
        "open tags",
        "half tags",
        "signs",
        "lines",
        "accents",
        "raised",
    ],
)
def test_a_hostile_cell_is_tidied_in_a_moment(raw: str) -> None:
    started = time.thread_time()
    text = clean_text(raw)
    assert clean_text(text) == text
    contains_image(raw)
    assert time.thread_time() - started < 5


# Pictures


@pytest.mark.parametrize(
    "cell",
    [
        '<img src="ecg.png">',
        "What is shown? <IMG SRC=x/> Name it.",
        "<img>",
        '<img src="',
        "&lt;img src=x&gt;",
        "&amp;lt;img src=x&amp;gt;",
        "&#60;img src=x>",
        "<\u200bimg src=x>",
        "<im\u200bg src=x>",
    ],
)
def test_a_picture_is_seen_however_it_is_written(cell: str) -> None:
    assert contains_image(cell)


@pytest.mark.parametrize(
    "cell", ["", "img", "<imgs>", "<i>mg</i>", "< img", "5 <imgA", "&lt;7", None, math.nan, 7, b"x"]
)
def test_what_is_no_picture_is_not_taken_for_one(cell: object) -> None:
    assert not contains_image(cell)


@given(st.lists(PIECES, max_size=8).map("".join), st.lists(PIECES, max_size=8).map("".join))
def test_a_picture_stays_a_picture_among_anything(before: str, after: str) -> None:
    assert contains_image(f"{before} <img src=x> {after}")


# Damage


@pytest.mark.parametrize(
    "text",
    ["F\u00c3\u00a9ver", "37 \u00c2\u00b0C", "\u00e2\u20ac\u0153x", "na\ufffdve", "ï¿½", "aEURoe"],
)
def test_text_in_a_wrong_encoding_is_noticed(text: str) -> None:
    assert has_damaged_encoding(text)


@pytest.mark.parametrize("text", ["Fever", "37 °C", "naïve", "Ãngela", "“x”", "Â", "", "αβγ"])
def test_sound_text_is_not_called_damaged(text: str) -> None:
    assert not has_damaged_encoding(text)


# Messages


def test_a_cell_in_a_message_is_written_as_python_has_it_and_cut_off() -> None:
    assert shorten_for_message("x'y") == '"x\'y"'
    assert shorten_for_message(None) == "None"
    assert shorten_for_message("x" * 78) == repr("x" * 78)
    assert shorten_for_message("x" * 79) == "'" + "x" * 78 + "…"
    assert len(shorten_for_message(json.loads("[" * 50 + "]" * 50), 40)) == 40
