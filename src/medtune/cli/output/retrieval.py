"""Print indexes of passages."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from medtune.cli.output.console import create_plain_table, prints
from medtune.reports.result_table import format_percent_interval
from medtune.retrieval.schema import IndexDescription, OptionScorer, ScoredPassage


@prints(IndexDescription)
def show_index(console: Console, record: IndexDescription) -> None:
    """Print the sources, the size and the scorer of an index, and what a query found."""
    manifest = record.manifest
    table = create_plain_table(("source", "licence"), ("passages",))
    for source in manifest.sources:
        table.add_row(source.source, source.licence or "not stated", f"{source.passages:,}")
    console.print(table)
    for source in manifest.sources:
        for reason, n in source.left_out.items():
            console.print(Text(f"left out of {source.source}: {n:,} × {reason}"))
    size = f"{manifest.size_bytes / 1e6:,.1f} MB"
    console.print(
        Text(
            f"{record.folder}: {manifest.passages:,} passages, {size}, {manifest.backend}, "
            f"stemmer {manifest.stemmer}, index {manifest.hash[:12]}, "
            f"{len(manifest.files)} files verified"
        )
    )
    console.print(Text(_describe_scorer(record.scorer)))
    if record.query is not None:
        _show_found(console, record.found)


def _describe_scorer(scorer: OptionScorer | None) -> str:
    if scorer is None:
        return "! no scorer was fitted: the confidence of its answers is not calibrated"
    kind = (
        f"temperature {1 / scorer.weights[0]:.2f}"
        if len(scorer.weights) == 1 and scorer.weights[0] > 0
        else f"weights of {len(scorer.features)} features"
    )
    return (
        f"scorer: {kind}, fitted on {scorer.n:,} questions of {scorer.source}; there, log loss "
        f"{scorer.log_loss:.3f} and accuracy {format_percent_interval(scorer.accuracy)}, which is "
        "no result"
    )


def _show_found(console: Console, found: tuple[ScoredPassage, ...]) -> None:
    if not found:
        console.print("no passage shares a word with the query")
    for rank, hit in enumerate(found, 1):
        passage = hit.passage
        source = f"{passage.source}, {passage.licence or 'licence not stated'}"
        console.rule(Text(f"{rank} · score {hit.score:.2f} · {passage.id}"), align="left")
        console.print(Text(passage.full_text if passage.question is None else _question(hit)))
        console.print(Text(source, style="dim"))


def _question(hit: ScoredPassage) -> str:
    passage = hit.passage
    return "\n".join((passage.question or "", f"Answer: {passage.answer}", passage.text)).strip()
