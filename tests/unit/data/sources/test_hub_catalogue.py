"""Every known dataset of the Hub, in the layout that it really has, through the whole door."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import datasets
import pytest
from datasets import ClassLabel, Features, List, Value

from medtune.core.errors import LabelError
from medtune.core.experiment import ColumnMapping
from medtune.core.records import Question
from medtune.data.cleaning.clean import clean_rows
from medtune.data.infer_columns import infer_columns
from medtune.data.load import Split, load_split
from medtune.data.sources.files import RawRow
from medtune.data.sources.hub_catalogue import KNOWN_DATASETS
from medtune.data.sources.sources import STARTER_COLUMNS, parse_data_ref, resolve_columns

TEXT = Value("string")


def medmcqa(*labels: int) -> list[RawRow]:
    return [
        {
            "id": f"e9ad821a-{n}",
            "question": f"Chronic urethral obstruction {n} can lead to which change?",
            "opa": "Hyperplasia",
            "opb": "Hyperophy",
            "opc": "Atrophy",
            "opd": "Dyplasia",
            "cop": label,
            "choice_type": "single",
            "exp": "Because it does." if n else None,
            "subject_name": "Anatomy",
            "topic_name": "Urinary tract" if n else None,
        }
        for n, label in enumerate(labels)
    ]


MEDMCQA = Features(
    {
        **dict.fromkeys(("id", "question", "opa", "opb", "opc", "opd"), TEXT),
        "cop": ClassLabel(names=["a", "b", "c", "d"]),
        **dict.fromkeys(("choice_type", "exp", "subject_name", "topic_name"), TEXT),
    }
)
MEDMCQA_FROM_1 = Features({**MEDMCQA, "cop": Value("int64")})
STEM = "A 23-year-old pregnant woman presents with burning upon urination. Best treatment?"
MEDQA = {"A": "Ampicillin", "B": "Ceftriaxone", "C": "Doxycycline", "D": "Nitrofurantoin"}
GBAKER: RawRow = {
    "question": STEM,
    "answer": "Nitrofurantoin",
    "options": MEDQA,
    "meta_info": "step2&3",
    "answer_idx": "D",
    "metamap_phrases": ["23 year old", "burning", "urination"],
}
BIGBIO: RawRow = {
    "meta_info": "step2&3",
    "question": STEM,
    "answer_idx": "E",
    "answer": "Nitrofurantoin",
    "options": [
        {"key": key, "value": value}
        for key, value in {**MEDQA, "D": "Ciprofloxacin", "E": "Nitrofurantoin"}.items()
    ],
}
MMLU: list[RawRow] = [
    {
        "question": f"Which vitamin {n}?",
        "subject": "clinical_knowledge",
        "choices": ["A", "B12", "C", "K"],
        "answer": answer,
    }
    for n, answer in enumerate((1, 2, 3, 1))
]
MMLU_FEATURES = Features(
    {
        "question": TEXT,
        "subject": TEXT,
        "choices": List(TEXT),
        "answer": ClassLabel(names=["A", "B", "C", "D"]),
    }
)
PUBMEDQA: list[RawRow] = [
    {
        "pubid": 21645374 + n,
        "question": f"Do mitochondria play a role in remodelling {n}?",
        "context": {
            "contexts": ["Programmed cell death is the death.", "The following was examined."],
            "labels": ["BACKGROUND", "RESULTS"],
            "meshes": ["Alismataceae", "Apoptosis", "Cell Differentiation"],
            "reasoning_required_pred": ["y", "e", "s"],
            "reasoning_free_pred": ["y", "e", "s"],
        },
        "long_answer": "Results depicted mitochondrial dynamics in vivo.",
        "final_decision": decision,
    }
    for n, decision in enumerate(("yes", "maybe", "no"))
]

Load = Callable[..., Split]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load what the Hub would send: (DATA, rows, their features, what it must be asked)."""

    def loaded(ref: str, rows: list[RawRow], features: Features | None, **asked: Any) -> Split:
        def load_dataset(place: str, split: str, **options: Any) -> datasets.Dataset:
            parsed = parse_data_ref(ref)
            assert (place, split) == (parsed.place, parsed.split)
            assert options == asked
            return datasets.Dataset.from_list(rows, features=features)

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        return load_split(ref)

    return loaded


def test_every_known_dataset_is_tested_here() -> None:
    assert set(KNOWN_DATASETS) == {
        "openlifescienceai/medmcqa",
        "lighteval/med_mcqa",
        "GBaker/MedQA-USMLE-4-options",
        "bigbio/med_qa",
        "cais/mmlu",
        "qiaojin/PubMedQA",
    }


@pytest.mark.parametrize(
    ("ref", "labels", "features", "base"),
    [
        ("hub:openlifescienceai/medmcqa:validation", (2, 0, 3), MEDMCQA, 0),
        ("hub:lighteval/med_mcqa:validation", (3, 1, 4), MEDMCQA_FROM_1, 1),
    ],
)
def test_medmcqa_of_both_mirrors(
    load: Load, ref: str, labels: tuple[int, ...], features: Features, base: int
) -> None:
    split = load(ref, medmcqa(*labels), features, revision=None)
    assert split.answer_base == base
    assert [q.answer_text for q in split.questions] == ["Atrophy", "Hyperplasia", "Dyplasia"]
    assert split.questions[1] == Question(
        id="e9ad821a-1",
        stem="Chronic urethral obstruction 1 can lead to which change?",
        options=("Hyperplasia", "Hyperophy", "Atrophy", "Dyplasia"),
        answer=0,
        subject="Anatomy",
        topic="Urinary tract",
        explanation="Because it does.",
    )
    assert (split.questions[0].topic, split.questions[0].explanation) == (None, None)


def test_medmcqa_whose_base_cannot_be_told_is_refused(load: Load) -> None:
    with pytest.raises(LabelError, match="may count from 0 or from 1"):
        load("hub:lighteval/med_mcqa:train", medmcqa(1, 2, 3), MEDMCQA_FROM_1, revision=None)


def test_medmcqas_test_split_has_no_labels() -> None:
    rows = [(f"row {n}", row) for n, row in enumerate(medmcqa(-1, -1))]
    columns = KNOWN_DATASETS["openlifescienceai/medmcqa"].columns
    assert [q.answer for q in clean_rows(rows, columns, "a", need_labels=False).questions] == [
        None
    ] * 2


def test_medqa_with_four_options(load: Load) -> None:
    rows = [GBAKER, {**GBAKER, "answer_idx": "A", "answer": "Ampicillin", "question": "Another?"}]
    split = load("hub:GBaker/MedQA-USMLE-4-options:test", rows, None, revision=None)
    assert [q.answer_text for q in split.questions] == ["Nitrofurantoin", "Ampicillin"]
    first = split.questions[0]
    assert first.options == tuple(MEDQA.values())
    assert (first.stem, first.topic, first.subject) == (STEM, "step2&3", None)
    assert first.id.startswith("row-")


@pytest.mark.parametrize(
    ("ref", "revision", "config"),
    [
        ("hub:bigbio/med_qa:test", "refs/convert/parquet", "med_qa_en_source"),
        (
            "hub:bigbio/med_qa/med_qa_en_4options_source:test",
            "refs/convert/parquet",
            "med_qa_en_4options_source",
        ),
        ("hub:bigbio/med_qa@abc:test", "abc", "med_qa_en_source"),
    ],
)
def test_medqa_with_five_options(load: Load, ref: str, revision: str, config: str) -> None:
    split = load(ref, [BIGBIO], None, revision=revision, data_dir=config)
    (question,) = split.questions
    assert question.options == (*list(MEDQA.values())[:3], "Ciprofloxacin", "Nitrofurantoin")
    assert (question.answer, question.answer_text) == (4, "Nitrofurantoin")
    assert question.topic == "step2&3"


@pytest.mark.parametrize(
    ("ref", "config"),
    [("hub:cais/mmlu:test", "clinical_knowledge"), ("hub:cais/mmlu/anatomy:test", "anatomy")],
)
def test_mmlu_counts_from_0_even_where_no_row_says_so(load: Load, ref: str, config: str) -> None:
    split = load(ref, MMLU, MMLU_FEATURES, revision=None, name=config)
    assert split.answer_base == 0
    assert [q.answer_text for q in split.questions] == ["B12", "C", "K", "B12"]
    assert split.questions[0].subject == "clinical_knowledge"


@pytest.mark.parametrize(
    ("ref", "config"),
    [
        ("hub:qiaojin/PubMedQA:train", "pqa_labeled"),
        ("hub:qiaojin/PubMedQA/pqa_artificial:train", "pqa_artificial"),
    ],
)
def test_pubmedqa_reads_the_abstract_before_the_question(load: Load, ref: str, config: str) -> None:
    split = load(ref, PUBMEDQA, None, revision=None, name=config)
    assert [q.options for q in split.questions] == [("yes", "no", "maybe")] * 3
    assert [q.answer_text for q in split.questions] == ["yes", "maybe", "no"]
    assert split.questions[0] == Question(
        id="21645374",
        stem=(
            "Programmed cell death is the death.\nThe following was examined.\n"
            "Do mitochondria play a role in remodelling 0?"
        ),
        options=("yes", "no", "maybe"),
        answer=0,
        explanation="Results depicted mitochondrial dynamics in vivo.",
    )


# Which mapping


def test_a_known_dataset_brings_its_mapping_unless_one_is_given() -> None:
    ref = parse_data_ref("hub:qiaojin/PubMedQA")
    assert resolve_columns(ref, ColumnMapping()) == KNOWN_DATASETS["qiaojin/PubMedQA"].columns
    given = ColumnMapping(stem="q")
    assert resolve_columns(ref, given) == given
    assert resolve_columns(parse_data_ref("hub:org/name"), ColumnMapping()) == ColumnMapping()
    assert resolve_columns(parse_data_ref("file:qiaojin/PubMedQA"), given) == given
    assert resolve_columns(parse_data_ref("starter"), given) == STARTER_COLUMNS


def test_every_licence_is_stated_or_said_not_to_be() -> None:
    for name, known in KNOWN_DATASETS.items():
        assert known.licence in {"Apache-2.0", "MIT", "CC-BY-4.0"} or known.licence.startswith(
            "not stated"
        ), name


def test_a_config_that_is_a_folder_needs_the_branch_that_has_it() -> None:
    for known in KNOWN_DATASETS.values():
        assert not known.by_folder or (known.revision and known.configs)


# What is proposed for the same rows, were they not known


def _rows(ref: str) -> list[RawRow]:
    rows: dict[str, list[RawRow]] = {
        "openlifescienceai/medmcqa": medmcqa(2, 0, 3),
        "lighteval/med_mcqa": medmcqa(3, 1, 4),
        "GBaker/MedQA-USMLE-4-options": [GBAKER],
        "bigbio/med_qa": [BIGBIO],
        "cais/mmlu": [*MMLU, {**MMLU[0], "answer": 0}],
        "qiaojin/PubMedQA": PUBMEDQA,
    }
    return rows[ref]


@pytest.mark.parametrize("name", sorted(KNOWN_DATASETS))
def test_the_proposal_for_a_known_dataset_asks_the_same_questions(name: str) -> None:
    rows = [(f"row {n}", row) for n, row in enumerate(_rows(name))]
    known = KNOWN_DATASETS[name].columns
    found = infer_columns(rows, "a")
    assert found.problems == []
    assert found.cleaned is not None
    by_hand = clean_rows(rows, known, "a")
    shown = [(q.stem, q.options, q.answer) for q in found.cleaned.questions]
    assert shown == [(q.stem, q.options, q.answer) for q in by_hand.questions]
