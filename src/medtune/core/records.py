"""Typed records that the packages exchange: frozen, without extra fields."""

from __future__ import annotations

import hashlib
import json
import re
import string
import unicodedata
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

MIN_OPTIONS = 2
MAX_OPTIONS = 10
EPOCH_MARK = "#"
"""Separates the number of the epoch from a question's id, where it was asked several times."""
LETTERS = string.ascii_uppercase[:MAX_OPTIONS]
# Signs stay: "<7" and ">7" are two options.
_WORD = re.compile(r"[\w<>=≤≥+%]+|(?<![\w)])[-−–](?=\d)|(?<=\d)[.,](?=\d)")

Method = Literal["letter", "cloze", "generate"]
Normalization = Literal["sum", "token", "byte"]
Orders = Literal["given", "cyclic", "pride"]
ShotChoice = Literal["fixed", "random", "subject"]
Variant = Literal[
    "plain", "options-only", "none-of-the-above", "stem-injection", "option-injection"
]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class Record(BaseModel):
    """Base class of all records: frozen, unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def content_hash(value: object) -> str:
    """Hash a JSON-serialisable value: sha256 over its canonical JSON, 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def canonical_json(value: object) -> str:
    """Return a value as JSON with sorted keys and no spaces."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def normalize_option(text: str) -> str:
    """Return an option in a form to compare: case-folded, white space collapsed."""
    return " ".join(text.casefold().split())


def content_key(stem: str, options: Iterable[str]) -> str:
    """Hash the words of a question, without case, punctuation and the order of options.

    Two questions with equal keys are the same question, whatever their ids.
    """
    texts = [
        stem,
        *sorted(_normalized_words(option) or normalize_option(option) for option in options),
    ]
    return content_hash([_normalized_words(texts[0]), *texts[1:]])


def _normalized_words(text: str) -> str:
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


class Question(Record):
    """One multiple-choice question with 2 to 10 options, at most one of them right."""

    id: str = Field(min_length=1)
    """Unique within its split."""
    stem: str = Field(min_length=1)
    """The question's text, without its options."""
    options: tuple[str, ...] = Field(min_length=MIN_OPTIONS, max_length=MAX_OPTIONS)
    """Option texts in display order; distinct when case and white space are folded."""
    answer: int | None
    """Index of the right option, 0-based; None where the label is not released."""
    subject: str | None = None
    """Medical specialty."""
    topic: str | None = None
    """A subdivision of the subject."""
    explanation: str | None = None
    group: str | None = None
    """Questions with the same group (one fact, one cluster of near-duplicates) stay together."""

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        if not all(option.strip() for option in self.options):
            raise ValueError("an option is empty")
        if len({normalize_option(option) for option in self.options}) < len(self.options):
            raise ValueError("two options are equal")
        if self.answer is not None and not 0 <= self.answer < len(self.options):
            raise ValueError(f"answer {self.answer} is outside the {len(self.options)} options")
        return self

    @property
    def letters(self) -> str:
        """Letters of the options, such as "ABCD" for four options."""
        return LETTERS[: len(self.options)]

    @property
    def answer_text(self) -> str:
        """Text of the right option.

        Raises:
            ValueError: The question has no label.
        """
        if self.answer is None:
            raise ValueError(f"question {self.id} has no label")
        return self.options[self.answer]

    def permute_options(self, order: tuple[int, ...]) -> Question:
        """Return a copy with the options in another order: position i shows option order[i].

        The copy is not validated again, because a permutation of valid options is valid, and
        training permutes every question in every epoch.
        """
        if sorted(order) != list(range(len(self.options))):
            raise ValueError(f"{order} is not a permutation of {len(self.options)} options")
        answer = None if self.answer is None else order.index(self.answer)
        options = tuple(self.options[index] for index in order)
        return self.model_copy(update={"options": options, "answer": answer})


class Proportion(Record):
    """A measured proportion with its 95 % interval."""

    value: Probability
    low: Probability
    high: Probability
    n: int = Field(gt=0)


class Outcome(StrEnum):
    """Outcome of one question."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSED = "unparsed"
    ABSTAINED = "abstained"


class OrderAnswer(Record):
    """A model's answer to a question with the options in one particular order."""

    order: tuple[int, ...]
    """Position i shows option order[i]."""
    chosen: int
    """Index of the chosen option, by content: as in the prediction, not as displayed."""
    probabilities: tuple[float, ...]
    """Probabilities of the options, by content."""


class Prediction(Record):
    """One model's answer to one question under one method."""

    id: str
    stem: str
    """The question's text, so that an evaluation can be read and adjudicated on its own."""
    subject: str | None = None
    topic: str | None = None
    group: str | None = None
    """Questions that share a group are not independent of each other."""
    options: tuple[str, ...]
    """Options in the order in which the model saw them first."""
    answer: int
    """Index of the right option."""
    chosen: int | None
    """Index of the model's option; None when unparsed or abstained."""
    outcome: Outcome
    logprobs: tuple[float, ...] | None = None
    """Sum of log-probabilities of each option's continuation, nats; None for free text."""
    tokens: tuple[int, ...] | None = None
    """Tokens in each option's continuation."""
    bytes: tuple[int, ...] | None = None
    """UTF-8 bytes in each option's continuation."""
    probabilities: tuple[float, ...] | None = None
    """Normalised over the options, after the method's normalisation; over several orders, their
    mean by content; under PriDe, without the letters' prior."""
    similarity: Probability | None = None
    """Open book: largest share of words that the stem has in common with a passage's question
    (Jaccard)."""
    orders: tuple[OrderAnswer, ...] | None = None
    """One per order in which the options were shown; None for the given order alone."""
    mass: Probability | None = None
    """Letter method: probability that the model gives to the letters together."""
    text: str | None = None
    """Free text as generated."""
    written: int | None = None
    """Free text: tokens generated, the ending not counted."""
    stopped: bool | None = None
    """Free text: whether the model ended its turn by itself."""
    reason: str | None = None
    """Free text: which rule read the answer, or why it could not be read."""


class Provenance(Record):
    """Environment in which a record was made: versions, machine, command."""

    medtune: str
    commit: str | None
    """git commit of the source tree, "-dirty" appended if it was changed; None if not in one."""
    python: str
    platform: str
    cpu: str
    cores: int
    gpu: str | None
    packages: dict[str, str]
    created: str
    """UTC, ISO 8601."""
    command: str


class ModelDescription(Record):
    """Identity of the model that answered."""

    source: str
    """Source as named on the command line: embedded:, hub:, path: or fake:; of an imported
    evaluation, the name that the harness logged."""
    fingerprint: str | None
    """Identity of the weights: sha256 of the file, Hub commit, or hash of the folder; None where
    an imported log does not tell it."""
    adapter: str | None = None
    """sha256 of the adapter's weights; None for the base model."""
    parameters: int | None
    """Number of weights, the adapter's included; 0 for a fake; None where unknown."""
    dtype: str | None
    """Precision of the arithmetic: float32, bfloat16, ...; None where unknown."""
    device: str | None
    """None where unknown."""


class LogOrigin(Record):
    """Harness and task from whose log an evaluation was imported."""

    harness: Literal["lm-evaluation-harness", "inspect_ai"]
    version: str | None
    """Version of the harness; None where the log does not tell it."""
    task: str
    task_version: str | None = None
    metric: str
    """The harness's metric that says which answers are right: acc, exact_match, choice, ..."""
    filter: str | None = None
    """lm-evaluation-harness: the filter that read the answers."""
    log: str
    """Name of the log's file or folder."""
    created: str | None = None
    """Time of the evaluation, as logged."""
    notes: tuple[str, ...] = ()
    """Sentences that are shown with the figures, such as that the log is of a cancelled run."""

    @property
    def display_name(self) -> str:
        """Name and version of the harness."""
        return f"{self.harness} {self.version or '(version unknown)'}"


class SplitDescription(Record):
    """Identity of the questions that were used."""

    source: str
    """Source as named on the command line: starter:, hub: or file:."""
    n: int = Field(ge=0)
    """Questions after cleaning."""
    excluded: dict[str, int]
    """Rows left out, by reason."""
    hash: str
    """sha256 over the questions in order."""


class Shard(Record):
    """Which part of an evaluation was made, to be merged with the others."""

    number: int = Field(ge=1)
    """Number of the part, from 1."""
    of: int = Field(ge=2)
    """Number of parts; part k has the questions k, k + of, k + 2 of, ..."""
    inputs: str
    """Hash of everything that determines the whole evaluation."""
    data: SplitDescription
    """All questions."""


class OutcomeCounts(Record):
    """Counts of each outcome; they add up to n."""

    n: int = Field(gt=0)
    correct: int = Field(ge=0)
    wrong: int = Field(ge=0)
    unparsed: int = Field(ge=0)
    abstained: int = Field(ge=0)

    @model_validator(mode="after")
    def _check_total(self) -> Self:
        if self.correct + self.wrong + self.unparsed + self.abstained != self.n:
            raise ValueError("the outcomes do not add up to n")
        return self


class StemEffect(Record):
    """Effect of the stem: the questions of the options-only baseline, asked with and without it."""

    with_stem: Proportion
    """Accuracy on the same questions with their stem, options in the given order."""
    only_with: int = Field(ge=0)
    """Questions that are right only with the stem."""
    only_without: int = Field(ge=0)
    """Questions that are right only without it."""
    p_value: Probability
    """Exact McNemar, two-sided."""


class SearchBaseline(Record):
    """Accuracy of a text search in the training questions, on the same questions, paired."""

    index: str
    """Hash of the passage index."""
    passages: int
    fingerprint: str | None = None
    """Identity of the search: its index and its fitted weights."""
    accuracy: Proportion
    only_model: int = Field(ge=0)
    """Questions that only the model answers right."""
    only_search: int = Field(ge=0)
    """Questions that only the search answers right."""
    p_value: Probability
    """Exact McNemar, two-sided."""

    @property
    def beaten(self) -> bool:
        """Whether the model is significantly better than the search."""
        return self.p_value < 0.05 and self.only_model > self.only_search


class OpenBook(Record):
    """Passages that a model read or searched while it was evaluated."""

    kind: Literal["search", "per-option", "shared"]
    """The search alone, or passages in the prompt: for each option, or shared by all."""
    index: str
    """Hash of the passage index."""
    passages: int
    """Passages in each prompt; of a search, in the index."""
    words: int | None = None
    """Most words of a passage in the prompt."""
    cut: int = Field(default=0, ge=0)
    """Passages that were cut to that length, over all questions."""
    without: int = Field(default=0, ge=0)
    """Questions with a prompt that shows no passage, because the search found none."""
    left_out: int = Field(ge=0)
    """Passages left out of the index, as near-duplicates of evaluated questions."""
    less_similar: Proportion | None = None
    """Accuracy without the tenth of the questions that are most similar to a passage."""


class EvaluationRecord(Record):
    """Result of one evaluation: one model, one split, one method."""

    kind: Literal["evaluation"] = "evaluation"
    inputs: str
    """Hash of everything that determines the result."""
    label: str
    """Short name for tables: base, tuned, ..."""
    origin: LogOrigin | None = None
    """Log from which the evaluation was imported; None for medtune's own."""
    model: ModelDescription
    data: SplitDescription
    shard: Shard | None = None
    """Which part of a larger evaluation it is; None for a whole one."""
    prompt_hash: str | None
    """Hash of the prompt; of an imported evaluation, of all its prompts, None where unknown."""
    method: Method
    normalization: Normalization | Literal["character"] | None
    """How continuations are compared; None for free text. "character" is acc_norm of
    lm-evaluation-harness, in imported evaluations only."""
    variant: Variant = "plain"
    orders: Orders = "given"
    """Orders in which the options were shown: as given, in all cyclic ones with the mean taken, or
    as given with the letters' prior removed (PriDe)."""
    prior: dict[int, tuple[float, ...]] | None = None
    """PriDe: estimated probability of each position before reading, by number of options."""
    shots: int | None = Field(default=0, ge=0)
    """Worked examples in the prompt; None where an imported log does not tell."""
    shots_by: ShotChoice | None = None
    constrained: bool = False
    """Free text: only an option's letter or text could be generated."""
    counts: OutcomeCounts
    accuracy: Proportion
    """Correct among all, unparsed counted as not correct."""
    answer_rate: Proportion
    """Answered (correct or wrong) among all."""
    stop_rate: Proportion | None = None
    """Free text: outputs that the model ended by itself."""
    chance: Probability
    """Expected accuracy of a uniform guess."""
    majority: Proportion
    """Accuracy of always giving the split's most frequent right letter."""
    majority_letter: str
    options_only: Proportion | None = None
    """Accuracy of the same model on n of these questions without their stem; None where it was
    not measured."""
    trained_on: int | None = None
    """Questions among these that the model was trained on, by text; None where what it was
    trained on is unknown."""
    stem_effect: StemEffect | None = None
    """These questions with and without stem, paired; None where it was not measured."""
    search: SearchBaseline | None = None
    """A text search in the training questions; None where there is no index of them."""
    open_book: OpenBook | None = None
    """None for a closed-book evaluation."""
    mixed_from: tuple[str, ...] = ()
    """Inputs of the evaluations that a mixture's was computed from; empty for any other."""
    letters_chosen: dict[str, int]
    letters_right: dict[str, int]
    ties: int | None = None
    """Questions on which two or more options share the highest score; `core.choice` breaks the
    tie. None for free text, and where they were not counted."""
    mean_mass: Probability | None = None
    """Letter method: mean probability on the letters; low means that they are not bound."""
    parser: int | None = None
    """Free text: version of the parser that read the answers."""
    resumed_at: int = Field(default=0, ge=0)
    """Questions that an earlier, interrupted invocation had answered; the times are of the rest."""
    duration_s: float | None
    """Seconds of scoring, loading not counted; None for an imported evaluation."""
    questions_per_s: float | None
    provenance: Provenance

    @field_validator("shots")
    @classmethod
    def _forget_unknown_shots(cls, shots: int | None, info: ValidationInfo) -> int | None:
        """Read 0 as unknown where a log cannot tell: older records have 0 there."""
        origin = info.data.get("origin")
        if origin is None or (origin.harness != "inspect_ai" and origin.version is not None):
            return shots
        return shots or None

    @property
    def no_knowledge_baseline(self) -> tuple[str, float]:
        """Name and accuracy of the better no-knowledge baseline: chance or the majority letter."""
        majority = self.majority.value
        if self.chance >= majority:
            return "chance", self.chance
        return f"always giving {self.majority_letter}", majority

    @property
    def options_leak_answers(self) -> bool:
        """Whether the options alone significantly give answers away.

        The interval of the options-only accuracy lies above the no-knowledge baseline: a model
        that reads nothing may still have learned which letter is most often right.
        """
        return (
            self.options_only is not None and self.options_only.low > self.no_knowledge_baseline[1]
        )


class MaskAudit(Record):
    """Counts of the tokens that the loss supervises, made before the first step."""

    examples: int
    tokens: int
    """All tokens of all examples, padding not counted."""
    supervised: int
    """Tokens that the loss covers."""
    prompt_supervised: int
    """Prompt tokens that the loss covers: 0 for answer-only objectives."""
    ends_supervised: int
    """Examples whose end-of-turn token is supervised; if not all, the model never stops."""
    pad_token: int
    end_token: int
    sample: str
    """One example, its supervised part between the marks ⟦ and ⟧."""


class LossPoint(Record):
    """Training loss of one optimizer step."""

    step: int
    """1-based."""
    loss: float
    """Mean over the step's supervised tokens, or over its questions (choice), nats."""
    learning_rate: float


class ValidationPoint(Record):
    """One evaluation on the validation split during training."""

    step: int
    """Steps done before it."""
    accuracy: Proportion
    """On the validation split, by likelihood; only for model selection, never reported."""


class TrainingRecord(Record):
    """Result of one fine-tuning."""

    kind: Literal["training"] = "training"
    inputs: str
    base: ModelDescription
    data: SplitDescription
    prompt_hash: str
    seed: int
    method: Literal["lora", "full"] = "lora"
    target: Literal["text", "text+explanation", "letter", "letter+text"]
    objective: Literal["answer", "choice", "letter", "all"] = "answer"
    audit: MaskAudit
    steps: int
    epochs: int
    """Epochs begun; the last one need not be complete."""
    examples: int
    """Examples processed, epochs counted."""
    tokens: int
    """Real tokens processed, padding not counted."""
    padding_efficiency: float = Field(gt=0)
    """Tokens of the examples per computed position: below 1 by padding, above 1 where a beginning
    that examples share is computed once for all of them."""
    trainable_parameters: int
    total_parameters: int
    processes: int = 1
    """Processes over which every step was distributed."""
    losses: tuple[LossPoint, ...]
    validations: tuple[ValidationPoint, ...] = ()
    kept_step: int | None = None
    """Step whose weights were kept, as the best on the validation split; None is the last."""
    resumed_from: int | None
    """Step of the checkpoint from which training resumed; None for an uninterrupted run."""
    duration_s: float
    """Seconds in the training loop, over all attempts up to the checkpoints that were resumed."""
    examples_per_s: float
    tokens_per_s: float
    peak_memory_bytes: int
    """Largest resident size of the process (CPU) or largest allocation (GPU)."""
    weights_hash: str
    """sha256 of the adapter's weights, or of the model's where all were trained."""
    provenance: Provenance


class ComparisonRecord(Record):
    """Paired comparison of two evaluations on the same questions."""

    kind: Literal["comparison"] = "comparison"
    split: str
    method: Method
    a: str
    """Label of the first: the reference."""
    b: str
    """Label of the second: the candidate."""
    n: int = Field(gt=0)
    both: int
    """Questions that both have right."""
    only_a: int
    only_b: int
    neither: int
    accuracy_a: Proportion
    accuracy_b: Proportion
    difference: float
    """accuracy b - accuracy a, between -1 and 1."""
    difference_low: float
    """Tango's score interval, 95 %, with half a question's correction."""
    difference_high: float
    design_effect: float | None = None
    """By how much questions of one group, topic or subject, right and wrong together, widen the
    difference's variance (the clustered one over the plain one, larger for few clusters); None
    where none is known, or no question is discordant."""
    p_value: Probability
    """Exact McNemar, two-sided."""
    differs: tuple[str, ...] = ()
    """Settings other than the model in which the evaluations differ: "prompt", "shots", ..."""
    minimum_detectable: float
    """Smallest difference found with 80 % power at this n and discordance (two-sided 5 %)."""
    verdict: str
    p_holm: Probability | None = None
    """The p-value after Holm's correction over all comparisons of a run; None for a single
    comparison."""
    notes: tuple[str, ...] = ()
    """Sentences that are shown with the verdict everywhere."""
    search_a: SearchBaseline | None = None
    """The text search beside the first evaluation; None where none was made."""
    search_b: SearchBaseline | None = None
    search_verdict: str | None = None
    """Whether the second beats its text search, in one sentence; also a note if it does not."""

    @property
    def is_success(self) -> bool:
        """Whether the second is significantly better, and a text search is not as good."""
        better = self.p_value < 0.05 and self.difference > 0
        return better and (self.search_b is None or self.search_b.beaten)


class PlainText(Record):
    """A paragraph of general English, on which a model's loss is measured."""

    id: str
    subject: str
    text: str
    """At least two sentences."""


class TextLoss(Record):
    """A model's loss on plain texts."""

    kind: Literal["text loss"] = "text loss"
    inputs: str
    """Hash of everything that determines the result."""
    model: ModelDescription
    losses: tuple[float, ...] = Field(min_length=2)
    """Bits per byte of each text, the first sentence given; in the order of the texts."""
    duration_s: float


class TextLossComparison(Record):
    """Losses of two models on the same plain texts, paired by text; bits per byte."""

    n: int = Field(ge=2)
    """Texts."""
    loss_a: float
    """Mean over the texts."""
    loss_b: float
    difference: float
    """b minus a: above 0, b has become worse."""
    difference_low: float
    """Lower 95 % bound over texts (Student's t)."""
    difference_high: float
    p_value: Probability
    """Paired t test, two-sided."""


class ForgettingRecord(Record):
    """What a fine-tuned model (b) still knows of what its base (a) knew, besides medicine."""

    kind: Literal["forgetting"] = "forgetting"
    answers: tuple[ComparisonRecord, ...]
    """The general questions, one comparison per method."""
    chance: Probability
    """Expected accuracy of a uniform guess."""
    trained_on: int | None
    """General questions that b was trained on; None where that is unknown."""
    text_loss: TextLossComparison

    def has_something_to_lose(self, answers: ComparisonRecord) -> bool:
        """Return whether the base is above chance by a method: a guess cannot be forgotten."""
        return answers.accuracy_a.low > self.chance


class SeedSpread(Record):
    """Mean and spread of one evaluation over models trained with several seeds."""

    split: str
    method: Method
    n: int = Field(gt=0)
    """Questions, the same for all."""
    base: Proportion
    accuracies: tuple[Probability, ...] = Field(min_length=2)
    """Accuracy by seed, in the order of the trainings."""
    mean: Probability
    deviation: float = Field(ge=0)
    """Standard deviation over the seeds (n - 1)."""
    low: float
    """Lower 95 % bound of the mean over seeds (Student's t): variation by seed, same questions."""
    high: float
    difference: float
    """Mean over seeds minus base."""
    difference_low: float
    """Lower 95 % bound over questions (paired): variation by question, same models."""
    difference_high: float
    verdict: str


class RunRecord(Record):
    """Result of a whole run: trainings, evaluations and comparisons."""

    kind: Literal["run"] = "run"
    name: str
    config_hash: str
    trainings: tuple[TrainingRecord, ...] = Field(min_length=1)
    """One, or one per seed."""
    evaluations: tuple[EvaluationRecord, ...]
    """Evaluations of the base, then of every training, each in the same order."""
    comparisons: tuple[ComparisonRecord, ...]
    """Comparisons of every training with the base, in that order."""
    spreads: tuple[SeedSpread, ...] = ()
    """Mean and spread over several seeds, one per exam; empty for a single training."""
    forgotten: tuple[ForgettingRecord, ...] | None = None
    """General knowledge after each training; None where it was not measured."""
    duration_s: float
    """Seconds over all attempts; steps with a valid record are not run again."""
    peak_memory_bytes: int
    provenance: Provenance

    @property
    def multiplicity_note(self) -> str | None:
        """Note on multiple testing of the run's comparisons; None for a single comparison."""
        if (n := len(self.comparisons)) < 2:
            return None
        said = f"This run makes {n} comparisons, and the p-values of its verdicts are not corrected"
        if any(c.p_holm is None for c in self.comparisons):
            return f"{said} for their number."
        kept = [c for c in self.comparisons if c.p_holm is not None and c.p_holm < 0.05]
        names = dict.fromkeys(f"{c.split} by {c.method}" for c in kept)
        if not kept:
            return f"{said}: after Holm's correction none is below 0.05."
        return (
            f"{said}: after Holm's correction {len(kept)} of them "
            f"{'is' if len(kept) == 1 else 'are'} below 0.05 ({', '.join(names)})."
        )

    def evaluations_by_exam(self) -> list[tuple[EvaluationRecord, ...]]:
        """Group the evaluations by exam; each group holds the base, then every tuned model."""
        exams = len(self.evaluations) // (1 + len(self.trainings))
        return [self.evaluations[exam::exams] for exam in range(exams)]


class RescoreRecord(Record):
    """Result of scoring saved outputs again with one matcher."""

    kind: Literal["rescore"] = "rescore"
    file: str
    matcher: Literal["notebook", "strict"]
    counts: OutcomeCounts
    accuracy: Proportion
    answer_rate: Proportion
    exact: int | None = None
    """Notebook matcher: outputs that contain the answer's text."""
    partial: int | None = None
    """Notebook matcher: outputs with a token overlap of at least 0.7."""
    provenance: Provenance


class NotebookRecord(Record):
    """Result of the seed notebook's recipe, scored by its matcher and by the strict parser."""

    kind: Literal["notebook"] = "notebook"
    name: str
    config_hash: str
    examples: int
    steps: int
    losses: dict[int, float]
    """Mean loss of the last ten steps, by step."""
    train_loss: float
    """Mean over all steps."""
    train_s: float
    trainable_parameters: int
    total_parameters: int
    counts: OutcomeCounts
    """Counts by the notebook's matcher."""
    accuracy: Proportion
    strict_counts: OutcomeCounts
    """Counts of the same outputs by the strict parser."""
    strict_accuracy: Proportion
    evaluation_s: float
    provenance: Provenance


class ModelInfo(Record):
    """One model as `medtune models` shows it."""

    kind: Literal["model"] = "model"
    name: str
    state: Literal["ready", "installed", "missing"]
    """ready: loads at once; installed: is converted on first use; missing: see `note`."""
    folder: str | None
    size_bytes: int | None
    note: str = ""
    fingerprint: str | None = None
    architecture: str | None = None
    parameters: int | None = None
    layers: int | None = None
    vocabulary: int | None = None
    end_token: str | None = None
    """Closes an assistant's turn; supervised in every training example."""
    pad_token: str | None = None
    """Fills batches; never the end token."""
    sample_prompt: str | None = None


class ModelList(Record):
    """All models that are known locally."""

    kind: Literal["models"] = "models"
    cache: str
    models: tuple[ModelInfo, ...]
