"""Encode training questions as examples, by the prompt renderer of evaluation and serving."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from medtune.core.experiment import Experiment
from medtune.core.option_logprobs import normalization_length
from medtune.core.progress import Progress
from medtune.core.prompt import form_for_target
from medtune.core.protocols import Example, Message
from medtune.core.records import Normalization, Question
from medtune.retrieval.evidence import Passages, cut_words
from medtune.training.epochs import build_weight_function
from medtune.training.passages import TrainingPassages

if TYPE_CHECKING:
    from medtune.training.trainable import Trainable


class ExampleEncoder:
    """Encodes training questions; open book, the right answer stands behind its own passages.

    Args:
        trainable: The model with its chat template.
        experiment: The settings.
        questions: The train split.
        passages: Passages of the prompts; None for a closed book.
    """

    def __init__(
        self,
        trainable: Trainable,
        experiment: Experiment,
        questions: Sequence[Question],
        passages: TrainingPassages | None = None,
    ) -> None:
        self._trainable, self._passages = trainable, passages
        self._style, self._settings = experiment.prompt, experiment.training
        self._form = form_for_target(self._settings.target)
        # One letter has no length; see `normalization_for_method`.
        self._normalization: Normalization = (
            "sum" if self._form == "letter" else experiment.evaluation.normalization
        )
        self._weight = build_weight_function(questions, self._settings)
        self._most_words: dict[str, int] = {}
        """Most words of a passage, by the id of a question whose passages are cut to fit."""

    def __call__(self, question: Question) -> Example:
        """Encode the right answer behind the prompt of the right option, or all options."""
        assert question.answer is not None, "unlabelled questions are refused before"
        settings, prompts = self._settings, self.build_option_prompts(question)
        example = replace(
            self._trainable.encode(
                prompts[question.answer], self._style.render_target(question, settings.target)
            ),
            weight=self._weight(question),
            ends=settings.ending,
        )
        if settings.objective != "choice":
            return example
        lead, texts = self._style.split_continuations(question, self._form)
        options = self._trainable.encode_options(prompts, lead, texts)
        lengths = [
            normalization_length(
                self._normalization, len(o.tokens) - o.first, len(text.strip().encode())
            )
            for o, text in zip(options, texts, strict=True)
        ]
        return replace(
            example,
            options=options,
            lengths=tuple(lengths),
            right=question.answer,
            answer_share=settings.answer_share,
        )

    def build_option_prompts(self, question: Question) -> tuple[tuple[Message, ...], ...]:
        """Build the prompt of every option, behind its own passages.

        They are equal for a closed book and for shared passages.
        """
        passages = self._find_passages(question)
        return self._style.build_option_messages(question, self._form, passages)

    def fit_passages(self, questions: Sequence[Question], progress: Progress) -> None:
        """Cut the passages of questions that would exceed `max_tokens`, and report counts.

        All options of a question have their passages cut to the same number of words, so that a
        length tells nothing about the right one.
        """
        if self._passages is None:
            return
        most = self._passages.settings.words
        for question in questions:
            if self._is_surely_short(question) or not self._exceeds(question, most):
                self._most_words.pop(question.id, None)
                continue
            fits = bisect_left(
                range(1, most + 1), True, key=lambda words: self._exceeds(question, words)
            )
            self._most_words[question.id] = fits
        if self._most_words:
            dropped = sum(not words for words in self._most_words.values())
            progress.log_message(
                f"passages of {len(self._most_words)} of {len(questions)} questions were cut to "
                f"fit {self._settings.max_tokens} tokens, {dropped} of them to nothing"
            )

    def _find_passages(self, question: Question) -> Passages:
        """Return the passages of every option; none for a closed book."""
        if self._passages is None:
            return ((),) * len(question.options)
        found = self._passages.find(question)
        most = self._most_words.get(question.id)
        if most is None:
            return found
        return tuple(tuple(cut_words(text, most) for text in texts if most) for texts in found)

    def _is_surely_short(self, question: Question) -> bool:
        """Return whether the prompts have fewer bytes than `max_tokens`; a token has one or more.

        This saves encoding every option of every question.
        """
        rendered = map(self._trainable.render, {*self.build_option_prompts(question)})
        answers = self._render_answers(question)
        longest = sum(max(len(text.encode()) for text in texts) for texts in (rendered, answers))
        return longest < self._settings.max_tokens

    def _exceeds(self, question: Question, words: int) -> bool:
        """Return whether an option is too long behind passages of so many words."""
        self._most_words[question.id] = words
        prompts, answers = self.build_option_prompts(question), self._render_answers(question)
        limit = self._settings.max_tokens
        return any(
            len(self._trainable.encode(prompt, answer).tokens) > limit
            for prompt, answer in zip(prompts, answers, strict=True)
        )

    def _render_answers(self, question: Question) -> list[str]:
        """Render every option as an answer, the right one as it is taught."""
        places = range(len(question.options))
        answers = [self._style.render_answer(question, i, self._form) for i in places]
        assert question.answer is not None, "unlabelled questions are refused before"
        answers[question.answer] = self._style.render_target(question, self._settings.target)
        return answers
