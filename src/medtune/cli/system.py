"""Define `medtune doctor | models`."""

from __future__ import annotations

from medtune.cli.options import Json, Model, print_record
from medtune.cli.output import Terminal


def doctor(json: Json = False) -> None:
    """Inspect this machine, and warn of what will be slow.

    Example: medtune doctor
    """
    from medtune.commands.doctor import inspect_machine as doctor_recipe

    print_record(doctor_recipe(), json)


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
