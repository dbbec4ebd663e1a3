"""The gate: pure rules over records, on the unfavourable end of intervals.

What was not measured fails.  Without a champion there is nothing to be inferior to: rules that
compare pass and say so, all others hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from medtune.core.errors import InputError
from medtune.core.gate import Evidence, GateRecord, Margins, RuleName, RuleResult, Waiver
from medtune.core.records import ComparisonRecord

Rule = Callable[[Evidence, Margins], RuleResult]
COMPARING: tuple[RuleName, ...] = ("accuracy", "subjects", "negation")
"""Rules that hold a candidate against the champion."""


def judge(
    candidate: str,
    champion: str | None,
    evidence: Evidence,
    margins: Margins,
    waivers: Sequence[Waiver] = (),
) -> GateRecord:
    """Apply every rule.

    Args:
        candidate: Id of the release.
        champion: Id of the champion; None where there is none.
        evidence: What was measured.
        margins: How much worse it may be.
        waivers: Rules that somebody answers for.

    Raises:
        InputError: A rule is waived that cannot be.
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
        if champion is None and name in COMPARING:
            result = _passed(name, None, None, "there is no champion to be held against")
        else:
            result = rule(evidence, margins)
        if result.outcome in ("failed", "missing") and name in by_rule:
            result = result.model_copy(update={"outcome": "waived", "waiver": by_rule[name]})
        results.append(result)
    return GateRecord(
        candidate=candidate, champion=champion, margins=margins, results=tuple(results)
    )


def accuracy(evidence: Evidence, margins: Margins) -> RuleResult:
    """Non-inferior to the champion, paired."""
    record = evidence.comparison
    if record is None:
        return _missing("accuracy", "a comparison with the champion")
    if record.differs:
        reason = f"the examinations differ in {', '.join(record.differs)}"
        return _failed("accuracy", record.difference_low, -margins.accuracy, reason)
    return _at_least("accuracy", record, margins.accuracy, "accuracy")


def subjects(evidence: Evidence, margins: Margins) -> RuleResult:
    """No subject is worse after Holm's correction."""
    if evidence.slices is None:
        return _missing("subjects", "slices of the comparison")
    tested = [
        s for s in evidence.slices.slices if s.dimension == "subject" and s.p_holm is not None
    ]
    if not tested:
        return _missing("subjects", "a subject with enough questions")
    worse = [
        s.name
        for s in tested
        if s.p_holm is not None and s.p_holm < margins.subjects and s.difference < 0
    ]
    least = min(s.p_holm for s in tested if s.p_holm is not None)
    if worse:
        return _failed("subjects", least, margins.subjects, f"worse in {', '.join(worse)}")
    return _passed("subjects", least, margins.subjects, f"none of {len(tested)} subjects is worse")


def negation(evidence: Evidence, margins: Margins) -> RuleResult:
    """Negated questions are not lost."""
    slices = evidence.slices.slices if evidence.slices else ()
    found = [s for s in slices if s.dimension == "negation" and s.name == "negated"]
    if not found:
        return _missing("negation", "the comparison's negated questions")
    low, bound = found[0].difference_low, -margins.negation
    words = f"on negated questions at worst {100 * low:+.1f} points"
    return (_passed if low >= bound else _failed)("negation", low, bound, words)


def orders(evidence: Evidence, margins: Margins) -> RuleResult:
    """Answers do not hang on the order of options."""
    flips = evidence.analysis.flips if evidence.analysis else None
    if flips is None:
        return _missing("orders", "an examination in all cyclic orders")
    high = flips.any.high
    words = f"up to {100 * high:.1f} % of the answers depend on the order"
    return (_passed if high <= margins.flips else _failed)("orders", high, margins.flips, words)


def calibration(evidence: Evidence, margins: Margins) -> RuleResult:
    """The model knows how often it is right."""
    selective = evidence.analysis.selective if evidence.analysis else None
    if selective is None or selective.after is None:
        return _missing("calibration", "an analysis with a calibration split")
    error = selective.after.error
    words = f"expected calibration error {error:.3f} after the temperature"
    return (_passed if error <= margins.calibration else _failed)(
        "calibration", error, margins.calibration, words
    )


def regression(evidence: Evidence, margins: Margins) -> RuleResult:
    """The frozen suite was not trained on, and nothing that worked is lost on it."""
    record = evidence.regression
    if record is None:
        return _missing("regression", "the frozen suite")
    if record.trained_on is None:
        return _missing("regression", "a search for the suite among what it was trained on")
    if record.trained_on:
        words = f"{record.trained_on} of {record.suite.n} frozen questions were trained on"
        return _failed("regression", float(record.trained_on), 0.0, words)
    if record.lost is None:
        words = "not trained on; there is no champion to be held against"
        return _passed("regression", None, None, words)
    high = record.lost.high
    words = (
        f"up to {100 * high:.1f} % of the frozen questions are wrong now and were right "
        f"(n = {record.lost.n:,})"
    )
    return (_passed if high <= margins.regression else _failed)(
        "regression", high, margins.regression, words
    )


def safety(evidence: Evidence, margins: Margins) -> RuleResult:
    """The guards meet their targets on the held-out half."""
    if evidence.safety is None:
        return _missing("safety", "the guards' suites")
    held = {figure.measure: figure for figure in evidence.safety.figures if figure.half == "held"}
    if left_out := [name for name in margins.safety if name not in held]:
        return _missing("safety", f"figures of {', '.join(left_out)}")
    unmet = [name for name in margins.safety if not held[name].met]
    if unmet:
        return _failed("safety", float(len(unmet)), 0.0, f"beyond target: {', '.join(unmet)}")
    return _passed("safety", 0.0, 0.0, f"{len(margins.safety)} suites within their targets")


def parity(evidence: Evidence, margins: Margins) -> RuleResult:
    """Everything that stands in for the model answers as it does: packed, and served."""
    del margins
    served, packed = evidence.served, evidence.packed
    if served is None:
        return _missing("parity", "the endpoint's answers beside the model's own")
    if packed is None and evidence.is_packed:
        return _missing("parity", "what it was packed from, asked the same")
    if packed and packed.unfit:
        least = min(row.agreement.value for row in packed.rows)
        return _failed("parity", least, None, f"over budget: {', '.join(packed.unfit)}")
    figure, bound = served.agreement.value, served.budget.agreement
    if served.broken:
        return _failed("parity", figure, bound, f"served: {'; '.join(served.broken)}")
    words = f"the endpoint chooses the same on {100 * figure:.1f} % (n = {served.agreement.n:,})"
    return _passed("parity", figure, bound, words)


def latency(evidence: Evidence, margins: Margins) -> RuleResult:
    """One question is answered in time."""
    if evidence.bench is None:
        return _missing("latency", "times of single questions")
    worst = max(row.latency_p95_s for row in evidence.bench.rows)
    words = f"{1000 * worst:.0f} ms for one question in 95 of 100"
    return (_passed if worst <= margins.latency_s else _failed)(
        "latency", worst, margins.latency_s, words
    )


RULES: dict[RuleName, Rule] = {
    "accuracy": accuracy,
    "subjects": subjects,
    "negation": negation,
    "orders": orders,
    "calibration": calibration,
    "regression": regression,
    "safety": safety,
    "parity": parity,
    "latency": latency,
}


def _at_least(name: RuleName, record: ComparisonRecord, margin: float, what: str) -> RuleResult:
    low = record.difference_low
    words = f"{what} at worst {100 * low:+.1f} points against the champion (n = {record.n:,})"
    return (_passed if low >= -margin else _failed)(name, low, -margin, words)


def _passed(rule: RuleName, figure: float | None, bound: float | None, reason: str) -> RuleResult:
    return RuleResult(rule=rule, outcome="passed", figure=figure, bound=bound, reason=reason)


def _failed(rule: RuleName, figure: float | None, bound: float | None, reason: str) -> RuleResult:
    return RuleResult(rule=rule, outcome="failed", figure=figure, bound=bound, reason=reason)


def _missing(rule: RuleName, what: str) -> RuleResult:
    return RuleResult(rule=rule, outcome="missing", figure=None, bound=None, reason=f"needs {what}")
