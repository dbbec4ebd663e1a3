"""Render the datasheet of a snapshot in Markdown from its manifest.

The sections are those of Gebru et al. 2018 (arXiv 1803.09010) that a manifest can answer; the
answers that only people can give are left as placeholders.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from medtune.core.records import Proportion
from medtune.core.schemas.dataset import LENGTH_BINS, OverlapCount, SnapshotManifest

_TO_BE_WRITTEN = "*To be written by whoever publishes this snapshot.*"


def render_snapshot_datasheet(manifest: SnapshotManifest) -> str:
    """Render the datasheet of a snapshot as Markdown."""
    sections = [
        ("Motivation", [_motivation(manifest)]),
        ("Composition", _composition(manifest)),
        ("Collection", _collection(manifest)),
        ("Preprocessing, cleaning, labelling", _preprocessing(manifest)),
        ("Overlap", _overlap(manifest)),
        ("Uses", [_uses(manifest)]),
        ("Distribution and maintenance", [_distribution(manifest)]),
    ]
    title = f"# Datasheet: snapshot {manifest.hash[:12]}"
    body = [f"## {name}\n\n" + "\n\n".join(parts) for name, parts in sections]
    return "\n\n".join([title, *body]) + "\n"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Render a Markdown table; bars inside cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def splits_table(manifest: SnapshotManifest) -> str:
    """Render the splits as a Markdown table."""
    return markdown_table(
        ("split", "file", "n", "negated", "explained", "median characters", "sha256"),
        [
            (
                f"{split.role}: {split.description.source}",
                split.file,
                f"{split.description.n:,}",
                f"{split.profile.negated:,}",
                f"{split.profile.explained:,}",
                split.profile.median_length,
                split.description.hash[:12],
            )
            for split in manifest.splits
        ],
    )


def letters_table(manifest: SnapshotManifest) -> str:
    """Render the counts of right answers by letter and split as a Markdown table."""
    names = sorted({name for split in manifest.splits for name in split.profile.letters})
    return markdown_table(
        ("letter", *_split_headers(manifest)),
        [(n, *(f"{s.profile.letters.get(n, 0):,}" for s in manifest.splits)) for n in names],
    )


def left_out_table(manifest: SnapshotManifest) -> str:
    """Render the counts of questions excluded from train, by reason, as a Markdown table."""
    reasons = manifest.train_split.description.excluded
    return markdown_table(("reason", "count"), [(why, f"{n:,}") for why, n in reasons.items()])


def overlap_table(counts: Iterable[OverlapCount]) -> str:
    """Render overlap counts as a Markdown table."""
    return markdown_table(
        ("questions of", "also in", "exact", "near", "conflicting answers", "% of them (95 %)"),
        [
            (
                count.source,
                "itself, earlier" if count.among == count.source else count.among,
                f"{count.exact:,}",
                f"{count.near:,}",
                f"{count.conflicts:,}",
                format_with_interval(count.share),
            )
            for count in counts
        ],
    )


def format_with_interval(value: Proportion) -> str:
    """Format a proportion with its interval, in per cent."""
    return f"{100 * value.value:.2f} ({100 * value.low:.2f}-{100 * value.high:.2f})"


def _split_headers(manifest: SnapshotManifest) -> list[str]:
    return [f"{split.role}: {split.description.source}" for split in manifest.splits]


def _motivation(manifest: SnapshotManifest) -> str:
    roles = ", ".join(
        f"{split.description.n:,} to {_PURPOSE[split.role]}" for split in manifest.splits
    )
    return (
        f"Multiple-choice questions for fine-tuning and evaluating language models: {roles}. "
        f"Why these sources were chosen: {_TO_BE_WRITTEN}"
    )


_PURPOSE = {
    "train": "train on",
    "validation": "validate training with",
    "calibration": "calibrate with",
    "evaluated": "report on",
}


def _composition(manifest: SnapshotManifest) -> Iterable[str]:
    yield splits_table(manifest)
    heads = _split_headers(manifest)
    profiles = [split.profile for split in manifest.splits]
    subjects = sorted({name for profile in profiles for name in profile.subjects})
    yield "Questions by subject:"
    yield markdown_table(
        ("subject", *heads),
        [(name, *(f"{p.subjects.get(name, 0):,}" for p in profiles)) for name in subjects],
    )
    yield "Right answers by letter:"
    yield letters_table(manifest)
    yield "Characters of stem and options together:"
    yield markdown_table(
        ("characters", *heads),
        [(name, *(f"{p.lengths[n]:,}" for p in profiles)) for n, name in enumerate(LENGTH_BINS)],
    )


def _collection(manifest: SnapshotManifest) -> Iterable[str]:
    yield markdown_table(
        ("source", "revision", "licence", "fingerprint", "rows", "usable", "answers count from"),
        [
            (
                source.source,
                source.revision or "-",
                source.licence or "not stated",
                source.fingerprint[:12],
                f"{source.rows:,}",
                f"{source.usable:,}",
                "-" if source.answer_base is None else source.answer_base,
            )
            for source in manifest.sources
        ],
    )
    yield f"How and from whom the sources were collected: {_TO_BE_WRITTEN}"


def _preprocessing(manifest: SnapshotManifest) -> Iterable[str]:
    rows = [
        (source.source, kind, what, f"{count:,}")
        for source in manifest.sources
        for kind, counts in (
            ("row left out", source.excluded),
            ("cell normalised", source.normalised),
        )
        for what, count in counts.items()
    ]
    if rows:
        yield markdown_table(("source", "kind", "what", "count"), rows)
    train = manifest.train_split.description
    if train.excluded:
        yield f"What left {train.source} before training, by reason (each id in `excluded.jsonl`):"
        yield left_out_table(manifest)
    for step in manifest.curation:
        reasons = ", ".join(f"{count:,} × {name}" for name, count in step.left_out.items())
        yield f"Curation by {step.name} left out, of {step.before:,}: {reasons}."
    if manifest.balance:
        yield f"`train_size` was shared out by {manifest.config.balance.by}:"
        yield markdown_table(
            (manifest.config.balance.by, "available", "drawn", "weight", "earlier accuracy %"),
            [
                (
                    share.name + (" (weak)" if share.weak else ""),
                    f"{share.available:,}",
                    f"{share.drawn:,}",
                    f"{share.weight:.2f}",
                    format_with_interval(share.earlier) if share.earlier else "-",
                )
                for share in manifest.balance
            ],
        )
    yield (
        "Labels are the sources' own. Texts are Unicode NFC without control characters, HTML and "
        "doubled spaces; an answer's text is never moved to another letter."
    )


def _overlap(manifest: SnapshotManifest) -> Iterable[str]:
    kinds = "Exact and near-duplicates" if manifest.config.overlap.near else "Exact duplicates"
    inside = (
        "repetitions inside train too"
        if manifest.config.overlap.within_train == "remove"
        else "repetitions inside train stayed"
    )
    yield (
        f"{kinds} were searched for in all cleaned sources. They were removed from train, never "
        f"from an evaluated split ({inside}); train questions with a duplicate that has another "
        "right answer were removed as well."
    )
    yield overlap_table(manifest.overlap)
    yield (
        f"The questions kept form {manifest.clusters:,} clusters, which validation and calibration "
        "do not divide."
    )


def _uses(manifest: SnapshotManifest) -> str:
    reported = " and ".join(split.description.source for split in manifest.evaluated_splits)
    marked = manifest.train_split.purpose == "training"
    return (
        ("The train split holds corrections of an endpoint: for training only. " if marked else "")
        + f"Accuracies are reported on {reported} only; validation and calibration serve choices "
        "and thresholds. Exam questions measure recall of facts: a model that answers them is "
        "not thereby fit to advise patients. Not medical advice."
    )


def _distribution(manifest: SnapshotManifest) -> str:
    made = manifest.provenance
    return (
        f"Made {made.created} by medtune {made.medtune} with seed {manifest.seed}. The same "
        f"sources and settings give the hash {manifest.hash} on every machine; "
        "`medtune prepare --verify` checks files, sources and hash. Texts remain under their "
        f"sources' licences. Contact and maintenance: {_TO_BE_WRITTEN}"
    )
