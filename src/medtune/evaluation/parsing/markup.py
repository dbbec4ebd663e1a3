r"""Take the markup off a free answer, and mark where markup announces the answer.

`\boxed{B}`, `<answer>B</answer>`, a JSON object and a last line "#### B" are forms in which
models are asked to give an answer; all of them become lines of plain text.
"""

from __future__ import annotations

import json
import re

ANNOUNCED = "\ue000"
"""Stands before what markup announces; a private character, so that no text holds it."""

# Full-width letters, digits and punctuation of East Asian text.
_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {
    ord(wide): plain for wide, plain in zip("\u3000。【】" + ANNOUNCED, " .[] ", strict=True)
}
_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_TURN_END = re.compile(r"<\|(?:im_end|eot_id|endoftext|end_of_text|end)\|>|</s>|<end_of_turn>")
_SPECIAL = re.compile(r"<\|[^|<>]*\|?>?|</?(?:s|pad|bos|eos|unk|start_of_turn|end_of_turn)>")
_FENCE = re.compile(r"^[ \t]*```\w*[ \t]*$", re.MULTILINE)
_OBJECT = re.compile(r'\{\s*"\w[\w -]*"\s*:')
_PAIR = re.compile(r'"(\w[\w -]*)"\s*:\s*("(?:[^"\\]|\\.)*"|\[[^\]]*\]?|[^,}\n]*)', re.DOTALL)
_KEY_WORDS = re.compile(r"[_-]+|(?<=[a-z])(?=[A-Z])")
_TEXT = re.compile(r"\\(?:text|math)(?:bf|rm|it)?\{([^{}]*)\}")
_BOXED = re.compile(r"\\f?boxed\{([^{}]*)\}")
_FORMULA = re.compile(r"\$+|\\[()\[\]]")
_TAG = re.compile(r"<(/?)(?:final_?)?answer>", re.IGNORECASE)
_MARKUP = re.compile(
    r"\*\*|__|`|[\"“”]|(?<!\w)[„«]|»(?!\w)|(?<!\w)['‘](?=[A-J]['’](?!\w))|(?<=['‘][A-J])['’](?!\w)"
)
_LAST_LINE = re.compile(r"#{4} ?(?=[(\[]?[A-J]\b)")
"""How GSM8K's solutions begin their last line, before a letter."""


def first_turn(text: str) -> list[str]:
    """Return the lines of the first turn that says anything, without markup.

    `ANNOUNCED` stands where markup announced an answer. No line is empty, starts or ends with a
    space, or holds two in a row.
    """
    for turn in _TURN_END.split(_THOUGHT.sub(" ", text.translate(_WIDE))):
        plain = _unboxed(_unfolded(_FENCE.sub("", _SPECIAL.sub(" ", turn))))
        plain = _TAG.sub(lambda tag: "." if tag[1] else ANNOUNCED, plain)
        lines = [" ".join(line.split()) for line in _MARKUP.sub("", plain).split("\n")]
        if lines := [line for line in lines if line.strip("{}[],. ")]:
            return _last_announced(lines)
    return []


def _unfolded(text: str) -> str:
    """Write a JSON object, also one that was cut off, as lines: "final answer: B"."""
    if not _OBJECT.search(text):
        return text
    return _PAIR.sub(lambda pair: f"\n{_KEY_WORDS.sub(' ', pair[1])}: {_value(pair[2])}\n", text)


def _value(written: str) -> str:
    try:
        text = json.loads(written, strict=False) if written.startswith('"') else written
    except ValueError:
        text = written
    return " ".join(text.split())


def _unboxed(text: str) -> str:
    if "\\" not in text:
        return text
    boxed = _BOXED.sub(rf"{ANNOUNCED}\1.", _TEXT.sub(r"\1", text))
    return _FORMULA.sub("", boxed) if ANNOUNCED in boxed else boxed


def _last_announced(lines: list[str]) -> list[str]:
    """Mark a last line "#### B", unless other headings make it the last of several."""
    *before, last = lines
    if not any(line.startswith("#") for line in before) and (mark := _LAST_LINE.match(last)):
        lines[-1] = ANNOUNCED + last[mark.end() :]
    return lines
