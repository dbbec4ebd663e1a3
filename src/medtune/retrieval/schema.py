"""Records of a passage index: passages, hits, the manifest and the fitted option scorer."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from medtune.core.records import Proportion, Provenance, Record

Part = Literal["whole", "question"]
"""Part of a passage that is searched: all of it, or question and right answer without explanation.
A passage of a text has one part only: both are its text."""
Backend = Literal["bm25", "postgres"]
FeatureName = Literal[
    "best",
    "first",
    "gain",
    "question best",
    "answers",
    "wrong options",
    "explanations",
    "sentence",
]
"""Feature of an option (`retrieval.option_features`):

- best: score of the best passage for the stem with the option
- first: 1 where "best" is the highest of the question, else 0
- gain: log of the sum of exp(score) over all passages for the stem with the option, less that for
  the option alone
- question best: as "best", of questions and right answers without explanations
- answers: share of the option's words in right answers of the best passages for the stem
- wrong options: the same in their wrong options
- explanations: the same in their explanations
- sentence: best sentence near stem and option: share of the stem's words that it contains, times
  that of the option's words
"""


class Passage(Record):
    """A passage: a question with its right answer and explanation, or a piece of a text."""

    id: str = Field(min_length=1)
    """Unique within its index."""
    text: str
    """The explanation, or the piece of a text; may be empty for a question."""
    question: str | None = None
    answer: str | None = None
    """Text of the right option."""
    options: tuple[str, ...] = ()
    """All options of the question, so that a near-duplicate can be recognised."""
    source: str
    """Source as named on the command line, or the file of a text."""
    licence: str | None = None

    @property
    def short_text(self) -> str:
        """Question and right answer; of a text, the text."""
        return f"{self.question} {self.answer}" if self.question is not None else self.text

    @property
    def full_text(self) -> str:
        """Question, right answer and explanation; of a text, the text."""
        return f"{self.short_text} {self.text}" if self.question is not None else self.text


class SearchHit(Record):
    """A passage that a query found."""

    place: int = Field(ge=0)
    """Row of the passage in its index."""
    score: float
    """BM25, or the database's rank; larger is better, comparable within one query only."""


class EncoderSettings(Record):
    """The dense encoder of an index."""

    source: str
    """hub: or path:."""
    fingerprint: str
    dimensions: int


class PassageSource(Record):
    """One source of an index's passages."""

    source: str
    licence: str | None
    passages: int
    left_out: dict[str, int] = Field(default_factory=dict)
    """Passages or texts left out, by reason."""


class OptionScorer(Record):
    """Weights that turn an option's features into its probability (conditional logit).

    With the feature "best" alone, its weight is one over a softmax temperature.
    """

    features: tuple[FeatureName, ...]
    weights: tuple[float, ...]
    """One per feature; then, if `negated`, as many that are added for negated stems."""
    negated: bool = False
    source: str
    """Questions that it was fitted on."""
    n: int
    log_loss: float
    """Mean over these questions, nats, after the fit."""
    accuracy: Proportion
    """On these questions, after the fit; never reported as a result."""
    index: str | None = None
    """Hash of the index that it was written for; no other index can use it."""
    inputs: str | None = None
    """Hash of the index, the questions and the settings that it was fitted with."""

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        expected = len(self.features) * (2 if self.negated else 1)
        if not self.features or len(self.weights) != expected:
            raise ValueError(f"{len(self.weights)} weights for {len(self.features)} features")
        return self


class ScoredPassage(Record):
    """A passage that a query found, with its score."""

    passage: Passage
    score: float
    """As in `SearchHit`."""


class IndexManifest(Record):
    """Manifest of a passage index."""

    kind: Literal["index"] = "index"
    version: int
    """Version of the format and of the way words are made."""
    hash: str
    """sha256 over version, settings and passages: the index's identity."""
    backend: Backend
    passages: int
    sources: tuple[PassageSource, ...]
    stemmer: str
    """Snowball stemmer, such as "english"; "none" for whole words."""
    encoder: EncoderSettings | None = None
    database: str | None = None
    """Address of the database that holds the passages, without a password."""
    files: dict[str, str]
    """sha256 of every file of the folder but this one and the scorer."""
    size_bytes: int
    build_s: float
    provenance: Provenance


class IndexDescription(Record):
    """An index as `medtune index` describes it; its files were verified."""

    kind: Literal["index description"] = "index description"
    folder: str
    manifest: IndexManifest
    scorer: OptionScorer | None
    query: str | None = None
    found: tuple[ScoredPassage, ...] = ()
    """Best passages for the query, the best first."""
