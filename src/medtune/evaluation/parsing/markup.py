r"""Remove markup from a free answer, and mark where markup announces the answer.

`\boxed{B}`, `<answer>B</answer>`, a JSON object and a last line "#### B" are common answer formats;
all of them become lines of plain text.
"""

from __future__ import annotations

import json
import re

ANSWER_MARK = "\ue000"
"""Mark before an answer announced by markup; a private-use character, absent from texts."""

# Full-width letters, digits and punctuation of East Asian text.
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {
    ord(wide): plain for wide, plain in zip("\u3000。【】" + ANSWER_MARK, " .[] ", strict=True)
}
_REASONING = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
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
"""Last line in the format of GSM8K, before a letter."""


def extract_first_turn(text: str) -> list[str]:
    """Return the lines of the first non-empty turn, without markup.

    The answer mark precedes answers announced by markup. Lines are not empty, stripped, and
    contain single spaces only.
    """
    for turn in _TURN_END.split(_REASONING.sub(" ", text.translate(_FULL_WIDTH))):
        plain = _unwrap_boxed(_flatten_json(_FENCE.sub("", _SPECIAL.sub(" ", turn))))
        plain = _TAG.sub(lambda tag: "." if tag[1] else ANSWER_MARK, plain)
        lines = [" ".join(line.split()) for line in _MARKUP.sub("", plain).split("\n")]
        if lines := [line for line in lines if line.strip("{}[],. ")]:
            return _mark_last_line(lines)
    return []


def _flatten_json(text: str) -> str:
    """Convert a JSON object, even a truncated one, to lines: "final answer: B"."""
    if not _OBJECT.search(text):
        return text
    return _PAIR.sub(
        lambda pair: f"\n{_KEY_WORDS.sub(' ', pair[1])}: {_json_value_text(pair[2])}\n", text
    )


def _json_value_text(written: str) -> str:
    try:
        text = json.loads(written, strict=False) if written.startswith('"') else written
    except ValueError:
        text = written
    return " ".join(text.split())


def _unwrap_boxed(text: str) -> str:
    if "\\" not in text:
        return text
    boxed = _BOXED.sub(rf"{ANSWER_MARK}\1.", _TEXT.sub(r"\1", text))
    return _FORMULA.sub("", boxed) if ANSWER_MARK in boxed else boxed


def _mark_last_line(lines: list[str]) -> list[str]:
    """Mark a last line "#### B" as the answer, unless there are other headings."""
    *before, last = lines
    if not any(line.startswith("#") for line in before) and (mark := _LAST_LINE.match(last)):
        lines[-1] = ANSWER_MARK + last[mark.end() :]
    return lines
