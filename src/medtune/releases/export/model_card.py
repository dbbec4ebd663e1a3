"""Render the model card: README.md of an export in the Hub's format.

Its front matter is read by the Hub's search (Hub documentation, Model Cards; Mitchell et al. 2019,
arXiv 1810.03993, for the sections). Every number comes from a record. Results for the Hub's
leaderboards are in `.eval_results` (`reports/hub_results.py`), no longer in a `model-index`, which
huggingface_hub calls legacy.
"""

from __future__ import annotations

from huggingface_hub import ModelCard, ModelCardData

from medtune.analysis.forgetting import describe_forgetting
from medtune.releases.export.context import ReleaseContext
from medtune.releases.export.limitations import list_limitations
from medtune.releases.export.render import render_card


def render_model_card(context: ReleaseContext, texts: bool = False) -> str:
    """Render the model card.

    Args:
        context: The release and its records.
        texts: Whether the exported evidence contains questions' texts.
    """
    kept = context.evidence.general
    body = render_card(
        "model_card.md",
        d=context,
        library=library_name(context),
        limits=list_limitations(context),
        forgotten=describe_forgetting(kept) if kept is not None else None,
        texts=texts,
    )
    card = ModelCard(f"---\n{_front_matter(context).to_yaml()}\n---\n\n{body}")  # reads it back
    return str(card)


def library_name(context: ReleaseContext) -> str:
    """Return the library that loads the files: peft, transformers, or otherwise medtune."""
    if any(name.endswith("adapter_config.json") for name in context.files):
        return "peft"
    whole = context.release.scheme in (None, "merge", "merge-fp16")
    return "transformers" if context.release.weights == "model" and whole else "medtune"


def _front_matter(context: ReleaseContext) -> ModelCardData:
    release = context.release
    weights = {"adapter": ["lora"], "model": [], "base": []}[release.weights]
    return ModelCardData(
        license=(context.licence or "unknown").lower(),
        language="en",
        base_model=context.hub_base,
        library_name=library_name(context),
        pipeline_tag=None if release.weights == "base" else "text-generation",
        tags=[
            "medtune",
            "medical",
            "multiple-choice",
            "education",
            "research",
            *weights,
            *([release.scheme] if release.scheme else []),
            f"gate-{context.standing.replace(' ', '-')}",
        ],
        metrics=["accuracy"] if context.evidence.analysis is not None else None,
    )
