"""Check digits: whether a row of digits can be what it looks like."""

from __future__ import annotations

import unicodedata

import stdnum.gb.nhs
import stdnum.luhn
import stdnum.verhoeff


def digits(text: str) -> str:
    """Keep the digits of a text, those of other scripts as 0 to 9."""
    return "".join(str(unicodedata.digit(sign)) for sign in text if sign.isdigit())


def luhn(text: str) -> bool:
    """Tell whether payment cards could have this number (ISO/IEC 7812-1, annex B)."""
    return stdnum.luhn.is_valid(digits(text))


def verhoeff(text: str) -> bool:
    """Tell whether India's Aadhaar could have this number (Verhoeff 1969)."""
    return stdnum.verhoeff.is_valid(digits(text))


def nhs(text: str) -> bool:
    """Tell whether England's NHS could have this number (modulus 11)."""
    return stdnum.gb.nhs.is_valid(digits(text))


def kvnr(text: str) -> bool:
    """Tell whether German health insurance could have this number (letter, eight digits, check)."""
    row = f"{ord(text[0]) - ord('A') + 1:02d}{text[1:]}"
    total = 0
    for place, digit in enumerate(row[:10]):
        value = int(digit) * (1 + place % 2)
        total += value // 10 + value % 10
    return total % 10 == int(row[10])
