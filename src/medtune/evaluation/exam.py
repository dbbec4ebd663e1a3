"""How one examination is held: questions, method, orders, worked examples."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Self

from medtune.core.errors import InputError
from medtune.core.experiment import EvaluationConfig, Experiment
from medtune.core.prompt import Form, PromptStyle, fingerprint, form_taught, likelihood_of
from medtune.core.protocols import AnswerModel, Decoding
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
from medtune.evaluation.perturbations import varied

RULES = 2
"""Version of how scores are computed and become choices; 2: an fp32 head, equals drawn by lot."""


@dataclass(frozen=True)
class Shots:
    """Worked examples that stand before each question.

    Attributes:
        pool: Labelled questions that are not examined themselves.
        count: Examples per question; 0 is none.
        by: fixed takes the pool's first for all; random draws anew for every question; subject
            takes the pool's first of the question's own subject, and fills up with its first.
    """

    pool: Sequence[Question] = ()
    count: int = 0
    by: ShotChoice = "fixed"
    seed: int = 0

    def __post_init__(self) -> None:
        assert self.count <= len(self.pool), "the recipe sees to a large enough pool"

    def before(self, question: Question) -> tuple[Question, ...]:
        """Choose the examples that stand before a question."""
        if self.by == "random":
            # A lot of its own per question: the same whatever the other questions are.
            lots = random.Random(f"{self.seed} {question.id}")
            return tuple(lots.sample(self.pool, self.count))
        if self.by == "subject":
            own = self._by_subject.get(question.subject, ())
            others = [shot for shot in self.pool[: self.count] if shot not in own]
            return (*own, *others)[: self.count]
        return tuple(self.pool[: self.count])

    @cached_property
    def _by_subject(self) -> dict[str | None, list[Question]]:
        first: dict[str | None, list[Question]] = defaultdict(list)
        for shot in self.pool:
            if shot.subject is not None and len(first[shot.subject]) < self.count:
                first[shot.subject].append(shot)
        return first

    def identity(self) -> object:
        """Say what determines the examples; None without any."""
        if not self.count:
            return None
        return [self.by, self.count, self.seed if self.by == "random" else None, self._pool_hash]

    @cached_property
    def _pool_hash(self) -> str:
        """Hash what can become an example: a large pool only once."""
        pool = self.pool[: self.count] if self.by == "fixed" else self.pool
        return content_hash(
            [
                [q.stem, q.options, q.answer, q.subject if self.by == "subject" else None]
                for q in pool
            ]
        )


@dataclass(frozen=True)
class Exam:
    """How one examination is held."""

    questions: Sequence[Question]
    data: SplitDescription
    style: PromptStyle
    method: Method
    normalization: Normalization
    shots: Shots = field(default_factory=Shots)
    orders: Orders = "given"
    variant: Variant = "plain"
    """What was done to the questions already; `evaluation.perturbations` does it."""
    trained_on: int | None = None
    """Questions among these that the model was trained on; None where that is unknown."""
    options_only: int = 0
    """At most so many questions are asked again without their stem; 0 is no such baseline."""
    target: Form = "text"
    """Form in which free answers are asked for."""
    constrained: bool = False
    """Free answers may only be an option."""
    decoding: Decoding = field(default_factory=Decoding)
    """How free answers are written."""

    @classmethod
    def planned(
        cls,
        settings: EvaluationConfig,
        method: Method,
        questions: Sequence[Question],
        data: SplitDescription,
        style: PromptStyle,
        target: Form,
        pool: Sequence[Question],
    ) -> Self:
        """Plan an exam by an experiment's settings; free answers know one order only.

        Args:
            settings: Of the evaluation.
            method: One of its methods.
            questions: To examine.
            data: Where they come from.
            style: Of the prompt.
            target: Form in which free answers are asked for.
            pool: Where worked examples are taken from.
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
    def watching(
        cls, experiment: Experiment, questions: Sequence[Question], data: SplitDescription
    ) -> Self:
        """Plan the exam that watches a training: every question once, by likelihood.

        It takes the primary method; where that is free text, the likelihood of the form taught.
        """
        method, *_ = experiment.evaluation.methods
        if method == "generate":
            method = likelihood_of(form_taught(experiment.training.target))
        return cls(questions, data, experiment.prompt, method, experiment.evaluation.normalization)

    @classmethod
    def plain(
        cls,
        questions: Sequence[Question],
        data: SplitDescription,
        style: PromptStyle,
        method: Method,
    ) -> Self:
        """Plan an exam by likelihood alone: no examples, no baseline, options as given."""
        return cls(questions, data, style, method, EvaluationConfig().normalization)

    def on_variant(self, variant: Variant, seed: int = 0) -> Exam:
        """Plan the same exam on questions to which something was done; it has no baseline."""
        questions = varied(self.questions, variant, seed)
        return replace(self, questions=questions, variant=variant, options_only=0)

    @property
    def compared(self) -> Normalization | None:
        """How continuations are compared: letters are one token each, texts have no scores."""
        if self.method == "generate":
            return None
        return "sum" if self.method == "letter" else self.normalization

    def inputs(self, model: AnswerModel, parser: int) -> str:
        """Hash everything that determines the result.

        Args:
            model: To be examined.
            parser: Version of what reads free answers.
        """
        free = [self.target, asdict(self.decoding), self.constrained, parser]
        return content_hash(
            [
                model.describe().model_dump(mode="json"),
                self.data.hash,
                fingerprint(self.style, model.render),
                self.method,
                self.compared,
                self.shots.identity(),
                [self.orders, self.options_only],
                RULES,
                self._asked(),
                free if self.method == "generate" else None,
            ]
        )

    def _asked(self) -> object:
        """Say what a variant made of the questions; the data's hash is of the plain ones."""
        if self.variant == "plain":
            return None
        return [self.variant, [[q.stem, q.options, q.answer] for q in self.questions]]


def refuse_constraint(method: Method, settings: EvaluationConfig) -> None:
    """Refuse to constrain answers that are not written.

    Raises:
        InputError: The method scores, and the settings constrain.
    """
    if method != "generate" and settings.constrained:
        raise InputError(
            "--constrained with answers that are scored, not written",
            expected="--method generate",
        )
