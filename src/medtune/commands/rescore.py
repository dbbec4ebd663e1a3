"""Score saved outputs again (`medtune rescore FILE --matcher notebook|strict`)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

from medtune.core.intervals import wilson_interval
from medtune.core.provenance import collect_provenance
from medtune.core.records import Outcome, OutcomeCounts, RescoreRecord
from medtune.evaluation.parsing import notebook
from medtune.evaluation.parsing.saved_outputs import read_saved_outputs
from medtune.evaluation.parsing.strict import parse_answer


def rescore(path: Path, matcher: Literal["notebook", "strict"]) -> RescoreRecord:
    """Score saved outputs with a matcher.

    Raises:
        PredictionsError: The file cannot be read.
    """
    outputs = read_saved_outputs(path)
    exact = partial = None
    if matcher == "notebook":
        matches = Counter(notebook.match_output(o.text, o.options[o.answer]) for o in outputs)
        exact, partial = matches["exact"], matches["partial"]
        correct, wrong, unparsed = exact + partial, matches["no_match"], 0
    else:
        tally = Counter(parse_answer(o.text, o.options).grade(o.answer) for o in outputs)
        correct, wrong = tally[Outcome.CORRECT], tally[Outcome.WRONG]
        unparsed = tally[Outcome.UNPARSED]
    counts = OutcomeCounts(
        n=len(outputs), correct=correct, wrong=wrong, unparsed=unparsed, abstained=0
    )
    return RescoreRecord(
        file=str(path),
        matcher=matcher,
        counts=counts,
        accuracy=wilson_interval(counts.correct, counts.n),
        answer_rate=wilson_interval(counts.correct + counts.wrong, counts.n),
        exact=exact,
        partial=partial,
        provenance=collect_provenance(),
    )
