"""Write results as the Hub's community evaluations: `.eval_results/NAME.yaml` of a model.

The Hub shows them on the model's page and on the leaderboard of the dataset, if it is a benchmark
(huggingface.co/docs/hub/eval-results). They replace `model-index` in a model card's front matter,
which huggingface_hub calls legacy. Only data of the Hub can be named: an evaluation of the starter
questions or of a file has no entry.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from medtune.core.formatting import format_share
from medtune.core.records import EvaluationRecord
from medtune.data.sources.sources import DataRef, parse_data_ref

if TYPE_CHECKING:
    from huggingface_hub import EvalResultEntry

RESULTS_FOLDER = ".eval_results"
DEFAULT_TASK = "default"
_COMMIT = re.compile(r"[0-9a-f]{40}")


def missing_entry_reason(record: EvaluationRecord) -> str | None:
    """Return why an evaluation has no entry on the Hub; None if it has one."""
    if not record.data.source.startswith("hub:"):
        return f"{record.data.source} is no dataset of the Hub"
    if record.variant != "plain":
        return f"the questions were changed ({record.variant})"
    return None


def build_hub_result(record: EvaluationRecord) -> EvalResultEntry:
    """Build the Hub's entry of an evaluation that has one.

    The value is the accuracy in per cent; the interval and the settings are in the notes, because
    the format has no field for them. The task is the configuration of the dataset.
    """
    from huggingface_hub import EvalResultEntry

    place = _hub_dataset(record)
    revision = place.revision if place.revision and _COMMIT.fullmatch(place.revision) else None
    return EvalResultEntry(
        dataset_id=place.place,
        task_id=place.config or DEFAULT_TASK,
        value=round(100 * record.accuracy.value, 4),
        dataset_revision=revision,
        date=_utc(record.provenance.created),
        notes=describe_settings(record, place.split),
    )


def describe_settings(record: EvaluationRecord, split: str | None) -> str:
    """Describe in one line how an accuracy was measured, with its interval and n."""
    normalization = f"/{record.normalization}" if record.method == "cloze" else ""
    parts = [
        f"accuracy {format_share(record.accuracy)}, 95 % Wilson interval",
        f"split {split}" if split else None,
        f"{record.method}{normalization}",
        f"options in {record.orders} order" if record.method != "generate" else None,
        "unknown number of shots" if record.shots is None else f"{record.shots}-shot",
        "open book" if record.open_book is not None else None,
        f"prompt {record.prompt_hash[:12]}" if record.prompt_hash else None,
        f"medtune {record.provenance.medtune}",
    ]
    return "; ".join(part for part in parts if part)


def render_hub_results(entries: list[EvalResultEntry]) -> str:
    """Render entries as the YAML of one `.eval_results` file."""
    import yaml  # type: ignore[import-untyped]
    from huggingface_hub import eval_result_entries_to_yaml

    entries_as_dicts = eval_result_entries_to_yaml(entries)
    text = yaml.safe_dump(entries_as_dicts, sort_keys=False, allow_unicode=True, width=100)
    return f"# Written by medtune.\n{text}"


def results_file_name(record: EvaluationRecord) -> str:
    """Return the file's name: dataset, configuration and split, so that none replaces another."""
    place = _hub_dataset(record)
    parts = (place.place, place.config or "", place.split or "")
    return "-".join(part for part in parts if part).lower().replace("/", "-") + ".yaml"


def _hub_dataset(record: EvaluationRecord) -> DataRef:
    place = parse_data_ref(record.data.source)
    assert place.kind == "hub", "only data of the Hub has an entry"
    return place


def _utc(created: str) -> str:
    """Return a time as the Hub's examples write it, in UTC."""
    return datetime.fromisoformat(created).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
