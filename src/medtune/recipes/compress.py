"""`medtune compress MODEL --scheme S`: pack a trained model, and prove that nothing broke.

Folds the adapter into its base in fp32, writes a folder for each scheme, and lets the original and
every folder, each through its own runtime, answer the same questions.  A scheme that is over its
budget is marked unfit in its card.  Writes `<scheme>/`, `record.json` and `parity.html`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from medtune.analysis.ask import ask
from medtune.analysis.exam import Exam
from medtune.analysis.examine import examined
from medtune.analysis.parity import parity
from medtune.analysis.parity_page import write_parity
from medtune.answers.parse import STRICT
from medtune.core.compress import BUDGETS, Parity, ParityRecord, Scheme
from medtune.core.errors import ModelError
from medtune.core.experiment import ColumnMapping, EvaluationConfig
from medtune.core.folder import locked, write_record
from medtune.core.ledger import RECORD
from medtune.core.progress import Progress
from medtune.core.prompt import PromptStyle, fingerprint
from medtune.core.provenance import installed_version, provenance
from medtune.core.records import EvaluationRecord, Method, Prediction
from medtune.data.load import load_split
from medtune.models import lora
from medtune.models.card import CARD, Card, Manner, card_of, manner, parted, read_card
from medtune.models.door import open_model
from medtune.models.export import Reader, export
from medtune.models.local import LocalModel
from medtune.models.sources import ModelSource, resolve, weights_bytes

PAGE = "parity.html"
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
    typical: str = TYPICAL
    columns: ColumnMapping = field(default_factory=ColumnMapping)


def compress(options: CompressOptions, folder: Path, progress: Progress) -> ParityRecord:
    """Pack a model by every scheme, and hold each against the original.

    Raises:
        MedtuneError: The model, the data or the folder cannot be used.
    """
    base, adapter = parted(options.model, options.adapter)
    options = replace(options, model=base, adapter=adapter)
    source = resolve(base, progress)
    _check(options, source)
    asked = manner(options.model, options.adapter, None, None, None)
    split = load_split(options.data, options.columns, options.limit, progress)
    method = options.method or ("letter" if asked.target == "letter" else "cloze")
    exam = Exam.planned(
        EvaluationConfig(options_only=0),
        method,
        split.questions,
        split.description,
        asked.style,
        asked.target,
        (),
    )
    with locked(folder):
        original = open_model(options.model, adapter=options.adapter, style=asked.style)
        place = folder / "exams" / "original"
        reference = examined(original, exam, "original", STRICT, place, progress)
        reader = _reader(options.typical, asked.style, method)
        rows = []
        for scheme in options.schemes:
            card = _packed(options, source, asked, scheme, folder / scheme, reader, progress)
            place = folder / "exams" / scheme
            packed = open_model(f"path:{folder / scheme}", progress=progress)
            sat = examined(packed, exam, scheme, STRICT, place, progress)
            rows.append(_judged(scheme, reference, sat, folder / scheme, card))
        record = ParityRecord(
            reference=reference[0],
            reference_bytes=weights_bytes(source.folder, options.adapter),
            rows=tuple(rows),
            provenance=provenance(),
        )
        write_parity(folder / PAGE, record)
        write_record(folder / RECORD, record)
    return record


def _check(options: CompressOptions, source: ModelSource) -> None:
    if source.folder is None:
        raise ModelError(f"{source.name} has no weights to pack", expected="a real model")
    card = card_of(source.folder)
    if card is not None and card.packed:
        raise ModelError(
            f"{source.name} is packed as {card.scheme} already",
            expected="the model that it was made from",
        )
    if options.method == "generate":
        raise ModelError(
            "free answers have no log-probabilities to compare", expected="--method letter or cloze"
        )


def _packed(
    options: CompressOptions,
    source: ModelSource,
    asked: Manner,
    scheme: Scheme,
    folder: Path,
    reader: Reader,
    progress: Progress,
) -> Card:
    """Write one scheme's folder, unless it holds just that."""
    assert source.folder is not None
    card = read_card(options.adapter) if options.adapter else card_of(source.folder)
    made_from = card.weights_hash if card else source.fingerprint
    version = installed_version("medtune") or ""
    found = _found(folder)
    if found and (found.scheme, found.made_from, found.medtune) == (scheme, made_from, version):
        progress.say(f"{folder}: still valid")
        return found
    progress.say(f"{folder}: packing")
    # In fp32: what is rounded is the sum, not its parts.
    base = LocalModel.load(source, "float32")
    model = lora.merged(base, options.adapter) if options.adapter else base
    card = card or Card(
        base=source.name,
        base_fingerprint=source.fingerprint,
        prompt_hash=fingerprint(asked.style, model.render),
        style=asked.style,
        target=asked.target,
        data_hash=None,
        config_hash=None,
        weights_hash="",
        medtune=version,
    )
    update = {"kind": "model", "made_from": made_from, "medtune": version}
    return export(model, card.model_copy(update=update), scheme, folder, reader)


def _found(folder: Path) -> Card | None:
    """Read the card of what was packed before; a damaged file is packed again."""
    try:
        return card_of(folder)
    except ModelError:
        return None


def _judged(
    scheme: Scheme,
    reference: tuple[EvaluationRecord, list[Prediction]],
    sat: tuple[EvaluationRecord, list[Prediction]],
    folder: Path,
    card: Card,
) -> Parity:
    """Hold a packed model against the original, and mark its card."""
    row = parity(scheme, reference, sat, BUDGETS[scheme], weights_bytes(folder))
    write_record(folder / CARD, card.model_copy(update={"fit": row.fit}))
    return row


def _reader(data: str, style: PromptStyle, method: Method) -> Reader:
    """Let a model read some questions as the exam will ask them."""
    split = load_split(data)
    plain = EvaluationConfig(options_only=0)
    exam = Exam.planned(plain, method, split.questions, split.description, style, "letter", ())
    return lambda model: ask(model, exam, exam.questions, STRICT, {})
