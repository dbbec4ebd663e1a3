"""Decide whether two similar questions are duplicates.

Text similarity alone cannot distinguish "which vitamin cures scurvy" from "which vitamin cures
beriberi": the labels are used as well, and a list of opposites that change a question's meaning.
"""

from __future__ import annotations

import re

from rapidfuzz import fuzz
from rapidfuzz.distance import DamerauLevenshtein

from medtune.core.schemas.dataset import DuplicateKind
from medtune.data.dedup.canonical_form import CanonicalQuestion, canonicalize_text, word_difference
from medtune.data.dedup.paraphrase import (
    FUNCTION_WORDS,
    expand_abbreviations,
    have_disjoint_content,
    share_content_words,
)

MIN_RATIO = 95.0
"""rapidfuzz ratio of stem and sorted options, in per cent."""
_MIN_OPTIONS_RATIO = 90.0
_OPPOSITES = [
    set(map(canonicalize_text, pair.split("/")))
    for pair in (
        "left/right increase/decrease increased/decreased increases/decreases high/low "
        "higher/lower highest/lowest raised/lowered male/female men/women man/woman boy/girl "
        "most/least more/less sensory/motor superior/inferior anterior/posterior medial/lateral "
        "proximal/distal upper/lower ascending/descending afferent/efferent early/late "
        "earliest/latest first/last first/second direct/indirect systolic/diastolic "
        "maximum/minimum benign/malignant internal/external acute/chronic before/after "
        "gain/loss arterial/venous artery/vein true/false correct/incorrect positive/negative "
        "sympathetic/parasympathetic agonist/antagonist dominant/recessive systemic/pulmonary "
        "primary/secondary flexion/extension flexor/extensor abduction/adduction inner/outer "
        "cause/treatment deficiency/excess deficiency/toxicity inspiration/expiration "
        "obstructive/restrictive oral/intravenous small/large fast/slow activates/inhibits "
        "stimulates/inhibits stimulation/inhibition induces/inhibits inducer/inhibitor "
        "diagnosis/treatment water/fat soluble/insoluble live/killed old/young adult/child "
        "adults/children mother/father common/rare commonest/rarest always/never with/without "
        "rise/fall rises/falls rising/falling opens/closes infant/adult neonate/adult "
        "best/worst longest/shortest largest/smallest superficial/deep dorsal/ventral"
    ).split()
]
# Prefixes that turn a word into its opposite: nothing else may differ.
_OPPOSITE_PREFIXES = [
    set(pair.split("/"))
    for pair in (
        "hyper/hypo intra/extra intra/inter macro/micro brady/tachy endo/exo endo/ecto "
        "ante/post pre/post anti/ in/ im/ un/ non/ a/ hyper/ hypo/ uni/bi mono/poly supra/infra "
        "sub/supra ab/ad oligo/poly poly/ oligo/ pro/anti homo/hetero iso/hyper iso/hypo "
        "eu/hyper eu/hypo pre/ post/ inter/ intra/ an/ bi/ uni/ ana/cata syn/ co/ re/ de/ "
        "de/re dis/"
    ).split()
]
_OPPOSITE_WORDS = frozenset().union(*_OPPOSITES)
_NUMERIC = re.compile(r"\d|^[ivx]+$")
_LETTER = re.compile(r"^[a-z]$")
_NUMBER = re.compile(rf"{_NUMERIC.pattern}|{_LETTER.pattern}")
# Uninformative right answers: two different questions may share them by chance.
_UNINFORMATIVE_ANSWERS = re.compile(
    r"(?:\b(?:all|none|both|any|neither|either|no|yes|true|false|maybe|[1-4]+|(?=[a-e])a?b?c?d?e?|"
    r"and|of|the|above|these|them|following|are|is|correct|options?)\b ?)+"
)
# Options that many questions have: "Type 2", "A and C".
_UNSPECIFIC_OPTIONS = re.compile(
    r"(?:\b(?:all|none|both|any|neither|either|no|yes|true|false|maybe|and|or|of|the|above|these|"
    r"options?|type|class|stage|grade|group|category|level|phase|zone|degree|[ivx]+|\d+[a-d]?|"
    r"[a-e]{1,5}\d?)\b ?)+"
)


def duplicate_kind(a: CanonicalQuestion, b: CanonicalQuestion) -> DuplicateKind | None:
    """Return the kind of duplicate of a pair; None if the questions differ.

    "exact": equal canonical stems and options (without case, punctuation, exam tags and order of
    options).  "near", each time with equal polarity and equal numbers in the stem:

    - equal stems, with the same informative right answer or at most one different option;
    - equal options, which are specific (not "Type 2"), the same right answer, and most content
      words shared (numbers may be missing in one stem);
    - equal options, stems equal up to spelling and inflection (labels may conflict);
    - equal options and no conflicting label, one word of the stem replaced (not the only content
      word, and not if the options are only "yes" and "no");
    - no conflicting label, and at least 95 % similarity of stem and options.

    A pair of opposites (left, right; hyper-, hypo-) makes a different question; so do opposites
    and numbers in another order, unless the answers agree.
    """
    if a.stem == b.stem and a.options == b.options:
        return "exact"
    if a.negated != b.negated:
        return None
    agree = _answers_agree(a, b)
    shared = len(set(a.options) & set(b.options))
    most = max(len(a.options), len(b.options))
    if a.stem == b.stem or remove_spaces(a.stem) == remove_spaces(b.stem):
        return "near" if _same_stem_duplicate(a, b, agree, shared, most) else None
    if answer_and_options(a) == answer_and_options(b) is not None and _is_paraphrase(a, b):
        return "near"
    only_a, only_b = word_difference(a.stem, b.stem)
    if _numbers(only_a) != _numbers(only_b) or _contains_opposites(only_a, only_b):
        return None
    reordered = not only_a and not only_b
    if reordered and not agree and _numbers_and_opposites(a.stem) != _numbers_and_opposites(b.stem):
        return None
    options_alike = shared == most or _options_similarity(a, b) >= MIN_RATIO
    if options_alike and _differ_in_spelling_only(only_a, only_b):
        return "near"
    if agree is False:
        return None
    if options_alike and _one_word_replaced(a, b, only_a, only_b):
        return "near"
    if shared < most - 1 and _options_similarity(a, b) < _MIN_OPTIONS_RATIO:
        return None
    return "near" if fuzz.ratio(a.full_text, b.full_text) >= MIN_RATIO else None


def answer_and_options(form: CanonicalQuestion) -> tuple[str | None, tuple[str, ...]] | None:
    """Return the right answer and the options, which paraphrases have in common.

    None if the options are unspecific, such as "Type 2" or "A and C".
    """
    if form.answer is None or all(map(_UNSPECIFIC_OPTIONS.fullmatch, form.options)):
        return None
    return form.answer, form.options


def answers_conflict(a: CanonicalQuestion, b: CanonicalQuestion) -> bool:
    """Return whether two duplicates have different right answers."""
    return _answers_agree(a, b) is False


def text_similarity(a: CanonicalQuestion, b: CanonicalQuestion) -> float:
    """Return the similarity of stem and sorted options: rapidfuzz ratio, 0 to 1."""
    return fuzz.ratio(a.full_text, b.full_text) / 100


def _same_stem_duplicate(
    a: CanonicalQuestion, b: CanonicalQuestion, agree: bool | None, shared: int, most: int
) -> bool:
    """Return whether questions with equal stems but different options are duplicates."""
    if agree and _is_informative(a.answer) and _is_informative(b.answer):
        return True
    if agree is False and a.answer in b.options and b.answer in a.options:
        # Both answers are options of both questions: the same question with two answers.
        return shared >= most - 1 and most > 2
    alike = _options_similarity(a, b) >= MIN_RATIO
    return alike or (shared >= most - 1 and most > 2 and agree is not False)


def _answers_agree(a: CanonicalQuestion, b: CanonicalQuestion) -> bool | None:
    """Return whether the right answers agree; None where one is not released."""
    if a.answer is None or b.answer is None:
        return None
    if a.answer == b.answer or remove_spaces(a.answer) == remove_spaces(b.answer):
        return True
    # A corrected typo is the same answer, unless both are options of one question.
    if a.answer in b.options or b.answer in a.options:
        return False
    only_a, only_b = word_difference(a.answer, b.answer)
    if _numbers(only_a) != _numbers(only_b) or _contains_opposites(only_a, only_b):
        return False
    others = len((set(a.options) & set(b.options)) - {a.answer, b.answer})
    all_others = others >= max(len(a.options), len(b.options)) - 1
    return all_others or fuzz.ratio(a.answer, b.answer) >= _MIN_OPTIONS_RATIO


def _options_similarity(a: CanonicalQuestion, b: CanonicalQuestion) -> float:
    if len(a.options) != len(b.options):
        return 0.0
    return fuzz.ratio("\n".join(a.options), "\n".join(b.options))


def _is_informative(text: str | None) -> bool:
    """Return whether an answer or option is informative, unlike "yes" or "all of the above"."""
    return text is not None and not _UNINFORMATIVE_ANSWERS.fullmatch(text)


def _one_word_replaced(
    a: CanonicalQuestion, b: CanonicalQuestion, only_a: list[str], only_b: list[str]
) -> bool:
    """Return whether one word was replaced by one or two words."""
    if not any(map(_is_informative, (*a.options, *b.options))):  # the options carry no information
        return False
    if have_disjoint_content(a.stem, b.stem):
        return False
    words = min(len(a.stem.split()), len(b.stem.split()))
    return words >= 3 and len(only_a) <= 2 and len(only_b) <= 2 and len(only_a) + len(only_b) <= 3


def _is_paraphrase(a: CanonicalQuestion, b: CanonicalQuestion) -> bool:
    """Return whether the stems are paraphrases: shared content, no opposites, equal numbers."""
    if not share_content_words(a.stem, b.stem, a.options):
        return False
    only_a, only_b = word_difference(
        expand_abbreviations(a.stem, b.stem), expand_abbreviations(b.stem, a.stem)
    )
    for numbers in (_NUMERIC, _LETTER):  # "hepatitis A" is not "hepatitis B"
        if any(map(numbers.search, only_a)) and any(map(numbers.search, only_b)):
            return False
    return not _contains_opposites(only_a, only_b)


def _differ_in_spelling_only(only_a: list[str], only_b: list[str]) -> bool:
    """Return whether stems differ only in spelling, inflection or function words."""
    left = [word for word in only_a if word not in FUNCTION_WORDS]
    right = [word for word in only_b if word not in FUNCTION_WORDS]
    if len(left) != len(right):
        return False
    return all(_similar_spelling(x, y) for x, y in zip(sorted(left), sorted(right), strict=True))


def _similar_spelling(x: str, y: str) -> bool:
    if min(len(x), len(y)) < 5:
        return False
    return DamerauLevenshtein.distance(x, y) <= (1 if max(len(x), len(y)) < 9 else 2)


def _numbers(words: list[str]) -> list[str]:
    return sorted(word for word in words if _NUMBER.search(word) and word not in FUNCTION_WORDS)


def _contains_opposites(only_a: list[str], only_b: list[str]) -> bool:
    """Return whether a word was replaced by its opposite."""
    left, right = set(only_a), set(only_b)
    for pair in _OPPOSITES:
        if (pair & left and pair & right) or (pair <= left | right):
            return True
    return any(_have_opposite_prefixes(x, y) for x in only_a for y in only_b)


def _numbers_and_opposites(stem: str) -> list[str]:
    """Return numbers and opposites in order: "from the left to the right"."""
    return [word for word in stem.split() if word in _OPPOSITE_WORDS or _NUMBER.search(word)]


def _have_opposite_prefixes(x: str, y: str) -> bool:
    """Return whether two words differ only in prefixes of opposite meaning."""
    end = 0
    while end < min(len(x), len(y)) and x[-1 - end] == y[-1 - end]:
        end += 1
    if end < 3:
        return False
    # extra- and intra- have a common ending: move up to three letters back to the prefixes.
    return any(
        {x[: len(x) - cut], y[: len(y) - cut]} in _OPPOSITE_PREFIXES
        for cut in range(max(3, end - 3), end + 1)
    )


def remove_spaces(text: str) -> str:
    """Remove spaces, because "anti-D" is written with and without one."""
    return text.replace(" ", "")
