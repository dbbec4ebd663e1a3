"""Load a tokenizer and its chat template without transformers.

`tokenizers` reads the file that transformers wrote, and the template is rendered as in
transformers: the same sandbox, trimmed blocks, the special tokens by name.
`core.prompt.prompt_fingerprint` checks that both write the same prompts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

SPECIAL_TOKENS = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)


class ChatTokenizer:
    """A tokenizer with the part of the transformers interface that medtune uses.

    Args:
        folder: Folder with tokenizer.json, tokenizer_config.json and perhaps chat_template.jinja.
    """

    def __init__(self, folder: Path) -> None:
        self.name_or_path = str(folder)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        template = folder / "chat_template.jinja"
        self.chat_template: str | None = (
            template.read_text() if template.is_file() else settings.get("chat_template")
        )
        # A token is given as its text, or as a dictionary with its properties.
        found = {name: settings.get(name) for name in SPECIAL_TOKENS}
        self._special: dict[str, str] = {
            name: token["content"] if isinstance(token, dict) else token
            for name, token in found.items()
            if token is not None
        }
        self.added_tokens_decoder = self._tokenizer.get_added_tokens_decoder()

    @property
    def eos_token_id(self) -> int | None:
        """Id of the end-of-text token."""
        return self._token_id("eos_token")

    @property
    def bos_token(self) -> str | None:
        """The beginning-of-text token."""
        return self._special.get("bos_token")

    @property
    def bos_token_id(self) -> int | None:
        """Id of the beginning-of-text token."""
        return self._token_id("bos_token")

    @property
    def pad_token_id(self) -> int | None:
        """Id of the pad token."""
        return self._token_id("pad_token")

    @property
    def unk_token_id(self) -> int | None:
        """Id of the unknown token."""
        return self._token_id("unk_token")

    @property
    def all_special_ids(self) -> list[int]:
        """Ids of all named special tokens."""
        ids = (self._token_id(name) for name in self._special)
        return list(dict.fromkeys(i for i in ids if i is not None))

    def get_vocab(self) -> dict[str, int]:
        """Return the id of every token."""
        return self._tokenizer.get_vocab(with_added_tokens=True)

    def _token_id(self, name: str) -> int | None:
        token = self._special.get(name)
        return None if token is None else self._tokenizer.token_to_id(token)

    def __call__(
        self,
        texts: Sequence[str],
        add_special_tokens: bool = False,
        return_offsets_mapping: bool = False,
    ) -> dict[str, list[Any]]:
        """Encode texts; offsets are `(start, end)` in characters."""
        found = self._tokenizer.encode_batch(list(texts), add_special_tokens=add_special_tokens)
        encoded: dict[str, list[Any]] = {"input_ids": [one.ids for one in found]}
        if return_offsets_mapping:
            encoded["offset_mapping"] = [one.offsets for one in found]
        return encoded

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        """Decode ids to text."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens))

    def apply_chat_template(
        self,
        chat: Sequence[dict[str, str]],
        tokenize: bool = False,
        add_generation_prompt: bool = False,
        **words: object,
    ) -> str:
        """Render a chat as text.

        Raises:
            TemplateError: jinja2's; the template refuses the chat.
        """
        assert not tokenize, "ids come from a call"
        assert self.chat_template is not None, "ChatEncoder looks first"
        template = _environment().from_string(self.chat_template)
        return template.render(
            messages=chat,
            tools=None,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            **self._special,
            **words,
        )


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = lambda value, **how: json.dumps(
        value, ensure_ascii=False, **how
    )
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now(UTC).strftime(form)
    return environment


def _raise_exception(message: str) -> None:
    raise TemplateError(message)
