"""`medtune doctor | models`: what this machine is, and what it has."""

from __future__ import annotations

from medtune.cli.options import Json, Model, print_record
from medtune.cli.output import Terminal


def doctor(json: Json = False) -> None:
    """Say what machine this is, and what will be slow on it."""
    from medtune.commands.doctor import doctor as doctor_recipe

    print_record(doctor_recipe(), json)


def models_list(json: Json = False) -> None:
    """List the embedded model and the Hub's cache."""
    from medtune.commands.models import list_models

    print_record(list_models(), json)


def models_info(model: Model, json: Json = False) -> None:
    """Load a model and show what medtune reads off it."""
    from medtune.commands.models import model_info

    print_record(model_info(model, Terminal()), json)
