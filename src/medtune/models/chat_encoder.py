"""Encode chat messages as token ids, for training and for scoring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medtune.core.errors import TemplateError
from medtune.core.protocols import Example, Message
from medtune.core.token_trie import ScoredSequence

_CANARY = "Zebra"
# Some templates (Llama 3.2) write the current date into the prompt, which would change the prompt
# every day. The date is fixed; other templates ignore it.
_TEMPLATE_DATE = "26 Jul 2024"


class ChatEncoder:
    """A tokenizer with its chat template.

    Attributes:
        end: Id of the token that closes an assistant's turn.
        stops: Ids at which generation ends: `end`, and the model's own end-of-text.
        pad: Id that fills a batch; never `end`, so that ending is always supervised.

    Raises:
        TemplateError: The tokenizer has no template, or a turn does not end with a single token.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        if not getattr(tokenizer, "chat_template", None):
            raise TemplateError(
                f"{tokenizer.name_or_path} has no chat template",
                expected="an instruction-tuned model, whose tokenizer knows how a chat is written",
                fix="choose its -Instruct variant, or add chat_template.jinja to its folder",
            )
        self.end = self._find_end_of_turn()
        self.stops = tuple(dict.fromkeys([self.end, tokenizer.eos_token_id]))
        self.pad = self._find_pad()

    def render(self, messages: Sequence[Message]) -> str:
        """Render the prompt as text, up to the start of the assistant's answer."""
        return self._apply_template(
            [{"role": m.role, "content": m.content} for m in messages], True
        )

    def encode_prompts(self, chats: Sequence[Sequence[Message]]) -> list[list[int]]:
        """Encode prompts, `[chat][token]`."""
        return self.encode_texts([self.render(chat) for chat in chats])

    def encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode texts without adding special tokens."""
        if not texts:
            return []
        encoded = self.tokenizer(list(texts), add_special_tokens=False)
        return [list(ids) for ids in encoded["input_ids"]]

    def encode_answers(
        self, texts: Sequence[str], leads: Sequence[str]
    ) -> list[tuple[list[int], int]]:
        """Encode assistant turns that start with a given lead.

        Returns:
            For each text its ids, and how many of them lie wholly inside its lead.
        """
        if not texts:
            return []
        encoded = self.tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True)
        rows = zip(encoded["input_ids"], encoded["offset_mapping"], leads, strict=True)
        return [(list(ids), sum(end <= len(lead) for _, end in spans)) for ids, spans, lead in rows]

    def encode_continuations(
        self, prompts: Sequence[Sequence[int]], leads: Sequence[str], texts: Sequence[str]
    ) -> list[ScoredSequence]:
        """Encode assistant turns behind their prompts; what follows the lead is scored.

        Args:
            prompts: Encoded prompts, `[turn][token]`.
            leads: Beginnings of the turns.
            texts: What follows them.
        """
        turns = [lead + text for lead, text in zip(leads, texts, strict=True)]
        # A continuation merged into the last token of the lead is scored with that token.
        return [
            ScoredSequence((*prompt, *ids), len(prompt) + min(inside, len(ids) - 1), len(prompt))
            for prompt, (ids, inside) in zip(
                prompts, self.encode_answers(turns, leads), strict=True
            )
        ]

    def encode_example(self, messages: Sequence[Message], answer: str) -> Example:
        """Encode a supervised example.

        Prompt and answer are encoded separately and joined: at inference the model also continues
        a finished prompt, so no token may span the boundary.
        """
        prompt, reply = self.encode_texts([self.render(messages), answer])
        return Example((*prompt, *reply, self.end), len(prompt))

    def encode_options(
        self, prompts: Sequence[Sequence[Message]], lead: str, texts: Sequence[str]
    ) -> tuple[ScoredSequence, ...]:
        """Encode the options of a question as an examination scores them.

        Args:
            prompts: The prompt of every option.
            lead: Beginning of the answer.
            texts: What follows it, for every option.
        """
        distinct = list(dict.fromkeys(map(tuple, prompts)))
        known = dict(zip(distinct, self.encode_prompts(distinct), strict=True))
        encoded = [known[tuple(prompt)] for prompt in prompts]
        return tuple(self.encode_continuations(encoded, [lead] * len(texts), texts))

    def _apply_template(self, chat: list[dict[str, str]], open_answer: bool) -> str:
        try:
            text = self.tokenizer.apply_chat_template(
                chat, tokenize=False, add_generation_prompt=open_answer, date_string=_TEMPLATE_DATE
            )
        except Exception as error:  # jinja and the templates raise errors of many types
            raise TemplateError(
                f"the chat template of {self.tokenizer.name_or_path} fails: {error}",
                fix='a template that refuses system messages needs --set prompt.system=""',
            ) from error
        return str(text)

    def _find_end_of_turn(self) -> int:
        """Find the token that the template writes after an assistant's answer."""
        turn = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _CANARY}]
        after = self._apply_template(turn, False).rpartition(_CANARY)[2].lstrip()
        ids = self.encode_texts([after])[0]
        special = {*self.tokenizer.all_special_ids, *self.tokenizer.added_tokens_decoder}
        if ids and ids[0] in special:
            return ids[0]
        if self.tokenizer.eos_token_id is not None and not ids:
            return int(self.tokenizer.eos_token_id)
        raise TemplateError(
            f"the chat template of {self.tokenizer.name_or_path} closes a turn with {after!r}",
            expected="a special token, such as <|im_end|>",
            fix="use a model whose template ends each turn with a token of its own",
        )

    def _find_pad(self) -> int:
        """Choose a pad token other than the end-of-turn token, which must stay supervised."""
        tokenizer = self.tokenizer
        candidates = [tokenizer.pad_token_id, tokenizer.unk_token_id, *tokenizer.all_special_ids]
        others = [i for i in candidates if i is not None and i not in self.stops]
        return int(others[0]) if others else 0
