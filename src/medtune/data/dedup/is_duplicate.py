"""When two questions are one: the verdict on a pair that looks alike.

Similarity of texts alone cannot tell "which vitamin cures scurvy" from "which vitamin cures
beriberi": the labels help, and so does a short list of words that turn a question round.
"""

from __future__ import annotations

import re

from rapidfuzz import fuzz
from rapidfuzz.distance import DamerauLevenshtein

from medtune.core.schemas.dataset import Same
from medtune.data.dedup.canonical_form import CanonicalQuestion, difference, fold
from medtune.data.dedup.paraphrase import LITTLE, differ_in_all_content, shares_content, spelled_out

SIMILARITY = 95.0
"""rapidfuzz ratio of stem and sorted options, in per cent."""
_CLOSE_OPTIONS = 90.0
_OPPOSITES = [
    set(map(fold, pair.split("/")))
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
_TURNS = [
    set(pair.split("/"))
    for pair in (
        "hyper/hypo intra/extra intra/inter macro/micro brady/tachy endo/exo endo/ecto "
        "ante/post pre/post anti/ in/ im/ un/ non/ a/ hyper/ hypo/ uni/bi mono/poly supra/infra "
        "sub/supra ab/ad oligo/poly poly/ oligo/ pro/anti homo/hetero iso/hyper iso/hypo "
        "eu/hyper eu/hypo pre/ post/ inter/ intra/ an/ bi/ uni/ ana/cata syn/ co/ re/ de/ "
        "de/re dis/"
    ).split()
]
_OPPOSING = frozenset().union(*_OPPOSITES)
_FIGURES = re.compile(r"\d|^[ivx]+$")
_LETTER = re.compile(r"^[a-z]$")
_NUMBER = re.compile(rf"{_FIGURES.pattern}|{_LETTER.pattern}")
# Right answers that name no fact of their own: two questions may share them by accident.
_EMPTY_ANSWERS = re.compile(
    r"(?:\b(?:all|none|both|any|neither|either|no|yes|true|false|maybe|[1-4]+|(?=[a-e])a?b?c?d?e?|"
    r"and|of|the|above|these|them|following|are|is|correct|options?)\b ?)+"
)
# Options that a thousand questions have: "Type 2", "A and C".
_RANKS = re.compile(
    r"(?:\b(?:all|none|both|any|neither|either|no|yes|true|false|maybe|and|or|of|the|above|these|"
    r"options?|type|class|stage|grade|group|category|level|phase|zone|degree|[ivx]+|\d+[a-d]?|"
    r"[a-e]{1,5}\d?)\b ?)+"
)


def same_question(a: CanonicalQuestion, b: CanonicalQuestion) -> Same | None:
    """Judge a pair.

    "exact": the same stem and the same options once case, punctuation, exam tags and the order
    of options are folded.  "near", each time with equal polarity and equal numbers in the stem:

    - the same stem, with the same informative right answer or all options but one the same;
    - the same options, which name more than ranks ("Type 2"), the same right answer, and most
      words with content shared (`shares_content`; numbers may be left out);
    - the same options, stems alike up to spelling and inflection (labels may conflict);
    - the same options and no conflicting label, one word of the stem replaced (not the only one
      with content, and not where the options are nothing but "yes" and "no");
    - no conflicting label, and at least 95 % similarity of stem and options.

    A word pair that turns a question round (left, right; hyper-, hypo-) makes another question;
    so do such words and numbers in another order, unless the answers agree.
    """
    if a.stem == b.stem and a.options == b.options:
        return "exact"
    if a.negated != b.negated:
        return None
    agree = _answers_agree(a, b)
    shared = len(set(a.options) & set(b.options))
    most = max(len(a.options), len(b.options))
    if a.stem == b.stem or squeezed(a.stem) == squeezed(b.stem):
        return "near" if _same_fact(a, b, agree, shared, most) else None
    if alternatives(a) == alternatives(b) is not None and _reworded(a, b):
        return "near"
    only_a, only_b = difference(a.stem, b.stem)
    if _numbers(only_a) != _numbers(only_b) or _turned(only_a, only_b):
        return None
    reordered = not only_a and not only_b
    if reordered and not agree and _turning(a.stem) != _turning(b.stem):
        return None
    options_alike = shared == most or _options_similarity(a, b) >= SIMILARITY
    if options_alike and _spelling_only(only_a, only_b):
        return "near"
    if agree is False:
        return None
    if options_alike and _one_word(a, b, only_a, only_b):
        return "near"
    if shared < most - 1 and _options_similarity(a, b) < _CLOSE_OPTIONS:
        return None
    return "near" if fuzz.ratio(a.text, b.text) >= SIMILARITY else None


def alternatives(form: CanonicalQuestion) -> tuple[str | None, tuple[str, ...]] | None:
    """Return what two questions in other words have in common: the right answer and all options.

    None where the options would be those of other questions as well: "Type 2", "A and C".
    """
    if form.answer is None or all(map(_RANKS.fullmatch, form.options)):
        return None
    return form.answer, form.options


def answers_conflict(a: CanonicalQuestion, b: CanonicalQuestion) -> bool:
    """Tell whether two forms of one question have different right answers."""
    return _answers_agree(a, b) is False


def similarity(a: CanonicalQuestion, b: CanonicalQuestion) -> float:
    """Compare stem and sorted options: rapidfuzz ratio, 0 to 1."""
    return fuzz.ratio(a.text, b.text) / 100


def _same_fact(
    a: CanonicalQuestion, b: CanonicalQuestion, agree: bool | None, shared: int, most: int
) -> bool:
    """Judge equal stems with different options."""
    if agree and _says_something(a.answer) and _says_something(b.answer):
        return True
    if agree is False and a.answer in b.options and b.answer in a.options:
        # Both answers stand in both: the same choice, answered in two ways.
        return shared >= most - 1 and most > 2
    alike = _options_similarity(a, b) >= SIMILARITY
    return alike or (shared >= most - 1 and most > 2 and agree is not False)


def _answers_agree(a: CanonicalQuestion, b: CanonicalQuestion) -> bool | None:
    """Compare right answers; None where one is not released."""
    if a.answer is None or b.answer is None:
        return None
    if a.answer == b.answer or squeezed(a.answer) == squeezed(b.answer):
        return True
    # A corrected typo is the same answer, unless both stand in one list of options.
    if a.answer in b.options or b.answer in a.options:
        return False
    only_a, only_b = difference(a.answer, b.answer)
    if _numbers(only_a) != _numbers(only_b) or _turned(only_a, only_b):
        return False
    others = len((set(a.options) & set(b.options)) - {a.answer, b.answer})
    all_others = others >= max(len(a.options), len(b.options)) - 1
    return all_others or fuzz.ratio(a.answer, b.answer) >= _CLOSE_OPTIONS


def _options_similarity(a: CanonicalQuestion, b: CanonicalQuestion) -> float:
    if len(a.options) != len(b.options):
        return 0.0
    return fuzz.ratio("\n".join(a.options), "\n".join(b.options))


def _says_something(text: str | None) -> bool:
    """Tell whether an answer or option names a fact, unlike "yes" or "all of the above"."""
    return text is not None and not _EMPTY_ANSWERS.fullmatch(text)


def _one_word(
    a: CanonicalQuestion, b: CanonicalQuestion, only_a: list[str], only_b: list[str]
) -> bool:
    """Tell whether one word was replaced, by one word or by two."""
    if not any(map(_says_something, (*a.options, *b.options))):  # the stem is all there is
        return False
    if differ_in_all_content(a.stem, b.stem):
        return False
    words = min(len(a.stem.split()), len(b.stem.split()))
    return words >= 3 and len(only_a) <= 2 and len(only_b) <= 2 and len(only_a) + len(only_b) <= 3


def _reworded(a: CanonicalQuestion, b: CanonicalQuestion) -> bool:
    """Tell whether two stems share their content, neither turned round nor with other numbers."""
    if not shares_content(a.stem, b.stem, a.options):
        return False
    only_a, only_b = difference(spelled_out(a.stem, b.stem), spelled_out(b.stem, a.stem))
    for numbers in (_FIGURES, _LETTER):  # "hepatitis A" is not "hepatitis B"
        if any(map(numbers.search, only_a)) and any(map(numbers.search, only_b)):
            return False
    return not _turned(only_a, only_b)


def _spelling_only(only_a: list[str], only_b: list[str]) -> bool:
    """Tell whether all that differs is spelling, inflection or little words."""
    left = [word for word in only_a if word not in LITTLE]
    right = [word for word in only_b if word not in LITTLE]
    if len(left) != len(right):
        return False
    return all(_spelled_alike(x, y) for x, y in zip(sorted(left), sorted(right), strict=True))


def _spelled_alike(x: str, y: str) -> bool:
    if min(len(x), len(y)) < 5:
        return False
    return DamerauLevenshtein.distance(x, y) <= (1 if max(len(x), len(y)) < 9 else 2)


def _numbers(words: list[str]) -> list[str]:
    return sorted(word for word in words if _NUMBER.search(word) and word not in LITTLE)


def _turned(only_a: list[str], only_b: list[str]) -> bool:
    """Tell whether a word was replaced by its opposite."""
    left, right = set(only_a), set(only_b)
    for pair in _OPPOSITES:
        if (pair & left and pair & right) or (pair <= left | right):
            return True
    return any(_prefixed(x, y) for x in only_a for y in only_b)


def _turning(stem: str) -> list[str]:
    """List numbers and opposites in order: "from the left to the right"."""
    return [word for word in stem.split() if word in _OPPOSING or _NUMBER.search(word)]


def _prefixed(x: str, y: str) -> bool:
    """Tell whether two words differ in an opposing prefix only."""
    end = 0
    while end < min(len(x), len(y)) and x[-1 - end] == y[-1 - end]:
        end += 1
    if end < 3:
        return False
    # extra- and intra- end alike: let up to three letters go back to the heads.
    return any(
        {x[: len(x) - cut], y[: len(y) - cut]} in _TURNS for cut in range(max(3, end - 3), end + 1)
    )


def squeezed(text: str) -> str:
    """Remove spaces: "anti-D" is written with and without."""
    return text.replace(" ", "")
