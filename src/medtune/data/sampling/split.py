"""Validation and calibration, cut from train: whole clusters, every subject in its share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from medtune.core.errors import DataError
from medtune.core.schemas.dataset import UNKNOWN, Role
from medtune.data.arrow_table import QuestionTable
from medtune.data.dedup.find_duplicates import components
from medtune.data.hash_sampling import lot, shares


def clusters_of(alike: NDArray[np.int64], groups: Sequence[str | None]) -> NDArray[np.int64]:
    """Number what a split must not part: questions that are alike, or declared as one group.

    Args:
        alike: Per question a number shared by questions that are alike.
        groups: Per question its declared group, if it has one.

    Returns:
        Per question the number of its cluster, numbered by first appearance.
    """
    # Two kinds of nodes, likenesses and groups; a question with a group is an edge.
    nodes: dict[tuple[str, object], int] = {}
    own = [nodes.setdefault(("alike", int(number)), len(nodes)) for number in alike]
    edges = [
        (mine, nodes.setdefault(("group", group), len(nodes)))
        for mine, group in zip(own, groups, strict=True)
        if group is not None
    ]
    labels = components(len(nodes), edges)
    numbers: dict[int, int] = {}
    first_seen = [numbers.setdefault(int(labels[mine]), len(numbers)) for mine in own]
    return np.array(first_seen, dtype=np.int64)


def cut(
    questions: QuestionTable,
    clusters: NDArray[np.int64],
    sizes: Mapping[Role, int],
    seed: int,
    source: str,
) -> tuple[NDArray[np.int64], dict[Role, NDArray[np.int64]]]:
    """Cut splits of given sizes off, stratified by subject, no cluster in two of them.

    Clusters are drawn by lot inside each subject (that of a cluster's first question); one that
    is larger than what its subject still lacks is passed over.

    Args:
        questions: What is cut.
        clusters: Per question its cluster.
        sizes: Per split how many questions.
        seed: Of the lots.
        source: Name of the data, for messages.

    Returns:
        What is left to train on, and per split what it got: places, ascending.

    Raises:
        DataError: The sizes ask for all questions or more, or cannot be met by whole clusters.
    """
    wanted = sum(sizes.values())
    if wanted and wanted >= len(questions):
        raise DataError(
            f"{source}: {wanted} questions are to be cut off "
            f"({', '.join(f'{name} {size}' for name, size in sizes.items())}), "
            f"{len(questions)} are there",
            expected="some left to train on",
            fix="lower data.validation_size or data.calibration_size",
        )
    members: dict[int, list[int]] = defaultdict(list)
    for place, cluster in enumerate(clusters):
        members[int(cluster)].append(place)
    subjects, ids = questions.texts("subject"), questions.ids
    strata: dict[str, list[int]] = defaultdict(list)
    for cluster in sorted(members, key=lambda c: lot(seed, f"cut {ids[members[c][0]]}")):
        strata[subjects[members[cluster][0]] or UNKNOWN].append(cluster)
    splits: dict[Role, NDArray[np.int64]] = {}
    for name, size in sizes.items():
        taken = _taken(strata, members, size)
        if (got := sum(len(members[cluster]) for cluster in taken)) < size:
            raise DataError(
                f"{source}: only {got} of {size} questions could be cut off for {name} without "
                "parting questions that belong together",
                fix=f"lower data.{name}_size",
            )
        for stratum in strata.values():
            stratum[:] = [cluster for cluster in stratum if cluster not in taken]
        splits[name] = np.array(sorted(p for c in taken for p in members[c]), dtype=np.int64)
    left = sorted(place for stratum in strata.values() for c in stratum for place in members[c])
    return np.array(left, dtype=np.int64), splits


def _taken(
    strata: Mapping[str, Sequence[int]], members: Mapping[int, Sequence[int]], size: int
) -> set[int]:
    """Choose clusters: every subject its share, then whatever fits the remainder."""
    counts = {name: sum(len(members[c]) for c in some) for name, some in strata.items()}
    quotas = shares(size, counts, counts)
    taken: set[int] = set()
    for name, some in strata.items():
        left = quotas[name]
        for cluster in some:
            if len(members[cluster]) <= left:
                taken.add(cluster)
                left -= len(members[cluster])
    left = size - sum(len(members[cluster]) for cluster in taken)
    for cluster in (cluster for some in strata.values() for cluster in some):
        if cluster not in taken and len(members[cluster]) <= left:
            taken.add(cluster)
            left -= len(members[cluster])
    return taken
