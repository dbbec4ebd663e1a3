from __future__ import annotations

import json
import re
import uuid
from pathlib import PurePosixPath
from typing import Any

import pytest
from tests.unit.releases.export import dossiers as make

from medtune.core.records import EvaluationRecord, Outcome, Prediction
from medtune.publishing.every_eval_ever import (
    Attribution,
    EveryEvalEverFiles,
    build_every_eval_ever,
    find_model_id,
)

ATTRIBUTION = Attribution("a laboratory", "third_party")
ANSWER = Prediction(
    id="q-1", stem="Why?", options=("yes", "no"), answer=0, chosen=None,
    outcome=Outcome.UNPARSED, text="Perhaps.",
)  # fmt: skip


def of(source: str, **more: Any) -> EvaluationRecord:
    fields = {"source": source, "fingerprint": "f" * 64, **more}
    return make.evaluation(model=make.evaluation().model.model_copy(update=fields))


def built(record: EvaluationRecord, texts: bool = True) -> EveryEvalEverFiles:
    return build_every_eval_ever(record, [ANSWER], ATTRIBUTION, texts)


@pytest.mark.parametrize(
    ("record", "model_id"),
    [
        (of("hub:ORG/NAME"), "ORG/NAME"),
        (of("hub:ORG/NAME@main"), "ORG/NAME"),
        (of("embedded:smollm2-135m"), "HuggingFaceTB/SmolLM2-135M-Instruct"),
        (of("hub:ORG/NAME", adapter="9" * 64), r"local/tuned-[0-9a-f]{12}"),
        (of("path:/home/ann/model"), r"local/tuned-[0-9a-f]{12}"),
        (of("remote:http://10.0.0.7:8000/v1#name"), r"local/tuned-[0-9a-f]{12}"),
    ],
)
def test_a_fine_tuned_model_is_another_model(record: EvaluationRecord, model_id: str) -> None:
    assert re.fullmatch(model_id, find_model_id(record))


def test_two_models_of_one_label_are_told_apart() -> None:
    base = of("hub:ORG/NAME", adapter="9" * 64)
    assert find_model_id(base) != find_model_id(of("hub:ORG/NAME", adapter="8" * 64))
    assert built(base).aggregate_path != built(of("path:x")).aggregate_path


@pytest.mark.parametrize(
    "source",
    ["remote:http://10.0.0.7:8000/v1#name", "path:/home/ann/model", "/home/ann/model"],
)
def test_no_address_and_no_path_of_the_machine_is_published(source: str) -> None:
    made = built(of(source))
    for text in (made.aggregate, made.samples, made.aggregate_path):
        assert "10.0.0.7" not in text
        assert "ann" not in text.replace("annotation", "")


def test_the_public_name_of_an_imported_model_is_kept() -> None:
    info = json.loads(built(of("org/model")).aggregate)["model_info"]
    assert info["additional_details"]["source"] == "org/model"


@pytest.mark.parametrize("source", ["arc easy/../x", "file:/home/ann/My exam?.csv", "hub:a/b/c:t"])
def test_paths_are_portable_whatever_the_data_are_called(source: str) -> None:
    data = make.DATA.model_copy(update={"source": source})
    made = built(make.evaluation(data=data))
    path = PurePosixPath(made.aggregate_path)
    assert len(path.parts) == 5
    assert all(re.fullmatch(r"[\w.-]+", part) and set(part) != {"."} for part in path.parts)
    assert uuid.UUID(path.stem).version == 4
    assert made.samples_path == f"{made.aggregate_path.removesuffix('.json')}_samples.jsonl"


def test_who_evaluated_is_said() -> None:
    source = json.loads(built(make.evaluation()).aggregate)["source_metadata"]
    assert source["source_organization_name"] == "a laboratory"
    assert source["evaluator_relationship"] == "third_party"


@pytest.mark.parametrize(("texts", "written"), [(True, "Perhaps."), (False, "")])
def test_an_answer_that_was_not_read_is_not_made_up(texts: bool, written: str) -> None:
    sample = json.loads(built(make.evaluation(method="generate"), texts).samples)
    assert sample["output"]["raw"] == [written]
    assert sample["answer_attribution"][0]["extracted_value"] == ""
    assert sample["evaluation"] == {"score": 0.0, "is_correct": False}
    assert sample["metadata"]["outcome"] == "unparsed"
    assert "chosen_letter" not in sample["metadata"]


def test_what_was_not_measured_is_left_out() -> None:
    record = make.evaluation(options_only=None, search=None, trained_on=None)
    (result,) = json.loads(built(record).aggregate)["evaluation_results"]
    details = result["score_details"]["details"]
    assert not [name for name in details if name.startswith(("options_only", "text_search"))]
    assert "questions_trained_on" not in details
    assert "None" not in json.dumps(result)
