"""The gate: pure rules on records, each at an interval's unfavourable end (97.5 %).

Paired differences use Tango's score interval, shares Clopper and Pearson's: a loss exactly at the
margin passes in 2.5 % of samples at most (results/gate_power.json). What was not measured, or on
too few questions, fails. Without a champion, accuracy is compared with chance and the most frequent
letter, other comparisons pass and say so, and all remaining rules apply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

from medtune.core.errors import InputError
from medtune.core.intervals import clopper_pearson_interval, min_pairs_for_margin, tango_interval
from medtune.core.records import Proportion
from medtune.core.schemas.analysis import AnalysisRecord
from medtune.core.schemas.compression import Budget, budget_violations
from medtune.releases.gate_schema import (
    End,
    Evidence,
    GateRecord,
    Margins,
    Outcome,
    RuleName,
    RuleResult,
    Waiver,
)

T = TypeVar("T")
COMPARISON_RULES: tuple[RuleName, ...] = ("accuracy", "subjects", "negation")
"""Rules that compare a candidate with the champion."""
POOLED_SUBJECTS = "other subjects"


@dataclass(frozen=True, slots=True)
class Finding:
    """The finding of a rule; the fields are those of `RuleResult`."""

    outcome: Outcome
    figure: float | None
    bound: float | None
    reason: str
    end: End | None = None
    n: int | None = None


Rule = Callable[[Evidence, Margins], Finding]


class MissingEvidence(Exception):
    """Evidence that a rule needs was not measured, or on too few questions."""

    def __init__(self, what: str, n: int | None = None) -> None:
        super().__init__(what)
        self.n = n


def apply_gate(
    candidate: str,
    champion: str | None,
    evidence: Evidence,
    margins: Margins,
    waivers: Sequence[Waiver] = (),
) -> GateRecord:
    """Apply every rule to the evidence.

    Args:
        candidate: Id of the release.
        champion: Id of the champion; None without one.
        evidence: The measured records.
        margins: Largest allowed losses.
        waivers: Rules that a person takes responsibility for.

    Raises:
        InputError: A waived rule is not waivable.
    """
    for waiver in waivers:
        if waiver.rule not in margins.waivable:
            raise InputError(
                f"the rule {waiver.rule} cannot be waived",
                expected=f"one of {', '.join(margins.waivable) or 'none'}",
            )
    by_rule = {waiver.rule: waiver for waiver in waivers}
    results = []
    for name, rule in RULES.items():
        if champion is None and name in COMPARISON_RULES:
            rule = judge_baselines if name == "accuracy" else _pass_without_champion
        result = apply_rule(name, rule, evidence, margins)
        if result.outcome in ("failed", "missing") and name in by_rule:
            result = result.model_copy(update={"outcome": "waived", "waiver": by_rule[name]})
        results.append(result)
    return GateRecord(
        candidate=candidate, champion=champion, margins=margins, results=tuple(results)
    )


def apply_rule(name: RuleName, rule: Rule, evidence: Evidence, margins: Margins) -> RuleResult:
    """Apply one rule; missing evidence is a result of its own."""
    try:
        found = rule(evidence, margins)
    except MissingEvidence as error:
        found = Finding("missing", None, None, f"needs {error}", n=error.n)
    return RuleResult(rule=name, **asdict(found))


def _pass_without_champion(_: Evidence, __: Margins) -> Finding:
    return Finding("passed", None, None, "there is no champion to be held against")


def judge_accuracy(evidence: Evidence, margins: Margins) -> Finding:
    """Require accuracy not inferior to the champion's, paired by question.

    Clustered questions count for fewer, by the design effect.
    """
    record = _needed(evidence.comparison, "a comparison with the champion")
    if record.differs:
        reason = f"the examinations differ in {', '.join(record.differs)}"
        return Finding("failed", None, -margins.accuracy, reason)
    pairs = PairedAnswers(record.only_a, record.only_b, record.n)
    effect = max(1.0, record.design_effect or 1.0)
    low = pairs.lower_end(effect)
    words = f"accuracy at worst {100 * low:+.1f} points against the champion (n = {record.n:,})"
    if effect > 1:
        words += f", questions that go together counted as {record.n / effect:,.0f}"
    return _judge_difference(pairs, low, margins.accuracy, margins.least.accuracy, words)


def judge_baselines(evidence: Evidence, margins: Margins) -> Finding:
    """Require accuracy above chance and above the most frequent letter, without a champion.

    How often that letter is right is estimated on the same questions, so the two are paired.
    Treated as known, it let 6 to 8 % of models pass that are no better.
    """
    record = _needed(evidence.analysis, "an examination on questions that are reported on")
    exam = record.evaluation
    n, letter = exam.accuracy.n, exam.majority_letter
    _check_number(n, margins.least.accuracy)
    above_chance = _exact_interval(exam.accuracy).low - exam.chance
    above_letter = _beside_letter(record).lower_end()
    words = (
        f"no champion to be held against; accuracy at worst {100 * above_chance:+.1f} points from "
        f"chance ({100 * exam.chance:.1f} %) and {100 * above_letter:+.1f} from always answering "
        f"{letter} ({100 * exam.majority.value:.1f} %; n = {n:,})"
    )
    return _judge_bound(min(above_chance, above_letter), 0.0, "lower", n, words)


def judge_search(evidence: Evidence, margins: Margins) -> Finding:
    """Require accuracy above that of a text search in the training questions, paired by question.

    A fine-tune that a search beats has taught nothing that could not be looked up.
    """
    record = _needed(evidence.analysis, "an examination on questions that are reported on")
    exam = record.evaluation
    if exam.open_book is not None and exam.open_book.kind == "search":
        return Finding("passed", None, None, "it is a text search itself")
    if exam.search is None and not evidence.is_trained:
        return Finding(
            "passed", None, None, "medtune trained none of it: no training questions to search"
        )
    found = _needed(exam.search, "a text search in the training questions: --trained-on, --search")
    pairs = PairedAnswers(found.only_search, found.only_model, found.accuracy.n)
    _check_number(pairs.n, margins.least.search)
    low = pairs.lower_end()
    words = (
        f"accuracy at worst {100 * low:+.1f} points against a text search in "
        f"{found.passages:,} passages ({100 * found.accuracy.value:.1f} %; n = {pairs.n:,})"
    )
    return _judge_bound(low, margins.search, "lower", pairs.n, words)


def judge_subjects(evidence: Evidence, margins: Margins) -> Finding:
    """Require that no subject loses more than the margin.

    Each subject's lower end is compared without correction for their number: a release that harms
    any subject passes only if that one passes, which has a probability of 2.5 % at most
    (intersection-union test, Berger 1982). Subjects with too few questions are pooled.
    """
    slices = evidence.slices.slices if evidence.slices else ()
    found = {
        s.name: PairedAnswers(s.only_a, s.only_b, s.accuracy_b.n)
        for s in slices
        if s.dimension == "subject"
    }
    least, margin = margins.least.subjects, margins.subjects
    held, put = _pool_small(_needed(found or None, "questions of two subjects or more"), least)
    ends = {name: pairs.lower_end() for name, pairs in held.items()}
    name = min(ends, key=ends.__getitem__)
    low, n = ends[name], held[name].n
    lost = [name for name, end in ends.items() if end < -margin]
    words = f"{name} at worst {100 * low:+.1f} points (n = {n:,})"
    if lost:
        words += f"; not excluded in {', '.join(lost)}"
    words += f"; {len(held)} held"
    if put:
        words += f", {POOLED_SUBJECTS} being the {put} smallest"
    return _judge_difference(held[name], low, margin, least, words)


def judge_negation(evidence: Evidence, margins: Margins) -> Finding:
    """Require that negated questions lose no more than the margin."""
    slices = evidence.slices.slices if evidence.slices else ()
    negated = next((s for s in slices if (s.dimension, s.name) == ("negation", "negated")), None)
    found = _needed(negated, "the comparison's negated questions")
    pairs = PairedAnswers(found.only_a, found.only_b, found.accuracy_b.n)
    low = pairs.lower_end()
    words = f"on negated questions at worst {100 * low:+.1f} points (n = {pairs.n:,})"
    return _judge_difference(pairs, low, margins.negation, margins.least.negation, words)


def judge_option_orders(evidence: Evidence, margins: Margins) -> Finding:
    """Require answers that depend little on the order of options."""
    measured = evidence.analysis.flips if evidence.analysis else None
    flips = _needed(measured, "an examination in all cyclic orders")
    _check_number(flips.any.n, margins.least.orders)
    high = _exact_interval(flips.any).high
    words = f"up to {100 * high:.1f} % of the answers depend on the order"
    return _judge_bound(high, margins.flips, "upper", flips.any.n, words)


def judge_calibration(evidence: Evidence, margins: Margins) -> Finding:
    """Require a small calibration error at the temperature that the release is served with."""
    what = "an analysis with a calibration split"
    record = _needed(evidence.analysis, what)
    found = _needed(record.selective, what)
    after = _needed(found.served or found.after, what)
    high = _needed(after.error_high, "an interval of the calibration error: evaluate again")
    n = record.evaluation.counts.n
    _check_number(n, margins.least.calibration)
    words = (
        f"calibration error {after.error:.3f}, up to {high:.3f}, "
        f"{'as served' if found.served else 'after the temperature'} (n = {n:,})"
    )
    return _judge_bound(high, margins.calibration, "upper", n, words)


def judge_regression(evidence: Evidence, margins: Margins) -> Finding:
    """Require a frozen suite that was not trained on, with few lost answers."""
    record = _needed(evidence.regression, "the frozen suite")
    if _needed(record.trained_on, "a search for the suite among what it was taught"):
        words = f"{record.trained_on} of {record.suite.n} frozen questions were trained on"
        return Finding("failed", record.trained_on, 0.0, words)
    if record.lost is None:
        words = "medtune taught none of it; there is no champion to be held against"
        return Finding("passed", None, None, words)
    _check_number(record.lost.n, margins.least.regression)
    high = _exact_interval(record.lost).high
    words = (
        f"up to {100 * high:.1f} % of the frozen questions are wrong now and were right "
        f"(n = {record.lost.n:,})"
    )
    return _judge_bound(high, margins.regression, "upper", record.lost.n, words)


def judge_general(evidence: Evidence, margins: Margins) -> Finding:
    """Require that fine-tuning kept what the base model knows besides medicine.

    Both the loss on plain text and the accuracy on general questions are held to their margins,
    against the base. The questions are judged by the method at which the base is better: what was
    a guess cannot be lost.
    """
    if evidence.general is None and not evidence.is_trained:
        return Finding("passed", None, None, "medtune trained none of it")
    record = _needed(evidence.general, "the base model beside it on general questions and texts")
    text, least = record.text_loss, margins.least
    if text.n < least.texts:
        raise MissingEvidence(f"{least.texts:,} plain texts or more, there are {text.n:,}", text.n)
    answers = max(record.answers, key=lambda found: found.accuracy_a.value)
    pairs = PairedAnswers(answers.only_a, answers.only_b, answers.n)
    low = pairs.lower_end()
    words = (
        f"loss on plain text at worst {text.difference_high:+.3f} bits per byte against the base "
        f"(n = {text.n:,}); general questions by {answers.method} at worst {100 * low:+.1f} points "
        f"(base {100 * answers.accuracy_a.value:.1f} %, n = {pairs.n:,})"
    )
    known = _judge_difference(pairs, low, margins.general, least.general, words)
    if known.outcome == "failed":
        return known
    return _judge_bound(text.difference_high, margins.text_loss, "upper", text.n, words)


def judge_safety(evidence: Evidence, margins: Margins) -> Finding:
    """Require that the guards meet their targets on the held-out half, at the upper ends."""
    record = _needed(evidence.safety, "the guards' suites")
    held = {figure.measure: figure for figure in record.figures if figure.half == "held"}
    if left_out := [name for name in margins.safety if name not in held]:
        raise MissingEvidence(f"figures of {', '.join(left_out)}")
    without = [name for name in margins.safety if held[name].target is None]
    if without or not margins.safety:
        raise MissingEvidence(f"a target of {', '.join(without) or 'any suite'}")
    unmet = [held[name] for name in margins.safety if not held[name].meets_target]
    if unmet:
        told = "; ".join(
            f"{figure.measure} up to {100 * figure.upper_bound:.1f} %, "
            f"{100 * (figure.target or 0):.0f} allowed (n = {figure.rate.n})"
            for figure in unmet
        )
        return Finding("failed", len(unmet), 0.0, f"beyond target: {told}")
    words = f"{len(margins.safety)} suites within their targets at their upper ends"
    return Finding("passed", 0.0, 0.0, words)


def judge_parity(evidence: Evidence, margins: Margins) -> Finding:
    """Require that a compressed model answers like its original and the endpoint like the model."""
    served = _needed(evidence.served, "the endpoint's answers beside the model's own")
    if evidence.is_packed:
        _needed(evidence.packed, "what it was packed from, asked the same")
    for row in evidence.packed.rows if evidence.packed else ():
        _check_number(row.agreement.n, margins.least.parity)
        broken = budget_violations(
            row.budget, row.agreement, row.drift_high, "nats a token", row.comparison
        )
        if broken:
            low, n = _exact_interval(row.agreement).low, row.agreement.n
            words = f"{row.name} is over budget: {'; '.join(broken)}"
            return Finding("failed", low, row.budget.agreement, words, "lower", n)
    n = served.agreement.n
    _check_number(served.held + n, margins.least.parity)
    low, bound = _exact_interval(served.agreement).low, margins.agreement
    wanted = Budget(agreement=bound, loss=1.0, drift=margins.drift)
    broken = budget_violations(wanted, served.agreement, served.drift_high, "nats")
    withheld = clopper_pearson_interval(served.held, served.held + n).high
    if withheld > margins.withheld:
        broken += (
            f"the guards hold back {served.held:,} of {served.held + n:,} questions, up to "
            f"{100 * withheld:.1f} %, {100 * margins.withheld:.1f} allowed",
        )
    if broken:
        return Finding("failed", low, bound, f"served: {'; '.join(broken)}", "lower", n)
    words = (
        f"the endpoint chooses the same on {100 * low:.1f} % at least (n = {n:,}); the guards hold "
        f"back {served.held:,} more"
    )
    return _judge_bound(low, bound, "lower", n, words)


def judge_latency(evidence: Evidence, margins: Margins) -> Finding:
    """Require a low latency for single questions."""
    rows = _needed(evidence.bench, "times of single questions").rows
    n = min(row.latency_n for row in rows)
    _check_number(n, margins.least.latency)
    ends = [row.latency_p95_high_s for row in rows if row.latency_p95_high_s is not None]
    if len(ends) < len(rows):
        raise MissingEvidence("an upper end of the 95th percentile: 72 questions or more")
    words = f"{1000 * max(ends):.0f} ms at most for one question in 95 of 100 (n = {n:,})"
    return _judge_bound(max(ends), margins.latency_s, "upper", n, words)


RULES: dict[RuleName, Rule] = {
    "accuracy": judge_accuracy,
    "search": judge_search,
    "subjects": judge_subjects,
    "negation": judge_negation,
    "orders": judge_option_orders,
    "calibration": judge_calibration,
    "regression": judge_regression,
    "general": judge_general,
    "safety": judge_safety,
    "parity": judge_parity,
    "latency": judge_latency,
}


@dataclass(frozen=True, slots=True)
class PairedAnswers:
    """Discordant counts of two models on the same questions."""

    only_a: int
    """Only the champion, or the baseline, is right."""
    only_b: int
    n: int

    def lower_end(self, effect: float = 1.0) -> float:
        """Return the lower end of the interval of the difference.

        Args:
            effect: Design effect of at least 1, by which counts are divided (Rao and Scott 1992).
        """
        return tango_interval(self.only_a / effect, self.only_b / effect, self.n / effect)[0]


def _pool_small(
    subjects: Mapping[str, PairedAnswers], least: int
) -> tuple[dict[str, PairedAnswers], int]:
    """Pool subjects with too few questions, and larger ones until the pool is large enough.

    Returns:
        Every subject with enough questions, alone, and the pool as one more; and the number of
        pooled subjects, which may be 0.
    """
    held = {name: pairs for name, pairs in subjects.items() if pairs.n >= least}
    if len(held) == len(subjects):
        return held, 0
    pool = PairedAnswers(0, 0, 0)
    put = 0
    for pairs in sorted(subjects.values(), key=lambda pairs: pairs.n):
        if pairs.n >= least and pool.n >= least:
            break
        pool = PairedAnswers(
            pool.only_a + pairs.only_a, pool.only_b + pairs.only_b, pool.n + pairs.n
        )
        put += 1
    return held | {POOLED_SUBJECTS: pool}, put


def _beside_letter(record: AnalysisRecord) -> PairedAnswers:
    """Pair always giving the most frequent letter (a) with the model (b)."""
    exam = record.evaluation
    n, letter = exam.accuracy.n, exam.majority_letter
    model, by_letter = (round(share.value * n) for share in (exam.accuracy, exam.majority))
    there = [s for s in record.slices if (s.dimension, s.name) == ("letter", letter)]
    # Without a slice all right letters are the same, and this lower bound is exact.
    both = max(0, model + by_letter - n)
    if there:
        both = round(there[0].accuracy.value * there[0].accuracy.n)
    return PairedAnswers(by_letter - both, model - both, n)


def _exact_interval(share: Proportion) -> Proportion:
    """Return the exact interval of a share."""
    return clopper_pearson_interval(round(share.value * share.n), share.n)


def _needed(value: T | None, what: str) -> T:
    if value is None:
        raise MissingEvidence(what)
    return value


def _check_number(n: int, least: int) -> None:
    """Raise if there are fewer questions than required."""
    if n < least:
        raise MissingEvidence(f"{least:,} questions or more, there are {n:,}", n)


def _judge_bound(figure: float, bound: float, end: End, n: int, reason: str) -> Finding:
    """Compare an interval's end with its bound."""
    holds = figure >= bound if end == "lower" else figure <= bound
    return Finding("passed" if holds else "failed", figure, bound, reason, end, n)


def _judge_difference(
    pairs: PairedAnswers, low: float, margin: float, least: int, reason: str
) -> Finding:
    """Compare a difference's lower end with the margin.

    Failing to exclude a loss does not prove one: if no loss beyond the margin was observed, and
    identical answers could not exclude one with so few questions, more questions are required.
    """
    _check_number(pairs.n, least)
    lost = (pairs.only_a - pairs.only_b) / pairs.n
    if low < -margin and lost <= margin and margin:
        _check_number(pairs.n, min_pairs_for_margin(margin))
    return _judge_bound(low, -margin, "lower", pairs.n, reason)
