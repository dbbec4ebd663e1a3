"""How pages are rendered: one environment, one set of filters."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from functools import cache
from hashlib import sha256

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from medtune.core.formatting import count, interval, percent, signed
from medtune.core.records import LETTERS, Prediction
from medtune.core.schemas.dataset import short_name


def render(template: str, **values: object) -> str:
    """Render one self-contained page."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("medtune.reports"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "interval": interval,
        "count": count,
        "signed": signed,
        "p_value": p_value,
        "marked": marked,
        "said": said,
        "anchor": anchor,
        "short": short_name,
    }
    return environment


def p_value(value: float | None) -> str:
    """Write a p-value; a dash where nothing was tested."""
    if value is None:
        return "–"
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def said(prediction: Prediction) -> str:
    """Write what a model answered: letter, text and probability, or why there is no answer."""
    if prediction.chosen is None:
        return f"({prediction.outcome}) {prediction.text or ''}".strip()
    text = f"{LETTERS[prediction.chosen]}. {prediction.options[prediction.chosen]}"
    if prediction.probabilities:
        text += f" ({100 * prediction.probabilities[prediction.chosen]:.0f} %)"
    return text


def anchor(text: str) -> str:
    """Make an id of a name; two names share one only where they differ in nothing but case."""
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if re.fullmatch(r"[A-Za-z0-9]+( [A-Za-z0-9]+)*", text):
        return slug
    return f"{slug}-{sha256(text.encode()).hexdigest()[:6]}".lstrip("-")


def marked(text: str, other: str) -> Markup:
    """Mark the words of a text that another one does not have in their place."""
    mine, theirs = text.split(), other.split()
    # Case and punctuation at the ends are no difference to look at.
    a, b = ([w.strip(".,:;?!-()").casefold() for w in words] for words in (mine, theirs))
    parts = []
    matcher = SequenceMatcher(a=a, b=b, autojunk=False)
    for kind, start, end, _, _ in matcher.get_opcodes():
        words = escape(" ".join(mine[start:end]))
        if words:
            parts.append(words if kind == "equal" else Markup("<mark>{}</mark>").format(words))
    return Markup(" ").join(parts)
