"""Define the command line; no other package prints.

Records are printed to stdout (tables, or JSON with --json); progress and messages to stderr.
Exit codes: 0 done, 1 a check failed, 2 bad input, 70 an internal error (EX_SOFTWARE), 130
interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from medtune._version import __version__
from medtune.cli import audit, compress, export, logs, mix, release, review, serve, study, system
from medtune.cli import evaluate as exam
from medtune.cli import retrieval as passages
from medtune.cli import train as work
from medtune.cli.everywhere import Commands, add_verbosity_options
from medtune.cli.extras import missing_extra_message
from medtune.cli.output import Terminal, verbosity
from medtune.core.errors import Interrupted, MedtuneError

CRASH_EXIT_CODE = 70
"""EX_SOFTWARE of sysexits.h: an internal error."""

app = Commands(
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Fine-tune small language models on medical multiple-choice questions, and evaluate "
    "them honestly. For education and research; not medical advice.",
)
app.command()(work.run)
app.command()(work.prepare)
app.command()(work.train)
app.command()(exam.evaluate)
app.command()(exam.compare)
app.command()(exam.analyze)
app.command()(exam.rescore)
app.command("import")(logs.import_)
app.command()(mix.mix)
app.command()(audit.audit)
indexes = Commands(no_args_is_help=True, help="Build and describe indexes of passages.")
indexes.command("build")(passages.build)
indexes.command("info")(passages.info)
app.add_typer(indexes, name="index")
app.command()(compress.compress)
app.command()(compress.parity)
app.command()(compress.bench)
app.command()(compress.answer)
app.command()(serve.serve)
keys = Commands(no_args_is_help=True, help="Manage the API keys of an endpoint.")
keys.command("add")(serve.keys_add)
keys.command("list")(serve.keys_list)
keys.command("revoke")(serve.keys_revoke)
app.add_typer(keys, name="keys")
audits = Commands(no_args_is_help=True, help="Verify the audit log of an endpoint.")
audits.command("verify")(serve.audit_verify)
app.add_typer(audits, name="audit-log")
guards = Commands(no_args_is_help=True, help="Train and benchmark the endpoint's guards.")
guards.command("train")(serve.guard_train)
guards.command("test")(serve.guard_test)
app.add_typer(guards, name="guard")
monitors = Commands(no_args_is_help=True, help="Monitor the requests of an endpoint.")
monitors.command("report")(serve.monitor_report)
monitors.command("corrections")(serve.monitor_corrections)
app.add_typer(monitors, name="monitor")
releases = Commands(no_args_is_help=True, help="Build, gate and promote releases.")
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
studies = Commands(no_args_is_help=True, help="Study what the accuracy depends on.")
studies.command("test-size")(study.by_size)
studies.command("robustness")(study.robustness)
studies.command("decoding")(study.decoding)
studies.command("ablation")(study.ablation)
studies.command("learning-curve")(study.learning_curve)
studies.command("prompts")(study.prompts)
studies.command("open-book")(study.open_book)
app.add_typer(studies, name="study")
reviews = Commands(no_args_is_help=True, help="Review by hand how free answers were parsed.")
reviews.command("sample")(review.sample)
reviews.command("score")(review.score)
app.add_typer(reviews, name="review")
app.command()(system.doctor)
models = Commands(no_args_is_help=True, help="List and describe local models.")
models.command("list")(system.models_list)
models.command("info")(system.models_info)
app.add_typer(models, name="models")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"medtune {__version__}")
        raise typer.Exit


@app.callback()
@add_verbosity_options
def main_options(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version."),
    ] = False,
) -> None:
    """Read the options before a command."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    Errors become one message on stderr and an exit code.
    """
    told = verbosity()
    told.quiet = told.verbose = False
    if not sys.stderr.isatty():
        # Progress bars of libraries redraw one line, which in a log file becomes one endless line.
        os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        app(args=arguments, prog_name="medtune")
    except MedtuneError as error:
        Terminal().error(str(error))
        _print_traceback()
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == Interrupted.exit_code:
            Terminal().error("interrupted")
        raise
    except Exception as error:  # noqa: BLE001 - any error ends with the exit code of a crash
        if isinstance(error, ModuleNotFoundError) and (missing := missing_extra_message(error)):
            Terminal().error(missing)
            _print_traceback()
            sys.exit(MedtuneError.exit_code)
        what = " ".join(str(error).split()) or "without a message"
        Terminal().error(
            f"medtune failed with an internal error, {type(error).__name__}: {what}\n"
            "to do: run the command with -v for a traceback, and please report it"
        )
        _print_traceback()
        sys.exit(CRASH_EXIT_CODE)
    sys.exit(0)


def _print_traceback() -> None:
    if verbosity().verbose:
        traceback.print_exc()
