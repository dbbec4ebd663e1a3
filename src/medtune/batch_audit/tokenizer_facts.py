"""Facts of a tokenizer that an audit needs: bytes of tokens, special ids, chat markup."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from medtune.batch_audit.chat_markup import ChatMarkup, derive_markup
from medtune.core.errors import InputError, ModelError
from medtune.core.run_folder import expand_home
from medtune.models.sources import resolve_model

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


@dataclass(frozen=True)
class TokenizerFacts:
    """A tokenizer, described for an audit."""

    name: str
    tokenizer: Any
    pieces: list[bytes]
    """UTF-8 bytes of every token, by id."""
    bos: int | None
    begin: int | None
    """Beginning-of-text token `bos`; None if there is none, or if it opens every turn."""
    adds_begin: bool
    """Whether encoding a text adds the beginning-of-text token."""
    eos: int | None
    pad: int | None
    special: frozenset[int]
    stops: frozenset[int] | None
    """Ids at which the model's generation configuration stops; None if that is not at hand."""
    markup: ChatMarkup | None
    """None without a chat template that can be understood."""
    has_template: bool
    marks_spaces: bool
    """Whether words carry a mark for the space before them (SentencePiece), so that spaces beside
    markers say nothing."""

    @property
    def size(self) -> int:
        """Return the number of ids."""
        return len(self.pieces)

    @cached_property
    def marker_pattern(self) -> re.Pattern[bytes]:
        """Return a pattern of the special tokens that are written as markers."""
        pieces = {self.pieces[token] for token in self.special}
        markers = sorted(
            (piece for piece in pieces if len(piece) > 3 and piece[:1] in b"<["), key=len
        )
        return re.compile(b"|".join(map(re.escape, reversed(markers))) or b"(?!)")

    @cached_property
    def endings(self) -> frozenset[int]:
        """Return the ids that end a turn or a text."""
        ends = {self.eos} if self.eos is not None else set()
        if self.markup is not None:
            ends |= {i for i in self.special if self.pieces[i] in self.markup.ends}
        return frozenset(ends)

    def read_bytes(self, ids: Sequence[int]) -> bytes:
        """Return the UTF-8 bytes of ids; an id outside of the vocabulary has none."""
        pieces, size = self.pieces, len(self.pieces)
        return b"".join(pieces[i] for i in ids if 0 <= i < size)

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """Encode a text."""
        encoded = self.tokenizer([text], add_special_tokens=add_special_tokens)
        return list(encoded["input_ids"][0])


def describe_tokenizer(tokenizer: Any) -> TokenizerFacts:
    """Describe a tokenizer, given by name or as an object of transformers.

    Raises:
        ModelError: There is no such tokenizer.
        InputError: The object is no tokenizer.
    """
    if isinstance(tokenizer, str):
        name = expand_home(tokenizer)
        folder = _find_folder(name)
        tokenizer = _load_tokenizer(name, folder)
    else:
        tokenizer = getattr(tokenizer, "tokenizer", tokenizer)  # a processor has one
        name = str(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__)
        folder = Path(name)
    if not callable(tokenizer) or not hasattr(tokenizer, "get_vocab"):
        raise InputError(
            f"{type(tokenizer).__name__} is no tokenizer",
            expected="a tokenizer of transformers, or a name such as embedded:smollm2-135m",
        )
    pieces, special, marks_spaces = _list_pieces(tokenizer)
    template = getattr(tokenizer, "chat_template", None)
    markup = derive_markup(tokenizer) if template else None
    bos = begin = getattr(tokenizer, "bos_token_id", None)
    encoded = tokenizer(["a"], add_special_tokens=True)["input_ids"][0]
    if begin is not None and markup is not None and markup.opens_turns_with(pieces[begin]):
        begin = None
    return TokenizerFacts(
        name=name,
        tokenizer=tokenizer,
        pieces=pieces,
        bos=bos,
        begin=begin,
        adds_begin=begin is not None and encoded[:1] == [begin],
        eos=tokenizer.eos_token_id,
        pad=tokenizer.pad_token_id,
        special=special,
        stops=_read_stops(folder),
        markup=markup,
        has_template=bool(template),
        marks_spaces=marks_spaces,
    )


def _find_folder(name: str) -> Path:
    kind, _, place = name.partition(":")
    if kind == "path" and (Path(place) / "tokenizer_config.json").is_file():
        return Path(place)  # a tokenizer alone has no config.json
    folder = resolve_model(name, weights=False).folder
    if folder is None:
        raise ModelError(f"{name} has no tokenizer", expected="embedded:, hub: or path:")
    return folder


def _load_tokenizer(name: str, folder: Path) -> Any:
    """Load a tokenizer, without transformers where its files allow that."""
    settings = folder / "tokenizer_config.json"
    try:
        if (folder / "tokenizer.json").is_file() and settings.is_file():
            template = json.loads(settings.read_text()).get("chat_template")
            if template is None or isinstance(template, str):
                from medtune.models.light.tokenizer import ChatTokenizer

                return ChatTokenizer(folder)
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # tokenizers raises bare exceptions
        first = str(error).partition("\n")[0]
        raise ModelError(
            f"the tokenizer of {name} cannot be read: {first}",
            expected="tokenizer.json and tokenizer_config.json in its folder",
        ) from error


def _list_pieces(tokenizer: Any) -> tuple[list[bytes], frozenset[int], bool]:
    """List the bytes of every token, the ids of added tokens, and whether spaces are marked."""
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    added = {i: _text_of(token) for i, token in tokenizer.added_tokens_decoder.items()}
    decoder = _byte_decoder()
    marks_spaces = sum("▁" in piece for piece in vocabulary) > sum(
        "Ġ" in piece for piece in vocabulary
    )
    pieces = [b""] * (max([*vocabulary.values(), *added], default=-1) + 1)
    for piece, i in vocabulary.items():
        if i in added:
            continue
        if isinstance(piece, bytes):  # tokenizers on tiktoken
            pieces[i] = piece
        elif marks_spaces:
            byte = _BYTE_TOKEN.fullmatch(piece)
            pieces[i] = bytes.fromhex(byte[1]) if byte else piece.replace("▁", " ").encode("utf-8")
        else:
            pieces[i] = _decode_bytes(piece, decoder)
    for i, text in added.items():
        pieces[i] = text.encode("utf-8")
    return pieces, frozenset(added), marks_spaces


def _text_of(token: Any) -> str:
    return str(getattr(token, "content", token))


def _decode_bytes(piece: str, decoder: dict[str, int]) -> bytes:
    try:
        return bytes(decoder[character] for character in piece)
    except KeyError:
        return piece.encode("utf-8")


def _byte_decoder() -> dict[str, int]:
    """Return the bytes of the characters with which byte-level vocabularies write them (GPT-2)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(b): b for b in plain} | {chr(256 + n): b for n, b in enumerate(others)}


def _read_stops(folder: Path) -> frozenset[int] | None:
    """Read the ids at which generation stops from a model's folder."""
    with suppress(OSError, ValueError):
        stops = json.loads((folder / "generation_config.json").read_text()).get("eos_token_id")
        if stops is not None:
            return frozenset([stops] if isinstance(stops, int) else stops)
    return None
