"""Quantize a trained model (`medtune compress MODEL --scheme S`) and run the parity gate.

Merges the adapter into its base in fp32, writes a folder for each scheme, and evaluates original
and folders, each with its own runtime, on the same questions.  A scheme over its budget is marked
unfit in its card.  Writes `<scheme>/`, `record.json` and `parity.html`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medtune._version import __version__
from medtune.core.display.html import render_result
from medtune.core.errors import InputError, ModelError, check_choice
from medtune.core.experiment import ColumnMapping
from medtune.core.formatting import format_interval, format_percent
from medtune.core.progress import Progress
from medtune.core.prompt import prompt_fingerprint
from medtune.core.records import Method, Proportion, Question
from medtune.core.run_folder import as_path, lock_folder, write_record
from medtune.core.schemas.compression import BUDGETS, SCHEMES, ParityRecord, Scheme
from medtune.data.load import load_questions, load_split
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.score import answer_questions
from medtune.hub.progress_bars import restore_progress_bars
from medtune.models.model_argument import resolve_adapter_argument, resolve_model_argument
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
from medtune.workflows.progress_bars import choose_progress

if TYPE_CHECKING:
    from medtune.models.export.write_scheme import CalibrationPass

PARITY_DATA = "starter:recall"
SMOOTHING_DATA = "starter:train"
"""Typical questions, by which integer schemes smooth activations."""


@dataclass(frozen=True, repr=False)
class CompressedModel:
    """A model that was quantized by one or more schemes, with the result of the parity gate."""

    record: ParityRecord
    folder: Path

    def __repr__(self) -> str:
        return f"<CompressedModel in {self.folder}: {', '.join(self.models)}>"

    @property
    def model(self) -> str:
        """Return the name of the quantized model, the first of several."""
        return next(iter(self.models.values()))

    @property
    def models(self) -> dict[str, str]:
        """Return the names of all quantized models by scheme."""
        return {row.name: f"path:{self.folder / row.name}" for row in self.record.rows}

    @property
    def verdict(self) -> str:
        """Return in one sentence whether every scheme is within its budget."""
        if over := self.record.names_over_budget:
            return f"Over budget, and marked unfit: {', '.join(over)}."
        return "Within budget: fit to replace the original."

    def _repr_html_(self) -> str:
        """Show sizes, accuracies and the verdict in a notebook."""
        record = self.record
        lines: list[tuple[str, int | None, Proportion, Proportion | None]] = [
            ("original", record.reference_bytes, record.reference.accuracy, None)
        ]
        lines += [(r.name, r.file_bytes, r.evaluation.accuracy, r.agreement) for r in record.rows]
        rows = [
            (
                name,
                None if size is None else f"{size / 1e6:,.0f}",
                format_percent(accuracy.value),
                format_interval(accuracy),
                None if same is None else format_percent(same.value),
            )
            for name, size, accuracy, same in lines
        ]
        faults = [f"{row.name}: {fault}" for row in record.rows for fault in row.broken]
        title = f"{record.reference.model.source}, compressed"
        headers = ("model", "MB", "correct %", "95 %", "same option %")
        return render_result(title, headers, rows, (self.verdict, *faults))


def compress(
    model: str | Path,
    scheme: Scheme | Sequence[Scheme],
    out: str | Path,
    *,
    data: str | Path | Sequence[Question | Mapping[str, Any]] = PARITY_DATA,
    adapter: str | Path | None = None,
    method: Method | None = None,
    limit: int | None = None,
    columns: ColumnMapping | Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> CompressedModel:
    """Quantize a model and compare the result with the original.

    Args:
        model: Name of the model, or a run folder.
        scheme: One or more schemes; each is written to a folder of its name.
        out: Folder to write.
        data: Questions of the parity gate.
        adapter: Folder of an adapter of the model.
        method: None is letter for a model trained on letters, else cloze.
        limit: Use only this many first questions.
        columns: Mapping of the columns of a file or a data frame, or of the keys of dicts.
        progress: Progress to report to; None is a bar in a terminal or a notebook.

    Raises:
        MedtuneError: The model, the data or the folder cannot be used.
    """
    schemes = [scheme] if isinstance(scheme, str) else list(scheme)
    if not schemes or (unknown := [one for one in schemes if one not in SCHEMES]):
        raise InputError(
            f"scheme {', '.join(map(str, unknown)) if schemes else schemes!r}",
            expected=f"some of {', '.join(SCHEMES)}",
        )
    if method is not None:
        check_choice("method", method, ("letter", "cloze"))
    folder, progress = as_path(out), choose_progress(progress)
    base, weights = split_adapter(resolve_model_argument(model), resolve_adapter_argument(adapter))
    source = resolve_model(base, progress)
    _check_source(source)
    name = f"{ADAPTER_PREFIX}{weights}" if weights else base
    split = load_questions(data, limit=limit, columns=columns, progress=progress)
    with lock_folder(folder):
        gate = ParityGate.evaluate_original(name, split, method, folder, progress, dtype="float32")
        rows = []
        for one in schemes:
            place = folder / one
            card = _quantize(source, weights, gate, one, place)
            row = gate.evaluate_candidate(one, f"path:{place}", BUDGETS[one])
            write_record(place / CARD_FILE, card.model_copy(update={"fit": row.meets_budget}))
            rows.append(row)
        return CompressedModel(gate.write_results(rows), folder)


def _check_source(source: ModelSource) -> None:
    if source.folder is None:
        raise ModelError(f"{source.name} has no weights to quantize", expected="a real model")
    if card := read_quantized_card(source.folder):
        raise ModelError(
            f"{source.name} is quantized as {card.scheme} already",
            expected="the model that it was made from",
        )


@restore_progress_bars()
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
    # torch takes seconds, and what cannot be packed is refused before.
    from medtune.models.adapters import lora
    from medtune.models.export.write_scheme import export_scheme
    from medtune.models.local.local_model import LocalModel

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
