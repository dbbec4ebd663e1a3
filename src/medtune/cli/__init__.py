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
from medtune.cli import (
    audit,
    compress,
    export,
    logs,
    mix,
    publishing,
    release,
    review,
    serve,
    study,
    system,
)
from medtune.cli import evaluate as exam
from medtune.cli import retrieval as passages
from medtune.cli import train as work
from medtune.cli.completion import join_bash_words
from medtune.cli.everywhere import Commands, Table, add_verbosity_options
from medtune.cli.extras import missing_extra_message
from medtune.cli.output import Terminal, verbosity
from medtune.core.errors import Interrupted, MedtuneError

CRASH_EXIT_CODE = 70
"""EX_SOFTWARE of sysexits.h: an internal error."""

GROUPS: dict[str, Table] = {
    "Main job": {
        "run": work.run,
        "prepare": work.prepare,
        "train": work.train,
        "evaluate": exam.evaluate,
        "compare": exam.compare,
    },
    "Look closer": {
        "analyze": exam.analyze,
        "study": (
            "Study what the accuracy depends on.",
            {
                "test-size": study.by_size,
                "robustness": study.robustness,
                "decoding": study.decoding,
                "ablation": study.ablation,
                "learning-curve": study.learning_curve,
                "prompts": study.prompts,
                "open-book": study.open_book,
            },
        ),
        "review": (
            "Review by hand how free answers were parsed.",
            {"sample": review.sample, "score": review.score},
        ),
        "merge": exam.merge,
        "rescore": exam.rescore,
        "index": (
            "Build and describe indexes of passages.",
            {"build": passages.build, "info": passages.info},
        ),
        "mix": mix.mix,
        "audit": audit.audit,
        "import": logs.import_,
        "methods": publishing.methods,
    },
    "Ship": {
        "compress": compress.compress,
        "parity": compress.parity,
        "bench": compress.bench,
        "release": (
            "Build, gate and promote releases.",
            {
                "build": release.build,
                "freeze": release.freeze,
                "evaluate": release.evaluate,
                "list": release.listed,
                "show": release.show,
                "log": release.log,
                "verify": release.verify,
                "diff": release.diff,
                "gate": release.gate,
                "promote": release.promote,
                "rollback": release.rollback,
                "export": export.export,
                "push": export.push,
            },
        ),
        "update": release.update,
        "export": publishing.export,
    },
    "Run the endpoint": {
        "serve": serve.serve,
        "answer": compress.answer,
        "keys": (
            "Manage the API keys of an endpoint.",
            {"add": serve.keys_add, "list": serve.keys_list, "revoke": serve.keys_revoke},
        ),
        "guard": (
            "Train, benchmark and try the endpoint's guards.",
            {
                "train": serve.guard_train,
                "train-tagger": serve.guard_train_tagger,
                "test": serve.guard_test,
                "check": serve.guard_check,
                "redact": serve.guard_redact,
            },
        ),
        "monitor": (
            "Monitor the requests of an endpoint.",
            {"report": serve.monitor_report, "corrections": serve.monitor_corrections},
        ),
        "audit-log": ("Verify the audit log of an endpoint.", {"verify": serve.audit_verify}),
    },
    "Help": {
        "doctor": system.doctor,
        "profile": system.profile,
        "models": (
            "List and describe local models.",
            {"list": system.models_list, "info": system.models_info},
        ),
        "new": system.new,
    },
}
"""Every command, by its title in `medtune --help`; a new one is a line here."""

app = Commands(
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    # Plain text: rich's boxes are wider than 80 columns, stay in pipes, and take longer to load.
    rich_markup_mode=None,
    help="Fine-tune small language models on medical multiple-choice questions, and evaluate "
    "them honestly. For education and research; not medical advice.",
    epilog="Begin with `medtune doctor`, then `medtune run`. The help of every command has an "
    "example: medtune evaluate --help",
)
for title, table in GROUPS.items():
    app.register(title, table)


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
    join_bash_words(os.environ)
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
