"""`medtune update EXPERIMENT`: from new data to a challenger, in one command that a timer can run.

    new snapshot -> what changed -> train -> calibrate -> release -> evaluate -> gate -> challenger

Each state of data and settings has a folder of its own; a step that was done is not done again, so
that a killed update goes on where it stopped, and one without anything new does nothing.  Nobody is
served by it: a person promotes the challenger.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medtune.core.config import config_hash, to_toml
from medtune.core.errors import CheckFailed, InputError
from medtune.core.experiment import Experiment
from medtune.core.predictions_io import RECORD
from medtune.core.progress import Progress
from medtune.core.prompt import form_taught, likelihood_of
from medtune.core.provenance import provenance
from medtune.core.records import Question, content_hash
from medtune.core.run_folder import locked, read_record, write_record, write_text
from medtune.data.load import load_split
from medtune.data.snapshot import Snapshot, SnapshotSplit, prepare_snapshot, snapshot_inputs
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT
from medtune.evaluation.run_exam import examined
from medtune.models.sources import ModelSource
from medtune.models.weights_card import ADAPTER
from medtune.releases.build import BuildOptions, build, gate
from medtune.releases.evidence import EvidenceOptions, among, evaluate, suite_of
from medtune.releases.gate_schema import Margins
from medtune.releases.promotion import promote
from medtune.releases.registry import SHORT, Registry
from medtune.releases.schema import Alias, Release
from medtune.releases.update_schema import DataChange, UpdateRecord
from medtune.workflows.finetune import adapt, trainable_source, tuned_model


@dataclass(frozen=True, slots=True)
class UpdateOptions:
    """What the command line may say."""

    actor: str
    """For the registry's log."""
    policy: Path | None = None
    """None is the starter policy."""
    margins: Margins = field(default_factory=Margins)


def update(
    experiment: Experiment,
    registry: Registry,
    folder: Path,
    options: UpdateOptions,
    progress: Progress,
) -> UpdateRecord:
    """Train on what is new, and let what the gate passes be challenger.

    Args:
        experiment: Data and training; the first evaluated split is what is reported on.
        registry: With a frozen suite; its champion is what the update is held against.
        folder: Of all updates of this experiment.
        options: Policy and margins.
        progress: Where to report.

    Returns:
        The record, also where the gate refused; it is the folder's `record.json`.

    Raises:
        InputError: The experiment has no calibration split, or several seeds.
        CheckFailed: Frozen questions are among the new train split.
        MedtuneError: Data, model or folder cannot be used, or training failed.
    """
    start = time.perf_counter()
    _check(experiment)
    frozen = suite_of(registry)[1]
    source = trainable_source(experiment, progress)
    with locked(folder):
        before = read_record(folder / RECORD, UpdateRecord)
        state = [snapshot_inputs(experiment.data, experiment.seed), config_hash(experiment)]
        place = folder / content_hash(state)[:SHORT]
        snapshot = prepare_snapshot(experiment.data, experiment.seed, place / "data", progress)
        write_text(place / "experiment.toml", to_toml(experiment))
        change = _change(folder, before, snapshot.train)
        progress.say(f"{change.added} questions are new, {change.removed} gone")
        name = f"{experiment.name}-{place.name}"[:64]
        is_new = all(row.name != name for row in registry.rows())
        if is_new:
            _check_suite(among(snapshot.train, {"suite": frozen}, progress)["suite"])
            adapt(experiment, source, snapshot, place, progress)
            calibration = _calibrated(experiment, source, snapshot, place, progress)
            release = _released(experiment, name, registry, place, calibration, options, progress)
        else:
            release = registry.find(name)
        alias = _alias_of(registry, release)
        said = None
        if alias is None:
            _measured(registry, release, snapshot, options, progress)
            said = gate(registry, release.name, options.margins, (), options.actor)
            if said.passed:
                alias = "challenger"
                promote(registry, release.name, alias, options.actor)
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
            provenance=provenance(),
        )
        write_record(folder / RECORD, record)
    return record


def _check(experiment: Experiment) -> None:
    if experiment.seeds:
        raise InputError(
            f"the experiment has seeds = {list(experiment.seeds)}",
            expected="one seed: an update makes one release",
        )
    if not experiment.data.calibration_size:
        raise InputError(
            "the experiment sets no questions apart for calibration",
            expected="data.calibration_size above 0: a release defers by what is fitted on them",
        )


def _check_suite(seen: int) -> None:
    if seen:
        raise CheckFailed(
            f"{seen} frozen questions are among the new train split, or nearly",
            fix="list the suite's source under data.evaluate: train keeps clear of what is there",
        )


def _change(folder: Path, before: UpdateRecord | None, train: SnapshotSplit) -> DataChange:
    """Hold the train split against that of the update before; one that goes on keeps its own."""
    if before is not None and before.change.after == train.description.hash:
        return before.change
    old: Sequence[Question] = ()
    if before is not None:
        former = f"snapshot:{folder / before.folder / 'data'}:train"
        old = load_split(former, teaching=True).questions
    was = {question.id: _content(question) for question in old}
    now = {question.id: _content(question) for question in train.questions}
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


def _content(question: Question) -> str:
    return content_hash([question.stem, question.options, question.answer])


def _calibrated(
    experiment: Experiment,
    source: ModelSource,
    snapshot: Snapshot,
    place: Path,
    progress: Progress,
) -> Path:
    """Ask the tuned model the calibration questions, once, as an endpoint would."""
    held = snapshot.calibration
    assert held is not None, "it was checked"
    method = likelihood_of(form_taught(experiment.training.target))
    exam = Exam.plain(held.questions, held.description, experiment.prompt, method)
    where = place / "eval" / f"tuned-calibration-{method}"
    examined(tuned_model(experiment, source, place), exam, "tuned", STRICT, where, progress)
    return where


def _released(
    experiment: Experiment,
    name: str,
    registry: Registry,
    place: Path,
    calibration: Path,
    options: UpdateOptions,
    progress: Progress,
) -> Release:
    kind = ADAPTER if experiment.training.method == "lora" else "path:"
    built = BuildOptions(
        name=name,
        model=f"{kind}{place / experiment.training.artefact}",
        policy=options.policy,
        calibration=calibration,
        note=f"update of {experiment.name}",
    )
    return build(registry, built, options.actor, progress)


def _measured(
    registry: Registry,
    release: Release,
    snapshot: Snapshot,
    options: UpdateOptions,
    progress: Progress,
) -> None:
    assert snapshot.calibration is not None, "it was checked"
    asked = EvidenceOptions(
        data=snapshot.evaluated[0],
        calibration=snapshot.calibration,
        trained_on=snapshot.train,
    )
    evaluate(registry, release.name, asked, options.actor, progress)


def _alias_of(registry: Registry, release: Release) -> Alias | None:
    """Tell what a release is already."""
    aliases = registry.aliases()
    if release.id == aliases.champion:
        return "champion"
    return "challenger" if release.id == aliases.challenger else None
