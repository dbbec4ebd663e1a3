"""`medtune rescore FILE --matcher notebook|strict`: saved outputs, scored again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

from medtune.core.intervals import wilson
from medtune.core.provenance import provenance
from medtune.core.records import Outcome, OutcomeCounts, RescoreRecord
from medtune.evaluation.parsing import notebook
from medtune.evaluation.parsing.saved_outputs import SavedOutput, read_outputs
from medtune.evaluation.parsing.strict import parse


def rescore(path: Path, matcher: Literal["notebook", "strict"]) -> RescoreRecord:
    """Score saved outputs with a matcher.

    Raises:
        PredictionsError: The file cannot be read.
    """
    outputs = read_outputs(path)
    exact = partial = None
    if matcher == "notebook":
        matches = Counter(notebook.match(o.text, o.options[o.answer]) for o in outputs)
        exact, partial = matches["exact"], matches["partial"]
        right = exact + partial
        counts = OutcomeCounts(
            n=len(outputs), correct=right, wrong=matches["no_match"], unparsed=0, abstained=0
        )
    else:
        tally = Counter(_strict(output) for output in outputs)
        counts = OutcomeCounts(
            n=len(outputs),
            correct=tally[Outcome.CORRECT],
            wrong=tally[Outcome.WRONG],
            unparsed=tally[Outcome.UNPARSED],
            abstained=0,
        )
    return RescoreRecord(
        file=str(path),
        matcher=matcher,
        counts=counts,
        accuracy=wilson(counts.correct, counts.n),
        answer_rate=wilson(counts.correct + counts.wrong, counts.n),
        exact=exact,
        partial=partial,
        provenance=provenance(),
    )


def _strict(output: SavedOutput) -> Outcome:
    return parse(output.text, output.options).outcome(output.answer)
