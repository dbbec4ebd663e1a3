"""Score the parser by the reviewers' marks, and measure the agreement of the reviewers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations

from medtune.analysis.agreement import cohen_kappa
from medtune.core.errors import PredictionsError
from medtune.core.provenance import collect_provenance
from medtune.spotcheck.parser_score import Matcher, ReviewerMarks, is_misreading
from medtune.spotcheck.schema import (
    ADJUDICATOR,
    CONSENSUS,
    UNSURE,
    Choice,
    Disagreement,
    DrawnItem,
    Misreading,
    SpotCheckItem,
    SpotCheckRecord,
    SpotCheckSample,
)

MIN_REVIEWERS = 2
"""Least number of reviewers for a consensus."""


def score_marks(
    folder: str,
    sample: SpotCheckSample,
    items: Sequence[SpotCheckItem],
    ledger: Sequence[DrawnItem],
    marks: Mapping[str, Mapping[str, Choice]],
    matchers: Sequence[Matcher] = (),
) -> SpotCheckRecord:
    """Score a spot-check.

    The marks are given by reviewer and item; other matchers are scored on the same marks.

    Raises:
        PredictionsError: Nothing is marked.
    """
    choices = {reviewer: found for reviewer, found in marks.items() if found}
    if not choices:
        raise PredictionsError(
            f"{folder}: nothing is marked",
            fix="fill in the column choice of a copy of items.csv, and save it there as "
            "marks-NAME.csv",
        )
    settling = choices.pop(ADJUDICATOR, {})
    if not choices:
        choices, settling = {ADJUDICATOR: settling}, {}
    split = find_disagreements(choices, settling)
    scored = dict(choices)
    if len(choices) >= MIN_REVIEWERS and (final := _consensus(choices, settling)):
        scored[CONSENSUS] = final
    by_id = {item.id: item for item in items}
    return SpotCheckRecord(
        folder=folder,
        sample=sample,
        scores=tuple(
            ReviewerMarks(
                sample, by_id, [drawn for drawn in ledger if drawn.id in found], found
            ).score(name, matchers)
            for name, found in scored.items()
        ),
        agreements=tuple(
            cohen_kappa(
                a, b, [(choices[a][i], choices[b][i]) for i in choices[a] if i in choices[b]]
            )
            for a, b in combinations(choices, 2)
        ),
        disagreements=split,
        misreadings=tuple(
            Misreading(
                item=drawn.id,
                reviewer=reviewer,
                reason=drawn.reason,
                chosen=drawn.chosen,
                choice=found[drawn.id],
            )
            for reviewer, found in scored.items()
            for drawn in ledger
            if drawn.id in found and is_misreading(drawn.chosen, found[drawn.id])
        ),
        warnings=tuple(_collect_warnings(sample, ledger, scored, split)),
        provenance=collect_provenance(),
    )


def find_disagreements(
    choices: Mapping[str, Mapping[str, Choice]], settling: Mapping[str, Choice]
) -> tuple[Disagreement, ...]:
    """Find the items that reviewers marked differently, in the sample's order."""
    found = []
    for item in sorted({item for said in choices.values() for item in said}):
        said = {name: each[item] for name, each in choices.items() if item in each}
        if len(set(said.values())) > 1:
            found.append(Disagreement(item=item, choices=said, settled=item in settling))
    return tuple(found)


def _consensus(
    choices: Mapping[str, Mapping[str, Choice]], settling: Mapping[str, Choice]
) -> dict[str, Choice]:
    """Return the adjudicator's marks, else the common marks of at least two reviewers."""
    final = dict(settling)
    for item in sorted({item for said in choices.values() for item in said} - final.keys()):
        said = [each[item] for each in choices.values() if item in each]
        if len(said) >= MIN_REVIEWERS and len(set(said)) == 1:
            final[item] = said[0]
    return final


def _collect_warnings(
    sample: SpotCheckSample,
    ledger: Sequence[DrawnItem],
    scored: Mapping[str, Mapping[str, Choice]],
    split: Sequence[Disagreement],
) -> list[str]:
    """Return caveats on the figures: missing marks, unsure items, open disagreements."""
    out = []
    for reviewer, choices in scored.items():
        marked = Counter(drawn.stratum for drawn in ledger if drawn.id in choices)
        left = sample.n - marked.total()
        if reviewer != CONSENSUS and left:
            out.append(f"{reviewer}: {left} of {sample.n} items are not marked yet")
        missing = [s for i, s in enumerate(sample.strata) if not marked[i]]
        if missing:
            out.append(
                f"{reviewer}: no mark among {sum(s.size for s in missing)} of "
                f"{sample.population} outputs ({'; '.join(s.name for s in missing)}): "
                "the weighted figures do not represent them"
            )
        if unsure := sum(choice == UNSURE for choice in choices.values()):
            out.append(
                f"{reviewer}: {unsure} items are marked unsure; precision and recall leave "
                "them out, accuracy counts them as not correct"
            )
    if open_ := sum(not each.settled for each in split):
        out.append(
            f"{open_} disagreements are open and not in the consensus; decide them with "
            f"a sheet of their own: marks-{ADJUDICATOR}.csv"
        )
    return out
