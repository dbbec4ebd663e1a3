"""Derive from a chat template how turns are written, and find turns in a text.

The template is rendered with words that occur nowhere else; the text between them is the markup.
Texts are bytes, because a token may end inside of a character.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "other"]

_SEGMENT = re.compile(r"<[^<>\s]{1,60}>|\[/?[A-Z_]+\]|\s|[^\s<\[]+|.", re.DOTALL)
_OTHER_ROLES = "tool|ipython|developer|function|tool_response|observation|environment|critic"
_SYSTEM, _USER, _ANSWER = "Zqsystem", "Zqquestion", "Zqanswer"


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of a chat, as places in a text of bytes."""

    role: Role
    start: int
    """Where its header begins."""
    content: int
    """Where its content begins."""
    content_end: int
    end: int
    """Where its end marker stops; equal to `content_end` if there is none."""
    stop: int
    """Where the next turn begins, or the text ends."""
    header_intact: bool
    """Whether the whole header is as the template writes it, white space included."""

    @property
    def closed(self) -> bool:
        """Return whether the turn has an end marker."""
        return self.end > self.content_end


@dataclass(frozen=True)
class ChatMarkup:
    """How a template writes turns."""

    lead: bytes
    """Text before the first turn's header: empty, or the beginning-of-text token."""
    default_system: bool
    """Whether the template writes a system turn of its own."""
    headers: dict[Role, bytes]
    """Text before the content; no entry for a role that has no header of its own."""
    closings: dict[Role, bytes]
    """Text after the content, before the next header."""
    ends: frozenset[bytes]
    """Markers that end an assistant's turn."""
    anchors: re.Pattern[bytes]
    """Finds the headers, without white space; the group's name is the role."""

    @property
    def end(self) -> bytes:
        """Return the marker that ends an assistant's turn."""
        return self.closings["assistant"].strip() or min(self.ends, default=b"")

    def opens_turns_with(self, piece: bytes) -> bool:
        """Return whether every turn of the user or the assistant opens with a token."""
        return any(self.headers[role].startswith(piece) for role in ("user", "assistant"))

    def closes(self, role: Role) -> bool:
        """Return whether a role's turns have an end marker of their own."""
        return bool(self._ends_of(role))

    def find_turns(self, text: bytes) -> list[Turn]:
        """Find the turns of a text."""
        matches = list(self.anchors.finditer(text))
        stops = [*(match.start() for match in matches[1:]), len(text)]
        return [self._read_turn(text, *pair) for pair in zip(matches, stops, strict=False)]

    def _read_turn(self, text: bytes, match: re.Match[bytes], stop: int) -> Turn:
        role: Role = match.lastgroup  # type: ignore[assignment]  # the groups are named by roles
        header = self.headers.get(role, b"")
        anchor = match.group().strip()
        trail = header[header.find(anchor) + len(anchor) :] if anchor in header else b""
        intact = text.startswith(trail, match.end())
        content = min(match.end() + (len(trail) if intact else 0), stop)
        found = [
            (place, place + len(end))
            for end in self._ends_of(role)
            if (place := text.find(end, content, stop)) >= 0
        ]
        content_end, end = min(found, default=(stop, stop))
        return Turn(role, match.start(), content, content_end, end, stop, intact)

    def _ends_of(self, role: Role) -> Sequence[bytes]:
        if role == "assistant":
            return tuple(self.ends)
        closing = self.closings.get(role, b"").strip()
        return (closing,) if closing else ()


def derive_markup(tokenizer: Any) -> ChatMarkup | None:
    """Derive the markup of a tokenizer's chat template; None if it cannot be understood."""
    user, answer = _message("user", _USER + "1"), _message("assistant", _ANSWER + "1")
    second = [_message("user", _USER + "2"), _message("assistant", _ANSWER + "2")]
    chat = _render(tokenizer, [user, answer, *second])
    places = _split(chat, [_USER + "1", _ANSWER + "1", _USER + "2", _ANSWER + "2"])
    if places is None:
        return None
    lead, to_answer, to_user, to_answer_again, tail = places
    alone = _split(_render(tokenizer, [user]), [_USER + "1"])
    user_closing = _common_prefix(to_answer, alone[1]) if alone else ""
    opened = _split(_render(tokenizer, [user], generate=True), [_USER + "1"])
    header = _common_prefix(to_answer, to_answer_again).removeprefix(user_closing)
    inference = opened[1].removeprefix(user_closing) if opened else ""
    shared = _common_prefix(header, inference)
    header = (shared if shared.strip() else header).partition("<think>")[0]
    if not header.strip():  # "[/INST]" both closes a question and opens an answer
        header, user_closing = user_closing or to_answer, ""
    closing = _common_prefix(to_user, tail)
    user_header = to_user.removeprefix(closing)
    if not user_header.strip() or not header.strip():
        return None
    ends = {text for text in [closing.strip() or _first_marker(tail)] if text}
    begin = lead.removesuffix(user_header)
    system_header, system_closing = _find_system(tokenizer, user_header)
    bos = str(getattr(tokenizer, "bos_token", None) or "")
    head = bos if bos and lead.startswith(bos) and not user_header.startswith(bos) else ""
    head = begin if system_header.startswith(begin) else head
    system_header = system_header.removeprefix(head)
    default_system = bool(system_header) and begin[len(head) :].startswith(
        _first_line(system_header)
    )
    headers = {"user": user_header.removeprefix(head), "assistant": header}
    closings = {"user": user_closing, "assistant": closing}
    if system_header:
        headers["system"], closings["system"] = _first_line(system_header, True), system_closing
    return ChatMarkup(
        lead=(head if default_system else begin).encode(),
        default_system=default_system,
        headers={role: text.encode() for role, text in headers.items()},  # type: ignore[misc]
        closings={role: text.encode() for role, text in closings.items()},  # type: ignore[misc]
        ends=frozenset(end.encode() for end in ends),
        anchors=_compile_anchors(headers),
    )


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _render(tokenizer: Any, chat: list[dict[str, str]], generate: bool = False) -> str:
    try:
        return str(
            tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=generate)
        )
    except Exception:  # noqa: BLE001 - templates raise errors of many types
        return ""


def _split(text: str, words: Sequence[str]) -> list[str] | None:
    """Split a text at words that occur once and in this order; None if they do not."""
    parts = []
    for word in words:
        before, found, text = text.partition(word)
        if not found:
            return None
        parts.append(before)
    return [*parts, text]


def _common_prefix(a: str, b: str) -> str:
    """Return the common prefix of two texts, which ends at a whole marker."""
    pairs = zip(_SEGMENT.findall(a), _SEGMENT.findall(b), strict=False)
    return "".join(x for x, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _first_marker(text: str) -> str:
    segments = _SEGMENT.findall(text.strip())
    return str(segments[0]) if segments else ""


def _first_line(text: str, with_break: bool = False) -> str:
    line = text.lstrip("\n").split("\n")[0]
    rest = text[text.find(line) + len(line) :]
    return line + (rest[: len(rest) - len(rest.lstrip("\n"))] if with_break else "")


def _find_system(tokenizer: Any, user_header: str) -> tuple[str, str]:
    """Return the header and the closing of a system turn; "" if the user's turn holds it."""
    chat = [_message("system", _SYSTEM), _message("user", _USER), _message("assistant", _ANSWER)]
    parts = _split(_render(tokenizer, chat), [_SYSTEM, _USER])
    if parts is None or not parts[1].endswith(user_header):
        return "", ""
    closing = parts[1].removesuffix(user_header)
    if user_header.strip() in parts[0]:  # the system message is in the user's turn
        return "", ""
    return parts[0], closing


def _compile_anchors(headers: dict[str, str]) -> re.Pattern[bytes]:
    anchors = [(text.strip(), role) for role, text in headers.items()]
    parts = [
        f"(?P<{role}>{re.escape(anchor)})"
        for anchor, role in sorted(anchors, key=lambda pair: -len(pair[0]))
    ]
    before, word, after = headers["user"].strip().partition("user")
    if word and before + after:
        parts.append(
            f"(?P<other>{re.escape(before)}(?:{_OTHER_ROLES}){re.escape(after) or chr(92) + 'b'})"
        )
    return re.compile("|".join(parts).encode())
