"""`medtune prepare [EXPERIMENT]`: read, clean, separate and curate the data; write the snapshot.

    medtune prepare experiments/medmcqa.toml     make it: data/ of the run folder
    medtune prepare experiments/medmcqa.toml --verify     is it whole, and can it be made again?
    medtune prepare --inspect my.csv             which columns are what, and ten questions

Nothing is trained.  The snapshot is the first step of every run; here it is made alone, so that
its counts and exclusions can be read before anything is spent on it.
"""

from __future__ import annotations

import tempfile
from itertools import islice
from pathlib import Path

import tomli_w

from medtune.core.errors import DataError, HubError
from medtune.core.experiment import ColumnMapping, Experiment
from medtune.core.progress import Progress
from medtune.core.prompt import PromptStyle
from medtune.core.records import Question
from medtune.core.run_folder import locked
from medtune.core.schemas.dataset import MappingProposal, SnapshotManifest, VerificationRecord
from medtune.data.infer_columns import column_names, propose, sample_rows
from medtune.data.load import read_manifest, settled
from medtune.data.snapshot import changed_sources, faults_of, prepare_snapshot
from medtune.data.sources.files import files_of, notes_on
from medtune.data.sources.sources import KINDS, parse_ref, read_rows
from medtune.reports.data import write_data_page

DATA = "data"
PAGE = "data.html"
SHOWN = 10


def prepare(experiment: Experiment, folder: Path, progress: Progress) -> SnapshotManifest:
    """Write `data/` and `data.html` of a run folder.

    Raises:
        DataError: A source cannot be used.
        FolderError: The folder is busy or cannot be written.
    """
    with locked(folder):
        snapshot = prepare_snapshot(experiment.data, experiment.seed, folder / DATA, progress)
        write_data_page(folder / PAGE, snapshot.manifest)
    progress.say(f"page: {folder / PAGE}")
    return snapshot.manifest


def verify(folder: Path, progress: Progress) -> VerificationRecord:
    """Check a run folder's snapshot: its files, its sources, and that it can be made again.

    Raises:
        DataError: There is no snapshot.
    """
    manifest = read_manifest(folder / DATA)
    faults = faults_of(folder / DATA, manifest)
    remade = None
    try:
        faults += changed_sources(manifest)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".verify-") as scratch:
            again = prepare_snapshot(manifest.config, manifest.seed, Path(scratch), progress)
        remade = again.manifest.hash
        if remade != manifest.hash:
            faults.append(f"made again it has the hash {remade[:12]}, not {manifest.hash[:12]}")
    except (DataError, HubError) as error:
        faults.append(f"it cannot be made again: {error.found}")
    return VerificationRecord(
        folder=str(folder / DATA),
        hash=manifest.hash,
        questions=sum(split.description.n for split in manifest.splits),
        remade=remade,
        faults=tuple(faults),
    )


def inspect(
    file: str, style: PromptStyle, columns: ColumnMapping, progress: Progress
) -> MappingProposal:
    """Propose a column mapping for a file, and show questions as the model will see them.

    Args:
        file: A path, or a DATA argument.
        style: The prompt that renders the questions.
        columns: What is known of the mapping already; the rest is proposed.
        progress: Where to say what is unusual about the file.

    Raises:
        DataError: The file cannot be read.
    """
    name = file if file.partition(":")[0] in KINDS else f"file:{file}"
    ref = settled(parse_ref(name), teaching=True)
    for path in files_of(Path(ref.place), ref.split) if ref.kind == "file" else ():
        for note in notes_on(path):
            progress.say(f"{path}: {note}")
    rows = sample_rows(read_rows(ref))
    found = propose(rows, str(ref), columns)
    questions = islice(found.cleaned.questions, SHOWN) if found.cleaned else ()
    return MappingProposal(
        source=str(ref),
        rows_read=len(rows),
        columns=column_names(rows),
        mapping=found.mapping,
        why=found.why,
        problems=tuple(found.problems),
        toml=_toml(found.mapping),
        excluded=found.cleaned.reasons if found.cleaned else {},
        questions=tuple(_seen(question, style) for question in questions),
    )


def _seen(question: Question, style: PromptStyle) -> str:
    """Render a question as the letter method puts it, and the answer that it looks for."""
    chat = [f"{message.role}: {message.content}" for message in style.messages(question, "letter")]
    if question.answer is not None:
        chat.append(f"assistant: {style.answer(question, question.answer, 'letter')}")
    return "\n".join(chat)


def _toml(mapping: ColumnMapping) -> str:
    plain = ColumnMapping().model_dump(mode="json")
    found = mapping.model_dump(mode="json")
    own = {name: value for name, value in found.items() if value != plain[name]}
    text = tomli_w.dumps({"data": {"columns": own}}).rstrip()
    return text if own else "# the default mapping fits"
