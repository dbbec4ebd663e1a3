"""The gate: pure rules on records, each at an interval's unfavourable end (97.5 %).

Paired differences use Tango's score interval, shares Clopper and Pearson's: a loss exactly at the
margin passes in 2.5 % of samples at most (results/gate_power.json). What was not measured, or on
too few questions, fails. Without a champion, accuracy is compared with chance and the most frequent
letter, other comparisons pass and say so, and all remaining rules apply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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

Rule = Callable[[Evidence, Margins], RuleResult]
COMPARISON_RULES: tuple[RuleName, ...] = ("accuracy", "subjects", "negation")
"""Rules that compare a candidate with the champion."""
POOLED_SUBJECTS = "other subjects"


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
        if champion is None and name == "accuracy":
            result = judge_baselines(evidence, margins)
        elif champion is None and name in COMPARISON_RULES:
            reason = "there is no champion to be held against"
            result = _result(name, "passed", None, None, reason)
        else:
            result = rule(evidence, margins)
        if result.outcome in ("failed", "missing") and name in by_rule:
            result = result.model_copy(update={"outcome": "waived", "waiver": by_rule[name]})
        results.append(result)
    return GateRecord(
        candidate=candidate, champion=champion, margins=margins, results=tuple(results)
    )


def judge_accuracy(evidence: Evidence, margins: Margins) -> RuleResult:
    """Require accuracy not inferior to the champion's, paired by question.

    Clustered questions count for fewer, by the design effect.
    """
    record = evidence.comparison
    if record is None:
        return _missing("accuracy", "a comparison with the champion")
    if record.differs:
        reason = f"the examinations differ in {', '.join(record.differs)}"
        return _result("accuracy", "failed", None, -margins.accuracy, reason)
    pairs = PairedAnswers(record.only_a, record.only_b, record.n)
    effect = max(1.0, record.design_effect or 1.0)
    low = pairs.lower_end(effect)
    words = f"accuracy at worst {100 * low:+.1f} points against the champion (n = {record.n:,})"
    if effect > 1:
        words += f", questions that go together counted as {record.n / effect:,.0f}"
    return _judge_difference(
        "accuracy", pairs, low, margins.accuracy, margins.least.accuracy, words
    )


def judge_baselines(evidence: Evidence, margins: Margins) -> RuleResult:
    """Require accuracy above chance and above the most frequent letter, without a champion.

    How often that letter is right is estimated on the same questions, so the two are paired.
    Treated as known, it let 6 to 8 % of models pass that are no better.
    """
    record = evidence.analysis
    if record is None:
        return _missing("accuracy", "an examination on questions that are reported on")
    exam = record.evaluation
    n, letter = exam.accuracy.n, exam.majority_letter
    if few := _too_few("accuracy", n, margins.least.accuracy):
        return few
    above_chance = _exact_interval(exam.accuracy).low - exam.chance
    above_letter = _beside_letter(record).lower_end()
    words = (
        f"no champion to be held against; accuracy at worst {100 * above_chance:+.1f} points from "
        f"chance ({100 * exam.chance:.1f} %) and {100 * above_letter:+.1f} from always answering "
        f"{letter} ({100 * exam.majority.value:.1f} %; n = {n:,})"
    )
    return _judge_bound("accuracy", min(above_chance, above_letter), 0.0, "lower", n, words)


def judge_subjects(evidence: Evidence, margins: Margins) -> RuleResult:
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
    if not found:
        return _missing("subjects", "questions of two subjects or more")
    held, put = _pool_small(found, least)
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
    return _judge_difference("subjects", held[name], low, margin, least, words)


def judge_negation(evidence: Evidence, margins: Margins) -> RuleResult:
    """Require that negated questions lose no more than the margin."""
    slices = evidence.slices.slices if evidence.slices else ()
    found = [s for s in slices if s.dimension == "negation" and s.name == "negated"]
    if not found:
        return _missing("negation", "the comparison's negated questions")
    pairs = PairedAnswers(found[0].only_a, found[0].only_b, found[0].accuracy_b.n)
    low = pairs.lower_end()
    words = f"on negated questions at worst {100 * low:+.1f} points (n = {pairs.n:,})"
    return _judge_difference(
        "negation", pairs, low, margins.negation, margins.least.negation, words
    )


def judge_option_orders(evidence: Evidence, margins: Margins) -> RuleResult:
    """Require answers that depend little on the order of options."""
    flips = evidence.analysis.flips if evidence.analysis else None
    if flips is None:
        return _missing("orders", "an examination in all cyclic orders")
    if few := _too_few("orders", flips.any.n, margins.least.orders):
        return few
    high = _exact_interval(flips.any).high
    words = f"up to {100 * high:.1f} % of the answers depend on the order"
    return _judge_bound("orders", high, margins.flips, "upper", flips.any.n, words)


def judge_calibration(evidence: Evidence, margins: Margins) -> RuleResult:
    """Require a small calibration error at the temperature that the release is served with."""
    record = evidence.analysis
    found = record.selective if record else None
    after = (found.served or found.after) if found else None
    if record is None or after is None:
        return _missing("calibration", "an analysis with a calibration split")
    if after.error_high is None:
        return _missing("calibration", "an interval of the calibration error: evaluate again")
    n = record.evaluation.counts.n
    if few := _too_few("calibration", n, margins.least.calibration):
        return few
    words = (
        f"calibration error {after.error:.3f}, up to {after.error_high:.3f}, "
        f"{'as served' if found and found.served else 'after the temperature'} (n = {n:,})"
    )
    return _judge_bound("calibration", after.error_high, margins.calibration, "upper", n, words)


def judge_regression(evidence: Evidence, margins: Margins) -> RuleResult:
    """Require a frozen suite that was not trained on, with few lost answers."""
    record = evidence.regression
    if record is None:
        return _missing("regression", "the frozen suite")
    if record.trained_on is None:
        return _missing("regression", "a search for the suite among what it was taught")
    if record.trained_on:
        words = f"{record.trained_on} of {record.suite.n} frozen questions were trained on"
        return _result("regression", "failed", float(record.trained_on), 0.0, words)
    if record.lost is None:
        words = "medtune taught none of it; there is no champion to be held against"
        return _result("regression", "passed", None, None, words)
    if few := _too_few("regression", record.lost.n, margins.least.regression):
        return few
    high = _exact_interval(record.lost).high
    words = (
        f"up to {100 * high:.1f} % of the frozen questions are wrong now and were right "
        f"(n = {record.lost.n:,})"
    )
    return _judge_bound("regression", high, margins.regression, "upper", record.lost.n, words)


def judge_safety(evidence: Evidence, margins: Margins) -> RuleResult:
    """Require that the guards meet their targets on the held-out half, at the upper ends."""
    if evidence.safety is None:
        return _missing("safety", "the guards' suites")
    held = {figure.measure: figure for figure in evidence.safety.figures if figure.half == "held"}
    if left_out := [name for name in margins.safety if name not in held]:
        return _missing("safety", f"figures of {', '.join(left_out)}")
    without = [name for name in margins.safety if held[name].target is None]
    if without or not margins.safety:
        return _missing("safety", f"a target of {', '.join(without) or 'any suite'}")
    unmet = [held[name] for name in margins.safety if not held[name].meets_target]
    if unmet:
        told = "; ".join(
            f"{figure.measure} up to {100 * figure.upper_bound:.1f} %, "
            f"{100 * (figure.target or 0):.0f} allowed (n = {figure.rate.n})"
            for figure in unmet
        )
        return _result("safety", "failed", float(len(unmet)), 0.0, f"beyond target: {told}")
    words = f"{len(margins.safety)} suites within their targets at their upper ends"
    return _result("safety", "passed", 0.0, 0.0, words)


def judge_parity(evidence: Evidence, margins: Margins) -> RuleResult:
    """Require that a compressed model answers like its original and the endpoint like the model."""
    served, packed = evidence.served, evidence.packed
    if served is None:
        return _missing("parity", "the endpoint's answers beside the model's own")
    if packed is None and evidence.is_packed:
        return _missing("parity", "what it was packed from, asked the same")
    for row in packed.rows if packed else ():
        if few := _too_few("parity", row.agreement.n, margins.least.parity):
            return few
        broken = budget_violations(
            row.budget, row.agreement, row.drift_high, "nats a token", row.comparison
        )
        if broken:
            low, n = _exact_interval(row.agreement).low, row.agreement.n
            words = f"{row.name} is over budget: {'; '.join(broken)}"
            return _result("parity", "failed", low, row.budget.agreement, words, "lower", n)
    n = served.agreement.n
    if few := _too_few("parity", served.held + n, margins.least.parity):
        return few
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
        words = f"served: {'; '.join(broken)}"
        return _result("parity", "failed", low, bound, words, "lower", n)
    words = (
        f"the endpoint chooses the same on {100 * low:.1f} % at least (n = {n:,}); the guards hold "
        f"back {served.held:,} more"
    )
    return _judge_bound("parity", low, bound, "lower", n, words)


def judge_latency(evidence: Evidence, margins: Margins) -> RuleResult:
    """Require a low latency for single questions."""
    if evidence.bench is None:
        return _missing("latency", "times of single questions")
    rows = evidence.bench.rows
    n = min(row.latency_n for row in rows)
    if few := _too_few("latency", n, margins.least.latency):
        return few
    ends = [row.latency_p95_high_s for row in rows if row.latency_p95_high_s is not None]
    if len(ends) < len(rows):
        return _missing("latency", "an upper end of the 95th percentile: 72 questions or more")
    words = f"{1000 * max(ends):.0f} ms at most for one question in 95 of 100 (n = {n:,})"
    return _judge_bound("latency", max(ends), margins.latency_s, "upper", n, words)


RULES: dict[RuleName, Rule] = {
    "accuracy": judge_accuracy,
    "subjects": judge_subjects,
    "negation": judge_negation,
    "orders": judge_option_orders,
    "calibration": judge_calibration,
    "regression": judge_regression,
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


def _judge_bound(
    rule: RuleName, figure: float, bound: float, end: End, n: int, reason: str
) -> RuleResult:
    """Compare an interval's end with its bound."""
    holds = figure >= bound if end == "lower" else figure <= bound
    return _result(rule, "passed" if holds else "failed", figure, bound, reason, end, n)


def _judge_difference(
    rule: RuleName, pairs: PairedAnswers, low: float, margin: float, least: int, reason: str
) -> RuleResult:
    """Compare a difference's lower end with the margin.

    Failing to exclude a loss does not prove one: if no loss beyond the margin was observed, and
    identical answers could not exclude one with so few questions, more questions are required.
    """
    if few := _too_few(rule, pairs.n, least):
        return few
    lost = (pairs.only_a - pairs.only_b) / pairs.n
    few = None
    if low < -margin and lost <= margin and margin:
        few = _too_few(rule, pairs.n, min_pairs_for_margin(margin))
    return few or _judge_bound(rule, low, -margin, "lower", pairs.n, reason)


def _too_few(rule: RuleName, n: int, least: int) -> RuleResult | None:
    """Return a missing result if there are fewer questions than the margins require."""
    if n >= least:
        return None
    return _missing(rule, f"{least:,} questions or more, there are {n:,}", n)


def _result(
    rule: RuleName,
    outcome: Outcome,
    figure: float | None,
    bound: float | None,
    reason: str,
    end: End | None = None,
    n: int | None = None,
) -> RuleResult:
    return RuleResult(
        rule=rule, outcome=outcome, figure=figure, bound=bound, reason=reason, end=end, n=n
    )


def _missing(rule: RuleName, what: str, n: int | None = None) -> RuleResult:
    return _result(rule, "missing", None, None, f"needs {what}", n=n)
