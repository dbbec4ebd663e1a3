"""Tag personal names, addresses and telephone numbers by a linear-chain conditional random field.

Lafferty, McCallum and Pereira, "Conditional Random Fields" (ICML 2001), by CRFsuite. It reads words
with their neighbours, shapes, and lists of given names, surnames and exam words; `medtune guard
train-tagger` trains it.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import re
import threading
import unicodedata
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pycrfsuite
from pydantic import field_serializer

from medtune.core.errors import InputError, first_line
from medtune.core.records import Record, content_hash
from medtune.core.run_folder import write_atomic

OUTSIDE = "O"
"""Label of tokens that belong to no identifier."""
TAGGED_KINDS = ("name", "address", "phone")
"""Kinds of identifiers that are tagged; the labels are these, and `OUTSIDE`."""
DEFAULT_TAGGER_FILE = Path(str(files("medtune.guardrails.privacy"))) / "tagger.zip"
"""Path of the default tagger."""
_MAX_CHAIN = 2_000
"""Tokens that are tagged together; longer texts are cut."""
_MARKS = r"\u0300-\u036f\u0900-\u0903\u093a-\u094d\u0981-\u0983\u09bc-\u09cd\u0b82\u0bbe-\u0bcd\u0e31\u0e34-\u0e4e"
"""Signs above, below and beside letters, which `\\w` leaves out."""
_TOKEN = re.compile(
    rf"[\u2e80-\u9fff\uac00-\ud7a3]|\d+|[^\W\d_\u2e80-\u9fff\uac00-\ud7a3](?:[^\W\d_\u2e80-\u9fff\uac00-\ud7a3]|[{_MARKS}])*|\n|[^\w\s]|_"
)
PERSONAL_WORDS = frozenset(
    "he she his her him hers i my me mine we our us your you mr mrs ms miss mx dr doctor nurse sister "
    "patient pt aged age yo yrs year years old born lives living address phone call tel mobile ring "
    "rang contact ward bed clinic seen admitted referred mother father mum mom dad husband wife son "
    "daughter brother uncle aunt grandmother grandfather neighbour friend colleague dear sincerely "
    "regards signed name surname baby boy girl".split()
)
"""Words of texts about persons."""
WIDENING = 0.25
"""Share of the threshold of names that is enough for a word beside one."""
_JOINING = re.compile(r"[ \t\n.,'’/&()+#:-]{0,3}")
"""Text between two tokens of one identifier."""


@dataclass(frozen=True, slots=True)
class Token:
    """A word, number, sign or line end of a text."""

    text: str
    start: int
    end: int


class Lexicon(Record):
    """Lists of words, in lower case, that features are read from."""

    given: frozenset[str]
    """Given names, without words that exam questions usually write small."""
    family: frozenset[str]
    """Surnames, without such words, too."""
    words: frozenset[str]
    """Words that exam questions write small."""
    terms: frozenset[str]
    """Words that exam questions write with a capital only."""
    eponyms: frozenset[str]
    """Words of names after which things are called, and of historical figures."""

    @field_serializer("*")
    def _sort(self, words: frozenset[str]) -> list[str]:
        return sorted(words)

    def describe(self, word: str) -> str:
        """Return which lists contain a word, one letter for each."""
        lists = (self.given, self.family, self.words, self.terms, self.eponyms)
        return "".join(
            letter for letter, known in zip("gfwte", lists, strict=True) if word in known
        )


class TrainedTagger(Record):
    """What a tagger is, beside its weights."""

    lexicon: Lexicon
    thresholds: dict[str, float]
    """Least probability that a token is of any identifier, by its likeliest kind."""
    exam: str
    """Source of the exam questions."""
    trained_on: str
    """Hash of the texts."""


class IdentifierTagger:
    """Tags names, addresses and telephone numbers; safe to use from several threads."""

    def __init__(self, trained: TrainedTagger, weights: bytes) -> None:
        self.trained = trained
        self._least = min(trained.thresholds.values())
        self._weights = weights
        """Kept: CRFsuite reads them where they lie."""
        self._crf = pycrfsuite.Tagger()
        self._crf.open_inmemory(weights)
        self._lock = threading.Lock()

    @property
    def hash(self) -> str:
        """Hash of lists, thresholds and weights; 64 hex digits."""
        weights = hashlib.sha256(self._weights).hexdigest()
        return content_hash([self.trained.model_dump(mode="json"), weights])

    def find(self, text: str) -> Iterator[tuple[str, int, int]]:
        """Find identifiers; each is its kind, start and end, in the order of the text.

        A word alone, as options often are, is none: by itself it identifies nobody.
        """
        tokens = split_tokens(text)
        if sum(token.text[0].isalnum() for token in tokens) < 2:
            return
        for begin in range(0, len(tokens), _MAX_CHAIN):
            yield from self._find_in_chain(text, tokens[begin : begin + _MAX_CHAIN])

    def _find_in_chain(self, text: str, tokens: Sequence[Token]) -> Iterator[tuple[str, int, int]]:
        rows = describe_tokens(tokens, self.trained.lexicon)
        with self._lock:
            self._crf.set(pycrfsuite.ItemSequence(rows))
            kinds = [self._choose_kind(place) for place in range(len(tokens))]
            self._widen_names(tokens, kinds)
        open_kind, start, end = None, 0, 0
        for token, kind in zip(tokens, kinds, strict=True):
            if not token.text[0].isalnum():
                continue
            joined = _JOINING.fullmatch(text, end, token.start) is not None
            if open_kind is not None and not (kind == open_kind and joined):
                yield open_kind, start, end
                open_kind = None
            if kind is not None:
                start, end = (token.start if open_kind is None else start), token.end
            open_kind = kind
        if open_kind is not None:
            yield open_kind, start, end

    def _widen_names(self, tokens: Sequence[Token], kinds: list[str | None]) -> None:
        """Take in words and initials beside a name that are likely enough to be of it."""
        least = WIDENING * self.trained.thresholds["name"]
        words = [place for place, token in enumerate(tokens) if token.text.isalpha()]
        for order in (words, words[::-1]):
            for known, place in pairwise(order):
                first, second = sorted((known, place))
                apart = {token.text for token in tokens[first + 1 : second]} - {".", "("}
                beside = kinds[known] == "name" and kinds[place] is None and not apart
                if beside and self._crf.marginal("name", place) >= least:
                    kinds[place] = "name"

    def _choose_kind(self, place: int) -> str | None:
        """Return the likeliest kind of identifier at a place; None if none is likely enough."""
        share = 1 - self._crf.marginal(OUTSIDE, place)
        if share < self._least:
            return None
        kind = max(TAGGED_KINDS, key=lambda kind: self._crf.marginal(kind, place))
        return kind if share >= self.trained.thresholds[kind] else None


def split_tokens(text: str) -> list[Token]:
    """Split a text into words, numbers, signs and line ends; signs of Han and Hangul one by one."""
    return [Token(match[0], *match.span()) for match in _TOKEN.finditer(text)]


def describe_tokens(tokens: Sequence[Token], lexicon: Lexicon) -> list[list[str]]:
    """Return the features of every token: its own, and those of three neighbours on both sides."""
    lower = [token.text.casefold() for token in tokens]
    near = [f"#{len(word)}" if word.isdigit() else word for word in lower]
    shapes = [_shape(token.text) for token in tokens]
    lists = [lexicon.describe(word) for word in lower]
    kinds = [f"{shape} {listed}" for shape, listed in zip(shapes, lists, strict=True)]
    about = _describe_lines(lower, lists)
    rows = []
    last = len(tokens) - 1
    for at, (word, kind) in enumerate(zip(lower, kinds, strict=True)):
        row = [
            "bias",
            f"0{near[at]}" if word.isdigit() else f"0={word}",
            f"s={shapes[at]}",
            f"l={lists[at]}",
            f"sl={kind}",
            f"p3={word[:3]}",
            f"e2={word[-2:]}",
            f"e3={word[-3:]}",
            f"e4={word[-4:]}",
            f"glued={at > 0 and tokens[at - 1].end == tokens[at].start}",
            f"a={about[at]} {kind}",
        ]
        for step in (-3, -2, -1, 1, 2, 3):
            if 0 <= (to := at + step) <= last:
                row += (f"{step}={near[to]}", f"{step}sl={kinds[to]}")
            else:
                row.append(f"{step}=edge")
        if at:
            row += (f"-1,0={lower[at - 1]}|{kind}", f"-1,0sl={kinds[at - 1]}|{kind}")
        if at < last:
            row += (f"0,1={kind}|{lower[at + 1]}", f"0,1sl={kind}|{kinds[at + 1]}")
        if 0 < at < last:
            row.append(f"-1,0,1={shapes[at - 1]}|{shapes[at]}|{shapes[at + 1]}")
            row.append(f"-1,1={lower[at - 1]}|{lower[at + 1]}")
        rows.append(row)
    return rows


def _describe_lines(lower: Sequence[str], lists: Sequence[str]) -> list[str]:
    """Return of every token whether its line is about a person, and how many eponyms it names."""
    about: list[str] = []
    begin = 0
    for end in range(len(lower) + 1):
        if end == len(lower) or lower[end] == "\n":
            line = slice(begin, end + 1)
            personal = "p" if not PERSONAL_WORDS.isdisjoint(lower[line]) else ""
            eponyms = sum("e" in listed for listed in lists[line])
            about += [f"{personal}{min(eponyms, 3)}"] * len(lower[line])
            begin = end + 1
    return about


def _shape(text: str) -> str:
    """Return the shape of a token: its case, its script, or the number of its digits."""
    first = text[0]
    if first.isdigit():
        return f"d{min(len(text), 8)}"
    if not first.isalpha():
        return first
    script = "" if first < "ɐ" else unicodedata.name(first, "?").split(" ")[0]
    if len(text) == 1:
        return f"{script}{'I' if first.isupper() else 'i'}"
    case = "X" if text.isupper() else "x" if text.islower() else "Xx" if first.isupper() else "xX"
    return script + case


@cache
def load_default_tagger() -> IdentifierTagger:
    """Load the default tagger."""
    return load_tagger(DEFAULT_TAGGER_FILE)


def write_tagger(path: Path, trained: TrainedTagger, weights: bytes) -> None:
    """Write a tagger; the same weights and lists give the same bytes.

    Raises:
        FolderError: The file cannot be written.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in (
            ("tagger.json", trained.model_dump_json()),
            ("weights.crfsuite", weights),
        ):
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_LZMA)
    write_atomic(path, lambda handle: handle.write(packed.getvalue()))


_BROKEN_ARCHIVE = (EOFError, NotImplementedError, lzma.LZMAError, zipfile.BadZipFile)
_MAX_UNPACKED = 1 << 26
"""Most bytes that a tagger unpacks to; the shipped one has 4 MB."""


def load_tagger(path: Path) -> IdentifierTagger:
    """Load a tagger that `medtune guard train-tagger` wrote.

    Raises:
        InputError: The file is missing, or is no tagger.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > _MAX_UNPACKED:
                raise ValueError(f"it unpacks to more than {_MAX_UNPACKED:,} bytes")
            trained = TrainedTagger.model_validate_json(archive.read("tagger.json"))
            return IdentifierTagger(trained, archive.read("weights.crfsuite"))
    except (OSError, KeyError, ValueError, *_BROKEN_ARCHIVE) as error:
        raise InputError(
            f"{path} cannot be read as a tagger: {first_line(error)}",
            expected="a file that `medtune guard train-tagger --out FILE` wrote",
        ) from error
