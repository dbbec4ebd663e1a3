"""The generated parts of README and docs; `make docs` writes them, `make check` verifies them."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

from duplicates import judged
from medtune.cli.output import show_record
from medtune.core.records import (
    ComparisonRecord,
    EvaluationRecord,
    ForgettingRecord,
    Proportion,
    RunRecord,
)
from medtune.core.schemas.analysis import AnalysisRecord
from medtune.core.schemas.compression import BenchRecord, ParityRecord
from medtune.core.schemas.dataset import SnapshotManifest
from medtune.core.schemas.guard_check import GuardCheckRecord
from medtune.core.schemas.mixture import MixtureRecord
from medtune.core.schemas.safety import SafetyRecord
from medtune.data.datasheet import (
    left_out_table,
    letters_table,
    markdown_table,
    overlap_table,
    splits_table,
)
from medtune.data.sources.hub_catalogue import KNOWN_DATASETS
from medtune.reports import parity
from medtune.reports.guard_check import SHARES as GUARD_SHARES
from medtune.reports.result_table import ResultTable
from medtune.studies.ablation.page import rungs_table
from medtune.studies.ablation.schema import AblationRecord
from medtune.studies.decoding.page import points_table
from medtune.studies.decoding.schema import DecodingRecord
from medtune.studies.learning_curve.page import CONTRASTS as CURVE_CONTRASTS
from medtune.studies.learning_curve.page import POINTS as CURVE_POINTS
from medtune.studies.learning_curve.page import describe_bases
from medtune.studies.learning_curve.schema import LearningCurveRecord
from medtune.studies.open_book.page import POINTS as OPEN_BOOK_POINTS
from medtune.studies.open_book.schema import OpenBookRecord
from medtune.studies.test_size.page import DIFFERENCE as TEST_SIZES
from medtune.studies.test_size.schema import SampleSizeRecord

RESULTS = Path(__file__).parents[1] / "results"
VLLM_MODELS = {"base": "model", "merged": "adapter, merged", "tuned": "adapter, by name"}
"""What the models of benchmarks/vllm_server.py are."""


def quickstart() -> RunRecord:
    """Read the committed run that README and results quote."""
    return RunRecord.model_validate_json((RESULTS / "quickstart.json").read_bytes())


def results_table() -> str:
    """Write the quickstart's results, base beside tuned, with their intervals."""
    run = quickstart()
    searched = any(e.search is not None for e in run.evaluations)
    lines = [
        "| questions | scored by | n | base % (95 %) | tuned % (95 %) | difference, points (95 %) |"
        f" p | chance % | majority letter % |{' text search % (95 %) |' if searched else ''}",
        f"| --- | --- | --- | --- | --- | --- | --- | --- | --- |{' --- |' if searched else ''}",
    ]
    for (base, tuned), c in zip(run.evaluations_by_exam(), run.comparisons, strict=True):
        p = "< 0.0001" if c.p_value < 0.0001 else f"{c.p_value:.2g}"
        lines.append(
            f"| {base.data.source} | {base.method} | {c.n} | {_accuracy(base)} | "
            f"{_accuracy(tuned)} | {100 * c.difference:+.1f} "
            f"({100 * c.difference_low:+.1f} to {100 * c.difference_high:+.1f}) | {p} | "
            f"{100 * base.chance:.0f} | {100 * base.majority.value:.0f} |"
            + (f" {_share(tuned.search.accuracy)} |" if tuned.search is not None else "")
        )
    return "\n".join(lines)


ASKED = {
    "starter:recall": "taught facts, in other words",
    "starter:transfer": "other facts",
}
"""Splits of the quickstart as the README calls them."""


def primary_results() -> list[tuple[EvaluationRecord, EvaluationRecord, ComparisonRecord]]:
    """List base, tuned and their comparison, by the quickstart's primary method."""
    run = quickstart()
    pairs = zip(run.evaluations_by_exam(), run.comparisons, strict=True)
    return [(base, tuned, c) for (base, tuned), c in pairs if c.method == "cloze"]


def readme_table() -> str:
    """Write what the quickstart's primary method measured, in as few columns as say it."""
    rows = []
    for base, tuned, c in primary_results():
        assert tuned.search is not None, "the quickstart searches its training questions"
        rows.append(
            (
                f"{ASKED[base.data.source]}, n = {c.n}",
                _accuracy(base),
                _accuracy(tuned),
                _signed(c),
                _share(tuned.search.accuracy),
                f"{100 * base.chance:.0f}",
            )
        )
    head = (
        "correct % (95 %)", "base model", "fine-tuned", "difference, points", "text search",
        "chance",
    )  # fmt: skip
    return markdown_table(head, rows)


def run_output() -> str:
    """Print the quoted run as `medtune run` does."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        show_record(quickstart())
    lines = [line.rstrip() for line in out.getvalue().strip().splitlines()]
    return "```\n" + "\n".join(lines) + "\n```"


def run_line() -> str:
    """Say where and how fast the quoted run was."""
    run = quickstart()
    (training,) = run.trainings
    stop = next(e for e in run.evaluations if e.label == "tuned" and e.stop_rate is not None)
    assert stop.stop_rate is not None
    return (
        f"{run.provenance.cpu}, {run.provenance.cores} cores, {training.base.dtype}: "
        f"{run.duration_s:.0f} s in all, {training.duration_s:.0f} s of them training "
        f"({training.examples_per_s:.1f} examples/s), peak memory "
        f"{run.peak_memory_bytes / 2**30:.2f} GiB. Free answers that end by themselves on "
        f"`{stop.data.source}`: {100 * stop.stop_rate.value:.0f} % tuned "
        f"({100 * stop.stop_rate.low:.0f}-{100 * stop.stop_rate.high:.0f}), "
        f"{_base_stop(run):.0f} % base."
    )


def speed_table() -> str:
    """Write the committed benchmarks' ratios."""
    train = json.loads((RESULTS / "train_speed.json").read_text())
    score = json.loads((RESULTS / "eval_speed.json").read_text())
    lines = ["| work | medtune | beside | ratio |", "| --- | --- | --- | --- |"]
    names = {
        "notebook": "the notebook's recipe",
        "trl_padded": "TRL SFTTrainer, padded",
        "trl_packing": "TRL SFTTrainer, packing",
    }
    mine = train["examples_per_s"]["medtune"]
    for key, rate in train["examples_per_s"].items():
        if key != "medtune":
            lines.append(
                f"| training, examples/s | {mine:.1f} | {names[key]}: {rate:.2f} | "
                f"{mine / rate:.1f} × |"
            )
    rates = score["questions_per_s"]
    for what, mine, peers in (
        ("letter", "medtune_letter", ("notebook", "lm_eval_letter")),
        ("letter, 5 examples", "medtune_letter_5_shot", ("lm_eval_letter_5_shot",)),
        ("cloze", "medtune_cloze", ("notebook", "lm_eval_cloze")),
    ):
        for peer in peers:
            name = "the notebook's recipe" if peer == "notebook" else "lm-evaluation-harness"
            lines.append(
                f"| examination ({what}), questions/s | {rates[mine]:.1f} | {name}: "
                f"{rates[peer]:.2f} | {rates[mine] / rates[peer]:.1f} × |"
            )
    lines.append(
        f"| examination (letter), {score['cyclic_orders']} orders, questions/s | "
        f"{rates['medtune_letter_cyclic']:.1f} | one order: {rates['medtune_letter']:.1f} | "
        f"{score['cyclic_cost']:.1f} × the time |"
    )
    return "\n".join(lines)


def matcher_table() -> str:
    """Say how well the strict parser reads the labelled outputs."""
    found = json.loads((RESULTS / "matcher.json").read_text())
    rows = []
    for part in ("overall", "dev", "held", "fresh"):
        some = found[part]
        rows.append((part, str(some["n"]), *(_span(some[k]) for k in ("precision", "recall"))))
    first = found["held_first"]
    spans = [_span(first[k]) for k in ("precision", "recall")]
    rows.append(("held, at its first reading", str(found["held"]["n"]), *spans))
    return markdown_table(("outputs", "n", "precision % (95 %)", "recall % (95 %)"), rows)


def _span(p: dict[str, float]) -> str:
    return f"{100 * p['value']:.1f} ({100 * p['low']:.1f}-{100 * p['high']:.1f})"


def known_datasets() -> str:
    """List the Hub datasets that bring their own mapping."""
    rows = []
    for name, known in KNOWN_DATASETS.items():
        parts = ", ".join(f"`{config}`" for config in known.configs) or "-"
        rows.append((f"`hub:{name}`", parts, known.licence))
    return markdown_table(("source", "parts, the first by default", "licence"), rows)


def duplicate_quality() -> str:
    """Judge the labelled pairs, and say how often the verdict was right."""
    rows = []
    for part, name in (("held", "never looked at"), ("dev", "used for the rules")):
        found = judged(part)
        rows.append(
            (
                f"{part} ({name})",
                f"{found.same} / {found.different}",
                f"{found.recall.value:.3f} ({found.recall.low:.3f}-{found.recall.high:.3f})",
                f"{found.precision.value:.3f} "
                f"({found.precision.low:.3f}-{found.precision.high:.3f})",
            )
        )
    head = ("pairs", "same / different", "recall (Wilson 95 %)", "precision (Wilson 95 %)")
    return markdown_table(head, rows)


def medmcqa_snapshot() -> str:
    """Write what the committed snapshot of the real files held."""
    text = (RESULTS / "medmcqa_snapshot.json").read_bytes()
    manifest = SnapshotManifest.model_validate_json(text)
    return "\n\n".join(
        [
            splits_table(manifest),
            "Overlap:",
            overlap_table(manifest.overlap),
            "What left the train file before training, by reason:",
            left_out_table(manifest),
            "Which letter is right:",
            letters_table(manifest),
        ]
    )


def prepare_speed() -> str:
    """Write the committed benchmark of preparing data."""
    found = json.loads((RESULTS / "prepare_speed.json").read_text())
    rows = [
        (f"{int(rows):,}", seconds, f"{found['rows_per_s'][rows]:,}", memory)
        for rows, seconds in found["seconds"].items()
        if (memory := found["peak_memory_gib"][rows])
    ]
    machine = found["provenance"]
    return (
        markdown_table(("rows", "seconds", "rows/s", "peak memory, GiB"), rows)
        + f"\n\n{machine['cpu']}, {machine['cores']} cores. From the smallest to the largest the "
        f"cost per n log n changes by a factor of {found['growth_beyond_n_log_n']}."
    )


def help_text() -> str:
    """Run `medtune --help`."""
    done = subprocess.run(
        [sys.executable, "-m", "medtune", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "90", "TERM": "dumb", "PATH": ""},
    )
    return "```\n" + "\n".join(line.rstrip() for line in done.stdout.strip().splitlines()) + "\n```"


def ablation_table() -> str:
    """Write the committed ladder from the notebook's mistakes to a sound run."""
    study = AblationRecord.model_validate_json((RESULTS / "ablation.json").read_bytes())
    trainings = {name: training.data.n for name, training in study.trainings.items()}
    return (
        f"{rungs_table(study).to_markdown()}\n\n"
        f"{study.model.source}, {study.model.dtype}, trained on {study.few} questions of "
        f"`{study.data.source}`, the last rung on {trainings['data']:,}; "
        f"{study.trainings['data'].epochs} epochs; examined on {study.base.counts.n} of "
        f"`{study.base.data.source}` (chance {100 * study.base.chance:.0f} %, majority letter "
        f"{100 * study.base.majority.value:.0f} %); {study.provenance.cpu}, "
        f"{study.cell_s / 60:.0f} minutes of runs: `{study.provenance.command}`."
    )


SHOWN = ("greedy-50tokens", "greedy-5tokens", "t0.3-p0.9-k0-50tokens", "t1-p1-k0-50tokens")


def decoding_table() -> str:
    """Write the committed study of decoding: what nothing beats, and some of the others."""
    study = DecodingRecord.model_validate_json((RESULTS / "decoding.json").read_bytes())
    shown = [
        p
        for p in study.points
        if p.pareto or p.setting.name in SHOWN or p.setting.beams == 4 or p.setting.constrained
    ]
    return (
        f"{points_table(study.model_copy(update={'points': tuple(shown)})).to_markdown()}\n\n"
        f"The quickstart's tuned model on `{study.data.source}`, {study.model.dtype}, "
        f"{study.provenance.cpu}, {len(study.points)} settings in {study.cell_s / 60:.0f} minutes. "
        f"{study.verdict}"
    )


def open_book_table() -> str:
    """Write the accuracies of searches, readers and a mixture on MedMCQA's validation split."""
    best = EvaluationRecord.model_validate_json((RESULTS / "search_best_passage.json").read_bytes())
    search = _searched_medmcqa()
    reader = _untrained_reader()
    learned, with_reader = _trained_reader()
    assert with_reader.evaluation is not None, "it was applied to the reported questions"
    mixture = MixtureRecord.model_validate_json((RESULTS / "mixture.json").read_bytes())
    mixed = mixture.evaluation
    assert mixed is not None, "it was applied to the reported questions"
    alone, beside = mixture.comparisons
    larger, with_larger = _read_training("lora_1.5b.json", "mixture_1.5b.json")
    assert with_larger.evaluation is not None, "it was applied to the reported questions"
    rows = [
        ["chance", "", f"{100 * best.chance:.1f}", ""],
        [f"majority letter ({best.majority_letter})", *_accuracy_cells(best.majority), ""],
        ["SmolLM2-135M, untrained, closed book", *_accuracy_cells(reader.accuracy_a), ""],
        [
            "the same, each option behind its best passage",
            *_accuracy_cells(reader.accuracy_b),
            _signed(reader),
        ],
        [
            "the same, fine-tuned to read such passages",
            *_accuracy_cells(learned.accuracy_b),
            _signed(learned),
        ],
        ["search: best passage", *_open_book_cells(best), ""],
        ["search: seven features, fitted weights", *_open_book_cells(search.evaluation), ""],
        [
            "mixture of the fine-tuned reader and this search",
            *_open_book_cells(with_reader.evaluation),
            f"{_signed(with_reader.comparisons[1])} over search",
        ],
        ["Qwen2.5-Coder-1.5B by letter, closed book", *_accuracy_cells(alone.accuracy_a), ""],
        [
            "the same, fine-tuned on 1,000 questions",
            *_accuracy_cells(larger.accuracy_b),
            _signed(larger),
        ],
        ["search on the same questions", *_accuracy_cells(beside.accuracy_a), ""],
        [
            "mixture of the 1.5B model and the search",
            *_open_book_cells(mixed),
            f"{_signed(beside)} over search",
        ],
        [
            "mixture of the fine-tuned 1.5B model and the search",
            *_open_book_cells(with_larger.evaluation),
            f"{_signed(with_larger.comparisons[1])} over search",
        ],
    ]
    return markdown_table(["answer model", "n", "correct % (95 %)", "paired, points (95 %)"], rows)


def ladder_table() -> str:
    """Write what a small model knows of MedMCQA, step by step from chance up."""
    closed, (learned, mixture) = _untrained_reader(), _trained_reader()
    over_search = mixture.comparisons[1]
    assert mixture.evaluation is not None, "it was applied to the reported questions"
    majority = mixture.evaluation.majority
    rows = [
        ["chance", f"{100 * mixture.evaluation.chance:.1f}", ""],
        [f"always {mixture.evaluation.majority_letter}", _share(majority), ""],
        ["text search in the training questions", _share(over_search.accuracy_a), ""],
        ["SmolLM2-135M", _share(closed.accuracy_a), ""],
        _closed_book_row(),
        [
            "untrained, each option behind its best passage",
            _share(closed.accuracy_b),
            _signed(closed),
        ],
        ["fine-tuned to read such passages", _share(learned.accuracy_b), _signed(learned)],
        [
            "this reader and the search together",
            _share(over_search.accuracy_b),
            f"{_signed(over_search)} over the search",
        ],
    ]
    n = f"{closed.n:,}"
    return markdown_table(["MedMCQA", f"correct % (95 %), n = {n}", "paired, points (95 %)"], rows)


def _closed_book_row() -> list[str]:
    """Write what the most of the learning curve's random questions taught, closed book."""
    points = [p for p in _learning_curve().points if p.arm.selection == "random"]
    best = max(points, key=lambda point: point.arm.size)
    estimates = (
        (best.accuracy, best.low, best.high, ".1f"),
        (best.gain, best.gain_low, best.gain_high, "+.1f"),
    )
    shown = [
        f"{100 * value:{spec}} ({100 * low:{spec}}{join}{100 * high:{spec}})"
        for (value, low, high, spec), join in zip(estimates, ("-", " to "), strict=True)
    ]
    return [f"fine-tuned on {best.arm.size:,} questions", *shown]


def _learning_curve() -> LearningCurveRecord:
    """Read the committed learning curve."""
    return LearningCurveRecord.model_validate_json((RESULTS / "learning_curve.json").read_bytes())


def _untrained_reader() -> ComparisonRecord:
    """Read the comparison of the base model's closed and open book."""
    return ComparisonRecord.model_validate_json((RESULTS / "open_book.json").read_bytes())


def _trained_reader() -> tuple[ComparisonRecord, MixtureRecord]:
    """Read what training added to the open book, and the mixture with the search."""
    return _read_training("reader.json", "reader_mixture.json")


def _read_training(comparison: str, mixture: str) -> tuple[ComparisonRecord, MixtureRecord]:
    """Read what a training added, and the mixture of its model with the search."""
    return (
        ComparisonRecord.model_validate_json((RESULTS / comparison).read_bytes()),
        MixtureRecord.model_validate_json((RESULTS / mixture).read_bytes()),
    )


def open_book_study_table() -> str:
    """Write the committed study of passages in the prompt and of the index's size."""
    study = OpenBookRecord.model_validate_json((RESULTS / "open_book_study.json").read_bytes())
    return (
        f"{ResultTable(OPEN_BOOK_POINTS, study.points).to_markdown()}\n\n"
        f"The first {study.n} questions, {study.words} words of each passage, option texts scored; "
        f"`{study.provenance.command}`, {study.cell_s / 60:.0f} minutes on one thread of "
        f"{study.provenance.cpu} beside other work. {study.verdict}"
    )


def learning_curve_table() -> str:
    """Write the committed learning curve and its contrasts."""
    study = _learning_curve()
    return (
        f"{ResultTable(CURVE_POINTS, study.points).to_markdown()}\n\n"
        f"{ResultTable(CURVE_CONTRASTS, study.contrasts).to_markdown()}\n\n"
        f"{'; '.join(describe_bases(study))}. `{study.provenance.command}`, "
        f"{study.cell_s / 60:.0f} minutes on two cores of "
        f"{study.provenance.cpu}. {study.verdict} "
        f"{' '.join(curve.verdict for curve in study.curves if curve.law is not None)}"
    )


def test_size_table() -> str:
    """Write how many questions it takes to see what 8,000 taught."""
    study = SampleSizeRecord.model_validate_json((RESULTS / "test_size.json").read_bytes())
    assert study.difference is not None, "two evaluations are compared"
    table = ResultTable(TEST_SIZES, study.difference.sizes).to_markdown()
    return f"{table}\n\n`{study.provenance.command}`. {study.verdict}"


def forgetting_table() -> str:
    """Write what the learning curve's models answer of general questions, beside their base."""
    found = json.loads((RESULTS / "forgetting.json").read_text())
    rows = []
    for record in map(ForgettingRecord.model_validate, found["models"]):
        cloze, letter = record.answers
        _, selection, size, *_ = cloze.b.split("-")
        text = record.text_loss
        loss = f"{text.difference:+.3f} ({text.difference_low:+.3f} to {text.difference_high:+.3f})"
        shown = (f"{int(size):,} {selection}", _share(cloze.accuracy_b), _signed(cloze))
        rows.append((selection == "curated", int(size), (*shown, _signed(letter), loss)))
    head = (
        "fine-tuned on", "general, cloze % (95 %)", "difference, points", "by letter, points",
        "plain text, bits per byte",
    )  # fmt: skip
    table = markdown_table(head, [row for *_, row in sorted(rows)])
    return (
        f"{table}\n\nThe base model: {_share(cloze.accuracy_a)} by cloze and "
        f"{_share(letter.accuracy_a)} by letter (n = {cloze.n}), {text.loss_a:.3f} bits per byte "
        f"of {text.n} paragraphs. `{found['provenance']['command']}`."
    )


def search_confidence_line() -> str:
    """Write how right the fitted search is where it is surest, and how it is calibrated."""
    found = _searched_medmcqa()
    assert found.selective is not None, "a search has probabilities"
    assert found.calibration is not None, "likewise"
    curve = found.selective.curve
    parts = []
    for share in (0.1, 0.25, 0.5):
        at = min(range(len(curve.coverage)), key=lambda i: abs(curve.coverage[i] - share))
        parts.append(f"{100 * share:.0f} % surest: {100 * (1 - curve.risk[at]):.0f} % right")
    return f"{'; '.join(parts)}; calibration error {100 * found.calibration.error:.1f} points."


def search_speed_line() -> str:
    """Write what indexing and searching cost."""
    record = json.loads((RESULTS / "search_speed.json").read_text())
    found, machine = record["bm25"], record["provenance"]
    return (
        f"{found['passages']:,} passages are indexed in {found['build_s']:.0f} s and take "
        f"{found['size_mb']:.0f} MB; {found['questions']:,} questions are searched with all "
        f"features in {found['features']['all_s']:.0f} s, the passages of one prompt are found in "
        f"{found['evidence']['p50_ms']:.0f} ms (median; {found['evidence']['p95_ms']:.0f} ms in 95 "
        f"of 100). {machine['cpu']}, one thread; `benchmarks/search_speed.py`."
    )


def similarity_table() -> str:
    """Write the accuracy of the fitted search by the nearest passage."""
    found = _searched_medmcqa().similarity
    assert found is not None, "an index was searched"
    rows = [
        [f"{100 * b.low:.0f}-{100 * b.high:.0f}", *_accuracy_cells(b.accuracy)] for b in found.bins
    ]
    return markdown_table(["words shared with the nearest passage, %", "n", "correct %"], rows)


def _searched_medmcqa() -> AnalysisRecord:
    return AnalysisRecord.model_validate_json((RESULTS / "search_medmcqa.json").read_bytes())


def _accuracy_cells(accuracy: Proportion) -> list[str]:
    interval = f"{100 * accuracy.low:.1f}-{100 * accuracy.high:.1f}"
    return [f"{accuracy.n:,}", f"{100 * accuracy.value:.1f} ({interval})"]


def _open_book_cells(evaluation: EvaluationRecord) -> list[str]:
    """Write an open-book accuracy beside the one without the most similar tenth."""
    n, cell = _accuracy_cells(evaluation.accuracy)
    book = evaluation.open_book
    assert book is not None, "it read passages"
    assert book.less_similar is not None, "a tenth can be left out"
    return [n, f"{cell}; {100 * book.less_similar.value:.1f} without the most similar tenth"]


def _signed(c: ComparisonRecord) -> str:
    span = f"{100 * c.difference_low:+.1f} to {100 * c.difference_high:+.1f}"
    p = "p < 0.0001" if c.p_value < 0.0001 else f"p = {c.p_value:.2g}"
    return f"{100 * c.difference:+.1f} ({span}), {p}"


def parity_table() -> str:
    """Write what packing cost a model that was trained on real questions."""
    record = ParityRecord.model_validate_json((RESULTS / "parity.json").read_bytes())
    reference, machine = record.reference, record.provenance
    return (
        f"{parity.parity_table(record).to_markdown()}\n\nn = {reference.counts.n:,} of "
        f"`{reference.data.source}`, {reference.method}; {machine.cpu}, {machine.cores} cores."
    )


def bench_table() -> str:
    """Write what one machine makes of every variant of that model."""
    record = BenchRecord.model_validate_json((RESULTS / "bench.json").read_bytes())
    lines = [
        "| model | questions/s | one question, ms (median, 95 of 100) | MB of memory |"
        " MB of file |",
        "| --- | --- | --- | --- | --- |",
    ]
    rows = {}
    for row in record.rows:
        name = row.name.rpartition("/")[2]
        rows[name] = row
        # llama.cpp had answered these questions before: what was timed was its cache.
        alone = f"{1000 * row.latency_p50_s:.0f}, {1000 * row.latency_p95_s:.0f}"
        alone = "not measured" if name.startswith("gguf") else alone
        lines.append(
            f"| `{name}`{' (not beaten)' if row.pareto else ''} | {row.questions_per_s:.1f} | "
            f"{alone} | {row.peak_memory_bytes / 1e6:,.0f} | {(row.file_bytes or 0) / 1e6:.0f} |"
        )
    packed, half, full = (rows[n] for n in ("int8-dynamic", "merge, bfloat16", "merge, float32"))
    memory = packed.peak_memory_bytes / full.peak_memory_bytes
    return (
        "\n".join(lines)
        + f"\n\n`{record.provenance.command.partition(' ')[2]}`; n = {record.data.n}, "
        f"{record.provenance.cpu}, {record.provenance.cores} cores. As many questions as merged "
        f"float32: merged bfloat16 {half.questions_per_s / full.questions_per_s:.1f} times, "
        f"int8-dynamic {packed.questions_per_s / full.questions_per_s:.1f} times, in "
        f"{100 * memory:.0f} % of the memory."
    )


def safety_table() -> str:
    """Write what the guards let through and held back, on both halves of the test cases."""
    record = SafetyRecord.model_validate_json((RESULTS / "safety.json").read_bytes())
    held = {figure.measure: figure for figure in record.figures if figure.half == "held"}
    lines = [
        "| should not happen | seen half % | held-out half % (95 %) | n | up to % | at most % |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for figure in record.figures:
        if figure.half == "held":
            continue
        rate = held[figure.measure].rate
        target = "" if figure.target is None else f"{100 * figure.target:.0f}"
        missed = "" if held[figure.measure].meets_target else ", missed"
        lines.append(
            f"| {figure.measure} | {100 * figure.rate.value:.1f} | {100 * rate.value:.1f} "
            f"({100 * rate.low:.1f}-{100 * rate.high:.1f}) | {rate.n} | "
            f"{100 * held[figure.measure].upper_bound:.1f} | {target}{missed} |"
        )
    return (
        "\n".join(lines)
        + "\n\nUp to: the exact upper end (Clopper and Pearson, 97.5 % one-sided), which is held "
        "to the target.\n\n"
        f"All guards together take {record.guards_p50_ms:.1f} ms a question in the median, "
        f"{record.guards_p95_ms:.1f} ms in 95 of 100 ({record.provenance.cpu}, one thread)."
    )


def guard_table(name: str) -> str:
    """Write how often the guards do what is expected on lines that nothing was learned from."""
    record = GuardCheckRecord.model_validate_json((RESULTS / f"{name}.json").read_bytes())
    table = ResultTable(GUARD_SHARES, record.shares).to_markdown()
    times = f"{record.p50_ms:.1f} ms a line in the median, {record.p95_ms:.1f} ms in 95 of 100"
    where = f"{record.provenance.cpu}, one thread"
    command = record.provenance.command
    return f"{table}\n\n`{command}`, policy {record.policy}; {times} ({where})."


def vllm_tables() -> str:
    """Write how a vLLM server's answers differ from the local model's, and its share of speed."""
    found = json.loads((RESULTS / "vllm_server.json").read_text())
    parity = _columns(
        *("served", "method", "asked by", "n", "same choice", "same text"),
        *("mean absolute difference, nats", "largest"),
    )
    for row in found["parity"]:
        text = "" if row["same_text"] is None else row["same_text"]
        apart = (row["mean_difference"], row["largest_difference"])
        nats = ("" if one is None else f"{one:.5f}" for one in apart)
        name, asked = VLLM_MODELS[row["model"]], row["asked"]
        cells = (name, row["method"], asked, row["n"], row["same_choice"], text, *nats)
        parity.append(f"| {' | '.join(map(str, cells))} |")
    speeds = _columns(
        *("model", "precision", "method", "n"),
        *("vLLM alone, questions/s", "through its server", "share %"),
    )
    for speed in found["speeds"]:
        for method, share in speed["share_of_offline"].items():
            rates = (speed[f"{way}_questions_per_s"][method] for way in ("offline", "remote"))
            shown = (*(f"{rate:.1f}" for rate in rates), f"{100 * share:.0f}")
            model = speed["model"].rpartition("-")[0]  # without the hash
            cells = (model, speed["dtype"], method, speed["questions"], *shown)
            speeds.append(f"| {' | '.join(map(str, cells))} |")
    restart, provenance = found["restart"], found["provenance"]
    under_way = found["speeds"][0]["requests_under_way"]
    return "\n".join([*parity, "", *speeds]) + (
        f"\n\nvLLM {found['vllm']}, {provenance['cores']} cores of {provenance['cpu']}, "
        f"{under_way} requests under way for the speeds. Killed in the middle of {restart['n']} "
        "questions and started again, the same command went on behind the first "
        f"{restart['resumed_at']}. `{provenance['command']}`."
    )


def _columns(*names: str) -> list[str]:
    return [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]


def gate_table() -> str:
    """Say how often the gate passes a loss at its margin, and candidates that lose nothing."""
    found = json.loads((RESULTS / "gate_power.json").read_text())
    margin, least = (found["rules"]["accuracy"][key] for key in ("margin", "least"))
    rows = []
    for row in found["curves"]["accuracy"]:
        if row["discordance"] not in (0.05, 0.2):
            continue
        false = row.get("false_pass")
        before = f"{100 * false['percentile bootstrap']:.1f}" if false else ""
        after = f"{100 * false['tango, half a question']:.1f}" if false else ""
        power = [f"{100 * row['power'][f'+{gain} points']:.0f}" for gain in (0, 1, 2)]
        shown = power if row["n"] >= least else ["too few"] * 3
        rows.append((f"{row['n']:,}", f"{100 * row['discordance']:.0f}", before, after, *shown))
    rows.sort(key=lambda row: (int(row[1]), int(row[0].replace(",", ""))))
    head = (
        "questions", "discordant %", "false passes before %", "false passes now %",
        "passes at +0 points %", "at +1 %", "at +2 %",
    )  # fmt: skip
    worst = found["worst_false_pass"]["percentile bootstrap"]
    return (
        markdown_table(head, rows)
        + f"\n\nThe rule on accuracy, with a margin of {100 * margin:.0f} point and {least} "
        "questions at least. False passes: the true loss is the margin; before, by a percentile "
        "bootstrap; now, without the least number. Over all rules, sizes and discordances that "
        f"were looked at the gate passes at most {100 * found['worst_false_pass_gate']:.1f} % of "
        f"them, nominal {100 * found['nominal']:.1f} (before: up to {100 * worst:.0f})."
    )


def slice_line() -> str:
    """Say what the largest slice gave that two cores train on in an hour."""
    run = RunRecord.model_validate_json((RESULTS / "medmcqa_slice.json").read_bytes())
    (training,), (c,) = run.trainings, run.comparisons
    base, tuned = run.evaluations
    return (
        f"{training.examples:,} examples in {training.duration_s / 60:.0f} minutes "
        f"({training.examples_per_s:.1f}/s beside other work, {training.provenance.cores} cores), "
        f"peak {training.peak_memory_bytes / (1 << 30):.1f} GiB; {base.counts.n:,} validation "
        f"questions by {base.method}: {_accuracy(base)} % before, {_accuracy(tuned)} % after, "
        f"{100 * c.difference:+.1f} points ({100 * c.difference_low:+.1f} to "
        f"{100 * c.difference_high:+.1f}), p = {c.p_value:.2g}; majority letter "
        f"{100 * base.majority.value:.1f} %."
    )


def controls_section() -> str:
    """Write what the controls of the instrument gave; nothing before they were run."""
    path = RESULTS / "controls.json"
    if not path.is_file():
        return ""
    found = json.loads(path.read_text())
    rows = [["untrained", "", _span(found["untrained"]), "", "", ""]]
    low, high = (f"{100 * end:.1f}" for end in found["guessing"])
    least = f"gain above {100 * found['clear_gain']:.0f} points"
    for key, name, demand in (
        ("shuffled", "trained on random labels", f"as guessing, {low} to {high}"),
        ("evaluated", "trained on the asked questions", least),
    ):
        one = found[key]
        gain, *ends = (
            f"{100 * one[end]:+.1f}" for end in ("difference", "difference_low", "difference_high")
        )
        holds = "holds" if one["holds"] else "fails"
        span = f"{gain} ({ends[0]} to {ends[1]})"
        rows.append([name, f"{one['questions']:,}", _span(one["accuracy"]), span, demand, holds])
    head = ["model", "trained on", "correct % (95 %)", "gain, points (95 %)", "must be", "verdict"]
    training, machine = found["training"], found["provenance"]
    return (
        "## Controls\n\nA model that is trained on labels drawn at random must know nothing new, "
        "and one that is trained on the asked questions must know them: else the instrument leaks, "
        f"or sees no learning.\n\n{markdown_table(head, rows)}\n\n"
        f"{found['model']}, {training['method']}, objective {training['objective']}, "
        f"{found['n']:,} questions of `{found['evaluated_data']}` by {found['scored_by']}; "
        f"{machine['cpu']}, {machine['cores']} cores; `{machine['command']}`."
    )


def _accuracy(record: EvaluationRecord) -> str:
    return _share(record.accuracy)


def _share(a: Proportion) -> str:
    return f"{100 * a.value:.1f} ({100 * a.low:.1f}-{100 * a.high:.1f})"


def _base_stop(run: RunRecord) -> float:
    base = next(e for e in run.evaluations if e.label == "base" and e.stop_rate is not None)
    assert base.stop_rate is not None
    return 100 * base.stop_rate.value
