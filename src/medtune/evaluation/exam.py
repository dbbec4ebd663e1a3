"""Settings of one evaluation: questions, method, orders, few-shot examples."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Self

from medtune.core.errors import InputError
from medtune.core.experiment import EvaluationConfig, Experiment
from medtune.core.prompt import (
    FormName,
    PromptStyle,
    form_for_target,
    method_for_form,
    prompt_fingerprint,
)
from medtune.core.protocols import Decoding, ModelIdentity
from medtune.core.records import (
    Method,
    Normalization,
    Orders,
    Question,
    ShotChoice,
    SplitDescription,
    Variant,
    content_hash,
)
from medtune.evaluation.perturbations import perturb_questions
from medtune.retrieval.evidence import EvidenceFinder

SCORING_VERSION = 2
"""Version of scoring and choosing; 2: fp32 head, ties broken by hash."""
DEFAULT_NORMALIZATION = EvaluationConfig().normalization


@dataclass(frozen=True)
class Shots:
    """Few-shot examples before each question.

    Attributes:
        pool: Labelled questions that are not evaluated.
        count: Examples per question; 0 is none.
        by: fixed takes the first of the pool for all; random draws for every question; subject
            takes the first of the question's subject, filled up with the first of the pool.
    """

    pool: Sequence[Question] = ()
    count: int = 0
    by: ShotChoice = "fixed"
    seed: int = 0

    def __post_init__(self) -> None:
        assert self.count <= len(self.pool), "the recipe sees to a large enough pool"

    def select_shots(self, question: Question) -> tuple[Question, ...]:
        """Select the few-shot examples of a question."""
        if self.by == "random":
            # Seeded per question, so that the examples do not depend on the other questions.
            lots = random.Random(f"{self.seed} {question.id}")
            return tuple(lots.sample(self.pool, self.count))
        if self.by == "subject":
            own = self._pool_by_subject.get(question.subject, ())
            others = [shot for shot in self.pool[: self.count] if shot not in own]
            return (*own, *others)[: self.count]
        return tuple(self.pool[: self.count])

    @cached_property
    def _pool_by_subject(self) -> dict[str | None, list[Question]]:
        first: dict[str | None, list[Question]] = defaultdict(list)
        for shot in self.pool:
            if shot.subject is not None and len(first[shot.subject]) < self.count:
                first[shot.subject].append(shot)
        return first

    def hash_components(self) -> object:
        """Return what determines the examples, for hashing; None without examples."""
        if not self.count:
            return None
        return [self.by, self.count, self.seed if self.by == "random" else None, self._pool_hash]

    @cached_property
    def _pool_hash(self) -> str:
        """Hash of the possible examples, cached because the pool may be large."""
        pool = self.pool[: self.count] if self.by == "fixed" else self.pool
        return content_hash(
            [
                [q.stem, q.options, q.answer, q.subject if self.by == "subject" else None]
                for q in pool
            ]
        )


NO_SHOTS = Shots()


@dataclass(frozen=True, slots=True)
class SearchReference:
    """A text search in the training questions, for the questions of an exam."""

    index: str
    """Hash of the passage index."""
    passages: int
    """Passages of the index."""
    left_out: int
    """Passages left out, as near-duplicates of the questions."""
    right: tuple[bool, ...]
    """Whether the search answers each question right."""
    similarity: tuple[float, ...]
    """Largest share of words that each stem has in common with a passage's question."""
    fingerprint: str | None = None
    """Identity of the search: its index and its fitted weights."""
    own: bool = False
    """Whether the evaluated model searches by itself, such as a mixture with a search."""

    def take(self, places: slice) -> Self:
        """Return the search for some of the questions."""
        return replace(self, right=self.right[places], similarity=self.similarity[places])


@dataclass(frozen=True, slots=True)
class ExamShard:
    """Which of several equal parts of an exam is evaluated, on one machine of several."""

    number: int
    """From 1."""
    of: int
    """Number of parts."""

    @classmethod
    def parse(cls, text: str, n: int) -> Self:
        """Read which part of n questions is evaluated: "1/4" is the first of four.

        Raises:
            InputError: There is no such part.
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        number, of = map(int, found.groups()) if found else (0, 0)
        if not 1 <= number <= of or not 2 <= of <= n:
            raise InputError(
                f"--shard {text} of {n:,} questions",
                expected="part/parts, 1/4 to 4/4: two parts or more, and no more than questions",
            )
        return cls(number, of)

    @property
    def places(self) -> slice:
        """Places of the part's questions; spread out, for a file may be sorted."""
        return slice(self.number - 1, None, self.of)


@dataclass(frozen=True)
class Exam:
    """Settings of one evaluation: questions, prompt, method and baselines."""

    questions: Sequence[Question]
    data: SplitDescription
    style: PromptStyle
    method: Method
    normalization: Normalization
    shots: Shots = NO_SHOTS
    orders: Orders = "given"
    variant: Variant = "plain"
    """Perturbation that was applied to the questions (`evaluation.perturbations`)."""
    trained_on: int | None = None
    """Questions among these that the model was trained on; None where that is unknown."""
    search: SearchReference | None = None
    """A search baseline for these questions; None without an index."""
    evidence: EvidenceFinder | None = None
    """Finds the passages of an open-book prompt; None for a closed book."""
    options_only: int = 0
    """Number of questions asked again without their stem, as a baseline; 0 is none."""
    target: FormName = "text"
    """Answer form of free answers."""
    constrained: bool = False
    """Whether free answers are constrained to the options."""
    decoding: Decoding = field(default_factory=Decoding)
    """Decoding settings of free answers."""
    shard: ExamShard | None = None
    """Which part of a larger exam this is; None for all of it."""
    whole: Exam | None = None
    """The larger exam."""

    @classmethod
    def from_config(
        cls,
        settings: EvaluationConfig,
        method: Method,
        questions: Sequence[Question],
        data: SplitDescription,
        style: PromptStyle,
        target: FormName,
        pool: Sequence[Question],
    ) -> Self:
        """Make an exam from an experiment's settings; free answers use the given order only.

        Args:
            settings: Settings of the evaluation.
            method: One of its methods.
            questions: The questions to ask.
            data: Description of the split.
            style: The prompt style.
            target: Answer form of free answers.
            pool: Questions for few-shot examples.
        """
        free = method == "generate"
        return cls(
            questions=questions,
            data=data,
            style=style,
            method=method,
            normalization=settings.normalization,
            shots=Shots(pool, settings.shots, settings.shots_by),
            orders="given" if free else settings.orders,
            options_only=0 if free else settings.options_only,
            target=target,
            constrained=settings.constrained and free,
            decoding=Decoding(settings.max_new_tokens),
        )

    @classmethod
    def from_experiment(
        cls,
        experiment: Experiment,
        method: Method,
        questions: Sequence[Question],
        data: SplitDescription,
        pool: Sequence[Question],
    ) -> Self:
        """Make the exam of an experiment on one of its splits; `pool` is for few-shot examples."""
        target = form_for_target(experiment.training.target)
        return cls.from_config(
            experiment.evaluation, method, questions, data, experiment.prompt, target, pool
        )

    @classmethod
    def for_validation(
        cls, experiment: Experiment, questions: Sequence[Question], data: SplitDescription
    ) -> Self:
        """Make the validation exam of a training: every question once, by likelihood.

        It uses the primary method, or for free text the likelihood method of the trained form.
        """
        method, *_ = experiment.evaluation.methods
        if method == "generate":
            method = method_for_form(form_for_target(experiment.training.target))
        return cls(questions, data, experiment.prompt, method, experiment.evaluation.normalization)

    @classmethod
    def for_likelihood(
        cls,
        questions: Sequence[Question],
        data: SplitDescription,
        style: PromptStyle,
        method: Method,
    ) -> Self:
        """Make an exam by likelihood without few-shot examples and baseline, in the given order."""
        return cls(questions, data, style, method, DEFAULT_NORMALIZATION)

    def perturb(self, variant: Variant, seed: int = 0) -> Exam:
        """Return the same exam on perturbed questions, without options-only baseline."""
        questions = perturb_questions(self.questions, variant, seed)
        return replace(self, questions=questions, variant=variant, options_only=0, search=None)

    def take_shard(self, shard: ExamShard, data: SplitDescription) -> Exam:
        """Return a part of this exam, to be merged with the others by `merge_shards`.

        Args:
            shard: Which part.
            data: Description of the part's questions.
        """
        return replace(
            self,
            questions=self.questions[shard.places],
            data=data,
            search=self.search and self.search.take(shard.places),
            shard=shard,
            whole=self,
        )

    def list_options_only_places(self) -> list[int]:
        """List the places of the questions that are asked again without their stem, evenly spread.

        Those of a part are the whole exam's that lie in it.
        """
        whole = self.whole or self
        n = len(whole.questions)
        asked = min(n, whole.options_only)
        places = [place * n // asked for place in range(asked)]
        if self.shard is None:
            return places
        first, of = self.shard.number - 1, self.shard.of
        return [place // of for place in places if place % of == first]

    @property
    def effective_normalization(self) -> Normalization | None:
        """Normalization in use (see `normalization_for_method`)."""
        return normalization_for_method(self.method, self.normalization)

    def hash_inputs(self, model: ModelIdentity, parser: int) -> str:
        """Hash everything that determines the result.

        Args:
            model: The model to evaluate.
            parser: Version of the parser of free answers.
        """
        free = [self.target, asdict(self.decoding), self.constrained, parser]
        found = self.evidence.hash_components() if self.evidence is not None else None
        return content_hash(
            [
                model.describe().model_dump(mode="json"),
                self.data.hash,
                self.hash_prompt(model),
                self.method,
                self.effective_normalization,
                self.shots.hash_components(),
                [self.orders, self.options_only],
                SCORING_VERSION,
                self._perturbed_questions(),
                free if self.method == "generate" else None,
                *([found] if found is not None else []),
                *([[self.shard.number, self.shard.of]] if self.shard is not None else []),
            ]
        )

    def hash_prompt(self, model: ModelIdentity) -> str:
        """Hash the prompt; see `prompt_fingerprint`."""
        open_book = self.evidence.settings.prompt_settings if self.evidence is not None else None
        return prompt_fingerprint(self.style, model.render, open_book)

    def _perturbed_questions(self) -> object:
        """Return the perturbed questions for hashing; the data's hash covers the plain ones."""
        if self.variant == "plain":
            return None
        return [self.variant, [[q.stem, q.options, q.answer] for q in self.questions]]


def normalization_for_method(
    method: Method, configured: Normalization = DEFAULT_NORMALIZATION
) -> Normalization | None:
    """Return the normalization in use: "sum" for letters (one token each), None for free text."""
    if method == "generate":
        return None
    return "sum" if method == "letter" else configured


def check_constrained(method: Method, settings: EvaluationConfig) -> None:
    """Refuse `constrained` with a method that does not generate.

    Raises:
        InputError: The settings constrain, but the method scores.
    """
    if method != "generate" and settings.constrained:
        raise InputError(
            "--constrained with answers that are scored, not written",
            expected="--method generate",
        )
