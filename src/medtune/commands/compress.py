"""Quantize a trained model (`medtune compress MODEL --scheme S`) and run the parity gate.

Merges the adapter into its base in fp32, writes a folder for each scheme, and evaluates original
and folders, each with its own runtime, on the same questions.  A scheme over its budget is marked
unfit in its card.  Writes `<scheme>/`, `record.json` and `parity.html`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medtune._version import __version__
from medtune.core.errors import ModelError
from medtune.core.experiment import ColumnMapping
from medtune.core.progress import Progress
from medtune.core.prompt import prompt_fingerprint
from medtune.core.records import Method
from medtune.core.run_folder import lock_folder, write_record
from medtune.core.schemas.compression import BUDGETS, ParityRecord, Scheme
from medtune.data.load import load_split
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.score import answer_questions
from medtune.models.adapters import lora
from medtune.models.export.write_scheme import CalibrationPass, export_scheme
from medtune.models.local.local_model import LocalModel
from medtune.models.sources import ModelSource, resolve_model
from medtune.models.weights_card import (
    ADAPTER_PREFIX,
    CARD_FILE,
    WeightsCard,
    read_card,
    read_optional_card,
    read_quantized_card,
    read_training_hashes,
    split_adapter,
)
from medtune.workflows.parity_gate import ParityGate

SMOOTHING_DATA = "starter:train"
"""Typical questions, by which integer schemes smooth activations."""


def compress(
    model: str,
    schemes: Sequence[Scheme],
    data: str,
    folder: Path,
    progress: Progress,
    *,
    adapter: Path | None = None,
    method: Method | None = None,
    limit: int | None = None,
    columns: ColumnMapping | None = None,
) -> ParityRecord:
    """Quantize a model by every scheme and compare each with the original.

    Without a method it is letter for a model trained on letters, else cloze.

    Raises:
        MedtuneError: The model, the data or the folder cannot be used.
    """
    base, adapter = split_adapter(model, adapter)
    source = resolve_model(base, progress)
    _check_source(source)
    name = f"{ADAPTER_PREFIX}{adapter}" if adapter else base
    split = load_split(data, columns, limit, progress)
    with lock_folder(folder):
        gate = ParityGate.evaluate_original(name, split, method, folder, progress, dtype="float32")
        rows = []
        for scheme in schemes:
            place = folder / scheme
            card = _quantize(source, adapter, gate, scheme, place)
            row = gate.evaluate_candidate(scheme, f"path:{place}", BUDGETS[scheme])
            write_record(place / CARD_FILE, card.model_copy(update={"fit": row.meets_budget}))
            rows.append(row)
        return gate.write_results(rows)


def _check_source(source: ModelSource) -> None:
    if source.folder is None:
        raise ModelError(f"{source.name} has no weights to quantize", expected="a real model")
    if card := read_quantized_card(source.folder):
        raise ModelError(
            f"{source.name} is quantized as {card.scheme} already",
            expected="the model that it was made from",
        )


def _quantize(
    source: ModelSource, adapter: Path | None, gate: ParityGate, scheme: Scheme, folder: Path
) -> WeightsCard:
    """Write the folder of one scheme, unless it is up to date."""
    assert source.folder is not None, "a fake is refused before"
    card = read_card(adapter) if adapter else read_optional_card(source.folder)
    made_from = card.weights_hash if card else source.fingerprint
    found = _read_valid_card(folder)
    if found and (found.scheme, found.made_from, found.medtune) == (scheme, made_from, __version__):
        gate.progress.log_message(f"{folder}: still valid")
        return found
    gate.progress.log_message(f"{folder}: packing")
    # In fp32: the merged weights are rounded, not base and update separately.
    base = LocalModel.load(source, "float32")
    model = lora.merge_adapter(base, adapter) if adapter else base
    hashes = read_training_hashes(adapter or source.folder, card) if card else None
    card = card or WeightsCard(
        base=source.name,
        base_fingerprint=source.fingerprint,
        prompt_hash=prompt_fingerprint(gate.asked.style, model.render),
        style=gate.asked.style,
        target=gate.asked.target,
        data_hash=None,
        config_hash=None,
        weights_hash="",
        medtune=__version__,
    )
    update = {"kind": "model", "made_from": made_from, "medtune": __version__}
    changed = card.model_copy(update=update)
    return export_scheme(model, changed, scheme, folder, _smoothing_pass(gate.exam), hashes)


def _read_valid_card(folder: Path) -> WeightsCard | None:
    """Read the card of an earlier result; None if it is missing or damaged."""
    try:
        return read_optional_card(folder)
    except ModelError:
        return None


def _smoothing_pass(exam: Exam) -> CalibrationPass:
    """Return a calibration pass over typical questions, in the prompts of the exam."""
    return lambda model: answer_questions(
        model, exam, load_split(SMOOTHING_DATA).questions, STRICT_PARSER, {}
    )
