"""`medtune release ...` and `medtune update`: what is served, versioned, gated, reversible."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated, get_args

import typer

from medtune.cli.options import (
    DATA,
    ExperimentFile,
    Json,
    Model,
    Set,
    finetune_experiment,
    print_record,
)
from medtune.cli.output import Terminal
from medtune.core.config import read_as
from medtune.core.errors import CheckFailed, InputError
from medtune.core.records import Method
from medtune.releases.gate_schema import Margins, RuleName, Waiver
from medtune.releases.schema import Alias

Where = Annotated[Path, typer.Option("--registry", help="Folder of the registry.")]
REGISTRY = Path("runs") / "registry"
Name = Annotated[str, typer.Argument(help="Name, id, champion or challenger.")]
Actor = Annotated[
    str | None, typer.Option("--by", help="Who does it, for the log; your login without it.")
]


def build(
    name: Annotated[str, typer.Argument(help="Of the release: letters, digits, . _ -")],
    model: Model,
    policy: Annotated[Path | None, typer.Option(help="Policy file.")] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Folder of an evaluation of calibration questions.")
    ] = None,
    method: Annotated[Method | None, typer.Option(help="letter or cloze.")] = None,
    note: Annotated[str, typer.Option(help="For people.")] = "",
    registry: Where = REGISTRY,
    by: Actor = None,
    json: Json = False,
) -> None:
    """Put a release together: weights, prompt, policy, calibration, under one hash."""
    from medtune.releases import build as step
    from medtune.releases.registry import Registry

    options = step.BuildOptions(name, model, policy, calibration, method, note)
    print_record(step.build(Registry(registry), options, _who(by), Terminal()), json)


def freeze(
    data: Annotated[str, typer.Argument(help=DATA)],
    limit: Annotated[int | None, typer.Option(min=1, help="First so many questions.")] = None,
    registry: Where = REGISTRY,
    by: Actor = None,
    json: Json = False,
) -> None:
    """Freeze questions that every release is asked and none may be trained on."""
    from medtune.releases import commands as recipe
    from medtune.releases.registry import Registry

    print_record(recipe.freeze(Registry(registry), data, limit, _who(by), Terminal()), json)


def evaluate(
    name: Name,
    data: Annotated[str, typer.Option(help=f"Questions that are reported on: {DATA}")],
    calibration: Annotated[str, typer.Option(help="Questions set apart for calibration.")],
    trained_on: Annotated[
        str | None,
        typer.Option(
            help="Train split of its run, snapshot:RUN/data:train; what medtune taught nothing "
            "needs none."
        ),
    ] = None,
    original: Annotated[
        str | None,
        typer.Option(
            help="Of a packed release: the model that it was packed from, as its card says."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Of --data the first so many.")] = None,
    registry: Where = REGISTRY,
    by: Actor = None,
    json: Json = False,
) -> None:
    """Measure everything that the gate needs, beside the champion; what is there is reused."""
    from medtune.releases import commands as recipe
    from medtune.releases.registry import Registry

    options = recipe.ReleaseEvaluateOptions(name, data, calibration, trained_on, original, limit)
    print_record(recipe.evaluated(Registry(registry), options, _who(by), Terminal()), json)


def listed(registry: Where = REGISTRY, json: Json = False) -> None:
    """List all releases, and what the aliases stand for."""
    from medtune.releases import commands as recipe
    from medtune.releases.registry import Registry

    print_record(recipe.listed(Registry(registry)), json)


def show(name: Name, registry: Where = REGISTRY, json: Json = False) -> None:
    """Show one release."""
    from medtune.releases.registry import Registry

    print_record(Registry(registry).find(name), json)


def log(
    name: Annotated[str | None, typer.Argument(help="Name, id or alias; all without it.")] = None,
    registry: Where = REGISTRY,
    json: Json = False,
) -> None:
    """Tell who did what: every evaluation and its questions, every verdict, every promotion."""
    from medtune.releases import commands as recipe
    from medtune.releases.registry import Registry

    print_record(recipe.logged(Registry(registry), name), json)


def verify(name: Name, registry: Where = REGISTRY, json: Json = False) -> None:
    """Read every byte of a release, and the log; exit 1 where something was changed."""
    from medtune.releases import commands as recipe
    from medtune.releases.registry import Registry

    record = recipe.verified(Registry(registry), name)
    print_record(record, json)
    if record.faults:
        raise CheckFailed(f"{record.name}: {record.faults[0]}", fix="restore it from a backup")


def diff(a: Name, b: Name, registry: Where = REGISTRY, json: Json = False) -> None:
    """Put two releases side by side."""
    from medtune.releases import commands as recipe
    from medtune.releases.registry import Registry

    print_record(recipe.difference(Registry(registry), a, b), json)


def gate(
    name: Name,
    margins: Annotated[Path | None, typer.Option(help="TOML of margins.")] = None,
    waive: Annotated[
        list[str] | None,
        typer.Option(metavar="RULE:NAME:REASON", help="Answer for a rule that fails; repeatable."),
    ] = None,
    registry: Where = REGISTRY,
    by: Actor = None,
    json: Json = False,
) -> None:
    """Hold a release against the champion, by its evidence; exit 1 where it may not follow."""
    from medtune.releases import build as step
    from medtune.releases.registry import Registry

    read = read_as(margins, Margins) if margins else Margins()
    waivers = tuple(map(_waiver, waive or ()))
    record = step.gate(Registry(registry), name, read, waivers, _who(by))
    print_record(record, json)
    if not record.passed:
        raise CheckFailed(
            f"{name} is refused: " + ", ".join(r.rule for r in record.refused),
            fix="measure what is missing (medtune release evaluate), or train a better one",
        )


def update(
    experiment: ExperimentFile = None,
    settings: Set = None,
    policy: Annotated[Path | None, typer.Option(help="Policy file.")] = None,
    margins: Annotated[Path | None, typer.Option(help="TOML of margins.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of all updates; default runs/updates/NAME.")
    ] = None,
    registry: Where = REGISTRY,
    by: Actor = None,
    json: Json = False,
) -> None:
    """Train on what is new, and let it be challenger if the gate lets it; exit 1 where it does not.

    New snapshot, what changed, training, calibration, release, evidence, gate: in one command that
    a timer can run.  Where nothing is new, nothing is done.
    """
    from medtune.releases import update as recipe
    from medtune.releases.registry import Registry

    config = finetune_experiment(experiment, settings)
    options = recipe.UpdateOptions(
        actor=_who(by), policy=policy, margins=read_as(margins, Margins) if margins else Margins()
    )
    folder = out or Path("runs") / "updates" / config.name
    record = recipe.update(config, Registry(registry), folder, options, Terminal())
    print_record(record, json)
    if record.alias is None:
        raise CheckFailed(
            f"{record.release} is refused", fix=f"medtune release gate {record.release}"
        )


def promote(
    name: Name,
    challenger: Annotated[
        bool, typer.Option("--challenger", help="Let it be challenger; that needs no gate.")
    ] = False,
    registry: Where = REGISTRY,
    by: Actor = None,
) -> None:
    """Let a release that passed the gate be champion."""
    from medtune.releases.promotion import promote as move
    from medtune.releases.registry import Registry

    alias: Alias = "challenger" if challenger else "champion"
    release = move(Registry(registry), name, alias, _who(by))
    Terminal().say(f"{release.name} is {alias}")


def rollback(registry: Where = REGISTRY, by: Actor = None) -> None:
    """Let the champion before this one be champion again."""
    from medtune.releases.promotion import rollback as move_back
    from medtune.releases.registry import Registry

    release = move_back(Registry(registry), _who(by))
    Terminal().say(f"{release.name} is champion again")


def _who(by: str | None) -> str:
    return by or getpass.getuser()


def _waiver(text: str) -> Waiver:
    rule, _, rest = text.partition(":")
    name, _, reason = rest.partition(":")
    if rule not in get_args(RuleName):
        raise InputError(f"--waive {text}", expected=f"one of {', '.join(get_args(RuleName))}")
    try:
        return Waiver.model_validate({"rule": rule, "name": name, "reason": reason})
    except ValueError as error:
        raise InputError(
            f"--waive {text}", expected="RULE:NAME:REASON, the reason of at least 10 characters"
        ) from error
