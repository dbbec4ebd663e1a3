"""Questions' texts are their authors': they leave a registry only where somebody asks for them.

Ids, outcomes and numbers stay, so that whoever has the questions can look each of them up.
"""

from __future__ import annotations

from medtune.core.schemas.analysis import AnalysisRecord
from medtune.releases.gate_schema import Evidence, RegressionRecord


def without_texts(evidence: Evidence) -> Evidence:
    """Blank stems, options and generated texts; the records keep their form."""
    analysis, regression = evidence.analysis, evidence.regression
    return evidence.model_copy(
        update={
            "analysis": analysis and _analysis(analysis),
            "regression": regression and _regression(regression),
        }
    )


def _analysis(record: AnalysisRecord) -> AnalysisRecord:
    failures = tuple(
        failure.model_copy(
            update={
                "examples": tuple(
                    example.model_copy(
                        update={
                            "prediction": example.prediction.model_copy(
                                update={
                                    "stem": "",
                                    "options": ("",) * len(example.prediction.options),
                                    "text": None if example.prediction.text is None else "",
                                }
                            )
                        }
                    )
                    for example in failure.examples
                )
            }
        )
        for failure in record.failures
    )
    return record.model_copy(update={"failures": failures})


def _regression(record: RegressionRecord) -> RegressionRecord:
    changed = tuple(
        one.model_copy(update={"stem": "", "options": ("",) * len(one.options)})
        for one in record.changed
    )
    return record.model_copy(update={"changed": changed})
