"""Check digits: whether a row of digits can be what it looks like."""

from __future__ import annotations

_VERHOEFF = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_PLACES = (
    "0123456789", "1576283094", "5803796142", "8916043527", "9453126870",
    "4286573901", "2793806415", "7046913258",
)  # fmt: skip


def digits(text: str) -> str:
    """Keep the digits of a text."""
    return "".join(sign for sign in text if sign.isdigit())


def luhn(text: str) -> bool:
    """Tell whether payment cards could have this number (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits(text))):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def verhoeff(text: str) -> bool:
    """Tell whether India's Aadhaar could have this number (Verhoeff 1969)."""
    check = 0
    for place, digit in enumerate(reversed(digits(text))):
        check = int(_VERHOEFF[check][int(_PLACES[place % 8][int(digit)])])
    return check == 0


def nhs(text: str) -> bool:
    """Tell whether England's NHS could have this number (modulus 11)."""
    row = digits(text)
    rest = sum(int(digit) * weight for digit, weight in zip(row, range(10, 1, -1), strict=False))
    return len(row) == 10 and (11 - rest % 11) % 11 == int(row[9])


def kvnr(text: str) -> bool:
    """Tell whether German health insurance could have this number (letter, eight digits, check)."""
    row = f"{ord(text[0]) - ord('A') + 1:02d}{text[1:]}"
    total = 0
    for place, digit in enumerate(row[:10]):
        value = int(digit) * (1 + place % 2)
        total += value // 10 + value % 10
    return total % 10 == int(row[10])
