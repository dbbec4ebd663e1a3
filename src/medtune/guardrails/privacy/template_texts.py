"""Fill templates with names, addresses and telephone numbers of many countries.

Half of the names are Faker's, half are of lists by region that were written for this project;
addresses and numbers are Faker's.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from medtune.core.records import Record
from medtune.guardrails.benchmark.labelled_lines import DATA_DIR
from medtune.guardrails.privacy.tagger import TAGGED_KINDS

LATIN = tuple(
    "en_GB en_US en_IE en_AU en_NZ en_CA en_IN en_PK en_BD en_KE en_NG en_PH en_TH ha_NG ig_NG "
    "yo_NG tw_GH zu_ZA sw id_ID fil_PH vi_VN tr_TR az_AZ uz_UZ es_ES es_MX es_CO es_AR es_CL pt_BR "
    "pt_PT it_IT fr_FR fr_CA de_DE de_CH nl_NL nl_BE sv_SE da_DK no_NO fi_FI is_IS et_EE lt_LT "
    "lv_LV pl_PL cs_CZ sk_SK hu_HU ro_RO hr_HR sl_SI ga_IE sq_AL mt_MT".split()
)
"""Faker's languages with names in Latin letters."""
ROMANIZED = ("ja_JP", "zh_CN", "zh_TW")
"""Languages of which Faker has romanized names."""
OTHER_SCRIPTS = tuple(
    "ru_RU uk_UA bg_BG el_GR he_IL ar_EG fa_IR hi_IN ta_IN bn_BD ja_JP zh_CN ko_KR th_TH".split()
)
OTHER_SCRIPTS_SHARE = 0.06
"""Share of the texts with names in other scripts."""
LISTED_SHARE = 0.5
"""Share of the texts in Latin letters whose names are of the lists by region."""
LOWER_SHARE, UPPER_SHARE = 0.1, 0.03
"""Shares of the texts that are written in lower case, and in capitals."""
_FIELD = re.compile(r"\{(\w+)(?:\|(\w+))?\}")
TAG = re.compile(rf"<(/?)({'|'.join(TAGGED_KINDS)})>")
"""Mark at the beginning or end of an identifier."""
_CASES: dict[str | None, Callable[[str], str]] = {
    None: str,
    "upper": str.upper,
    "lower": str.lower,
    "title": str.title,
}
_METHODS = {
    "given": "first_name",
    "given_m": "first_name_male",
    "given_f": "first_name_female",
    "family": "last_name",
    "building": "building_number",
    "street": "street_address",
    "city": "city",
    "region": "state",
    "postcode": "postcode",
    "phone": "phone_number",
}
"""Faker's method for each placeholder."""
_LISTED_FIELDS = ("given", "given_m", "given_f", "family")
_LATIN_LETTER = re.compile("[a-z\u00df-\u024f\u1e00-\u1eff]")
_LIST = re.compile(r"(first|last)_.*names?(?:_\w+)?")


class NameLists(Record):
    """Names of one region of the world, romanized as its people write them."""

    given_m: tuple[str, ...]
    given_f: tuple[str, ...]
    family: tuple[str, ...]

    @cached_property
    def given(self) -> tuple[str, ...]:
        """All given names."""
        return self.given_m + self.given_f


def load_name_lists() -> list[NameLists]:
    """Load the lists of names, by region."""
    paths = sorted((DATA_DIR / "examples" / "names").glob("*.json"))
    return [NameLists.model_validate_json(path.read_bytes()) for path in paths]


@dataclass(frozen=True, slots=True)
class TaggedText:
    """A text with its identifiers, each as kind, start and end."""

    text: str
    spans: tuple[tuple[str, int, int], ...] = ()


class TemplateFiller:
    """Fills templates; the same seed gives the same texts."""

    def __init__(self, seed: int) -> None:
        from faker import Faker

        self._random = random.Random(seed)
        codes = dict.fromkeys((*LATIN, *ROMANIZED, *OTHER_SCRIPTS))
        self._fakers: dict[str, Any] = {code: Faker(code) for code in codes}
        for place, faker in enumerate(self._fakers.values()):
            faker.seed_instance(seed + place)
        self._lists = load_name_lists()

    def list_names(self) -> tuple[set[str], set[str]]:
        """Return all given names and all surnames in Latin letters, in lower case."""
        found: dict[str, set[str]] = {
            "first": _list_words(name for some in self._lists for name in some.given),
            "last": _list_words(name for some in self._lists for name in some.family),
        }
        for code in (*LATIN, *ROMANIZED):
            for provider in self._fakers[code].get_providers():
                for name in dir(provider) if ".person." in type(provider).__module__ else ():
                    match, values = _LIST.fullmatch(name), getattr(provider, name)
                    if match is None or callable(values):
                        continue
                    found[match[1]] |= _list_words(map(str, values))
        return found["first"], found["last"]

    def fill(self, template: str) -> TaggedText:
        """Replace a template's placeholders, and read its marks.

        All names of a text are of one country or region. Some texts are written in lower case or
        capitals.
        """
        code, names = self._random.choice((*LATIN, *ROMANIZED)), None
        if "|" not in template and self._random.random() < OTHER_SCRIPTS_SHARE:
            code = self._random.choice(OTHER_SCRIPTS)
        elif self._random.random() < LISTED_SHARE:
            names = self._random.choice(self._lists)
        filled = _FIELD.sub(
            lambda match: _CASES[match[2]](self._draw(match[1], code, names)), template
        )
        text, spans, copied, start = "", [], 0, 0
        for mark in TAG.finditer(filled):
            text += filled[copied : mark.start()]
            copied = mark.end()
            if mark[1]:
                spans.append((mark[2], start, len(text)))
            start = len(text)
        text += filled[copied:]
        case = self._random.random()
        if case < LOWER_SHARE + UPPER_SHARE:
            other = text.lower() if case < LOWER_SHARE else text.upper()
            text = other if len(other) == len(text) else text
        return TaggedText(text, tuple(spans))

    def _draw(self, field: str, code: str, names: NameLists | None) -> str:
        """Return what stands for a placeholder."""
        if names is not None and field in _LISTED_FIELDS:
            return str(self._random.choice(getattr(names, field)))
        if field == "initial":
            return self._random.choice("ABCDEFGHIJKLMNOPRSTUVWYZ")
        if field == "ext":
            return str(self._random.randrange(10, 9999))
        method = _METHODS[field]
        if code in ROMANIZED and method.endswith("name"):
            method = "last_romanized_name" if field == "family" else "first_romanized_name"
        for faker in (self._fakers[code], self._fakers["en_GB"]):
            # Faker has no addresses of some languages, and states of few.
            for name in (method, "city" if field == "region" else method):
                if (draw := getattr(faker, name, None)) is not None:
                    return str(draw()).replace("\n", ", ")
        raise ValueError(f"Faker draws no {field}")


def _list_words(names: Iterable[str]) -> set[str]:
    """Return the words of names in Latin letters, in lower case."""
    words = re.findall(r"[^\W\d_]{2,}", " ".join(names).casefold())
    return {word for word in words if _LATIN_LETTER.match(word)}
