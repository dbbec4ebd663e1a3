"""Render the README of a folder of trained weights."""

from __future__ import annotations

from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from medtune.core.prompt import form_for_method, method_for_form
from medtune.models import builtin
from medtune.models.weights_card import WeightsCard

README = "README.md"


def render_readme(card: WeightsCard, hub: str | None) -> str:
    """Render the README of an adapter or of a fully fine-tuned model.

    Args:
        card: Weights card.
        hub: Name of the base model on the Hub; None if it has none.
    """
    environment = Environment(
        autoescape=False,  # Markdown, not HTML
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = (files("medtune.models.adapters") / "readme.md").read_text(encoding="utf-8")
    method = method_for_form(card.target)
    return environment.from_string(template).render(
        card=card,
        hub=hub,
        adapter=card.kind == "adapter",
        embedded=card.base == f"embedded:{builtin.NAME}",
        base=_strip_directory(card.base),
        data=_strip_directory(card.data_source or "unknown"),
        method=method,
        answer=card.style.answer_form(form_for_method(method, card.target)).answer,
    )


def _strip_directory(name: str) -> str:
    """Strip the local directory from a path; its last part is kept."""
    kind, _, rest = name.partition(":")
    return f"{kind}:{rest.rpartition('/')[2]}" if kind in ("path", "file", "snapshot") else name
