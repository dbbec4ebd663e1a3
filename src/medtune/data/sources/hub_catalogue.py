"""Catalogue of known medical datasets on the Hub: configurations, columns, licences."""

from __future__ import annotations

from dataclasses import dataclass

from medtune.core.experiment import ColumnMapping


@dataclass(frozen=True, slots=True)
class KnownDataset:
    """A known dataset of the Hub."""

    columns: ColumnMapping
    licence: str
    """Licence as the dataset's page states it; "not stated" if it does not."""
    configs: tuple[str, ...] = ()
    """Configurations, as in `hub:ORG/NAME/CONFIG`; the first is the default."""
    revision: str | None = None
    """Branch of its files, if not main."""
    unlabelled: tuple[str, ...] = ()
    """Splits without released answers, which cannot be evaluated on."""
    by_folder: bool = False
    """Whether a config is a folder of that branch instead of a named configuration."""


_MMLU_MEDICAL = tuple(
    "clinical_knowledge anatomy college_biology college_medicine medical_genetics "
    "professional_medicine high_school_biology human_aging nutrition virology".split()
)

_MEDQA = ColumnMapping(
    id="",
    stem="question",
    options=("options",),
    answer="answer_idx",
    answer_form="letter",
    subject="",
    topic="meta_info",
    explanation="",
)

KNOWN_DATASETS: dict[str, KnownDataset] = {
    # Answers count from 0 on this mirror and from 1 on the next: detected, and checked.
    "openlifescienceai/medmcqa": KnownDataset(ColumnMapping(), "Apache-2.0", unlabelled=("test",)),
    "lighteval/med_mcqa": KnownDataset(
        ColumnMapping(), "not stated (MedMCQA: MIT)", unlabelled=("test",)
    ),
    "GBaker/MedQA-USMLE-4-options": KnownDataset(_MEDQA, "CC-BY-4.0"),
    # The five-option original. `datasets` refuses its loading script; the Hub's conversion
    # to parquet has the same rows.
    "bigbio/med_qa": KnownDataset(
        _MEDQA,
        "not stated (MedQA: MIT)",
        configs=("med_qa_en_source", "med_qa_en_4options_source"),
        revision="refs/convert/parquet",
        by_folder=True,
    ),
    "cais/mmlu": KnownDataset(
        ColumnMapping(
            id="",
            stem="question",
            options=("choices",),
            answer="answer",
            answer_base=0,
            subject="subject",
            topic="",
            explanation="",
        ),
        "MIT",
        configs=_MMLU_MEDICAL,
    ),
    "qiaojin/PubMedQA": KnownDataset(
        ColumnMapping(
            id="pubid",
            stem="question",
            fixed_options=("yes", "no", "maybe"),
            answer="final_decision",
            answer_form="text",
            context="context.contexts",
            subject="",
            topic="",
            explanation="long_answer",
        ),
        "MIT",
        configs=("pqa_labeled", "pqa_artificial"),
    ),
}
