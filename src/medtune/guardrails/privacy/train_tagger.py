"""Train the tagger of identifiers: on filled templates, and on exam questions as they are."""

from __future__ import annotations

import random
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pycrfsuite

from medtune.core.intervals import wilson_interval
from medtune.core.records import Proportion, content_hash
from medtune.guardrails.benchmark.labelled_lines import (
    DATA_DIR,
    EponymText,
    IdentifierText,
    TemplateText,
    is_covered,
    load_lines,
)
from medtune.guardrails.privacy.tagger import (
    OUTSIDE,
    TAGGED_KINDS,
    IdentifierTagger,
    Lexicon,
    Token,
    TrainedTagger,
    describe_tokens,
    split_tokens,
)
from medtune.guardrails.privacy.template_texts import TaggedText, TemplateFiller

FILLS = 4
"""Texts that are made of every template."""
EXAM_TEXTS = 80_000
"""Texts of exam questions to train on; words are counted in all of them."""
CLEAN_COPIES, COPIES = 8, 2
"""Times that templates' lines without a person, and other labelled texts, are repeated."""
KNOWN_SHARE = 0.6
"""Share of the names in the lists while training: others have to be seen by their neighbours."""
MIN_WORD_COUNT = 3
"""Times that exam questions write a word in lower case, at least, to make it an exam word."""
THRESHOLDS = {"name": 0.4, "address": 0.1, "phone": 0.4}
"""Chosen on the lines of two authors who wrote names of their own, and on exam questions."""
TRAINER = {"c1": 0.4, "c2": 0.01, "max_iterations": 200, "feature.minfreq": 5}
"""CRFsuite's settings: regularization, L-BFGS steps, and texts that contain a feature."""
_WORD = re.compile(r"[^\W\d_]+")
_CAPITAL_WITHIN = re.compile(r"(?<=[a-z,;] )[A-Z][^\W\d_]+")
"""A word with a capital within a sentence."""
NAMED_PERSON = re.compile(
    r"\b(?:Mr|Mrs|Ms|Miss|Master|Smt|Shri)\b\.? [A-Z]"
    r"|\b[A-Z][a-z]+,? (?:is )?(?:an? |aged )?\d+[ -]?(?:years?|yrs?|months?)\b"
    r"|\b(?:patient|man|woman|male|female|boy|girl|lady|child|volunteer|[Nn]urse)"
    r"(?: named|,)? [A-Z][a-z]"
)
"""Exam questions that may name a person: they are not learned from."""


def train_tagger(
    templates: Sequence[TemplateText], exam: Sequence[str], source: str, seed: int
) -> tuple[TrainedTagger, bytes]:
    """Train a tagger.

    Args:
        templates: Lines with placeholders, and lines without identifiers.
        exam: Texts of exam questions, which are taken to have no identifiers.
        source: Where these are from.
        seed: Draws names, addresses and numbers.

    Returns:
        The tagger and its weights, in CRFsuite's format.
    """
    filler = TemplateFiller(seed)
    lexicon = make_lexicon(filler, exam)
    draw = random.Random(seed)
    known = {
        kind: frozenset(name for name in sorted(names) if draw.random() < KNOWN_SHARE)
        for kind, names in (("given", lexicon.given), ("family", lexicon.family))
    }
    while_training = lexicon.model_copy(update=known)
    trainer = pycrfsuite.Trainer(algorithm="lbfgs", params=TRAINER, verbose=False)
    asked = exam[:EXAM_TEXTS]
    nameless = (TaggedText(text) for text in asked if NAMED_PERSON.search(text) is None)
    texts = [*make_texts(templates, filler), *nameless]
    for text in texts:
        if tokens := split_tokens(text.text):
            labels = label_tokens(text, tokens)
            trainer.append(pycrfsuite.ItemSequence(describe_tokens(tokens, while_training)), labels)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.crfsuite"
        trainer.train(str(file))
        weights = file.read_bytes()
    hashed = content_hash([[text.text, text.spans] for text in texts])
    trained = TrainedTagger(lexicon=lexicon, thresholds=THRESHOLDS, exam=source, trained_on=hashed)
    return trained, weights


def make_texts(templates: Iterable[TemplateText], filler: TemplateFiller) -> Iterator[TaggedText]:
    """Fill templates several times, and read other labelled texts."""
    for line in templates:
        for _ in range(FILLS if line.kind == "template" else CLEAN_COPIES):
            yield filler.fill(line.text)
    identifiers = load_lines("examples/identifiers.jsonl", IdentifierText)
    identifiers += load_lines("test_cases/identifiers.jsonl", IdentifierText, "dev")
    for text in identifiers:
        starts = [(span.kind, text.text.index(span.text), len(span.text)) for span in text.spans]
        spans = tuple((kind, at, at + n) for kind, at, n in starts if kind in TAGGED_KINDS)
        yield from [TaggedText(text.text, spans)] * COPIES
    for eponym in _load_eponyms():
        yield from [TaggedText(eponym.text)] * COPIES


def _load_eponyms() -> list[EponymText]:
    lines = load_lines("examples/eponyms.jsonl", EponymText)
    return lines + load_lines("test_cases/eponyms.jsonl", EponymText, "dev")


def label_tokens(text: TaggedText, tokens: Sequence[Token]) -> list[str]:
    """Return the label of every token of a text."""
    return [
        next((kind for kind, start, end in text.spans if start <= token.start < end), OUTSIDE)
        for token in tokens
    ]


def make_lexicon(filler: TemplateFiller, exam: Sequence[str]) -> Lexicon:
    """Make the lists: of names, of exam questions' words, and of known eponyms."""
    given, family = filler.list_names()
    seen = Counter(word for text in exam for word in set(_WORD.findall(text)))
    small = {word for word, count in seen.items() if count >= MIN_WORD_COUNT and word.islower()}
    large: Counter[str] = Counter()
    for word, count in seen.items():
        if not word.islower():
            large[word.casefold()] += count
    capital = Counter(
        word.casefold() for text in exam for word in set(_CAPITAL_WITHIN.findall(text))
    )
    usually_small = {word for word in small if seen[word] >= capital[word]}
    terms = {word for word, count in large.items() if count >= MIN_WORD_COUNT and len(word) > 1}
    names = [name for line in _load_eponyms() for name in line.eponyms]
    names += (DATA_DIR / "examples" / "historical_names.txt").read_text("utf-8").splitlines()
    return Lexicon(
        given=frozenset(given - usually_small),
        family=frozenset(family - usually_small),
        words=frozenset(small),
        terms=frozenset(terms - small),
        eponyms=frozenset(
            word for name in names for word in _WORD.findall(name.casefold()) if len(word) > 2
        ),
    )


def measure_recall(
    tagger: IdentifierTagger, templates: Iterable[TemplateText], seed: int
) -> dict[str, Proportion]:
    """Return, by kind, the share of identifiers of which every letter and digit is found."""
    seen: dict[str, list[bool]] = defaultdict(list)
    filler = TemplateFiller(seed)
    for text in (filler.fill(line.text) for line in templates):
        covered = {at for _, *span in tagger.find(text.text) for at in range(*span)}
        for kind, start, end in text.spans:
            seen[kind].append(is_covered(text.text, start, end, covered))
    return {kind: wilson_interval(sum(hits), len(hits)) for kind, hits in sorted(seen.items())}
