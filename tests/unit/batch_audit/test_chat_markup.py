"""The markup of chat templates, and the turns that it finds."""

from __future__ import annotations

from typing import Any

import pytest
from jinja2.exceptions import TemplateError
from tests.unit.batch_audit.chats import Chats

from medtune.batch_audit.chat_markup import derive_markup
from medtune.models.light.tokenizer import _environment

GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] "
    "+ '\n\n' %}{% set loop_messages = messages[1:] %}{% else %}{% set first = '' %}"
    "{% set loop_messages = messages %}{% endif %}{% for message in loop_messages %}"
    "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) "
    "+ '\n' + (first if loop.first else '') + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
PHI = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] "
    "+ '<|end|>\n' }}{% endfor %}"
    "{{ '<|assistant|>\n' if add_generation_prompt else eos_token }}"
)
THINKING = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}"
    "{% endif %}{{ message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)
REFUSING = "{{ raise_exception('no chats here') }}"


class Templated:
    """A tokenizer with nothing but a template."""

    bos_token = "<bos>"

    def __init__(self, template: str) -> None:
        self.template = template

    def apply_chat_template(self, chat: Any, **settings: Any) -> str:
        return (
            _environment()
            .from_string(self.template)
            .render(messages=chat, bos_token="<bos>", eos_token="</s>", **settings)
        )


def test_the_markup_of_chatml(chatml: Chats) -> None:
    markup = derive_markup(chatml.tokenizer)
    assert markup is not None
    assert (markup.lead, markup.default_system, markup.end) == (b"", True, b"<|im_end|>")
    assert markup.headers == {
        role: f"<|im_start|>{role}\n".encode() for role in ("system", "user", "assistant")
    }
    text = b"<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes<|im_end|>\n"
    turns = markup.find_turns(text)
    assert [(turn.role, text[turn.content : turn.content_end]) for turn in turns] == [
        ("user", b"Hi"),
        ("assistant", b"Yes"),
    ]
    assert all(turn.closed and turn.header_intact for turn in turns)
    assert markup.find_turns(b"no chat") == []


def test_the_markup_of_other_families(llama3: Chats) -> None:
    markup = derive_markup(llama3.tokenizer)
    assert markup is not None
    assert (markup.lead, markup.default_system) == (b"<|begin_of_text|>", False)
    gemma = derive_markup(Templated(GEMMA))
    assert gemma is not None
    assert (gemma.lead, gemma.end, "system" in gemma.headers) == (b"<bos>", b"<end_of_turn>", False)
    assert gemma.headers["assistant"] == b"<start_of_turn>model\n"
    phi = derive_markup(Templated(PHI))
    assert phi is not None
    assert (phi.end, phi.closings["user"]) == (b"<|end|>", b"<|end|>\n")
    thinking = derive_markup(Templated(THINKING))
    assert thinking is not None
    assert thinking.headers["assistant"] == b"<|im_start|>assistant\n"


def test_a_tool_has_a_turn_of_its_own(chatml: Chats) -> None:
    markup = derive_markup(chatml.tokenizer)
    assert markup is not None
    (turn,) = markup.find_turns(b"<|im_start|>tool\n22 degrees<|im_end|>\n")
    assert turn.role == "other"


@pytest.mark.parametrize("template", [REFUSING, "{{ 'always the same' }}"])
def test_a_template_that_cannot_be_read_has_no_markup(template: str) -> None:
    assert derive_markup(Templated(template)) is None


def test_a_template_that_refuses_raises_as_jinja_does() -> None:
    with pytest.raises(TemplateError):
        Templated(REFUSING).apply_chat_template([])
