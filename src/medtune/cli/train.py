"""Define `medtune run | prepare | train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medtune.cli.options import (
    Columns,
    DryRun,
    ExperimentFile,
    Json,
    Out,
    Set,
    column_mapping_settings,
    default_run_folder,
    load_finetune_experiment,
    print_record,
    print_records,
)
from medtune.cli.output import Terminal
from medtune.core.config import load_experiment
from medtune.core.errors import CheckFailed, InputError
from medtune.core.experiment import Experiment, NotebookExperiment


def run(
    experiment: ExperimentFile = None,
    settings: Set = None,
    out: Out = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Run an experiment, from its data to the report.

    Evaluates the base, fine-tunes it, evaluates again, and compares.

    Example: medtune run experiments/quickstart.toml --out runs/mine
    """
    config = load_experiment(experiment, settings or ())
    folder = out or default_run_folder(config)
    if isinstance(config, NotebookExperiment):
        if dry_run:
            raise InputError("--dry-run of the notebook's recipe", expected="a finetune experiment")
        from medtune.commands import notebook

        print_record(notebook.run_notebook(config, folder, Terminal()), json)
        return
    if dry_run:
        _print_plan("run", config, folder, json)
        return
    from medtune.commands.run import run as run_recipe

    print_record(run_recipe(config, folder, Terminal()), json)
    Terminal().log_message(f"report: {folder / 'report.html'}")


def prepare(
    experiment: ExperimentFile = None,
    settings: Set = None,
    out: Out = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Check a snapshot: its files, its sources, its hash."),
    ] = False,
    inspect: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Propose a column mapping, show ten questions."),
    ] = None,
    columns: Columns = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Clean, decontaminate and sample the data; write the snapshot.

    Example: medtune prepare experiments/medmcqa.toml --verify
    """
    from medtune.commands import prepare as recipe

    config = load_finetune_experiment(
        experiment, [*(settings or ()), *column_mapping_settings(columns or [])]
    )
    folder = out or default_run_folder(config)
    if dry_run and (verify or inspect is not None):
        raise InputError(
            "--dry-run with --verify or --inspect", expected="one: these write nothing"
        )
    if dry_run:
        _print_plan("prepare", config, folder, json)
    elif inspect is not None:
        proposal = recipe.inspect_file(inspect, config.prompt, config.data.columns, Terminal())
        print_record(proposal, json)
    elif verify:
        record = recipe.verify_snapshot(folder, Terminal())
        print_record(record, json)
        if record.faults:
            raise CheckFailed(
                f"{record.folder}: {len(record.faults)} faults",
                fix="prepare the data again: medtune prepare EXPERIMENT",
            )
    else:
        print_record(recipe.prepare(config, folder, Terminal()), json)


def train(
    experiment: ExperimentFile = None,
    settings: Set = None,
    out: Out = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Fine-tune without evaluations; write the weights.

    Example: medtune train experiments/quickstart.toml --out runs/mine
    """
    from medtune.commands.train import finetune

    config = load_finetune_experiment(experiment, settings)
    folder = out or default_run_folder(config)
    if dry_run:
        _print_plan("train", config, folder, json)
        return
    print_records(finetune(experiment=config, out=folder, progress=Terminal()).records, json)


def _print_plan(command: str, config: Experiment, folder: Path, json: bool) -> None:
    from medtune.workflows.plan_experiment import plan_experiment

    print_record(plan_experiment(command, config, folder, Terminal()), json)
