"""Print studies."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from medtune.cli.output.console import create_plain_table, format_percent_interval
from medtune.cli.output.table import PlainTable
from medtune.core.records import ComparisonRecord, EvaluationRecord, Proportion
from medtune.studies.ablation.schema import AblationRecord
from medtune.studies.decoding.schema import DecodingRecord
from medtune.studies.grid_schema import GridState
from medtune.studies.learning_curve.schema import LearningCurveRecord
from medtune.studies.prompts.schema import PromptStudyRecord
from medtune.studies.robustness.schema import RobustnessRecord
from medtune.studies.test_size.schema import (
    AccuracyBySize,
    DifferenceBySize,
    SampleSizeRecord,
    SampleSpread,
)


def show_test_size(console: Console, record: SampleSizeRecord) -> None:
    """Print the test-size study, the verdict last."""
    for exam in record.evaluations:
        console.print(
            f"{record.split} · {record.method} · {exam.label}: "
            f"{100 * exam.accuracy.value:.1f} %, n = {record.n:,}; "
            f"{record.draws:,} subsamples per size"
        )
        console.print(_accuracy_table(exam))
        console.print()
    if record.difference is not None:
        comparison = record.difference.comparison
        console.print(f"{comparison.b} against {comparison.a}, points")
        console.print(_difference_table(record.difference))
        console.print()
    if record.left_out:
        sizes = ", ".join(f"{size:,}" for size in record.left_out)
        console.print(f"left out, for there are only {record.n:,} questions: {sizes}")
    console.print(record.verdict)
    if record.subjects_verdict is not None:
        console.print(record.subjects_verdict)


def _accuracy_table(exam: AccuracyBySize) -> PlainTable:
    by_subject = exam.sizes[-1].stratified is not None
    ratio = ("by subject, ratio",) if by_subject else ()
    names = ("95 % of them", "deviation", "theory", "Wilson ±", "holds %", "not chance %")
    table = create_plain_table((), ("questions", *names, *ratio))
    for size in exam.sizes:
        cells = [
            f"{size.n:,}",
            f"{100 * size.spread.low:.1f}-{100 * size.spread.high:.1f}",
            f"{100 * size.spread.deviation:.2f}",
            f"{100 * size.standard_error_finite:.2f}",
            f"{100 * size.half_width:.1f}",
            f"{100 * size.coverage:.1f}",
            f"{100 * size.excludes_chance:.1f}",
        ]
        if size.stratified is not None:
            ratio_here = size.stratified.ratio
            cells.append("-" if ratio_here is None else f"{ratio_here:.3f}")
        table.add_row(*cells)
    return table


def _difference_table(difference: DifferenceBySize) -> PlainTable:
    names = ("95 % of them", "detectable", "found, fresh %", "found, of these %", "wrong sign %")
    table = create_plain_table((), ("questions", *names))
    for size in difference.sizes:
        table.add_row(
            f"{size.n:,}",
            _format_signed_spread(size.spread),
            f"{100 * size.minimum_detectable:.1f}",
            f"{100 * size.power_fresh:.1f}",
            f"{100 * size.power:.1f}",
            "-" if size.wrong_sign is None else f"{100 * size.wrong_sign:.2f}",
        )
    return table


def _format_signed_spread(spread: SampleSpread) -> str:
    return f"{100 * spread.low:+.1f} to {100 * spread.high:+.1f}"


def show_robustness(console: Console, record: RobustnessRecord) -> None:
    """Print the robustness study: the accuracy of every variant."""
    table = create_plain_table(("asked",), ("n", "correct", "plainly", "p", "pushed option chosen"))
    for found in record.findings:
        push = found.push
        table.add_row(
            found.variant,
            f"{found.accuracy.n:,}",
            format_percent_interval(found.accuracy),
            f"{100 * found.plain.value:.1f}",
            "-" if found.variant == "plain" else f"{found.p_value:.4f}",
            f"{format_percent_interval(push.followed)}, before {100 * push.before.value:.1f}"
            if push
            else "-",
        )
    console.print(table)
    if record.flips is not None:
        flips = record.flips
        bias = "" if flips.rstd is None else f"; RStd of the letters' recalls {flips.rstd:.3f}"
        console.print(
            f"{format_percent_interval(flips.any)} of the answers change with the order{bias}"
        )
    for line in record.warnings:
        console.print(f"! {line}")
    console.print(record.verdict)


def show_decoding(console: Console, record: DecodingRecord) -> None:
    """Print every decoding setting, the verdict last."""
    numbers = ("q/s", "correct %", "95 %", "answered %", "stops %", "tokens", "agree %")
    table = create_plain_table(("",), numbers, texts=("answers",))
    for point in record.points:
        table.add_row(
            "*" if point.pareto else "",
            point.setting.display_name,
            f"{point.questions_per_s:.1f}",
            f"{100 * point.accuracy:.1f}",
            f"{100 * point.low:.1f}-{100 * point.high:.1f}",
            f"{100 * point.answer_rate:.1f}",
            "-" if point.stop_rate is None else f"{100 * point.stop_rate:.1f}",
            "-" if point.written is None else f"{point.written:.1f}",
            "-" if point.agreement is None else f"{100 * point.agreement:.1f}",
        )
    console.print(table)
    console.print(
        f"{record.label} on {record.data.source}, n = {record.n:,}; "
        "* not beaten in both speed and accuracy"
    )
    console.print(record.verdict)


def show_grid(console: Console, record: GridState) -> None:
    """Print the progress of a study."""
    console.print(
        f"{record.study}: {record.done} of {record.cells} cells are done, {record.fresh} of them "
        f"now; left: {', '.join(record.left)}"
    )
    console.print("run the other shards, then this command once more for the report")


def show_ablation(console: Console, record: AblationRecord) -> None:
    """Print the ablation study, the verdict last."""
    numbers = ("correct %", "95 %", "gain", "95 %", "answered %", "stops %", "letters %")
    table = create_plain_table(("rung",), numbers)
    _add_rung_row(
        table, "base model", record.base.accuracy, None, record.base, record.base_likelihood
    )
    for one in record.rungs:
        _add_rung_row(table, one.rung.name, one.accuracy, one.gain, one.evaluation, one.likelihood)
    console.print(table)
    for one in record.rungs:
        console.print(f"{one.rung.name}: {one.rung.mends}")
    console.print(record.verdict)


def _add_rung_row(
    table: PlainTable,
    name: str,
    accuracy: Proportion,
    gain: ComparisonRecord | None,
    free: EvaluationRecord,
    letters: EvaluationRecord | None,
) -> None:
    low, high = (gain.difference_low, gain.difference_high) if gain else (0.0, 0.0)
    table.add_row(
        name,
        f"{100 * accuracy.value:.1f}",
        f"{100 * accuracy.low:.1f}-{100 * accuracy.high:.1f}",
        f"{100 * gain.difference:+.1f}" if gain else "-",
        f"{100 * low:+.1f} to {100 * high:+.1f}" if gain else "-",
        f"{100 * free.answer_rate.value:.1f}",
        f"{100 * free.stop_rate.value:.1f}" if free.stop_rate else "-",
        f"{100 * letters.accuracy.value:.1f}" if letters else "-",
    )


def show_learning_curve(console: Console, record: LearningCurveRecord) -> None:
    """Print every arm of the learning curve, the verdict last."""
    numbers = ("questions", "seeds", "steps", "correct %", "95 %", "SD", "gain", "95 %")
    table = create_plain_table(("selection", "target", "equal"), numbers)
    for point in record.points:
        table.add_row(
            point.arm.selection,
            point.arm.target,
            point.arm.equal,
            f"{point.arm.size:,}",
            str(len(point.seeds)),
            f"{point.steps:,}",
            f"{100 * point.accuracy:.1f}",
            f"{100 * point.low:.1f}-{100 * point.high:.1f}",
            "-" if point.deviation is None else f"{100 * point.deviation:.1f}",
            f"{100 * point.gain:+.1f}",
            f"{100 * point.gain_low:+.1f} to {100 * point.gain_high:+.1f}",
        )
    console.print(table)
    console.print(
        f"base model: {format_percent_interval(record.base.accuracy)}, n = {record.base.counts.n:,}"
    )
    console.print(record.verdict)


def show_prompts(console: Console, record: PromptStudyRecord) -> None:
    """Print the prompt study, the best prompt first, the verdict last."""
    numbers = ("examples", "correct %", "95 %", "gain", "95 %")
    table = create_plain_table((), numbers, texts=("system", "option", "instruction"))
    for point in sorted(record.points, key=lambda p: -p.accuracy.value):
        variant, accuracy = point.variant, point.accuracy
        table.add_row(
            Text(variant.system or "-"),
            Text(variant.option),
            Text(variant.instruction or "-"),
            str(variant.shots),
            f"{100 * accuracy.value:.1f}",
            f"{100 * accuracy.low:.1f}-{100 * accuracy.high:.1f}",
            f"{100 * point.gain:+.1f}",
            f"{100 * point.gain_low:+.1f} to {100 * point.gain_high:+.1f}",
        )
    console.print(table)
    console.print(record.verdict)
