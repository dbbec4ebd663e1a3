"""Remove questions' texts from exported evidence, unless the user asks for them.

The texts belong to their authors. Ids, outcomes and numbers are kept, so that the questions can be
looked up in their source.
"""

from __future__ import annotations

from medtune.core.schemas.analysis import AnalysisRecord, FailureExample
from medtune.releases.gate_schema import Evidence, RegressionRecord


def strip_texts(evidence: Evidence) -> Evidence:
    """Replace stems, options and generated texts by empty ones."""
    analysis, regression = evidence.analysis, evidence.regression
    return evidence.model_copy(
        update={
            "analysis": analysis and _strip_analysis(analysis),
            "regression": regression and _strip_regression(regression),
        }
    )


def _strip_analysis(record: AnalysisRecord) -> AnalysisRecord:
    failures = tuple(
        failure.model_copy(update={"examples": tuple(map(_strip_example, failure.examples))})
        for failure in record.failures
    )
    return record.model_copy(update={"failures": failures})


def _strip_example(example: FailureExample) -> FailureExample:
    said = example.prediction
    empty = {"stem": "", "options": ("",) * len(said.options), "text": said.text and ""}
    return example.model_copy(update={"prediction": said.model_copy(update=empty)})


def _strip_regression(record: RegressionRecord) -> RegressionRecord:
    changed = tuple(
        one.model_copy(update={"stem": "", "options": ("",) * len(one.options)})
        for one in record.changed
    )
    return record.model_copy(update={"changed": changed})
