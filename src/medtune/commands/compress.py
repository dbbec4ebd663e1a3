"""`medtune compress MODEL --scheme S`: pack a trained model, and prove that nothing broke.

Folds the adapter into its base in fp32, writes a folder for each scheme, and lets the original and
every folder, each through its own runtime, answer the same questions.  A scheme that is over its
budget is marked unfit in its card.  Writes `<scheme>/`, `record.json` and `parity.html`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from medtune.core.errors import ModelError
from medtune.core.experiment import ColumnMapping
from medtune.core.progress import Progress
from medtune.core.prompt import fingerprint
from medtune.core.provenance import installed_version
from medtune.core.records import Method
from medtune.core.run_folder import locked, write_record
from medtune.core.schemas.compression import BUDGETS, ParityRecord, Scheme
from medtune.data.load import load_split
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT
from medtune.evaluation.score import ask
from medtune.models.adapters import lora
from medtune.models.export.write_scheme import Reader, export
from medtune.models.local.local_model import LocalModel
from medtune.models.sources import ModelSource, resolve
from medtune.models.weights_card import (
    ADAPTER,
    CARD,
    WeightsCard,
    card_of,
    hashes_beside,
    parted,
    read_card,
)
from medtune.workflows.parity_gate import ParityGate

TYPICAL = "starter:train"
"""Questions like those to come, by which integer schemes even out activations."""


@dataclass(frozen=True, slots=True)
class CompressOptions:
    """What the command line may say."""

    model: str
    schemes: tuple[Scheme, ...]
    data: str
    """Questions of the parity gate."""
    adapter: Path | None = None
    method: Method | None = None
    """None is letter for a model that was taught letters, else cloze."""
    limit: int | None = None
    columns: ColumnMapping = field(default_factory=ColumnMapping)


def compress(options: CompressOptions, folder: Path, progress: Progress) -> ParityRecord:
    """Pack a model by every scheme, and hold each against the original.

    Raises:
        MedtuneError: The model, the data or the folder cannot be used.
    """
    base, adapter = parted(options.model, options.adapter)
    source = resolve(base, progress)
    _check(source)
    name = f"{ADAPTER}{adapter}" if adapter else base
    split = load_split(options.data, options.columns, options.limit, progress)
    with locked(folder):
        gate = ParityGate.opened(name, split, options.method, folder, progress)
        rows = []
        for scheme in options.schemes:
            place = folder / scheme
            card = _packed(source, adapter, gate, scheme, place)
            row = gate.hold(scheme, f"path:{place}", BUDGETS[scheme])
            write_record(place / CARD, card.model_copy(update={"fit": row.fit}))
            rows.append(row)
        return gate.closed(rows)


def _check(source: ModelSource) -> None:
    if source.folder is None:
        raise ModelError(f"{source.name} has no weights to pack", expected="a real model")
    card = card_of(source.folder)
    if card is not None and card.packed:
        raise ModelError(
            f"{source.name} is packed as {card.scheme} already",
            expected="the model that it was made from",
        )


def _packed(
    source: ModelSource, adapter: Path | None, gate: ParityGate, scheme: Scheme, folder: Path
) -> WeightsCard:
    """Write one scheme's folder, unless it holds just that."""
    assert source.folder is not None, "a fake is refused before"
    card = read_card(adapter) if adapter else card_of(source.folder)
    made_from = card.weights_hash if card else source.fingerprint
    version = installed_version("medtune") or ""
    found = _found(folder)
    if found and (found.scheme, found.made_from, found.medtune) == (scheme, made_from, version):
        gate.progress.say(f"{folder}: still valid")
        return found
    gate.progress.say(f"{folder}: packing")
    # In fp32: what is rounded is the sum, not its parts.
    base = LocalModel.load(source, "float32")
    model = lora.merged(base, adapter) if adapter else base
    hashes = hashes_beside(adapter or source.folder, card) if card else None
    card = card or WeightsCard(
        base=source.name,
        base_fingerprint=source.fingerprint,
        prompt_hash=fingerprint(gate.asked.style, model.render),
        style=gate.asked.style,
        target=gate.asked.target,
        data_hash=None,
        config_hash=None,
        weights_hash="",
        medtune=version,
    )
    update = {"kind": "model", "made_from": made_from, "medtune": version}
    changed = card.model_copy(update=update)
    return export(model, changed, scheme, folder, _reader(gate.exam), hashes)


def _found(folder: Path) -> WeightsCard | None:
    """Read the card of what was packed before; a damaged file is packed again."""
    try:
        return card_of(folder)
    except ModelError:
        return None


def _reader(exam: Exam) -> Reader:
    """Let a model read some questions as the exam asks them."""
    return lambda model: ask(model, exam, load_split(TYPICAL).questions, STRICT, {})
