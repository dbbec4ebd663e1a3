"""Plain English texts that come with medtune, on which a model's loss is measured."""

from __future__ import annotations

from importlib.resources import files

from medtune.core.records import PlainText


def read_plain_texts() -> tuple[PlainText, ...]:
    """Read the paragraphs about daily life, nature, history and how things work."""
    lines = (files("medtune.data") / "starter" / "general_texts.jsonl").read_text(encoding="utf-8")
    return tuple(PlainText.model_validate_json(line) for line in lines.splitlines())
