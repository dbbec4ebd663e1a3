"""Define `medtune release ...` and `medtune update`."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from medtune.cli.options import (
    DATA,
    CalibrationFolder,
    DataArgument,
    ExperimentFile,
    Json,
    Model,
    Set,
    load_finetune_experiment,
    print_record,
)
from medtune.cli.output import Terminal
from medtune.core.config import read_toml_as
from medtune.core.errors import CheckFailed, InputError, did_you_mean
from medtune.core.records import Method

if TYPE_CHECKING:
    from medtune.releases.gate_schema import Margins, Waiver
    from medtune.releases.schema import Alias

Where = Annotated[Path, typer.Option("--registry", help="Folder of the registry.")]
REGISTRY = Path("runs") / "registry"
Name = Annotated[str, typer.Argument(help="Name, id, champion or challenger.")]
Actor = Annotated[str | None, typer.Option("--by", help="Name for the log; by default your login.")]


def build(
    name: Annotated[str, typer.Argument(help="Name of the release: letters, digits, . _ -")],
    model: Model,
    policy: Annotated[Path | None, typer.Option(help="Policy file.")] = None,
    calibration: CalibrationFolder = None,
    method: Annotated[Method | None, typer.Option(help="letter or cloze.")] = None,
    note: Annotated[str, typer.Option(help="Free note.")] = "",
    registry: Where = REGISTRY,
    by: Actor = None,
    json: Json = False,
) -> None:
    """Build a release: weights, prompt, policy and calibration under one hash.

    Example: medtune release build v1 runs/mine --calibration runs/eval/calibration
    """
    from medtune.releases import build as step
    from medtune.releases.registry import Registry

    release = step.build_release(
        Registry(registry),
        name,
        model,
        actor_name(by),
        Terminal(),
        policy_file=policy,
        calibration_folder=calibration,
        method=method,
        note=note,
    )
    print_record(release, json)


def freeze(
    data: DataArgument,
    limit: Annotated[int | None, typer.Option(min=1, help="First so many questions.")] = None,
    registry: Where = REGISTRY,
    by: Actor = None,
    json: Json = False,
) -> None:
    """Freeze questions that every release answers and none may be trained on.

    Example: medtune release freeze file:suite.jsonl
    """
    from medtune.releases import commands as recipe
    from medtune.releases.registry import Registry

    print_record(
        recipe.freeze_suite(Registry(registry), data, limit, actor_name(by), Terminal()), json
    )


def evaluate(
    name: Name,
    data: Annotated[str, typer.Option(help=f"Questions to report on: {DATA}")],
    calibration: Annotated[str, typer.Option(help="Calibration questions.")],
    trained_on: Annotated[
        str | None,
        typer.Option(
            help="Train split of its run, snapshot:RUN/data:train; not needed for a model that "
            "medtune did not train."
        ),
    ] = None,
    original: Annotated[
        str | None,
        typer.Option(help="For a quantized release: the original model, as named in its card."),
    ] = None,
    search: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a passage index to search as a baseline; by default one of "
            "--trained-on is built."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="First N questions of --data.")] = None,
    registry: Where = REGISTRY,
    by: Actor = None,
    json: Json = False,
) -> None:
    """Measure the evidence for the gate, also for the champion; existing evidence is reused.

    Example: medtune release evaluate v1 --data starter:recall --calibration file:cal.csv
    """
    from medtune.releases import commands as recipe
    from medtune.releases.registry import Registry

    record = recipe.evaluate_release(
        Registry(registry),
        name,
        actor_name(by),
        Terminal(),
        data=data,
        calibration=calibration,
        trained_on=trained_on,
        original=original,
        search=search,
        limit=limit,
    )
    print_record(record, json)


def listed(registry: Where = REGISTRY, json: Json = False) -> None:
    """List all releases and aliases.

    Example: medtune release list
    """
    from medtune.releases import commands as recipe
    from medtune.releases.registry import Registry

    print_record(recipe.list_releases(Registry(registry)), json)


def show(name: Name, registry: Where = REGISTRY, json: Json = False) -> None:
    """Show one release.

    Example: medtune release show champion
    """
    from medtune.releases.registry import Registry

    print_record(Registry(registry).find(name), json)


def log(
    name: Annotated[str | None, typer.Argument(help="Name, id or alias; by default all.")] = None,
    registry: Where = REGISTRY,
    json: Json = False,
) -> None:
    """Show the log: every evaluation, gate verdict and promotion, and by whom.

    Example: medtune release log v1
    """
    from medtune.releases import commands as recipe
    from medtune.releases.registry import Registry

    print_record(recipe.read_release_log(Registry(registry), name), json)


def verify(name: Name, registry: Where = REGISTRY, json: Json = False) -> None:
    """Verify the files of a release and the log; exit 1 if something was changed.

    Example: medtune release verify v1
    """
    from medtune.releases import commands as recipe
    from medtune.releases.registry import Registry

    record = recipe.verify_release(Registry(registry), name)
    print_record(record, json)
    if record.faults:
        raise CheckFailed(f"{record.name}: {record.faults[0]}", fix="restore it from a backup")


def diff(a: Name, b: Name, registry: Where = REGISTRY, json: Json = False) -> None:
    """Compare two releases.

    Example: medtune release diff champion v1
    """
    from medtune.releases import commands as recipe
    from medtune.releases.registry import Registry

    print_record(recipe.compare_releases(Registry(registry), a, b), json)


def gate(
    name: Name,
    margins: Annotated[Path | None, typer.Option(help="TOML of margins.")] = None,
    waive: Annotated[
        list[str] | None,
        typer.Option(metavar="RULE:NAME:REASON", help="Waive a failing rule; repeatable."),
    ] = None,
    registry: Where = REGISTRY,
    by: Actor = None,
    json: Json = False,
) -> None:
    """Gate a release against the champion by its evidence; exit 1 if it is refused.

    Example: medtune release gate v1
    """
    from medtune.releases import build as step
    from medtune.releases.registry import Registry

    waivers = tuple(map(_parse_waiver, waive or ()))
    record = step.run_gate(
        Registry(registry), name, _read_margins(margins), waivers, actor_name(by)
    )
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
    """Train on new data, and make the release challenger.

    New snapshot, changes, training, calibration, release, evidence and gate in one command, for a
    timer.  Exit 1 if the gate refuses it.  Without new data nothing is done.

    Example: medtune update experiments/quickstart.toml
    """
    from medtune.releases import update as recipe
    from medtune.releases.registry import Registry

    config = load_finetune_experiment(experiment, settings)
    record = recipe.run_update(
        config,
        Registry(registry),
        out or Path("runs") / "updates" / config.name,
        actor_name(by),
        Terminal(),
        policy=policy,
        margins=_read_margins(margins),
    )
    print_record(record, json)
    if record.alias is None:
        raise CheckFailed(
            f"{record.release} is refused", fix=f"medtune release gate {record.release}"
        )


def promote(
    name: Name,
    challenger: Annotated[
        bool, typer.Option("--challenger", help="Make it challenger, which needs no gate.")
    ] = False,
    registry: Where = REGISTRY,
    by: Actor = None,
) -> None:
    """Make a release that passed the gate champion.

    Example: medtune release promote v1
    """
    from medtune.releases.promotion import promote as move
    from medtune.releases.registry import Registry

    alias: Alias = "challenger" if challenger else "champion"
    release = move(Registry(registry), name, alias, actor_name(by))
    Terminal().log_message(f"{release.name} is {alias}")


def rollback(registry: Where = REGISTRY, by: Actor = None) -> None:
    """Make the previous champion champion again.

    Example: medtune release rollback
    """
    from medtune.releases.promotion import rollback as move_back
    from medtune.releases.registry import Registry

    release = move_back(Registry(registry), actor_name(by))
    Terminal().log_message(f"{release.name} is champion again")


def actor_name(by: str | None) -> str:
    """Return the name for the log: the given one, else the login."""
    return by or getpass.getuser()


def _read_margins(path: Path | None) -> Margins:
    from medtune.releases.gate_schema import Margins

    return read_toml_as(path, Margins) if path is not None else Margins()


def _parse_waiver(text: str) -> Waiver:
    from medtune.releases.gate_schema import RuleName, Waiver

    rule, _, rest = text.partition(":")
    name, _, reason = rest.partition(":")
    if rule not in get_args(RuleName):
        known = get_args(RuleName)
        raise InputError(
            f"--waive {text}{did_you_mean(rule, known)}", expected=f"one of {', '.join(known)}"
        )
    try:
        return Waiver.model_validate({"rule": rule, "name": name, "reason": reason})
    except ValueError as error:
        raise InputError(
            f"--waive {text}", expected="RULE:NAME:REASON, the reason of at least 10 characters"
        ) from error
