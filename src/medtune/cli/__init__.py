"""The command line: verbs to recipes.  Nothing else prints.

Records go to stdout (tables, or JSON with --json); progress and messages go to stderr.
Exit codes: 0 done, 1 a check said no, 2 bad input, 70 a fault of medtune's own (EX_SOFTWARE),
130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from medtune.cli import compress, export, release, review, serve, study, system
from medtune.cli import evaluate as exam
from medtune.cli import train as work
from medtune.cli.everywhere import Commands, quiet_or_verbose
from medtune.cli.output import Terminal, verbosity
from medtune.core.errors import Interrupted, MedtuneError
from medtune.core.provenance import installed_version

CRASHED = 70
"""EX_SOFTWARE of sysexits.h: neither the input nor a check is to blame."""

app = Commands(
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Fine-tune small language models on medical multiple-choice questions, and examine "
    "them honestly. For education and research; not medical advice.",
)
app.command()(work.run)
app.command()(work.prepare)
app.command()(work.train)
app.command()(exam.evaluate)
app.command()(exam.compare)
app.command()(exam.analyze)
app.command()(exam.rescore)
app.command()(compress.compress)
app.command()(compress.parity)
app.command()(compress.bench)
app.command()(compress.answer)
app.command()(serve.serve)
keys = Commands(no_args_is_help=True, help="Say who may ask an endpoint.")
keys.command("add")(serve.keys_add)
keys.command("list")(serve.keys_list)
keys.command("revoke")(serve.keys_revoke)
app.add_typer(keys, name="keys")
audits = Commands(no_args_is_help=True, help="Check who did what on an endpoint.")
audits.command("verify")(serve.audit_verify)
app.add_typer(audits, name="audit-log")
guards = Commands(no_args_is_help=True, help="Train and examine the endpoint's guards.")
guards.command("train")(serve.guard_train)
guards.command("test")(serve.guard_test)
app.add_typer(guards, name="guard")
monitors = Commands(no_args_is_help=True, help="Watch what an endpoint is asked.")
monitors.command("report")(serve.monitor_report)
monitors.command("corrections")(serve.monitor_corrections)
app.add_typer(monitors, name="monitor")
releases = Commands(no_args_is_help=True, help="Version, gate and switch what is served.")
releases.command("build")(release.build)
releases.command("freeze")(release.freeze)
releases.command("evaluate")(release.evaluate)
releases.command("list")(release.listed)
releases.command("show")(release.show)
releases.command("log")(release.log)
releases.command("verify")(release.verify)
releases.command("diff")(release.diff)
releases.command("gate")(release.gate)
releases.command("promote")(release.promote)
releases.command("rollback")(release.rollback)
releases.command("export")(export.export)
app.add_typer(releases, name="release")
app.command()(release.update)
studies = Commands(no_args_is_help=True, help="Study what an accuracy depends on.")
studies.command("test-size")(study.by_size)
studies.command("robustness")(study.robustness)
studies.command("decoding")(study.decoding)
studies.command("ablation")(study.ablation)
studies.command("learning-curve")(study.learning_curve)
studies.command("prompts")(study.prompts)
app.add_typer(studies, name="study")
reviews = Commands(no_args_is_help=True, help="Let people check how free answers were read.")
reviews.command("sample")(review.sample)
reviews.command("score")(review.score)
app.add_typer(reviews, name="review")
app.command()(system.doctor)
models = Commands(no_args_is_help=True, help="Show which models are at hand.")
models.command("list")(system.models_list)
models.command("info")(system.models_info)
app.add_typer(models, name="models")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"medtune {installed_version('medtune') or '0+unknown'}")
        raise typer.Exit


@app.callback()
@quiet_or_verbose
def everything(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Show the version.")
    ] = False,
) -> None:
    """Read what stands before a command."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    The process edge: errors become one message on stderr and an exit code.
    """
    told = verbosity()
    told.quiet = told.verbose = False
    if not sys.stderr.isatty():
        # The bars of libraries redraw one line, which in a log is one line without an end.
        os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        app(args=arguments, prog_name="medtune")
    except MedtuneError as error:
        Terminal().error(str(error))
        _show_trace()
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == Interrupted.exit_code:
            Terminal().error("interrupted")
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the exit code says that it crashed
        what = " ".join(str(error).split()) or "without a message"
        Terminal().error(
            f"medtune failed by a fault of its own, {type(error).__name__}: {what}\n"
            "to do: the same command with -v shows where; please report that"
        )
        _show_trace()
        sys.exit(CRASHED)
    sys.exit(0)


def _show_trace() -> None:
    if verbosity().verbose:
        traceback.print_exc()
