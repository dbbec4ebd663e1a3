"""Check digits of identifiers."""

from __future__ import annotations

import unicodedata

import stdnum.gb.nhs
import stdnum.luhn
import stdnum.verhoeff


def keep_digits(text: str) -> str:
    """Keep the digits of a text, those of other scripts as 0 to 9."""
    return "".join(str(unicodedata.digit(sign)) for sign in text if sign.isdigit())


def is_luhn_valid(text: str) -> bool:
    """Return whether a payment card number is valid (Luhn, ISO/IEC 7812-1, annex B)."""
    return stdnum.luhn.is_valid(keep_digits(text))


def is_verhoeff_valid(text: str) -> bool:
    """Return whether an Indian Aadhaar number is valid (Verhoeff 1969)."""
    return stdnum.verhoeff.is_valid(keep_digits(text))


def is_nhs_number(text: str) -> bool:
    """Return whether an NHS number of England is valid (modulus 11)."""
    return stdnum.gb.nhs.is_valid(keep_digits(text))


def is_kvnr(text: str) -> bool:
    """Return whether a German health insurance number is valid (letter, eight digits, check)."""
    row = f"{ord(text[0]) - ord('A') + 1:02d}{text[1:]}"
    total = 0
    for place, digit in enumerate(row[:10]):
        value = int(digit) * (1 + place % 2)
        total += value // 10 + value % 10
    return total % 10 == int(row[10])
