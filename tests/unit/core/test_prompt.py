from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from medtune.core.experiment import RetrievalConfig
from medtune.core.prompt import (
    FormName,
    LetterForm,
    PromptStyle,
    TextForm,
    TrainingTarget,
    form_for_method,
    form_for_target,
    prompt_fingerprint,
)
from medtune.core.protocols import Message
from medtune.core.records import Question, normalize_option

SCURVY = Question(
    id="q", stem="What prevents scurvy?", options=("Vitamin A", "Vitamin C"), answer=1
)
HEART = Question(id="s", stem="Is the heart a muscle?", options=("Yes", "No"), answer=0)
WORDS = st.text(min_size=1, max_size=12)


def plain(messages: Sequence[Message]) -> str:
    return "|".join(f"{message.role}={message.content}" for message in messages)


def test_the_text_form_asks_with_the_stem_alone() -> None:
    assert PromptStyle().build_messages(SCURVY, "text") == (
        Message("system", "You answer medical exam questions."),
        Message("user", "What prevents scurvy?"),
    )
    assert PromptStyle().render_answer(SCURVY, 1, "text") == "The answer is: Vitamin C"


def test_the_letter_form_lists_the_options_and_says_what_to_write() -> None:
    assert PromptStyle().build_messages(SCURVY, "letter")[1].content == (
        "What prevents scurvy?\nA. Vitamin A\nB. Vitamin C\n"
        "Answer with the letter of the right option."
    )
    assert PromptStyle().render_answer(SCURVY, 1, "letter") == "B"


def test_list_options_puts_the_options_into_the_text_form_too() -> None:
    style = PromptStyle(text=TextForm(list_options=True), option="({letter}) {text}")
    assert style.build_messages(SCURVY, "text")[1].content == (
        "What prevents scurvy?\n(A) Vitamin A\n(B) Vitamin C"
    )


def test_the_letter_form_can_leave_the_options_out() -> None:
    style = PromptStyle(letter=LetterForm(list_options=False, instruction=""))
    assert style.build_messages(SCURVY, "letter")[1].content == "What prevents scurvy?"


def test_an_empty_system_message_is_left_to_the_template() -> None:
    roles = [message.role for message in PromptStyle(system="").build_messages(SCURVY, "text")]
    assert roles == ["user"]


def test_shots_are_whole_turns_before_the_question() -> None:
    chat = PromptStyle(system="S").build_messages(SCURVY, "text", shots=[HEART])
    assert chat == (
        Message("system", "S"),
        Message("user", "Is the heart a muscle?"),
        Message("assistant", "The answer is: Yes"),
        Message("user", "What prevents scurvy?"),
    )


def test_shots_of_the_letter_form_answer_with_letters() -> None:
    chat = PromptStyle().build_messages(SCURVY, "letter", shots=[HEART, SCURVY])
    assert [m.content for m in chat if m.role == "assistant"] == ["A", "B"]


def test_a_prompt_never_shows_which_option_is_right() -> None:
    for form in ("text", "letter"):
        asked = {
            PromptStyle().build_messages(SCURVY.model_copy(update={"answer": answer}), form)
            for answer in (0, 1, None)
        }
        assert len(asked) == 1


def test_continuations_by_hand() -> None:
    style = PromptStyle()
    assert style.split_continuations(SCURVY, "text") == (
        "The answer is:",
        (" Vitamin A", " Vitamin C"),
    )
    assert style.split_continuations(SCURVY, "letter") == ("", ("A", "B"))


def test_continuations_keep_what_follows_the_option() -> None:
    style = PromptStyle(text=TextForm(answer="It is {letter}: {text}, surely."))
    assert style.split_continuations(SCURVY, "text") == (
        "It is",
        (" A: Vitamin A, surely.", " B: Vitamin C, surely."),
    )


def test_options_with_braces_survive_letter_by_letter() -> None:
    odd = Question(
        id="q", stem="{text}?", options=("{text}", "{letter}", "{", "\\1 \\g<0>"), answer=0
    )
    style = PromptStyle(text=TextForm(answer="{letter}) {text}", list_options=True))
    assert [style.render_answer(odd, i, "text") for i in range(4)] == [
        "A) {text}",
        "B) {letter}",
        "C) {",
        "D) \\1 \\g<0>",
    ]
    assert style.build_messages(odd, "text")[1].content == (
        "{text}?\nA. {text}\nB. {letter}\nC. {\nD. \\1 \\g<0>"
    )


@given(
    before=st.text(max_size=12),
    between=st.text(max_size=12),
    after=st.text(max_size=12),
    options=st.lists(WORDS.filter(str.strip), min_size=2, max_size=5, unique_by=normalize_option),
    placeholders=st.sampled_from([("{text}", ""), ("{letter}", ""), ("{letter}", "{text}")]),
)
def test_lead_and_continuation_join_to_exactly_the_answer(
    before: str, between: str, after: str, options: list[str], placeholders: tuple[str, str]
) -> None:
    template = before + placeholders[0] + between + placeholders[1] + after
    asked = Question(id="q", stem="s", options=tuple(options), answer=None)
    style = PromptStyle(text=TextForm(answer=template))
    lead, continuations = style.split_continuations(asked, "text")
    assert lead == lead.rstrip()
    assert len(continuations) == len(options)
    for index, rest in enumerate(continuations):
        assert lead + rest == style.render_answer(asked, index, "text")


@given(st.lists(WORDS.filter(str.strip), min_size=2, max_size=5, unique_by=normalize_option))
def test_listed_options_stand_unchanged_in_the_prompt(options: list[str]) -> None:
    asked = Question(id="q", stem="s", options=tuple(options), answer=None)
    style = PromptStyle(letter=LetterForm(instruction=""))
    lines = [f"{letter}. {text}" for letter, text in zip("ABCDE", options, strict=False)]
    assert style.build_messages(asked, "letter")[-1].content == "\n".join(["s", *lines])


@pytest.mark.parametrize("form", [TextForm, LetterForm])
def test_an_answer_template_must_name_the_option(form: type[TextForm | LetterForm]) -> None:
    with pytest.raises(ValidationError, match=r"must contain \{letter\} or \{text\}"):
        form(answer="The answer")


def test_form_of_follows_the_method_and_free_text_follows_the_target() -> None:
    targets: tuple[FormName, FormName] = ("text", "letter")
    assert [form_for_method("letter", target) for target in targets] == ["letter", "letter"]
    assert [form_for_method("cloze", target) for target in targets] == ["text", "text"]
    assert [form_for_method("generate", target) for target in targets] == ["text", "letter"]


@pytest.mark.parametrize(
    ("target", "taught"),
    [
        ("text", "The answer is: Vitamin C"),
        ("text+explanation", "The answer is: Vitamin C\nCollagen needs it."),
        ("letter", "B"),
        ("letter+text", "B. Vitamin C"),
    ],
)
def test_what_is_taught_by_hand(target: TrainingTarget, taught: str) -> None:
    asked = Question(
        id="q",
        stem="Which vitamin prevents scurvy?",
        options=("Vitamin A", "Vitamin C"),
        answer=1,
        explanation="Collagen needs it.",
    )
    assert PromptStyle().render_target(asked, target) == taught
    # What is asked afterwards, in the form that was taught, opens with the same words.
    lead, rest = PromptStyle().split_continuations(asked, form_for_target(target))
    assert taught.startswith(lead + rest[1])


def test_a_missing_explanation_is_left_out() -> None:
    asked = Question(id="q", stem="Is the heart a muscle?", options=("Yes", "No"), answer=0)
    assert PromptStyle().render_target(asked, "text+explanation") == "The answer is: Yes"


def test_the_fingerprint_of_equal_styles_and_templates_is_equal() -> None:
    first = prompt_fingerprint(PromptStyle(), plain)
    assert first == prompt_fingerprint(
        PromptStyle.model_validate(PromptStyle().model_dump()), plain
    )
    assert len(first) == 64


def test_the_fingerprint_of_a_closed_book_is_what_it_was_before_books_could_be_open() -> None:
    # Computed by the version before: adapters that it trained are still accepted.
    before = {
        PromptStyle(): "72fff5939df87d2c2d6c082ab07ae03a8e3d783390d8586abd21ca9e929281f9",
        PromptStyle(
            system="S", option="({letter}) {text}"
        ): "b7a17898e187acde4e91735d053c8583cb7637ae69bc90fcb32b931ad929f757",
    }
    for style, expected in before.items():
        assert prompt_fingerprint(style, plain) == expected
        # The line of a passage stands in no prompt of a closed book.
        other = style.model_copy(update={"evidence": "({passage})"})
        assert prompt_fingerprint(other, plain) == expected


def test_the_fingerprint_of_an_open_book_covers_its_passages() -> None:
    def fingerprint(style: PromptStyle | None = None, **retrieval: Any) -> str:
        settings = RetrievalConfig.model_validate(retrieval)
        return prompt_fingerprint(style or PromptStyle(), plain, settings.prompt_settings)

    found = [
        prompt_fingerprint(PromptStyle(), plain),
        fingerprint(kind="per-option"),
        fingerprint(kind="shared"),
        fingerprint(kind="shared", query="stem"),
        fingerprint(kind="per-option", passages=2),
        fingerprint(kind="per-option", words=61),
        fingerprint(PromptStyle(evidence="({passage})"), kind="per-option"),
    ]
    assert len({*found}) == len(found)
    assert fingerprint(kind="none", passages=3) == found[0]
    # Where the index lies is not what it is.
    assert fingerprint(kind="per-option", index="somewhere/else") == found[1]


def test_every_option_has_a_prompt_behind_its_own_passages() -> None:
    asked = Question(id="q", stem="Is it?", options=("Yes", "No"), answer=0)
    style = PromptStyle(evidence="See: {passage}")
    passages = (("one", "two"), ("three",))
    prompts = style.build_option_messages(asked, "text", passages)
    assert [chat[-1].content for chat in prompts] == [
        "Is it?\nSee: one\nSee: two",
        "Is it?\nSee: three",
    ]
    assert prompts[1] == style.build_messages(asked, "text", passages=passages[1])


def test_the_fingerprint_differs_when_anything_of_the_style_differs() -> None:
    styles = [
        PromptStyle(),
        PromptStyle(system=""),
        PromptStyle(system="Other."),
        PromptStyle(option="{letter}) {text}"),
        PromptStyle(text=TextForm(answer="Answer: {text}")),
        PromptStyle(text=TextForm(answer="The answer is: {text}.")),
        PromptStyle(text=TextForm(list_options=True)),
        PromptStyle(text=TextForm(instruction="Be brief.")),
        PromptStyle(letter=LetterForm(answer="({letter})")),
        PromptStyle(letter=LetterForm(list_options=False)),
        PromptStyle(letter=LetterForm(instruction="Letter only.")),
    ]
    assert len({prompt_fingerprint(style, plain) for style in styles}) == len(styles)


def test_the_fingerprint_differs_when_the_template_differs() -> None:
    def last_turn_marked(messages: Sequence[Message]) -> str:
        return plain(messages) + "|assistant="

    def no_earlier_answers(messages: Sequence[Message]) -> str:
        return plain([m for m in messages if m.role != "assistant"])

    def no_system(messages: Sequence[Message]) -> str:
        return plain([m for m in messages if m.role != "system"])

    def lists_rewritten(messages: Sequence[Message]) -> str:
        return plain(messages).replace("\nB. ", "\n- ")

    templates = [plain, last_turn_marked, no_earlier_answers, no_system, lists_rewritten]
    assert len({prompt_fingerprint(PromptStyle(), template) for template in templates}) == 5
