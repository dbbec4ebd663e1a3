from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoTokenizer

from medtune.core.errors import TemplateError
from medtune.core.prompt import PromptStyle, prompt_fingerprint
from medtune.core.protocols import Message
from medtune.core.records import Question
from medtune.models.chat_encoder import ChatEncoder
from medtune.models.local.local_model import LocalModel
from medtune.models.sources import ModelSource

CHAT = (Message("system", "Be brief."), Message("user", "Which vitamin prevents scurvy?"))


@pytest.fixture
def tokenizer(source: ModelSource) -> Any:
    return AutoTokenizer.from_pretrained(source.folder)


def test_the_prompt_is_the_models_own_template(model: LocalModel) -> None:
    assert model.render(CHAT) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nWhich vitamin prevents scurvy?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_the_pad_is_never_the_end_of_a_turn(tokenizer: Any) -> None:
    assert tokenizer.pad_token_id == tokenizer.eos_token_id  # as the file has it
    encoder = ChatEncoder(tokenizer)
    assert encoder.end == 2
    assert encoder.pad == 0
    assert encoder.pad not in encoder.stops


def test_a_training_prompt_is_the_inference_prompt_token_for_token(
    model: LocalModel, starter: tuple[Question, ...]
) -> None:
    style = PromptStyle()
    for question in starter[:50]:
        assert question.answer is not None
        messages = style.build_messages(question, "text")
        example = model.encoder.encode_example(
            messages, style.render_answer(question, question.answer, "text")
        )
        (prompt,) = model.encoder.encode_prompts([messages])
        assert list(example.tokens[: example.prompt]) == prompt
        assert example.tokens[-1] == model.encoder.end
        # Joined text and template agree: nothing is lost between prompt and answer.
        whole = model.encoder.tokenizer.decode(list(example.tokens))
        assert whole == f"{model.render(messages)}The answer is: {question.answer_text}<|im_end|>"


def test_lead_tokens_are_counted_apart(model: LocalModel) -> None:
    (ids, lead), (other, same) = model.encoder.encode_answers(
        ["The answer is: Vitamin C", "The answer is: HIV"], ["The answer is:"] * 2
    )
    assert lead == same == 4
    assert ids[:4] == other[:4]
    assert model.encoder.tokenizer.decode(ids[lead:]) == " Vitamin C"


def test_a_model_without_a_chat_template_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = None
    with pytest.raises(TemplateError, match=r"no chat template[\s\S]*Instruct"):
        ChatEncoder(tokenizer)


def test_a_template_that_refuses_a_system_message_says_what_to_do(tokenizer: Any) -> None:
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'system' %}"
        "{{ raise_exception('no system role') }}{% endif %}"
        "<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    )
    encoder = ChatEncoder(tokenizer)
    with pytest.raises(TemplateError, match=r"no system role[\s\S]*prompt.system"):
        encoder.render(CHAT)


def test_a_template_that_does_not_mark_the_end_of_a_turn_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }} then {% endfor %}"
    with pytest.raises(TemplateError, match="special token"):
        ChatEncoder(tokenizer)


def test_a_template_that_writes_the_date_gives_the_same_prompt_every_day(tokenizer: Any) -> None:
    tokenizer.chat_template = (
        "{% if not date_string is defined %}"
        "{% set date_string = strftime_now('%d %b %Y %H:%M:%S.%f') %}{% endif %}"
        "Today: {{ date_string }}\n"
        "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    )
    encoder = ChatEncoder(tokenizer)
    assert prompt_fingerprint(PromptStyle(), encoder.render) == prompt_fingerprint(
        PromptStyle(), encoder.render
    )


def test_a_tokenizer_that_is_none_is_refused() -> None:
    nothing = SimpleNamespace(chat_template=None, name_or_path="path:nowhere")
    with pytest.raises(TemplateError, match="path:nowhere"):
        ChatEncoder(nothing)
