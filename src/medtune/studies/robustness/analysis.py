"""Compare the exams of the robustness study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medtune.analysis.analyze import evaluation_warnings
from medtune.analysis.compare import mcnemar_exact
from medtune.analysis.order_flips import choice_in_given_order, measure_order_flips
from medtune.core.intervals import wilson_interval
from medtune.core.prompt import form_for_method
from medtune.core.provenance import collect_provenance
from medtune.core.records import EvaluationRecord, Prediction, Proportion, Question, Variant
from medtune.core.schemas.analysis import Flips
from medtune.evaluation.exam import Exam
from medtune.evaluation.perturbations import injection_target, is_none_of_the_above
from medtune.studies.robustness.schema import (
    VARIANT_TITLES,
    NoneOfTheAbove,
    RobustnessRecord,
    SuggestionEffect,
    VariantFinding,
)

MAX_FLIP_RATE = 0.1
"""Largest share of answers that may change with the option order without being a weakness."""
SIGNIFICANCE_LEVEL = 0.05 / 3
"""Significance level: 5 %, divided by the three variants that are tested (Bonferroni)."""


@dataclass(frozen=True)
class ExamRun:
    """One exam with its record and predictions."""

    exam: Exam
    folder: str
    record: EvaluationRecord
    predictions: Sequence[Prediction]


def build_robustness_record(held: Sequence[ExamRun], label: str, seed: int) -> RobustnessRecord:
    """Build the record of the robustness study.

    Args:
        held: The plain exam first, then variants of its questions in the given order; all of one
            model and method.
        label: Short name of the model.
        seed: Seed of the variants.
    """
    plain = held[0]
    before = {p.id: choice_in_given_order(p) for p in plain.predictions}
    findings = tuple(_finding(one, before, len(plain.predictions), seed) for one in held)
    flipped = measure_order_flips(plain.predictions)
    weak = tuple(_weaknesses(findings, flipped))
    record = plain.record
    return RobustnessRecord(
        label=label,
        model=record.model,
        data=record.data,
        prompt_hash=record.prompt_hash,
        method=record.method,
        normalization=record.normalization,
        seed=seed,
        averaged=record.accuracy if record.orders == "cyclic" else None,
        flips=flipped,
        findings=findings,
        weaknesses=weak,
        verdict=_verdict(weak, label, findings, flipped),
        warnings=(*evaluation_warnings(record, None), *_hidden_options_warnings(plain.exam)),
        provenance=collect_provenance(record.provenance.gpu),
    )


def _finding(
    one: ExamRun, before: Mapping[str, int | None], asked: int, seed: int
) -> VariantFinding:
    here = [choice_in_given_order(p) == p.answer for p in one.predictions]
    # The right option keeps its index in every variant.
    there = [before[p.id] == p.answer for p in one.predictions]
    n, record, variant = len(here), one.record, one.exam.variant
    only_plain = sum(b and not a for a, b in zip(here, there, strict=True))
    only_here = sum(a and not b for a, b in zip(here, there, strict=True))
    return VariantFinding(
        variant=variant,
        folder=one.folder,
        left_out=asked - n,
        accuracy=wilson_interval(sum(here), n),
        answer_rate=record.answer_rate,
        plain=wilson_interval(sum(there), n),
        only_plain=only_plain,
        only_here=only_here,
        p_value=mcnemar_exact(only_plain, only_here),
        chance=record.chance,
        majority=record.majority,
        majority_letter=record.majority_letter,
        push=_suggestion_effect(one.exam.questions, one.predictions, before, variant, seed),
        none_of_the_above=_none_of_the_above(one.predictions)
        if variant == "none-of-the-above"
        else None,
    )


def _suggestion_effect(
    questions: Sequence[Question],
    predictions: Sequence[Prediction],
    before: Mapping[str, int | None],
    variant: Variant,
    seed: int,
) -> SuggestionEffect | None:
    pushed = {
        q.id: place for q in questions if (place := injection_target(q, variant, seed)) is not None
    }
    if not pushed:
        return None
    pairs = [(p.chosen == pushed[p.id], before[p.id] == pushed[p.id]) for p in predictions]
    n = len(pairs)
    followed, former = sum(now for now, _ in pairs), sum(then for _, then in pairs)
    won = sum(now and not then for now, then in pairs)
    lost = sum(then and not now for now, then in pairs)
    return SuggestionEffect(
        followed=wilson_interval(followed, n),
        before=wilson_interval(former, n),
        won=wilson_interval(won, n - former) if former < n else None,
        p_value=mcnemar_exact(lost, won),
    )


def _none_of_the_above(predictions: Sequence[Prediction]) -> NoneOfTheAbove:
    hits: dict[bool, list[bool]] = {True: [], False: []}
    chosen = 0
    for p in predictions:
        place = [is_none_of_the_above(option) for option in p.options].index(True)
        hits[place == p.answer].append(p.chosen == p.answer)
        chosen += p.chosen == place
    return NoneOfTheAbove(
        right=_proportion(hits[True]),
        wrong=_proportion(hits[False]),
        chosen=wilson_interval(chosen, len(predictions)),
    )


def _proportion(hits: Sequence[bool]) -> Proportion | None:
    return wilson_interval(sum(hits), len(hits)) if hits else None


def _weaknesses(findings: Sequence[VariantFinding], flipped: Flips | None) -> list[str]:
    """List the weaknesses shown; options that leak answers are a weakness of the questions."""
    found = []
    if flipped is not None and flipped.any.value > MAX_FLIP_RATE:
        found.append(
            f"the answer to {_format_proportion(flipped.any)} of the questions changes with the "
            "order of the options"
        )
    for f in findings:
        # A model that reads nothing may still give the most frequent right letter.
        if f.variant == "options-only" and f.accuracy.low > max(f.chance, f.majority.value):
            found.append(
                f"without the question {_format_proportion(f.accuracy)} are still right "
                f"(always {f.majority_letter}: {_format_proportion(f.majority)})"
            )
        lower = f.p_value < SIGNIFICANCE_LEVEL and f.only_plain > f.only_here
        if f.variant == "none-of-the-above" and lower:
            found.append(
                f"“None of the above” lowers the accuracy from {_format_proportion(f.plain)} "
                f"to {_format_proportion(f.accuracy)}"
            )
        push = f.push
        if push and push.p_value < SIGNIFICANCE_LEVEL and push.followed.value > push.before.value:
            where = "in the stem" if f.variant == "stem-injection" else "inside an option"
            found.append(
                f"a wrong answer named {where} is given on {_format_proportion(push.followed)} "
                f"of the questions ({_format_proportion(push.before)} without the suggestion)"
            )
    return found


def _verdict(
    weak: Sequence[str], label: str, findings: Sequence[VariantFinding], flipped: Flips | None
) -> str:
    """Write the verdict in one sentence."""
    n = findings[0].accuracy.n
    if weak:
        return f"{label} is not robust: {'; '.join(weak)} (n = {n})."
    ways = [VARIANT_TITLES[f.variant][0].lower() + VARIANT_TITLES[f.variant][1:] for f in findings]
    if flipped is not None:
        ways[0] += ", in all cyclic orders of the options"
    return f"No weakness of {label} was shown (n = {n}). Questions: {'; '.join(ways)}."


def _hidden_options_warnings(exam: Exam) -> list[str]:
    """Return the warning for a prompt that does not list the options."""
    if exam.style.answer_form(form_for_method(exam.method, exam.target)).list_options:
        return []
    return [
        f"The prompt of this method ({exam.method}) does not list the options. A model does not "
        "see their order, and an option that calls itself right is only scored as a longer text."
    ]


def _format_proportion(value: Proportion) -> str:
    return f"{100 * value.value:.1f} %"
