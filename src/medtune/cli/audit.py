"""Define `medtune audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medtune.cli.options import Json, print_record
from medtune.core.errors import CheckFailed


def audit(
    batches: Annotated[
        Path,
        typer.Argument(
            help="Batches with input_ids and labels: .jsonl, .jsonl.gz, .safetensors, or the "
            "folder of a prepared dataset (Axolotl, LLaMA-Factory)."
        ),
    ],
    tokenizer: Annotated[
        str,
        typer.Option(help="Tokenizer of the trained model: embedded:NAME, hub:ORG/NAME, path:DIR."),
    ],
    accept: Annotated[
        list[str] | None,
        typer.Option(metavar="CODE", help="A finding that is on purpose; repeatable."),
    ] = None,
    json: Json = False,
) -> None:
    """Audit training batches: do ids and labels teach what they should?

    Example: medtune audit batches.jsonl --tokenizer embedded:smollm2-135m
    """
    from medtune.batch_audit.audit_batches import audit_batches

    record = audit_batches(batches, tokenizer, accept=accept or ())
    print_record(record, json)
    if record.serious:
        codes = ", ".join(finding.code for finding in record.serious)
        plural = "s" if len(record.serious) > 1 else ""
        raise CheckFailed(
            f"{len(record.serious)} serious finding{plural}: {codes}",
            fix="mend the set-up, or --accept a finding that is on purpose",
        )
