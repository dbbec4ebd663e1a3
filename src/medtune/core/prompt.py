"""The one prompt renderer: training, examination and serving all come through here.

A style turns a question into chat messages and into the assistant's answer; the model's own
chat template turns the messages into text.  `fingerprint` hashes both together, on probe
questions, so that an adapter can refuse a prompt on which it was not trained.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import field_validator

from medtune.core.protocols import Message
from medtune.core.records import Method, Question, Record, content_hash

Form = Literal["text", "letter"]
Target = Literal["text", "text+explanation", "letter", "letter+text"]
"""What a model is taught to answer: one of the forms, or one with something behind it."""
_PLACEHOLDER = re.compile(r"\{letter\}|\{text\}")


class AnswerForm(Record):
    """How an answer is asked for and written."""

    instruction: str = ""
    """Last line of the user's message; empty for none."""
    answer: str
    """The assistant's turn; {letter} and {text} stand for the option."""
    list_options: bool = True
    """Whether the user's message lists the options."""

    @field_validator("answer")
    @classmethod
    def _names_the_option(cls, value: str) -> str:
        if "{letter}" not in value and "{text}" not in value:
            raise ValueError("must contain {letter} or {text}")
        return value


class TextForm(AnswerForm):
    """Answering with the option's text."""

    answer: str = "The answer is: {text}"
    list_options: bool = False
    """Off, the stem alone must call up the answer, as in the cloze tasks of
    lm-evaluation-harness; on, options are read and one is copied."""


class LetterForm(AnswerForm):
    """Answering with the option's letter."""

    instruction: str = "Answer with the letter of the right option."
    answer: str = "{letter}"


class PromptStyle(Record):
    """How a question is put to the model."""

    system: str = "You answer medical exam questions."
    """The system message; empty leaves it to the model's template."""
    option: str = "{letter}. {text}"
    """One line per option."""
    text: TextForm = TextForm()
    letter: LetterForm = LetterForm()

    def form(self, form: Form) -> AnswerForm:
        """Pick the form."""
        return self.text if form == "text" else self.letter

    def messages(
        self, question: Question, form: Form, shots: Sequence[Question] = ()
    ) -> tuple[Message, ...]:
        """Put a question to the model, after worked examples if there are any."""
        chat = [Message("system", self.system)] if self.system else []
        for shot in shots:
            assert shot.answer is not None, "a shot shows its answer"
            chat.append(Message("user", self._user(shot, form)))
            chat.append(Message("assistant", self.answer(shot, shot.answer, form)))
        chat.append(Message("user", self._user(question, form)))
        return tuple(chat)

    def answer(self, question: Question, index: int, form: Form) -> str:
        """Write the assistant's turn that gives option `index`."""
        return _fill(self.form(form).answer, question.letters[index], question.options[index])

    def taught(self, question: Question, target: Target) -> str:
        """Write the assistant's turn that a model is taught; the question has its answer.

        An explanation that is missing is left out.
        """
        assert question.answer is not None, "an answer is taught"
        answer = self.answer(question, question.answer, form_taught(target))
        if target == "letter+text":
            return f"{answer}. {question.options[question.answer]}"
        if target == "text+explanation" and question.explanation:
            return f"{answer}\n{question.explanation}"
        return answer

    def continuations(self, question: Question, form: Form) -> tuple[str, tuple[str, ...]]:
        """Split the assistant's turn into what all options share and what each adds.

        Returns:
            The lead ("The answer is:"), and per option the rest (" Vitamin C").  The space
            between them belongs to the rest, as tokenizers have it.
        """
        lead = _PLACEHOLDER.split(self.form(form).answer, maxsplit=1)[0].rstrip()
        turns = [self.answer(question, i, form) for i in range(len(question.options))]
        return lead, tuple(turn[len(lead) :] for turn in turns)

    def _user(self, question: Question, form: Form) -> str:
        lines = [question.stem]
        if self.form(form).list_options:
            pairs = zip(question.letters, question.options, strict=True)
            lines += [_fill(self.option, letter, text) for letter, text in pairs]
        if self.form(form).instruction:
            lines.append(self.form(form).instruction)
        return "\n".join(lines)


def form_of(method: Method, target: Form) -> Form:
    """Tell which answer form a method asks for; free text takes the form that was trained."""
    forms: dict[Method, Form] = {"letter": "letter", "cloze": "text", "generate": target}
    return forms[method]


def likelihood_of(form: Form) -> Method:
    """Tell by which likelihood a model is scored that was taught a form of answer."""
    return "letter" if form == "letter" else "cloze"


def form_taught(target: Target) -> Form:
    """Tell in which form a question is put while a target is taught."""
    return "letter" if target.startswith("letter") else "text"


def fingerprint(style: PromptStyle, render: Callable[[Sequence[Message]], str]) -> str:
    """Hash a style and a chat template together, by what they write on two probe questions.

    Args:
        style: The style.
        render: The model's own template: messages -> text.

    Returns:
        64 hex digits; equal exactly when every prompt and every answer would be equal.
    """
    pages: list[object] = [style.model_dump(mode="json")]
    for form in ("text", "letter"):
        chat = style.messages(_PROBES[0], form, shots=_PROBES[1:])
        pages.append(render(chat))
        pages.append(style.continuations(_PROBES[0], form))
    return content_hash(pages)


def _fill(template: str, letter: str, text: str) -> str:
    """Fill a template in one pass: an option's text may itself contain braces."""
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
