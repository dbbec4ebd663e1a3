"""Tokenizers of several styles, and healthy training batches of chats, made without torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from medtune.models.light.tokenizer import ChatTokenizer

CHATML = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' "
    "+ message['content'] | trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
)
CORPUS = [
    "Which drug is given first? A. Aspirin B. Heparin C. Insulin D. Morphine",
    "The answer is: B. Heparin, because it acts at once.",
    "You are a helpful assistant. user assistant system tool",
]
IGNORED = -100


@dataclass(frozen=True)
class Style:
    """A tokenizer style: its template, its special tokens."""

    template: str | None
    special: tuple[str, ...]
    bos: str | None
    eos: str
    pad: str
    header: str = ""
    """Text between a question and its answer."""
    end: str = ""
    after: str = ""
    """Text behind the end of a turn."""


STYLES = {
    # As SmolLM2's: the end of a turn is the pad token, too.
    "chatml": Style(
        CHATML,
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        "<|im_start|>",
        "<|im_end|>",
        "<|im_end|>",
        "<|im_end|>\n<|im_start|>assistant\n",
        "<|im_end|>",
        "\n",
    ),
    "llama3": Style(
        LLAMA3,
        (
            "<|begin_of_text|>",
            "<|end_of_text|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eot_id|>",
            "<|pad|>",
        ),
        "<|begin_of_text|>",
        "<|eot_id|>",
        "<|pad|>",
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|eot_id|>",
    ),
    "mistral": Style(
        MISTRAL,
        ("<unk>", "<s>", "</s>", "[INST]", "[/INST]"),
        "<s>",
        "</s>",
        "<unk>",
        " [/INST]",
        "</s>",
    ),
    "base": Style(None, ("<|endoftext|>", "<|pad|>"), None, "<|endoftext|>", "<|pad|>"),
}


def write_tokenizer(folder: Path, style: Style) -> Path:
    """Write a small byte-level tokenizer in transformers' format."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[AddedToken(text, special=True) for text in style.special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": style.template,
        "bos_token": style.bos,
        "eos_token": style.eos,
        "pad_token": style.pad,
    }
    (folder / "tokenizer_config.json").write_text(
        json.dumps({key: value for key, value in settings.items() if value is not None})
    )
    return folder


@dataclass
class Chats:
    """Makes healthy training examples for one tokenizer."""

    name: str
    style: Style
    tokenizer: Any
    rows: list[dict[str, list[int]]] = field(default_factory=list)

    @property
    def eos(self) -> int:
        return int(self.tokenizer.eos_token_id)

    @property
    def pad(self) -> int:
        return int(self.tokenizer.pad_token_id)

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer([text])["input_ids"][0])

    def example(
        self, messages: Sequence[tuple[str, str]], supervise: str = "answers"
    ) -> dict[str, list[int]]:
        """Encode a chat, its answers with their endings supervised."""
        chat = [{"role": role, "content": content} for role, content in messages]
        if self.style.template is None:
            prompt = self.encode("".join(content for _, content in messages[:-1]) + "\nAnswer:")
            answer = [*self.encode(f" {messages[-1][1]}"), self.eos]
            return {"input_ids": prompt + answer, "labels": [IGNORED] * len(prompt) + answer}
        ids: list[int] = []
        labels: list[int] = []
        rendered = ""
        for n, message in enumerate(chat):
            if message["role"] != "assistant":
                continue
            before = self.render(chat[:n], True)
            after = self.render(chat[: n + 1], False)
            prompt = self.encode(before[len(rendered) :])
            closing = self.style.after
            answer = self.encode(after[len(before) :].removesuffix(closing))
            ids += prompt + answer
            last = n == len(chat) - 1
            taught = supervise == "answers" or (supervise == "last" and last)
            labels += [IGNORED] * len(prompt) + (answer if taught else [IGNORED] * len(answer))
            rendered = after.removesuffix(closing)
        return {"input_ids": ids, "labels": labels}

    def render(self, chat: Sequence[dict[str, str]], open_answer: bool) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                chat, tokenize=False, add_generation_prompt=open_answer
            )
        )

    def healthy(self, count: int = 12, **settings: Any) -> list[dict[str, list[int]]]:
        """Make examples: with and without a system prompt, of one turn and of several."""
        return [self.example(messages(n, self.name), **settings) for n in range(count)]


def messages(n: int, style: str) -> list[tuple[str, str]]:
    """Make a chat; every third has two turns, every other a system prompt."""
    chat = [("user", question(n)), ("assistant", answer(n))]
    if n % 3 == 0 and style != "base":
        chat += [("user", f"Why not drug {n}?"), ("assistant", f"Because of {n} side effects.")]
    if n % 2 == 0 and style in ("chatml", "llama3"):
        chat.insert(0, ("system", "You are a careful physician."))
    return chat


def question(n: int) -> str:
    return f"Patient {n} is {20 + n} years old. Which drug is given first?\nA. Aspirin\nB. Heparin"


def answer(n: int) -> str:
    return f"{'AB'[n % 2]}. {['Aspirin', 'Heparin'][n % 2]}, in a dose of {n} mg" + " daily" * (
        n % 5
    )


def pad_batch(
    rows: Sequence[dict[str, list[int]]], pad: int, length: int | None = None, left: bool = False
) -> dict[str, list[list[int]]]:
    """Pad examples to one batch, as a healthy collator does."""
    length = length or max(len(row["input_ids"]) for row in rows)
    fills = {"input_ids": pad, "labels": IGNORED, "attention_mask": 0}
    batch: dict[str, list[list[int]]] = {name: [] for name in fills}
    for row in rows:
        full = {**row, "attention_mask": [1] * len(row["input_ids"])}
        for name, fill in fills.items():
            spare = [fill] * (length - len(full[name]))
            batch[name].append(spare + full[name] if left else full[name] + spare)
    return batch


def pack(rows: Sequence[dict[str, list[int]]]) -> dict[str, list[int]]:
    """Pack examples into one row whose position ids restart."""
    return {
        "input_ids": [token for row in rows for token in row["input_ids"]],
        "labels": [label for row in rows for label in row["labels"]],
        "position_ids": [n for row in rows for n in range(len(row["input_ids"]))],
    }


def open_chats(folder: Path, name: str) -> Chats:
    """Write and open the tokenizer of a style."""
    style = STYLES[name]
    return Chats(name, style, ChatTokenizer(write_tokenizer(folder / name, style)))
