"""Records of the decoding study: speed, accuracy and consistency of every setting."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medtune.core.protocols import Decoding
from medtune.core.records import (
    Method,
    ModelDescription,
    Probability,
    Provenance,
    Record,
    SplitDescription,
)


class Setting(Record):
    """One decoding setting."""

    method: Method = "generate"
    constrained: bool = False
    max_new_tokens: int = Field(default=50, gt=0)
    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0)
    beams: int = Field(default=1, ge=1)

    @property
    def is_sampled(self) -> bool:
        """Whether repeating a question may give another answer."""
        return self.temperature > 0

    @property
    def name(self) -> str:
        """Folder name of its cells."""
        if self.method != "generate":
            return self.method
        if self.constrained:
            return "constrained"
        parts = [f"t{self.temperature:g}-p{self.top_p:g}-k{self.top_k}"] if self.is_sampled else []
        parts += [f"beams{self.beams}"] if self.beams > 1 else []
        return "-".join([*(parts or ["greedy"]), f"{self.max_new_tokens}tokens"])

    @property
    def display_name(self) -> str:
        """Readable name."""
        if self.method != "generate":
            return f"likelihood of the {'letter' if self.method == 'letter' else 'text'}"
        limit = "1 token" if self.max_new_tokens == 1 else f"{self.max_new_tokens} tokens"
        if self.constrained:
            return "an option and nothing else"
        if self.is_sampled:
            top_k = f", top-k {self.top_k}" if self.top_k else ""
            return f"T {self.temperature:g}, top-p {self.top_p:g}{top_k}, {limit}"
        return f"{self.beams} beams, {limit}" if self.beams > 1 else f"greedy, {limit}"

    def to_decoding(self, seed: int) -> Decoding:
        """Return the decoding parameters for a model."""
        return Decoding(
            self.max_new_tokens, self.temperature, self.top_p, self.top_k, self.beams, seed
        )


GREEDY_LIMITS = (50, 20, 10, 5, 1)
TEMPERATURES = (0.3, 0.7, 1.0)
TOP_PS = (0.9, 1.0)
TOP_KS = (0, 50)
BEAMS = (2, 4)

SETTINGS = (
    *(Setting(max_new_tokens=limit) for limit in GREEDY_LIMITS),
    *(
        Setting(temperature=heat, top_p=top_p, top_k=top_k)
        for heat in TEMPERATURES
        for top_p in TOP_PS
        for top_k in TOP_KS
    ),
    *(Setting(beams=beams) for beams in BEAMS),
    Setting(constrained=True),
    Setting(method="letter"),
    Setting(method="cloze"),
)
"""Settings of the study."""


class DecodingPoint(Record):
    """Results of one setting: one evaluation, or several if it samples."""

    setting: Setting
    repeats: int = Field(ge=1)
    accuracy: Probability
    """Mean over repeats."""
    low: Probability
    """95 %, over questions: each question's mean over the repeats is one observation."""
    high: Probability
    answer_rate: Probability
    stop_rate: Probability | None
    """Share of answers that ended with a stop token; None for likelihoods."""
    written: float | None
    """Tokens per answer without the end token; None for likelihoods."""
    questions_per_s: float = Field(gt=0)
    agreement: Probability | None
    """How often two repeats give one question the same outcome (an option, or none), over all pairs
    and questions; None for deterministic settings."""
    entropy: float | None
    """Entropy of a question's outcomes over repeats, bits, mean over questions; None likewise."""
    behind: float
    """Accuracy of the most accurate setting minus this one's."""
    behind_low: float
    """95 %, paired by question."""
    behind_high: float
    pareto: bool
    """No other setting is at least as fast and as accurate, and better in one."""


class DecodingRecord(Record):
    """Record of the decoding study."""

    kind: Literal["decoding"] = "decoding"
    label: str
    model: ModelDescription
    data: SplitDescription
    n: int
    chance: Probability
    points: tuple[DecodingPoint, ...]
    recommended: str
    """Name of a setting: the fastest whose accuracy is not detectably below the best."""
    verdict: str
    """One sentence."""
    cell_s: float
    """Seconds of all evaluations."""
    duration_s: float | None
    """Seconds of this call if it ran all evaluations; the rest is overhead."""
    provenance: Provenance
