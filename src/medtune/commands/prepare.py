"""Prepare the data snapshot of an experiment (`medtune prepare [EXPERIMENT]`).

    medtune prepare experiments/medmcqa.toml              write data/ of the run folder
    medtune prepare experiments/medmcqa.toml --verify     check that it is intact and reproducible
    medtune prepare --inspect my.csv                      propose a mapping, show ten questions

Nothing is trained.  The snapshot is the first step of every run; this command writes it alone, so
that its counts and exclusions can be read before training.
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
from medtune.core.run_folder import lock_folder
from medtune.core.schemas.dataset import MappingProposal, SnapshotManifest, VerificationRecord
from medtune.data.infer_columns import infer_columns, list_columns, sample_rows
from medtune.data.load import log_file_formats, read_manifest, resolve_split
from medtune.data.snapshot import find_changed_sources, find_faults, prepare_snapshot
from medtune.data.sources.sources import SOURCE_KINDS, parse_data_ref, read_rows
from medtune.reports.data import write_data_page

DATA_FOLDER = "data"
PAGE = "data.html"
SHOWN_QUESTIONS = 10


def prepare(experiment: Experiment, folder: Path, progress: Progress) -> SnapshotManifest:
    """Write `data/` and `data.html` of a run folder.

    Raises:
        DataError: A source cannot be used.
        FolderError: The folder is busy or cannot be written.
    """
    with lock_folder(folder):
        snapshot = prepare_snapshot(
            experiment.data, experiment.seed, folder / DATA_FOLDER, progress
        )
        write_data_page(folder / PAGE, snapshot.manifest)
    progress.log_message(f"page: {folder / PAGE}")
    return snapshot.manifest


def verify_snapshot(folder: Path, progress: Progress) -> VerificationRecord:
    """Verify a snapshot: its files, its sources, and that rebuilding gives the same hash.

    Raises:
        DataError: There is no snapshot.
    """
    manifest = read_manifest(folder / DATA_FOLDER)
    faults = find_faults(folder / DATA_FOLDER, manifest)
    remade = None
    try:
        faults += find_changed_sources(manifest)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".verify-") as scratch:
            again = prepare_snapshot(manifest.config, manifest.seed, Path(scratch), progress)
        remade = again.manifest.hash
        if remade != manifest.hash:
            faults.append(f"made again it has the hash {remade[:12]}, not {manifest.hash[:12]}")
    except (DataError, HubError) as error:
        faults.append(f"it cannot be made again: {error.found}")
    return VerificationRecord(
        folder=str(folder / DATA_FOLDER),
        hash=manifest.hash,
        questions=sum(split.description.n for split in manifest.splits),
        remade=remade,
        faults=tuple(faults),
    )


def inspect_file(
    file: str, style: PromptStyle, columns: ColumnMapping, progress: Progress
) -> MappingProposal:
    """Propose a column mapping for a file, and render questions as prompts.

    The file is a path or a DATA argument; columns that are not known yet are proposed.

    Raises:
        DataError: The file cannot be read.
    """
    name = file if file.partition(":")[0] in SOURCE_KINDS else f"file:{file}"
    ref = resolve_split(parse_data_ref(name), for_training=True)
    log_file_formats(ref, progress)
    rows = sample_rows(read_rows(ref))
    found = infer_columns(rows, str(ref), columns)
    questions = islice(found.cleaned.questions, SHOWN_QUESTIONS) if found.cleaned else ()
    return MappingProposal(
        source=str(ref),
        rows_read=len(rows),
        columns=list_columns(rows),
        mapping=found.mapping,
        why=found.why,
        problems=tuple(found.problems),
        toml=_mapping_toml(found.mapping),
        excluded=found.cleaned.exclusion_counts if found.cleaned else {},
        questions=tuple(_render_question(question, style) for question in questions),
    )


def _render_question(question: Question, style: PromptStyle) -> str:
    """Render a question and its target as in the letter method."""
    chat = [
        f"{message.role}: {message.content}" for message in style.build_messages(question, "letter")
    ]
    if question.answer is not None:
        chat.append(f"assistant: {style.render_answer(question, question.answer, 'letter')}")
    return "\n".join(chat)


def _mapping_toml(mapping: ColumnMapping) -> str:
    plain = ColumnMapping().model_dump(mode="json")
    found = mapping.model_dump(mode="json")
    own = {name: value for name, value in found.items() if value != plain[name]}
    text = tomli_w.dumps({"data": {"columns": own}}).rstrip()
    return text if own else "# the default mapping fits"
