"""The model card: README.md of an export, in the Hub's form, every number from a record.

Its front matter is what the Hub's search and leaderboards read (Hub documentation, Model Cards;
Mitchell et al. 2019, arXiv 1810.03993, for the sections).  Results stand in `model-index`, each
with interval and n beside it in `args`: the Hub has no field for them, and a point without them
would be believed too easily.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from medtune.core.schemas.dataset import short_name
from medtune.releases.export.context import ReleaseContext
from medtune.releases.export.limitations import limitations
from medtune.releases.export.metrics import Figure, figures
from medtune.releases.export.render import render

LEVEL = 0.95
METRICS = {
    "accuracy": "accuracy",
    "majority": "accuracy_of_the_most_frequent_letter",
    "options_only": "accuracy_without_the_stem",
    "order_flips": "order_flips",
    "calibration_error": "calibration_error",
    "calibration_error_after": "calibration_error_after_temperature",
    "difference": "accuracy_difference",
    "difference_negated": "accuracy_difference_negated",
    "suite_accuracy": "accuracy",
    "suite_lost": "lost_against_champion",
}
"""Figures that stand in `model-index`, and what they are called there."""
SUITE = "frozen suite"


@dataclass(frozen=True, slots=True)
class HubDataset:
    """Where questions are, in the Hub's terms."""

    dataset: str
    config: str | None
    split: str | None


def model_card(dossier: ReleaseContext, texts: bool = False) -> str:
    """Render the card.

    Args:
        dossier: What is known of the release.
        texts: Whether questions' texts stand in the evidence beside it.
    """
    body = render(
        "model_card.md",
        d=dossier,
        library=library(dossier),
        limits=limitations(dossier),
        texts=texts,
    )
    card = ModelCard(f"---\n{_front(dossier).to_yaml()}\n---\n\n{body}")  # reads it back
    return str(card)


def library(dossier: ReleaseContext) -> str:
    """Name what opens the files: peft, transformers, or medtune where no other does."""
    if any(name.endswith("adapter_config.json") for name in dossier.files):
        return "peft"
    whole = dossier.release.scheme in (None, "merge", "merge-fp16")
    return "transformers" if dossier.release.weights == "model" and whole else "medtune"


def place_of(source: str) -> HubDataset:
    """Read a source's name: hub:ORG/NAME[/CONFIG][:SPLIT], starter:SPLIT, file:PATH[:SPLIT]."""
    kind, _, rest = source.partition(":")
    where, _, split = rest.partition(":")
    if kind == "hub":
        organisation, name, config = (*where.split("/", 2), "", "")[:3]
        return HubDataset(f"{organisation}/{name}".rstrip("/"), config or None, split or None)
    if kind == "starter":
        return HubDataset("starter", None, rest or None)
    name = re.sub(r"[^\w.-]+", "-", short_name(f"{kind}:{where}")).strip("-.")
    return HubDataset(name or "questions", None, split or None)


def _front(dossier: ReleaseContext) -> ModelCardData:
    release = dossier.release
    found = [*_results(dossier)]
    weights = {"adapter": ["lora"], "model": [], "base": []}[release.weights]
    return ModelCardData(
        license=(dossier.licence or "unknown").lower(),
        language="en",
        base_model=dossier.hub_base,
        library_name=library(dossier),
        pipeline_tag=None if release.weights == "base" else "text-generation",
        tags=[
            "medtune",
            "medical",
            "multiple-choice",
            "education",
            "research",
            *weights,
            *([release.scheme] if release.scheme else []),
            f"gate-{dossier.standing.replace(' ', '-')}",
        ],
        metrics=["accuracy"] if found else None,
        model_name=release.name if found else None,
        eval_results=found or None,
    )


def _results(dossier: ReleaseContext) -> Iterator[EvalResult]:
    for figure in figures(dossier.evidence):
        if figure.key in METRICS and figure.on is not None:
            place = place_of(figure.on)
            frozen = figure.record == "regression"
            split = f"{place.split} ({SUITE})" if frozen and place.split else SUITE
            yield EvalResult(
                task_type="multiple-choice",
                task_name="Medical multiple-choice questions",
                dataset_type=place.dataset,
                dataset_name=f"{figure.on}, {SUITE}" if frozen else figure.on,
                dataset_config=place.config,
                dataset_split=split if frozen else place.split,
                metric_type=METRICS[figure.key],
                metric_name=figure.name,
                metric_value=figure.value,
                metric_args=_interval(figure),
            )


def _interval(figure: Figure) -> dict[str, float | int] | None:
    """Write what a point is worth: its interval, where there is one, and its n."""
    args: dict[str, float | int] = {}
    if figure.low is not None and figure.high is not None:
        args |= {"low": figure.low, "high": figure.high, "confidence": LEVEL}
    if figure.n is not None:
        args["n"] = figure.n
    return args or None
