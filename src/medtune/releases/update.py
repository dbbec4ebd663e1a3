"""`medtune update EXPERIMENT`: from new data to a challenger, in one command for a timer.

    new snapshot -> data change -> train -> calibrate -> release -> evaluate -> gate -> challenger

Each state of data and settings has its own folder. Finished steps are skipped, so that a killed
update continues where it stopped, and an update without new data does nothing. The challenger does
not answer requests until a person promotes it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from medtune.core.config import config_hash, to_toml
from medtune.core.errors import CheckFailed, InputError
from medtune.core.experiment import Experiment
from medtune.core.predictions_io import RECORD_FILE
from medtune.core.progress import Progress
from medtune.core.prompt import form_for_target, method_for_form
from medtune.core.provenance import collect_provenance
from medtune.core.records import Question, content_hash
from medtune.core.run_folder import lock_folder, read_record, write_record, write_text
from medtune.data.load import load_split
from medtune.data.snapshot import Snapshot, SnapshotSplit, hash_snapshot_inputs, prepare_snapshot
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_or_reuse
from medtune.models.sources import ModelSource
from medtune.models.weights_card import ADAPTER_PREFIX
from medtune.releases.build import build_release, run_gate
from medtune.releases.contamination import count_overlap
from medtune.releases.evidence import EvidenceOptions, collect_evidence, load_suite
from medtune.releases.gate_schema import Margins
from medtune.releases.promotion import promote
from medtune.releases.registry import SHORT_ID_LENGTH, Registry
from medtune.releases.schema import Alias, Release
from medtune.releases.update_schema import DataChange, UpdateRecord
from medtune.workflows.finetune import finetune_cached, resolve_trainable, tuned_model
from medtune.workflows.search_baseline import refuse_open_book

DEFAULT_MARGINS = Margins()


def run_update(
    experiment: Experiment,
    registry: Registry,
    folder: Path,
    actor: str,
    progress: Progress,
    *,
    policy: Path | None = None,
    margins: Margins = DEFAULT_MARGINS,
) -> UpdateRecord:
    """Train on new data; a release that passes the gate becomes challenger.

    Args:
        experiment: Data and training; results are reported on the first evaluated split.
        registry: Registry with a frozen suite; the update is compared with its champion.
        folder: Folder of all updates of this experiment.
        actor: Name for the registry's log.
        progress: Receives progress messages.
        policy: Policy of the guards; None for the starter policy.
        margins: Margins of the gate.

    Returns:
        The record, even if the gate refused; it is the folder's `record.json`.

    Raises:
        InputError: The experiment has no calibration split, several seeds, or passages in prompts.
        CheckFailed: Frozen questions are among the new train split.
        MedtuneError: Data, model or folder cannot be used, or training failed.
    """
    start = time.perf_counter()
    _check_experiment(experiment)
    frozen = load_suite(registry)[1]
    source = resolve_trainable(experiment, progress)
    with lock_folder(folder):
        before = read_record(folder / RECORD_FILE, UpdateRecord)
        state = [hash_snapshot_inputs(experiment.data, experiment.seed), config_hash(experiment)]
        place = folder / content_hash(state)[:SHORT_ID_LENGTH]
        snapshot = prepare_snapshot(experiment.data, experiment.seed, place / "data", progress)
        write_text(place / "experiment.toml", to_toml(experiment))
        change = _data_change(folder, before, snapshot.train)
        progress.log_message(f"{change.added} questions added, {change.removed} removed")
        name = f"{experiment.name}-{place.name}"[:64]
        is_new = all(row.name != name for row in registry.release_rows())
        if is_new:
            _check_suite(count_overlap(snapshot.train, {"suite": frozen}, progress)["suite"])
            finetune_cached(experiment, source, snapshot, place, progress)
            calibration = _evaluate_calibration(experiment, source, snapshot, place, progress)
            kind = ADAPTER_PREFIX if experiment.training.method == "lora" else "path:"
            release = build_release(
                registry,
                name,
                f"{kind}{place / experiment.training.artefact_folder}",
                actor,
                progress,
                policy_file=policy,
                calibration_folder=calibration,
                note=f"update of {experiment.name}",
            )
        else:
            release = registry.find(name)
        alias = _current_alias(registry, release)
        said = None
        if alias is None:
            assert snapshot.calibration is not None, "it was checked"
            asked = EvidenceOptions(snapshot.evaluated[0], snapshot.calibration, snapshot.train)
            collect_evidence(registry, release.name, asked, actor, progress)
            said = run_gate(registry, release.name, margins, (), actor)
            if said.passed:
                alias = "challenger"
                promote(registry, release.name, alias, actor)
        elif before is not None and before.release == release.name:
            said = before.verdict
        record = UpdateRecord(
            name=experiment.name,
            config_hash=config_hash(experiment),
            snapshot=snapshot.manifest.hash,
            folder=place.name,
            change=change,
            release=release.name,
            verdict=said,
            alias=alias,
            is_new=is_new,
            duration_s=time.perf_counter() - start,
            provenance=collect_provenance(),
        )
        write_record(folder / RECORD_FILE, record)
    return record


def _check_experiment(experiment: Experiment) -> None:
    refuse_open_book(experiment, "medtune update")
    if experiment.seeds:
        raise InputError(
            f"the experiment has seeds = {list(experiment.seeds)}",
            expected="one seed: an update makes one release",
        )
    if not experiment.data.calibration_size:
        raise InputError(
            "the experiment has no calibration questions",
            expected="data.calibration_size above 0: thresholds of the release are fitted on them",
        )


def _check_suite(seen: int) -> None:
    if seen:
        raise CheckFailed(
            f"{seen} frozen questions are among the new train split, or nearly",
            fix="list the suite's source under data.evaluate: its questions are removed from train",
        )


def _data_change(folder: Path, before: UpdateRecord | None, train: SnapshotSplit) -> DataChange:
    """Compare the train split with the previous update's; a resumed update keeps its own."""
    if before is not None and before.change.after == train.description.hash:
        return before.change
    old: Sequence[Question] = ()
    if before is not None:
        former = f"snapshot:{folder / before.folder / 'data'}:train"
        old = load_split(former, for_training=True).questions
    was = {question.id: _question_content(question) for question in old}
    now = {question.id: _question_content(question) for question in train.questions}
    subjects = Counter(q.subject or "none" for q in train.questions)
    subjects.subtract(q.subject or "none" for q in old)
    return DataChange(
        before=before.change.after if before else None,
        after=train.description.hash,
        n_before=len(was) if before else None,
        n_after=len(now),
        added=len(now.keys() - was.keys()),
        removed=len(was.keys() - now.keys()),
        edited=sum(was[name] != now[name] for name in was.keys() & now.keys()),
        subjects={name: n for name, n in sorted(subjects.items()) if n},
    )


def _question_content(question: Question) -> str:
    return content_hash([question.stem, question.options, question.answer])


def _evaluate_calibration(
    experiment: Experiment,
    source: ModelSource,
    snapshot: Snapshot,
    place: Path,
    progress: Progress,
) -> Path:
    """Evaluate the tuned model on the calibration questions, as an endpoint would ask."""
    held = snapshot.calibration
    assert held is not None, "it was checked"
    method = method_for_form(form_for_target(experiment.training.target))
    exam = Exam.for_likelihood(held.questions, held.description, experiment.prompt, method)
    where = place / "eval" / f"tuned-calibration-{method}"
    evaluate_or_reuse(
        tuned_model(experiment, source, place).load(), exam, "tuned", STRICT_PARSER, where, progress
    )
    return where


def _current_alias(registry: Registry, release: Release) -> Alias | None:
    """Return the current alias of a release; None without one."""
    aliases = registry.read_aliases()
    if release.id == aliases.champion:
        return "champion"
    return "challenger" if release.id == aliases.challenger else None
