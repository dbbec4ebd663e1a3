"""Features of the options of a question, from searches with the stem and each option."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from medtune.core.records import normalize_option
from medtune.retrieval.index import PassageIndex
from medtune.retrieval.schema import FeatureName, SearchHit

TOP = 5
"""Passages per option whose scores are averaged, and whose answers vote."""
PLAIN_FEATURES: tuple[FeatureName, ...] = ("best",)
ALL_FEATURES: tuple[FeatureName, ...] = (
    "best",
    "mean",
    "question best",
    "question mean",
    "option alone",
    "votes",
    "length",
)


@dataclass(frozen=True, slots=True)
class OptionSearch:
    """The searches for one question: features and hits of each option."""

    features: NDArray[np.float64]
    """`[option, feature]`."""
    hits: tuple[tuple[SearchHit, ...], ...]
    """Best passages for the stem with each option, `[option][rank]`."""


def search_options(
    index: PassageIndex,
    stem: str,
    options: Sequence[str],
    features: Sequence[FeatureName] = PLAIN_FEATURES,
    excluded: Collection[int] = (),
) -> OptionSearch:
    """Search with the stem and each option, and compute the options' features.

    Args:
        index: The index.
        stem: The question without its options; may be empty.
        options: Texts of the options.
        features: Names of the features to compute.
        excluded: Rows of passages to leave out.
    """
    queries = [f"{stem} {option}" for option in options]
    whole = index.search(queries, TOP, "whole", excluded)
    columns: dict[FeatureName, list[float]] = {
        "best": [_best(hits) for hits in whole],
        "mean": [_mean(hits) for hits in whole],
        "length": [math.log1p(len(option)) for option in options],
    }
    if {"question best", "question mean", "votes"} & {*features}:
        short = index.search(queries, TOP, "question", excluded)
        columns["question best"] = [_best(hits) for hits in short]
        columns["question mean"] = [_mean(hits) for hits in short]
        columns["votes"] = [
            _votes(index, option, (*a, *b))
            for option, a, b in zip(options, whole, short, strict=True)
        ]
    if "option alone" in features:
        alone = index.search(options, 1, "question", excluded)
        columns["option alone"] = [_best(hits) for hits in alone]
    return OptionSearch(
        features=np.array([columns[name] for name in features]).T,
        hits=tuple(tuple(hits) for hits in whole),
    )


def _best(hits: Sequence[SearchHit]) -> float:
    return hits[0].score if hits else 0.0


def _mean(hits: Sequence[SearchHit]) -> float:
    return fmean([hit.score for hit in hits] + [0.0] * (TOP - len(hits)))


def _votes(index: PassageIndex, option: str, hits: Sequence[SearchHit]) -> float:
    """Return how many of the passages have this option as their right answer."""
    wanted = normalize_option(option)
    answers = (index.passage(hit.place).answer or "" for hit in hits)
    return float(sum(normalize_option(answer) == wanted for answer in answers))
