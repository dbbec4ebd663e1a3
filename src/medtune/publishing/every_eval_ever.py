"""Build Every Eval Ever records of an evaluation: an aggregate, and one line per question.

The format (evalevalai.com, schema 0.3.0) is written as plain dictionaries, because the package
`every-eval-ever` needs Python 3.12; the tests validate them with it. The same evaluation gives
the same bytes and the same file names.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from medtune.core.errors import DataError
from medtune.core.records import LETTERS, EvaluationRecord, Outcome, Prediction, content_hash
from medtune.data.sources.sources import DataRef, parse_data_ref
from medtune.models.sources import find_hub_name
from medtune.publishing.schema import Relationship

JsonObject = dict[str, Any]

SCHEMA_VERSION = "0.3.0"
RESULT_ID = "accuracy"
WITHHELD = "(text withheld)"
"""Written in place of a question's text."""
LOCAL = "local"
"""Developer of a model that is not on the Hub."""


@dataclass(frozen=True, slots=True)
class EveryEvalEverFiles:
    """Both files of an evaluation, with their paths in the datastore."""

    aggregate_path: str
    aggregate: str
    samples_path: str
    samples: str


@dataclass(frozen=True, slots=True)
class Attribution:
    """Facts about an evaluation that its records do not have."""

    organization: str
    """Organization that made the evaluation."""
    relationship: Relationship = "other"
    model_id: str | None = None
    """Name of the evaluated model on the Hub, ORG/NAME; None names a base model of the Hub, or a
    local model."""


def build_every_eval_ever(
    record: EvaluationRecord,
    predictions: Sequence[Prediction],
    attribution: Attribution,
    texts: bool,
) -> EveryEvalEverFiles:
    """Build both files of an evaluation.

    Args:
        record: The evaluation.
        predictions: Its predictions.
        attribution: Who evaluated, and the model's public name.
        texts: Whether to write questions' texts; without them, letters and hashes.
    """
    model_id = attribution.model_id or find_model_id(record)
    collection = _path_part(_parse_source(record).slug) or "questions"
    made = datetime.fromisoformat(record.provenance.created)
    evaluation_id = f"{collection}/{model_id}/{int(made.timestamp())}"
    digest = hashlib.sha256(content_hash([record.inputs, model_id]).encode()).digest()
    # A version-4 UUID, as the datastore wants, but the same one for the same evaluation.
    name = uuid.UUID(bytes=digest[:16], version=4)
    developer, _, model = model_id.partition("/")
    stem = f"data/{collection}/{developer}/{model.replace('/', '_')}/{name}"
    lines = [_sample(record, p, evaluation_id, model_id, collection, texts) for p in predictions]
    samples = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    aggregate = {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": evaluation_id,
        "evaluation_timestamp": record.provenance.created,
        "retrieved_timestamp": str(int(made.timestamp())),
        "source_metadata": {
            "source_name": "medtune",
            "source_type": "evaluation_run",
            "source_organization_name": attribution.organization,
            "evaluator_relationship": attribution.relationship,
        },
        "eval_library": _library(record),
        "model_info": _model_info(record, model_id),
        "evaluation_results": [_result(record, collection)],
        "detailed_evaluation_results": {
            "format": "jsonl",
            "file_path": f"{stem}_samples.jsonl",
            "hash_algorithm": "sha256",
            "checksum": hashlib.sha256(samples.encode()).hexdigest(),
            "total_rows": len(lines),
        },
    }
    text = json.dumps(aggregate, ensure_ascii=False, indent=2) + "\n"
    return EveryEvalEverFiles(f"{stem}.json", text, f"{stem}_samples.jsonl", samples)


def find_model_id(record: EvaluationRecord) -> str:
    """Return the id of the evaluated model: its Hub name, or `local/LABEL-HASH`.

    A base model of the Hub has its name there; a fine-tuned model is another model.
    """
    model = record.model
    hub = find_hub_name(model.source, model.fingerprint or "")
    if hub is not None and not model.adapter and not record.mixed_from:
        return hub[0]
    identity = content_hash([model.source, model.fingerprint, model.adapter])
    return f"{LOCAL}/{_path_part(record.label) or 'model'}-{identity[:12]}"


def is_hub_name(name: str) -> bool:
    """Return whether a name is ORG/NAME with the letters that the Hub allows."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name, re.ASCII) is not None


def _library(record: EvaluationRecord) -> JsonObject:
    """Return the harness that evaluated: medtune, or the one whose log was imported."""
    made, origin = record.provenance, record.origin
    if origin is None:
        details = _texts(commit=made.commit)
        return {"name": "medtune", "version": made.medtune, "additional_details": details}
    return {
        "name": origin.harness,
        "version": origin.version or "unknown",
        "additional_details": _texts(task=origin.task, imported_by=f"medtune {made.medtune}"),
    }


def _model_info(record: EvaluationRecord, model_id: str) -> JsonObject:
    model, made = record.model, record.provenance
    remote = model.source.startswith("remote:")
    on_hub = model.source.startswith(("hub:", "embedded:"))
    kind, colon, _ = model.source.partition(":")
    # A log may name a folder of the machine, without a kind.
    imported_name = model.source if not colon and is_hub_name(model.source) else None
    info: JsonObject = {
        "name": record.label,
        "id": model_id,
        "developer": model_id.partition("/")[0],
        "additional_details": _texts(
            deployment_type="unknown" if remote else "self_deployed",
            model_availability="open_weights" if on_hub and not model.adapter else "unknown",
            # A server's address is nobody else's business.
            source=model.source if on_hub else (kind if colon else imported_name),
            weights=model.fingerprint,
            adapter=model.adapter,
            parameters=model.parameters or None,
            dtype=model.dtype,
            device=model.device,
        ),
    }
    if not remote and (version := made.packages.get("transformers")):
        info["inference_engine"] = {"name": "transformers", "version": version}
    return info


def _result(record: EvaluationRecord, collection: str) -> JsonObject:
    accuracy, options_only, search = record.accuracy, record.options_only, record.search
    n = accuracy.n
    return {
        "evaluation_result_id": RESULT_ID,
        "evaluation_name": collection,
        "source_data": _source_data(record),
        "evaluation_timestamp": record.provenance.created,
        "metric_config": {
            "evaluation_description": "Share of multiple-choice questions answered correctly; "
            "an answer that could not be read counts as not correct",
            "metric_id": "accuracy",
            "metric_name": "Accuracy",
            "metric_kind": "accuracy",
            "metric_unit": "proportion",
            "lower_is_better": False,
            "score_type": "continuous",
            "min_score": 0.0,
            "max_score": 1.0,
        },
        "score_details": {
            "score": accuracy.value,
            "details": _texts(
                correct=record.counts.correct,
                wrong=record.counts.wrong,
                unparsed=record.counts.unparsed,
                abstained=record.counts.abstained,
                chance=record.chance,
                majority_letter=record.majority_letter,
                majority=record.majority.value,
                options_only=options_only and options_only.value,
                options_only_n=options_only and options_only.n,
                text_search=search and search.accuracy.value,
                text_search_only_model_correct=search and search.only_model,
                text_search_only_search_correct=search and search.only_search,
                text_search_mcnemar_p=search and search.p_value,
                questions_trained_on=record.trained_on,
            ),
            "uncertainty": {
                "standard_error": {
                    "value": math.sqrt(accuracy.value * (1 - accuracy.value) / n),
                    "method": "analytic",
                },
                "confidence_interval": {
                    "lower": accuracy.low,
                    "upper": accuracy.high,
                    "confidence_level": 0.95,
                    "method": "Wilson score interval",
                },
                "num_samples": n,
            },
        },
        "generation_config": {
            "additional_details": _texts(
                method=record.method,
                normalization=record.normalization,
                orders=record.orders,
                variant=record.variant,
                shots=record.shots,
                shots_by=record.shots_by,
                constrained=record.constrained,
                parser_version=record.parser,
                prompt_hash=record.prompt_hash,
                open_book=record.open_book and record.open_book.kind,
            )
        },
    }


def _parse_source(record: EvaluationRecord) -> DataRef:
    """Parse the source of the questions; one of another program is taken as a file's name."""
    try:
        return parse_data_ref(record.data.source)
    except DataError:
        return DataRef("file", _path_part(record.data.source), None)


def _source_data(record: EvaluationRecord) -> JsonObject:
    place, n = _parse_source(record), record.counts.n
    details = _texts(config=place.config, questions_hash=record.data.hash)
    if place.kind == "hub":
        return {
            "dataset_name": place.slug,
            "source_type": "hf_dataset",
            "hf_repo": place.place,
            "hf_split": place.split,
            "samples_number": n,
            "additional_details": details,
        }
    return {
        "dataset_name": place.slug,
        "source_type": "other",
        "additional_details": {**details, "samples_number": str(n)},
    }


def _sample(
    record: EvaluationRecord,
    prediction: Prediction,
    evaluation_id: str,
    model_id: str,
    collection: str,
    texts: bool,
) -> JsonObject:
    """Build the line of one question."""
    right = prediction.options[prediction.answer]
    chosen, letter = None, None
    if prediction.chosen is not None:
        letter = LETTERS[prediction.chosen]
        chosen = prediction.options[prediction.chosen] if texts else letter
    written = prediction.text if texts and prediction.text is not None else chosen
    identity = json.dumps({"raw": prediction.stem, "reference": right}, sort_keys=True)
    correct = prediction.outcome is Outcome.CORRECT
    shown: JsonObject = {
        "raw": prediction.stem if texts else WITHHELD,
        "reference": [right if texts else LETTERS[prediction.answer]],
    }
    if texts:
        shown["choices"] = list(prediction.options)
    free = record.method == "generate"
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": evaluation_id,
        "model_id": model_id,
        "evaluation_name": collection,
        "evaluation_result_id": RESULT_ID,
        "sample_id": prediction.id,
        "sample_hash": hashlib.sha256(identity.encode()).hexdigest(),
        "interaction_type": "single_turn",
        "input": shown,
        "output": {"raw": [written or ""]},
        "answer_attribution": [
            {
                "turn_idx": 0,
                "source": "output.raw",
                "extracted_value": chosen or "",
                "extraction_method": "parser" if free else "highest_option_probability",
                "is_terminal": True,
            }
        ],
        "evaluation": {"score": float(correct), "is_correct": correct},
        "metadata": _texts(
            subject=prediction.subject,
            topic=prediction.topic,
            outcome=prediction.outcome.value,
            right_letter=LETTERS[prediction.answer],
            chosen_letter=letter,
            options=len(prediction.options),
            probabilities=_numbers(prediction.probabilities),
            logprobs=_numbers(prediction.logprobs),
        ),
    }


def _numbers(values: Sequence[float] | None) -> str | None:
    return None if values is None else json.dumps(list(values))


def _texts(**values: object) -> Mapping[str, str]:
    """Return values as texts, as the schema wants its details; what is missing is left out."""
    return {name: str(value) for name, value in values.items() if value is not None}


def _path_part(text: str) -> str:
    """Return a text as a part of a path."""
    return re.sub(r"[^\w.-]+", "-", text, flags=re.ASCII).strip("-.").lower()
