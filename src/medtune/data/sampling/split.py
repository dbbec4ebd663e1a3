"""Split validation and calibration off train: whole clusters, stratified by subject."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from medtune.core.errors import DataError
from medtune.core.schemas.dataset import NO_SUBJECT, Role
from medtune.data.arrow_table import QuestionTable
from medtune.data.dedup.find_duplicates import label_connected_components
from medtune.data.hash_sampling import allocate_proportionally, sampling_hash


def cluster_questions(alike: NDArray[np.int64], groups: Sequence[str | None]) -> NDArray[np.int64]:
    """Cluster questions that a split must not separate: duplicates, and declared groups.

    Duplicates share a number in `alike`.

    Returns:
        Cluster number of each question, numbered by first appearance.
    """
    # Two kinds of nodes, duplicates and groups; a question with a group is an edge.
    nodes: dict[tuple[str, object], int] = {}
    own = [nodes.setdefault(("alike", int(number)), len(nodes)) for number in alike]
    edges = [
        (mine, nodes.setdefault(("group", group), len(nodes)))
        for mine, group in zip(own, groups, strict=True)
        if group is not None
    ]
    labels = label_connected_components(len(nodes), edges)
    numbers: dict[int, int] = {}
    first_seen = [numbers.setdefault(int(labels[mine]), len(numbers)) for mine in own]
    return np.array(first_seen, dtype=np.int64)


def stratified_group_split(
    questions: QuestionTable,
    clusters: NDArray[np.int64],
    sizes: Mapping[Role, int],
    seed: int,
    source: str,
) -> tuple[NDArray[np.int64], dict[Role, NDArray[np.int64]]]:
    """Split off parts of given sizes, stratified by subject, with each cluster in one part.

    Clusters are drawn at random inside each subject (that of a cluster's first question); a cluster
    larger than the open share of its subject is skipped.  `source` is named in messages.

    Returns:
        The indices left to train on, and the indices of each split, ascending.

    Raises:
        DataError: The sizes take all questions or more, or cannot be met by whole clusters.
    """
    wanted = sum(sizes.values())
    if wanted and wanted >= len(questions):
        raise DataError(
            f"{source}: {wanted} questions are to be split off "
            f"({', '.join(f'{name} {size}' for name, size in sizes.items())}), "
            f"{len(questions)} are there",
            expected="some left to train on",
            fix="lower data.validation_size or data.calibration_size",
        )
    members: dict[int, list[int]] = defaultdict(list)
    for place, cluster in enumerate(clusters):
        members[int(cluster)].append(place)
    subjects, ids = questions.read_column("subject"), questions.ids
    strata: dict[str, list[int]] = defaultdict(list)
    for cluster in sorted(members, key=lambda c: sampling_hash(seed, f"cut {ids[members[c][0]]}")):
        strata[subjects[members[cluster][0]] or NO_SUBJECT].append(cluster)
    splits: dict[Role, NDArray[np.int64]] = {}
    for name, size in sizes.items():
        taken = _select_clusters(strata, members, size)
        if (got := sum(len(members[cluster]) for cluster in taken)) < size:
            raise DataError(
                f"{source}: only {got} of {size} questions could be split off for {name} without "
                "dividing a cluster of questions",
                fix=f"lower data.{name}_size",
            )
        for stratum in strata.values():
            stratum[:] = [cluster for cluster in stratum if cluster not in taken]
        splits[name] = np.array(sorted(p for c in taken for p in members[c]), dtype=np.int64)
    left = sorted(place for stratum in strata.values() for c in stratum for place in members[c])
    return np.array(left, dtype=np.int64), splits


def _select_clusters(
    strata: Mapping[str, Sequence[int]], members: Mapping[int, Sequence[int]], size: int
) -> set[int]:
    """Select clusters: first the share of every subject, then whatever fits the remainder."""
    counts = {name: sum(len(members[c]) for c in some) for name, some in strata.items()}
    quotas = allocate_proportionally(size, counts, counts)
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
