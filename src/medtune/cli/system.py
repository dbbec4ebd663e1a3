"""Define `medtune doctor | models | new`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medtune.cli.completion import complete_data, complete_model
from medtune.cli.options import DATA, DataOption, Dtype, Json, Model, print_record
from medtune.cli.output import Terminal
from medtune.core.errors import CheckFailed, InputError, did_you_mean

TRAINABLE = ("embedded", "hub", "path")
"""Kinds of models that can be trained."""


def doctor(json: Json = False) -> None:
    """Inspect this machine: is it ready, and how long will jobs take?

    Exit 1 if something is missing that every job needs.

    Example: medtune doctor
    """
    from medtune.commands.doctor import inspect_machine as doctor_recipe

    record = doctor_recipe()
    print_record(record, json)
    if not record.ready:
        raise CheckFailed(record.verdict)


def profile(
    model: Annotated[
        str,
        typer.Argument(
            help="embedded:NAME, hub:ORG/NAME[@REV] or path:DIR.", autocompletion=complete_model
        ),
    ],
    data: DataOption = "starter:train",
    limit: Annotated[int, typer.Option(min=8, help="Number of questions.")] = 64,
    dtype: Dtype = "auto",
    json: Json = False,
) -> None:
    """Measure how close evaluation and training come to this machine's matrix products.

    Example: medtune profile embedded:smollm2-135m
    """
    from medtune.workflows.profile import profile as profile_recipe

    print_record(profile_recipe(model, data, Terminal(), questions=limit, dtype=dtype), json)


def models_list(json: Json = False) -> None:
    """List the embedded model and the Hub cache.

    Example: medtune models list
    """
    from medtune.commands.models import list_models

    print_record(list_models(), json)


def models_info(model: Model, json: Json = False) -> None:
    """Load a model and describe it.

    Example: medtune models info embedded:smollm2-135m
    """
    from medtune.commands.models import describe_model

    print_record(describe_model(model, Terminal()), json)


def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, NAME.toml.")],
    template: Annotated[
        str, typer.Option(help="quickstart, medmcqa, open-book or ablation.")
    ] = "quickstart",
    model: Annotated[
        str | None,
        typer.Option(
            help="Base model: embedded:smollm2-135m, hub:ORG/NAME[@REV] or path:DIR.",
            autocompletion=complete_model,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help=f"Questions to train on: {DATA}", autocompletion=complete_data),
    ] = None,
    evaluate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATA", help="Questions to report on; repeatable.", autocompletion=complete_data
        ),
    ] = None,
) -> None:
    """Write an experiment file in which every setting is explained.

    Nothing is overwritten. The file is valid as it is; its defaults are commented out.

    Example: medtune new my.toml --data file:my.csv:train --evaluate file:my.csv:test
    """
    from medtune.core.settings.template import write_experiment
    from medtune.data.sources.sources import parse_data_ref

    kind, colon, _ = (model or "embedded:").partition(":")
    if not colon or kind not in TRAINABLE:
        raise InputError(
            f"--model {model}{did_you_mean(kind, TRAINABLE)}",
            expected="a model that can be trained: embedded:, hub: or path:",
        )
    sources = [
        str(parse_data_ref(name)) for name in (*((data,) if data else ()), *(evaluate or ()))
    ]
    given: dict[str, Any] = {}
    if model is not None:
        given["model.source"] = model
    if data is not None:
        given["data.train"] = sources[0]
    if evaluate:
        given["data.evaluate"] = tuple(sources[data is not None :])
    write_experiment(file, template, given)
    Terminal().log_message(f"written: {file}; then: medtune run {file} --dry-run")
    if data is not None and not evaluate:
        Terminal().log_message("data.evaluate names other questions: set it to yours")
