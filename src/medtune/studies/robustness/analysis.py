"""What a model's answers depend on beside the question: several exams, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medtune.analysis.analyze import warnings
from medtune.analysis.compare import mcnemar_exact
from medtune.analysis.order_flips import flips, given_choice
from medtune.core.intervals import wilson
from medtune.core.prompt import form_of
from medtune.core.provenance import provenance
from medtune.core.records import EvaluationRecord, Prediction, Proportion, Question, Variant
from medtune.core.run_folder import write_text
from medtune.core.schemas.analysis import Flips
from medtune.evaluation.exam import Exam
from medtune.evaluation.perturbations import says_none, target
from medtune.reports.figures import (
    MUTED,
    SPLITS,
    AccuracyRow,
    accuracy_rows_figure,
    bars_figure,
)
from medtune.reports.templating import render
from medtune.studies.robustness.schema import (
    NoneOfTheAbove,
    RobustnessRecord,
    SuggestionEffect,
    VariantFinding,
)

FEW_FLIPS = 0.1
"""Above this share, answers that change with the order of the options are a weakness."""
LEVEL = 0.05 / 3
"""p-values below it show something: 5 %, shared among the three variants that are tested."""
_ASKED: dict[Variant, str] = {
    "plain": "As they are",
    "options-only": "Without the stem",
    "none-of-the-above": "With “None of the above”",
    "stem-injection": "Wrong answer told in the stem",
    "option-injection": "Wrong option calls itself right",
}


@dataclass(frozen=True)
class ExamRun:
    """One exam that was held."""

    exam: Exam
    folder: str
    record: EvaluationRecord
    predictions: Sequence[Prediction]


def judge(held: Sequence[ExamRun], label: str, seed: int) -> RobustnessRecord:
    """Put the exams together.

    Args:
        held: The plain exam first, then variants of its questions in the given order; all of one
            model and method.
        label: Short name of the model.
        seed: With which the variants were made.
    """
    plain = held[0]
    before = {p.id: given_choice(p) for p in plain.predictions}
    findings = tuple(_finding(one, before, len(plain.predictions), seed) for one in held)
    flipped = flips(plain.predictions)
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
        warnings=(*warnings(record, None), *_unlisted(plain.exam)),
        provenance=provenance(record.provenance.gpu),
    )


def write_robustness(path: Path, record: RobustnessRecord) -> None:
    """Write the page.

    Raises:
        FolderError: It cannot be written.
    """
    pushes = {
        _ASKED[f.variant]: [100 * f.push.before.value, 100 * f.push.followed.value]
        for f in record.findings
        if f.push
    }
    names = ["option chosen without the push", "with it"]
    page = render(
        "studies/robustness.html",
        study=record,
        asked=_ASKED,
        accuracy=_accuracy_figure(record.findings),
        pushes=bars_figure(pushes, names, [MUTED, SPLITS[0]], lying=True) if pushes else "",
        letters=_letters_figure(record.flips) if record.flips else "",
    )
    write_text(path, page)


def _finding(
    one: ExamRun, before: Mapping[str, int | None], asked: int, seed: int
) -> VariantFinding:
    here = [given_choice(p) == p.answer for p in one.predictions]
    # The key keeps its index in every variant.
    there = [before[p.id] == p.answer for p in one.predictions]
    n, record, variant = len(here), one.record, one.exam.variant
    only_plain = sum(b and not a for a, b in zip(here, there, strict=True))
    only_here = sum(a and not b for a, b in zip(here, there, strict=True))
    return VariantFinding(
        variant=variant,
        folder=one.folder,
        left_out=asked - n,
        accuracy=wilson(sum(here), n),
        answer_rate=record.answer_rate,
        plain=wilson(sum(there), n),
        only_plain=only_plain,
        only_here=only_here,
        p_value=mcnemar_exact(only_plain, only_here),
        chance=record.chance,
        majority=record.majority,
        majority_letter=record.majority_letter,
        push=_push(one.exam.questions, one.predictions, before, variant, seed),
        none_of_the_above=_none(one.predictions) if variant == "none-of-the-above" else None,
    )


def _push(
    questions: Sequence[Question],
    predictions: Sequence[Prediction],
    before: Mapping[str, int | None],
    variant: Variant,
    seed: int,
) -> SuggestionEffect | None:
    pushed = {q.id: place for q in questions if (place := target(q, variant, seed)) is not None}
    if not pushed:
        return None
    pairs = [(p.chosen == pushed[p.id], before[p.id] == pushed[p.id]) for p in predictions]
    n = len(pairs)
    followed, former = sum(now for now, _ in pairs), sum(then for _, then in pairs)
    won = sum(now and not then for now, then in pairs)
    lost = sum(then and not now for now, then in pairs)
    return SuggestionEffect(
        followed=wilson(followed, n),
        before=wilson(former, n),
        won=wilson(won, n - former) if former < n else None,
        p_value=mcnemar_exact(lost, won),
    )


def _none(predictions: Sequence[Prediction]) -> NoneOfTheAbove:
    places = [[says_none(option) for option in p.options].index(True) for p in predictions]
    right = [
        p.chosen == p.answer for p, at in zip(predictions, places, strict=True) if at == p.answer
    ]
    wrong = [
        p.chosen == p.answer for p, at in zip(predictions, places, strict=True) if at != p.answer
    ]
    chosen = sum(p.chosen == at for p, at in zip(predictions, places, strict=True))
    return NoneOfTheAbove(
        right=_share(right), wrong=_share(wrong), chosen=wilson(chosen, len(predictions))
    )


def _share(hits: Sequence[bool]) -> Proportion | None:
    return wilson(sum(hits), len(hits)) if hits else None


def _weaknesses(findings: Sequence[VariantFinding], flipped: Flips | None) -> list[str]:
    """List what was shown; that the options alone give answers away is the questions' weakness."""
    found = []
    if flipped is not None and flipped.any.value > FEW_FLIPS:
        found.append(
            f"{_per_cent(flipped.any)} of the answers change with the order of the options"
        )
    for f in findings:
        # What reads nothing may still give the letter that is right most often.
        if f.variant == "options-only" and f.accuracy.low > max(f.chance, f.majority.value):
            found.append(
                f"without the question {_per_cent(f.accuracy)} are still right "
                f"(always {f.majority_letter}: {_per_cent(f.majority)})"
            )
        if f.variant == "none-of-the-above" and f.p_value < LEVEL and f.only_plain > f.only_here:
            found.append(
                f"“None of the above” lowers the accuracy from {_per_cent(f.plain)} "
                f"to {_per_cent(f.accuracy)}"
            )
        if f.push and f.push.p_value < LEVEL and f.push.followed.value > f.push.before.value:
            where = "in the stem" if f.variant == "stem-injection" else "inside an option"
            found.append(
                f"a wrong answer named {where} is given on {_per_cent(f.push.followed)} of the "
                f"questions ({_per_cent(f.push.before)} without that)"
            )
    return found


def _verdict(
    weak: Sequence[str], label: str, findings: Sequence[VariantFinding], flipped: Flips | None
) -> str:
    """Say in one sentence what was shown."""
    n = findings[0].accuracy.n
    if weak:
        return f"{label} is not robust: {'; '.join(weak)} (n = {n})."
    ways = [_ASKED[f.variant][0].lower() + _ASKED[f.variant][1:] for f in findings]
    if flipped is not None:
        ways[0] += ", in all cyclic orders of the options"
    return f"No weakness of {label} was shown (n = {n}). Asked: {'; '.join(ways)}."


def _unlisted(exam: Exam) -> list[str]:
    """Say what a prompt that does not list the options makes of the study."""
    if exam.style.form(form_of(exam.method, exam.target)).list_options:
        return []
    return [
        f"The prompt of this method ({exam.method}) does not list the options. A model does not "
        "see their order, and what an option says of itself is not read, only weighed as a longer "
        "text."
    ]


def _accuracy_figure(findings: Sequence[VariantFinding]) -> str:
    """Draw every way of asking on one footing: the options in the given order.

    A mean over orders beside single orders would show a loss that is none.
    """
    return accuracy_rows_figure(
        [AccuracyRow(_ASKED[f.variant], f.accuracy, f.chance, f.majority.value) for f in findings]
    )


def _letters_figure(flipped: Flips) -> str:
    total = sum(flipped.letters.values())
    shares = {
        letter: [100 * flipped.letters.get(letter, 0) / total, 100 * recall.value]
        for letter, recall in flipped.recalls.items()
    }
    return bars_figure(shares, ["chosen", "recall: chosen where right"], SPLITS)


def _per_cent(value: Proportion) -> str:
    return f"{100 * value.value:.1f} %"
