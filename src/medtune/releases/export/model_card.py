"""Render the model card: README.md of an export in the Hub's format.

Its front matter is read by the Hub's search and leaderboards (Hub documentation, Model Cards;
Mitchell et al. 2019, arXiv 1810.03993, for the sections). Every number comes from a record. Results
are in `model-index`, each with interval and n in `args`: the Hub has no field for them, and a point
estimate alone would be trusted too easily.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from medtune.core.schemas.dataset import short_source_name
from medtune.releases.export.context import ReleaseContext
from medtune.releases.export.limitations import list_limitations
from medtune.releases.export.metrics import Figure, list_figures
from medtune.releases.export.render import render_card

CONFIDENCE_LEVEL = 0.95
METRIC_TYPES = {
    "accuracy": "accuracy",
    "majority": "accuracy_of_the_most_frequent_letter",
    "options_only": "accuracy_without_the_stem",
    "search": "accuracy_of_a_text_search",
    "order_flips": "order_flips",
    "calibration_error": "calibration_error",
    "calibration_error_after": "calibration_error_after_temperature",
    "difference": "accuracy_difference",
    "difference_negated": "accuracy_difference_negated",
    "suite_accuracy": "accuracy",
    "suite_lost": "lost_against_champion",
}
"""Metric types of the figures in `model-index`."""
SUITE_NAME = "frozen suite"


@dataclass(frozen=True, slots=True)
class HubDataset:
    """A data set in the Hub's terms."""

    dataset: str
    config: str | None
    split: str | None


def render_model_card(context: ReleaseContext, texts: bool = False) -> str:
    """Render the model card.

    Args:
        context: The release and its records.
        texts: Whether the exported evidence contains questions' texts.
    """
    body = render_card(
        "model_card.md",
        d=context,
        library=library_name(context),
        limits=list_limitations(context),
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


def parse_source(source: str) -> HubDataset:
    """Parse a source: hub:ORG/NAME[/CONFIG][:SPLIT], starter:SPLIT, file:PATH[:SPLIT]."""
    kind, _, rest = source.partition(":")
    where, _, split = rest.partition(":")
    if kind == "hub":
        organisation, name, config = (*where.split("/", 2), "", "")[:3]
        return HubDataset(f"{organisation}/{name}".rstrip("/"), config or None, split or None)
    if kind == "starter":
        return HubDataset("starter", None, rest or None)
    name = re.sub(r"[^\w.-]+", "-", short_source_name(f"{kind}:{where}")).strip("-.")
    return HubDataset(name or "questions", None, split or None)


def _front_matter(context: ReleaseContext) -> ModelCardData:
    release = context.release
    found = [*_results(context)]
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
        metrics=["accuracy"] if found else None,
        model_name=release.name if found else None,
        eval_results=found or None,
    )


def _results(context: ReleaseContext) -> Iterator[EvalResult]:
    for figure in list_figures(context.evidence):
        if figure.key in METRIC_TYPES and figure.on is not None:
            place = parse_source(figure.on)
            frozen = figure.record == "regression"
            split = f"{place.split} ({SUITE_NAME})" if frozen and place.split else SUITE_NAME
            yield EvalResult(
                task_type="multiple-choice",
                task_name="Medical multiple-choice questions",
                dataset_type=place.dataset,
                dataset_name=f"{figure.on}, {SUITE_NAME}" if frozen else figure.on,
                dataset_config=place.config,
                dataset_split=split if frozen else place.split,
                metric_type=METRIC_TYPES[figure.key],
                metric_name=figure.name,
                metric_value=figure.value,
                metric_args=_interval(figure),
            )


def _interval(figure: Figure) -> dict[str, float | int] | None:
    """Return the interval, if any, and n of a figure."""
    args: dict[str, float | int] = {}
    if figure.low is not None and figure.high is not None:
        args |= {"low": figure.low, "high": figure.high, "confidence": CONFIDENCE_LEVEL}
    if figure.n is not None:
        args["n"] = figure.n
    return args or None
