"""The prompt renderer that training, evaluation and serving share.

A style turns a question into chat messages and into the assistant's answer; the model's own
chat template turns the messages into text.  A fingerprint hashes both together, on probe
questions, so that an adapter can refuse a prompt on which it was not trained.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import field_validator

from medtune.core.protocols import Message
from medtune.core.records import Method, Question, Record, content_hash

FormName = Literal["text", "letter"]
TrainingTarget = Literal["text", "text+explanation", "letter", "letter+text"]
"""What a model is trained to answer: one of the forms, or a form followed by more text."""
HIDDEN_STEM = "The question is not shown. Choose the option that is most likely the right answer."
"""Stem of a question that is asked without it."""
_PLACEHOLDER = re.compile(r"\{letter\}|\{text\}")
_PASSAGE = "{passage}"


class AnswerForm(Record):
    """Instruction and template of an answer."""

    instruction: str = ""
    """Last line of the user message; empty for none."""
    answer: str
    """Template of the assistant's turn; {letter} and {text} are replaced by the option's."""
    list_options: bool = True
    """Whether the user message lists the options."""

    @field_validator("answer")
    @classmethod
    def _check_placeholder(cls, value: str) -> str:
        if "{letter}" not in value and "{text}" not in value:
            raise ValueError("must contain {letter} or {text}")
        return value


class TextForm(AnswerForm):
    """Answer form with the option's text."""

    answer: str = "The answer is: {text}"
    list_options: bool = False
    """If off, the model sees the stem only, as in the cloze tasks of lm-evaluation-harness; if on,
    it reads the options and copies one."""


class LetterForm(AnswerForm):
    """Answer form with the option's letter."""

    instruction: str = "Answer with the letter of the right option."
    answer: str = "{letter}"


class PromptStyle(Record):
    """Templates of the system message, the options and the answer."""

    system: str = "You answer medical exam questions."
    """The system message; if empty, the model's chat template decides."""
    option: str = "{letter}. {text}"
    """One line per option."""
    evidence: str = "Reference: {passage}"
    """One line per passage of an open-book prompt, after the question; unused without passages."""
    text: TextForm = TextForm()
    letter: LetterForm = LetterForm()

    @field_validator("evidence")
    @classmethod
    def _check_passage(cls, value: str) -> str:
        if _PASSAGE not in value:
            raise ValueError(f"must contain {_PASSAGE}")
        return value

    def answer_form(self, form: FormName) -> AnswerForm:
        """Return the settings of an answer form."""
        return self.text if form == "text" else self.letter

    def build_messages(
        self,
        question: Question,
        form: FormName,
        shots: Sequence[Question] = (),
        passages: Sequence[str] = (),
    ) -> tuple[Message, ...]:
        """Build the chat messages of a question, after few-shot examples if there are any.

        The passages of an open-book prompt follow the stem: prompts of one question, each with the
        passages of one option, have a common beginning that is computed once.
        """
        chat = [Message("system", self.system)] if self.system else []
        for shot in shots:
            assert shot.answer is not None, "a shot shows its answer"
            chat.append(Message("user", self._user_message(shot, form)))
            chat.append(Message("assistant", self.render_answer(shot, shot.answer, form)))
        chat.append(Message("user", self._user_message(question, form, passages)))
        return tuple(chat)

    def build_option_messages(
        self,
        question: Question,
        form: FormName,
        passages: Sequence[Sequence[str]],
        shots: Sequence[Question] = (),
    ) -> tuple[tuple[Message, ...], ...]:
        """Build the prompt of every option of an open-book question, behind its own passages.

        Args:
            question: The question.
            form: The answer form.
            passages: Texts of the passages, `[option][rank]`, in the order of the options.
            shots: Few-shot examples.
        """
        assert len(passages) == len(question.options), "every option has its passages"
        return tuple(self.build_messages(question, form, shots, read) for read in passages)

    def render_answer(self, question: Question, index: int, form: FormName) -> str:
        """Render the assistant's turn that gives option `index`."""
        return _fill_placeholders(
            self.answer_form(form).answer, question.letters[index], question.options[index]
        )

    def render_target(self, question: Question, target: TrainingTarget) -> str:
        """Render the assistant's turn that a model is trained on; the question must have an answer.

        A missing explanation is left out.
        """
        assert question.answer is not None, "an answer is taught"
        answer = self.render_answer(question, question.answer, form_for_target(target))
        if target == "letter+text":
            return f"{answer}. {question.options[question.answer]}"
        if target == "text+explanation" and question.explanation:
            return f"{answer}\n{question.explanation}"
        return answer

    def split_continuations(
        self, question: Question, form: FormName
    ) -> tuple[str, tuple[str, ...]]:
        """Split the assistant's turn into a common lead and one continuation per option.

        Returns:
            The lead ("The answer is:"), and one continuation per option (" Vitamin C").  The
            space between them belongs to the continuation, as in tokenizers.
        """
        lead = _PLACEHOLDER.split(self.answer_form(form).answer, maxsplit=1)[0].rstrip()
        turns = [self.render_answer(question, i, form) for i in range(len(question.options))]
        return lead, tuple(turn[len(lead) :] for turn in turns)

    def _user_message(
        self, question: Question, form: FormName, passages: Sequence[str] = ()
    ) -> str:
        lines = [question.stem]
        if self.answer_form(form).list_options:
            pairs = zip(question.letters, question.options, strict=True)
            lines += [_fill_placeholders(self.option, letter, text) for letter, text in pairs]
        lines += [self.evidence.replace(_PASSAGE, passage) for passage in passages]
        if self.answer_form(form).instruction:
            lines.append(self.answer_form(form).instruction)
        return "\n".join(lines)


def form_for_method(method: Method, target: FormName) -> FormName:
    """Return the answer form of a scoring method; for free text, the form that was trained."""
    forms: dict[Method, FormName] = {"letter": "letter", "cloze": "text", "generate": target}
    return forms[method]


def method_for_form(form: FormName) -> Method:
    """Return the likelihood method that scores a model trained on an answer form."""
    return "letter" if form == "letter" else "cloze"


def form_for_target(target: TrainingTarget) -> FormName:
    """Return the answer form of the prompt for a training target."""
    return "letter" if target.startswith("letter") else "text"


def visible_stem(question: Question) -> str:
    """Return the stem of a question for a search, empty where it is hidden."""
    return "" if question.stem == HIDDEN_STEM else question.stem


def prompt_fingerprint(
    style: PromptStyle, render: Callable[[Sequence[Message]], str], open_book: object = None
) -> str:
    """Hash a prompt style and a chat template together, by their text for two probe questions.

    Args:
        style: The prompt style.
        render: Renders messages by the chat template.
        open_book: What determines the passages in the prompt; None for a closed book.

    Returns:
        64 hex digits; equal exactly if every prompt and every answer are equal.
    """
    pages: list[object] = [style.model_dump(mode="json", exclude={"evidence"})]
    for form in ("text", "letter"):
        chat = style.build_messages(_PROBES[0], form, shots=_PROBES[1:])
        pages.append(render(chat))
        pages.append(style.split_continuations(_PROBES[0], form))
        if open_book is not None:
            shown = style.build_messages(_PROBES[0], form, passages=("A passage.",))
            pages += [open_book, render(shown)]
    return content_hash(pages)


def _fill_placeholders(template: str, letter: str, text: str) -> str:
    """Fill a template in one pass, because an option's text may itself contain braces."""
    return _PLACEHOLDER.sub(lambda m: letter if m[0] == "{letter}" else text, template)


_PROBES = (
    Question(
        id="probe-4",
        stem="Which vitamin prevents scurvy?",
        options=("Vitamin A", "Vitamin B12", "Vitamin C", "Vitamin D"),
        answer=2,
    ),
    Question(
        id="probe-2", stem="Is the heart a muscle?\nAnswer {text}:", options=("Yes", "No"), answer=0
    ),
)
