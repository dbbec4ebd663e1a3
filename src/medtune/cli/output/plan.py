"""Print what a machine is like, and what a command would do."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from medtune.cli.output.console import create_plain_table, prints
from medtune.cli.output.records import GIB, field_table
from medtune.core.formatting import format_percent
from medtune.core.schemas.plan import DoctorRecord, PlanRecord
from medtune.core.schemas.profile import ProfileRecord
from medtune.workflows.job_costs import ERROR_FACTOR

SHOWN_PRODUCTS = 4
"""Products of a job that are shown, those that take longest."""


@prints(DoctorRecord)
def _show_machine(console: Console, record: DoctorRecord) -> None:
    console.print(Text(record.verdict, style="green" if record.ready else "red"))
    console.print()
    table = create_plain_table((), texts=("on this machine, about",), numbers=("time", "memory"))
    for job in record.jobs:
        table.add_row(job.job, format_duration(job.seconds), _format_memory(job.memory_bytes))
    if record.jobs:
        console.print(table)
        console.print(
            f"Estimates for the embedded model and short questions, within a factor of "
            f"{ERROR_FACTOR:g}; a machine that does other work is slower."
        )
    else:
        console.print("How long jobs take was measured on CPUs only.")
    console.print()
    console.print(field_table(record, ("kind", "verdict", "ready", "speed", "jobs")))


@prints(ProfileRecord)
def _show_profile(console: Console, record: ProfileRecord) -> None:
    jobs = create_plain_table(
        ("job",), numbers=("per second", "at the limit", "share %", "GFLOP each", "GFLOP/s")
    )
    for job in record.jobs:
        jobs.add_row(
            job.job,
            f"{job.per_s:.1f}",
            f"{job.limit_per_s:.1f}",
            format_percent(job.share),
            f"{job.gflop / job.units:.1f}",
            f"{job.gflop / job.products_s:.0f}",
        )
    console.print(jobs)
    console.print(
        "The limit: nothing but the matrix products, each shape as fast as it is by itself. "
        "The rest of the time is attention that is one kernel, softmax, norms, copies, the "
        "optimizer and Python."
    )
    console.print()
    products = create_plain_table(
        ("job", "product", "dtype"), numbers=("calls", "GFLOP/s", "share of the products %")
    )
    for job in record.jobs:
        for one in job.products[:SHOWN_PRODUCTS]:
            batch = f"{one.batch} x " if one.batch > 1 else ""
            products.add_row(
                job.job,
                f"{batch}{one.rows} x {one.inner} x {one.columns}",
                one.dtype,
                f"{one.calls:,}",
                f"{one.gflops:.0f}",
                format_percent(one.seconds / job.products_s),
            )
    console.print(products)
    console.print(
        Text(
            f"{record.model.source} in {record.model.dtype}, {record.jobs[0].units} questions of "
            f"{record.data.source}, {record.provenance.gpu or record.provenance.cpu}"
        )
    )


@prints(PlanRecord)
def _show_plan(console: Console, record: PlanRecord) -> None:
    table = create_plain_table(("step", "state"), numbers=("count", "time"))
    for step in record.steps:
        count = "?" if step.count is None else f"{step.count:,}"
        table.add_row(
            step.name,
            step.state,
            f"{count} {step.unit}",
            "-" if step.state == "reused" else format_duration(step.seconds),
        )
    console.print(table)
    places = [place for step in record.steps if step.state == "to do" for place in step.writes]
    named = dict.fromkeys(place.removeprefix(f"{record.folder}/") for place in places)
    inside = ", ".join(named)
    console.print(Text(f"writes to {record.folder}: {inside or 'nothing'}"))
    reads = dict.fromkeys(place for step in record.steps for place in step.reads)
    if reads:
        console.print(Text(f"reads: {', '.join(reads)}"))
    if record.seconds is not None:
        console.print(
            Text(
                f"in all about {format_duration(record.seconds)}, within a factor of "
                f"{record.error_factor:g} on a machine that does nothing else"
            )
        )
    else:
        console.print("how long it takes is not known")
    if record.memory_bytes is not None:
        mark = "! " if record.memory_bytes > record.memory_available_bytes else ""
        console.print(
            f"{mark}memory about {_format_memory(record.memory_bytes)}, "
            f"{_format_memory(record.memory_available_bytes)} available"
        )
    for note in record.notes:
        console.print(Text(f"! {note}"))
    console.print("dry run: nothing was written")


def format_duration(seconds: float | None) -> str:
    """Return a duration as people say it: 20 s, 4 min, 2.5 h; "?" if it is not known."""
    if seconds is None:
        return "?"
    if seconds < 90:
        return f"{max(1, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _format_memory(size: int | None) -> str:
    return "?" if size is None else f"{size / GIB:.1f} GiB"
