"""Fine-tune only (`medtune train EXPERIMENT`).

Prepares the data and trains, as `medtune run` does between its two evaluations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from medtune.core.config import load_experiment, to_toml, validate_experiment
from medtune.core.display.html import render_result
from medtune.core.errors import InputError
from medtune.core.experiment import ColumnMapping, Experiment
from medtune.core.formatting import format_interval, format_percent
from medtune.core.progress import Progress
from medtune.core.prompt import PromptStyle, TrainingTarget
from medtune.core.records import Question, TrainingRecord
from medtune.core.run_folder import as_path, write_text
from medtune.data.load import Split, columns_for, load_questions
from medtune.data.own_questions import OWN_COLUMNS, write_questions
from medtune.data.snapshot import prepare_snapshot
from medtune.models.weights_card import ADAPTER_PREFIX
from medtune.workflows.distributed import lock_on_main, run_on_main
from medtune.workflows.progress_bars import choose_progress
from medtune.workflows.search_reference import INDEX_FOLDER
from medtune.workflows.training_evidence import open_evidence

Data = str | Path | Sequence[Question | Mapping[str, Any]]
QUESTIONS_FOLDER = "questions"
"""Folder of questions that were handed in from Python, in the run folder."""


@dataclass(frozen=True, repr=False)
class FineTunedModel:
    """A fine-tuned model in its run folder; with several seeds, one for each."""

    records: tuple[TrainingRecord, ...]
    models: tuple[str, ...]
    """Names of the trained models, in the same order."""
    folder: Path

    def __repr__(self) -> str:
        return f"<FineTunedModel {', '.join(self.models)}>"

    @property
    def record(self) -> TrainingRecord:
        """Return the record of the training, the first of several."""
        return self.records[0]

    @property
    def model(self) -> str:
        """Return the name of the trained model, the first of several."""
        return self.models[0]

    def _repr_html_(self) -> str:
        """Show steps, losses and validations in a notebook."""
        rows = []
        for name, record in zip(self.models, self.records, strict=True):
            last = record.validations[-1].accuracy if record.validations else None
            rows.append(
                (
                    name,
                    record.seed,
                    record.data.n,
                    record.steps,
                    record.losses[0].loss,
                    record.losses[-1].loss,
                    None
                    if last is None
                    else f"{format_percent(last.value)} ({format_interval(last)})",
                    record.duration_s,
                )
            )
        headers = (
            "model",
            "seed",
            "questions",
            "steps",
            "first loss",
            "last loss",
            "validation %",
            "seconds",
        )
        title = f"{self.record.base.source}, fine-tuned on {self.record.data.source}"
        return render_result(title, headers, rows)


def finetune(
    model: str | None = None,
    data: Data | None = None,
    *,
    out: str | Path,
    target: TrainingTarget | None = None,
    epochs: int | None = None,
    evaluate: Data | Sequence[str | Path] | None = None,
    limit: int | None = None,
    columns: ColumnMapping | Mapping[str, Any] | None = None,
    style: PromptStyle | None = None,
    dtype: str | None = None,
    seed: int | None = None,
    seeds: Sequence[int] = (),
    validation_size: int | None = None,
    experiment: Experiment | str | Path | None = None,
    progress: Progress | None = None,
    **training: Any,
) -> FineTunedModel:
    """Fine-tune a model and write `data/` and `adapter/` or `model/`.

    A training that is finished is not run again; an interrupted one resumes. An open-book
    experiment that names no index has one of the train split in `index/`. Under `accelerate launch`
    or `torchrun` rank 0 prepares and writes, and all ranks share the steps.

    Args:
        model: Name of the base model; None is the embedded one.
        data: Questions to train on: a name, a path, or questions; None is starter:train.
        out: Folder of the run; several seeds write to `seeds/` in it.
        target: What the model learns to answer: text, letter, text+explanation or letter+text.
        epochs: How often every question is seen.
        evaluate: Questions on which the model will be evaluated: what leaks one of them is removed
            from the training data. None is starter:recall and starter:transfer.
        limit: Number of train questions, after cleaning.
        columns: Mapping of the columns of files and data frames, or of the keys of dicts.
        style: Prompt style.
        dtype: Precision of the model.
        seed: Seed of data and training.
        seeds: Train once with each of these seeds.
        validation_size: Questions split off train for validation.
        experiment: Settings of a whole run, or their TOML file, in place of all others but `out`.
        progress: Progress to report to; None is a bar in a terminal or a notebook.
        training: Further settings of the section [training]: steps, batch_size, learning_rate,
            method, lora, ...

    Raises:
        ConfigError: A setting is unknown or out of range; every fault is named.
        MedtuneError: The data, the model or the folder cannot be used, or training failed.
    """
    folder = as_path(out)
    settings: dict[str, Any] = {
        "model": {"source": model, "dtype": dtype},
        "data": {"train_size": limit, "validation_size": validation_size, "columns": columns},
        "training": {"target": target, "epochs": epochs, **training},
        "prompt": style,
        "seed": seed,
        "seeds": tuple(seeds) or None,
        "name": "python" if experiment is None else None,
    }
    given = _without_none(settings)
    own: dict[Path, Split] = {}
    if experiment is None:
        # Before questions from Python are read.
        validate_experiment(given, "finetune()")
        given["data"] = given.get("data", {}) | _name_sources(folder, data, evaluate, columns, own)
        config = validate_experiment(given, "finetune()")
    elif given or data is not None or evaluate is not None:
        sources = {"data": data, "evaluate": evaluate}
        also = {**given, **_without_none(sources)}
        raise InputError(
            f"an experiment, and {', '.join(also)}",
            expected="either an experiment, or settings of one",
        )
    elif isinstance(experiment, Experiment):
        config = experiment
    else:
        config = load_experiment(as_path(experiment))
    if not isinstance(config, Experiment):
        raise InputError("the notebook's experiment", fix="run it whole: medtune run EXPERIMENT")
    return _train(config, folder, own, choose_progress(progress))


def _train(
    experiment: Experiment, folder: Path, own: Mapping[Path, Split], progress: Progress
) -> FineTunedModel:
    """Fine-tune; questions from Python are written to their files first."""
    # torch takes seconds, and wrong settings are refused before.
    from medtune.training.processes import join_processes
    from medtune.workflows.finetune import finetune_cached, resolve_trainable

    here = join_processes()
    source = resolve_trainable(experiment, progress)
    artefact = experiment.training.artefact_folder
    with lock_on_main(folder):
        for path, questions in own.items():
            run_on_main(partial(write_questions, questions, path))
        with here.main_process_first():
            snapshot = prepare_snapshot(experiment.data, experiment.seed, folder / "data", progress)
            index = folder / INDEX_FOLDER
            evidence = open_evidence(experiment.retrieval, snapshot, index, progress)
        run_on_main(lambda: write_text(folder / "experiment.toml", to_toml(experiment)))
        trainings = experiment.list_trainings()
        records = tuple(
            finetune_cached(one, source, snapshot, folder / place, progress, evidence)
            for place, one in trainings
        )
    prefix = ADAPTER_PREFIX if artefact == "adapter" else "path:"
    models = tuple(f"{prefix}{folder / place / artefact}" for place, _ in trainings)
    return FineTunedModel(records, models, folder)


def _name_sources(
    folder: Path,
    data: Data | None,
    evaluate: Data | Sequence[str | Path] | None,
    columns: ColumnMapping | Mapping[str, Any] | None,
    own: dict[Path, Split],
) -> dict[str, Any]:
    """Return the sources of the data; questions from Python are put into `own`, by their files."""
    mappings: dict[str, ColumnMapping] = {}

    def name(some: Data, file: str) -> str:
        if isinstance(some, str | Path):
            return str(some)
        path = folder / QUESTIONS_FOLDER / f"{file}.jsonl"
        mapped = columns_for(some, columns, evaluate if some is data else data)
        own[path] = load_questions(some, columns=mapped, for_training=file == "train")
        source = f"file:{path}"
        mappings[source] = OWN_COLUMNS
        return source

    named: dict[str, Any] = {}
    if data is not None:
        named["train"] = name(data, "train")
    if isinstance(evaluate, str | Path):
        named["evaluate"] = (str(evaluate),)
    elif evaluate is not None:
        sources = [str(one) for one in evaluate if isinstance(one, str | Path)]
        if not sources or len(sources) < len(evaluate):
            sources = [name(evaluate, "evaluate")]  # type: ignore[arg-type]
        named["evaluate"] = tuple(sources)
    return named | ({"mappings": mappings} if mappings else {})


def _without_none(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without those that were not given, and without empty sections."""
    kept = {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value is not None
    }
    return {key: value for key, value in kept.items() if value != {}}
