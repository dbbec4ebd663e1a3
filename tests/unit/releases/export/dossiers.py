"""A release of which everything was measured, in whole records; tests change what they look at."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from medtune.core.prompt import PromptStyle
from medtune.core.records import (
    ComparisonRecord,
    EvaluationRecord,
    ForgettingRecord,
    ModelDescription,
    Outcome,
    OutcomeCounts,
    Prediction,
    Proportion,
    Provenance,
    SearchBaseline,
    SplitDescription,
    TextLossComparison,
)
from medtune.core.schemas.analysis import (
    AnalysisRecord,
    CalibrationReport,
    ClusteredSpread,
    Failure,
    FailureExample,
    Flips,
    PairedSlice,
    PairedSlices,
    ReliabilityBin,
    RiskCurve,
    SelectivePrediction,
    Slice,
)
from medtune.core.schemas.compression import (
    BUDGETS,
    SERVED_BUDGET,
    BenchRecord,
    BenchRow,
    Parity,
    ParityRecord,
)
from medtune.core.schemas.guardrails import ServingCalibration as Threshold
from medtune.core.schemas.safety import GuardFigure, SafetyRecord
from medtune.releases.export.context import ReleaseContext
from medtune.releases.gate_rules import apply_gate
from medtune.releases.gate_schema import (
    ChangedAnswer,
    Evidence,
    GateRecord,
    Margins,
    RegressionRecord,
    ServedRecord,
    Suite,
    Waiver,
)
from medtune.releases.schema import FileRef, Release

SECRET = "A very secret stem | with <b>markup</b>"
OPTIONS = ("secret one", "secret two", "secret three", "secret four")
DATA = SplitDescription(
    source="hub:openlifescienceai/medmcqa:validation",
    n=4183,
    excluded={"no answer": 7, "repeated": 12},
    hash="d" * 64,
)
MADE = Provenance(
    medtune="0.1.0", commit="c" * 40, python="3.11.9", platform="Linux", cpu="a processor",
    cores=2, gpu=None, packages={"torch": "2.13.0+cpu", "ast_serialize": "0.13.1"},
    created="2026-01-02T03:04:05+00:00", command="medtune release evaluate",
)  # fmt: skip


def share(value: float, low: float, high: float, n: int = 4183) -> Proportion:
    return Proportion(value=value, low=low, high=high, n=n)


def search(**more: Any) -> SearchBaseline:
    fields: dict[str, Any] = {
        "index": "5" * 64, "passages": 75123, "accuracy": share(0.2991, 0.2854, 0.3132),
        "only_model": 700, "only_search": 544, "p_value": 0.0000107,
    }  # fmt: skip
    return SearchBaseline(**{**fields, **more})


def evaluation(**more: Any) -> EvaluationRecord:
    fields: dict[str, Any] = {
        "inputs": "i", "label": "tuned", "data": DATA, "prompt_hash": "2" * 64,
        "method": "letter", "normalization": "sum", "orders": "cyclic",
        "model": ModelDescription(
            source="embedded:smollm2-135m", fingerprint="0" * 64, parameters=1, dtype="float32",
            device="cpu",
        ),
        "counts": OutcomeCounts(n=4183, correct=1407, wrong=2770, unparsed=4, abstained=2),
        "accuracy": share(0.3364, 0.3222, 0.3509), "answer_rate": share(0.9986, 0.9969, 0.9993),
        "chance": 0.25, "majority": share(0.3217, 0.3077, 0.336), "majority_letter": "A",
        "options_only": share(0.2871, 0.249, 0.3284, 500), "letters_chosen": {"A": 1},
        "search": search(),
        "letters_right": {"A": 1346, "B": 1105, "C": 917, "D": 815}, "duration_s": 1.0,
        "questions_per_s": 11.0, "provenance": MADE,
    }  # fmt: skip
    return EvaluationRecord(**{**fields, **more})


def analysis(**more: Any) -> AnalysisRecord:
    bins = (ReliabilityBin(confidence=0.5, accuracy=share(0.3, 0.2, 0.4)),)
    prediction = Prediction(
        id="q-1", stem=SECRET, options=OPTIONS, answer=0, chosen=1, outcome=Outcome.WRONG,
        text="secret text",
    )  # fmt: skip
    fields: dict[str, Any] = {
        "folder": "evidence", "evaluation": evaluation(),
        "accuracy_answered": share(0.3369, 0.3227, 0.3514),
        "spread": ClusteredSpread(standard_error=0.007),
        "slices": tuple(
            Slice(
                dimension=dimension, name=name,
                accuracy=share(value, value - 0.05, value + 0.05, n),
                answer_rate=share(1.0, 0.99, 1.0, n), rest=None, p_value=None, p_holm=None,
                weak=weak,
            )
            for dimension, name, value, n, weak in (
                ("subject", "Anatomy | gross", 0.25, 234, True),
                ("subject", "Surgery", 0.4, 369, False), ("negation", "negated", 0.21, 410, True),
                ("length", "0–49 characters", 0.3, 900, False),
                ("letter", "A", 1212 / 1346, 1346, False),
            )
        ),
        "weak_subjects": ("Anatomy | gross",),
        "calibration": CalibrationReport(error=0.0812, brier=0.742, log_loss=1.4, bins=bins),
        "selective": SelectivePrediction(
            curve=RiskCurve(coverage=(1.0,), risk=(0.6,), area=0.5, best=0.4), temperature=1.3,
            calibrated_on="starter:train", calibrated_n=320,
            after=CalibrationReport(
                error=0.0307, error_low=0.0181, error_high=0.0433, brier=0.7311, log_loss=1.3,
                bins=bins,
            ),
        ),
        "flips": Flips(
            orders=4, any=share(0.4123, 0.3974, 0.4273), pairs=0.2, accuracy=(), letters={},
            recalls={}, rstd=None,
        ),
        "failures": (
            Failure(
                name="sure and wrong", explanation="sure", share=share(0.1, 0.05, 0.2),
                examples=(FailureExample(prediction=prediction, note="The model gave B 91.0 %."),),
            ),
        ),
        "warnings": ("12 stems are cut.",), "provenance": MADE,
    }  # fmt: skip
    return AnalysisRecord(**{**fields, **more})


def comparison(**more: Any) -> ComparisonRecord:
    fields: dict[str, Any] = {
        "split": DATA.source, "method": "letter", "a": "v1", "b": "v2", "n": 4183, "both": 1000,
        "only_a": 290, "only_b": 407, "neither": 2486, "accuracy_a": share(0.3084, 0.2946, 0.3226),
        "accuracy_b": share(0.3364, 0.3222, 0.3509), "difference": 0.028,
        "difference_low": 0.0155, "difference_high": 0.0403, "p_value": 0.00001234,
        "minimum_detectable": 0.0177, "verdict": "Better.",
    }  # fmt: skip
    return ComparisonRecord(**{**fields, **more})


def slices() -> PairedSlices:
    return PairedSlices(
        slices=tuple(
            PairedSlice(
                dimension=dimension, name=name, accuracy_a=share(0.2, 0.15, 0.26, n),
                accuracy_b=share(0.25, 0.2, 0.31, n), only_a=3, only_b=9, difference=difference,
                difference_low=low, difference_high=0.09, p_value=0.3, p_holm=holm,
            )
            for dimension, name, n, difference, low, holm in (
                ("subject", "Anatomy | gross", 234, 0.051, -0.0123, 0.61),
                ("subject", "Dental", 7, 0.0, -0.3, None),
                ("negation", "negated", 410, 0.0171, -0.0219, 0.44),
            )
        )
    )  # fmt: skip


def regression(**more: Any) -> RegressionRecord:
    fields: dict[str, Any] = {
        "suite": Suite(
            source="hub:openlifescienceai/medmcqa:validation", n=300, hash="e" * 64,
            file=FileRef(sha256="f" * 64, size_bytes=9), frozen=datetime(2026, 1, 1, tzinfo=UTC),
        ),
        "accuracy": share(0.34, 0.2887, 0.3954, 300), "trained_on": 0, "comparison": None,
        "lost": share(0.0467, 0.0279, 0.0769, 300),
        "changed": (
            ChangedAnswer(id="q-9", stem=SECRET, options=OPTIONS, answer=0, before=0, after=2),
        ),
    }  # fmt: skip
    return RegressionRecord(**{**fields, **more})


def general() -> ForgettingRecord:
    text = TextLossComparison(
        n=40, loss_a=0.91, loss_b=0.93, difference=0.02, difference_low=0.011,
        difference_high=0.029, p_value=0.0002,
    )  # fmt: skip
    answers = tuple(
        comparison(
            split="starter:general", method=method, a="base", n=120, both=50, only_a=6, only_b=5,
            neither=59, accuracy_a=share(0.4667, 0.38, 0.5555, 120),
            accuracy_b=share(0.4583, 0.3719, 0.5474, 120), difference=-1 / 120,
            difference_low=-0.07, difference_high=0.052, p_value=1.0,
        )
        for method in ("cloze", "letter")
    )  # fmt: skip
    return ForgettingRecord(answers=answers, chance=0.25, trained_on=0, text_loss=text)


def safety(**rates: float) -> SafetyRecord:
    """Guards that meet every target but those named, by measure with underscores."""
    wanted = (*Margins().safety, "identifiers missed", "orders let through")
    return SafetyRecord(
        policy="starter-1", policy_hash="3" * 64, learned_hash="4" * 64, model=None,
        figures=tuple(
            GuardFigure.model_validate(
                {
                    "measure": measure, "half": half, "target": 0.08,
                    "rate": {
                        "value": rates.get(measure.replace(" ", "_"), 0.0), "low": 0.0,
                        "high": 0.0713, "n": 50,
                    },
                }
            )
            for half in ("dev", "held")
            for measure in wanted
        ),
        guards_p50_ms=1.31, guards_p95_ms=2.74, provenance=MADE,
    )  # fmt: skip


def served(**more: Any) -> ServedRecord:
    fields: dict[str, Any] = {
        "agreement": share(1.0, 0.9872, 1.0, 297), "held": 3, "mean_drift": 0.00123,
        "drift_high": 0.00177, "max_drift": 0.0456, "budget": SERVED_BUDGET, "broken": (),
        "provenance": MADE,
    }  # fmt: skip
    return ServedRecord(**{**fields, **more})


def packed() -> ParityRecord:
    exam = evaluation()
    row = Parity(
        name="int8", model=exam.model, evaluation=exam, agreement=share(0.981, 0.96, 0.99, 300),
        mean_drift=0.0211, drift_high=0.0254, max_drift=0.3, comparison=comparison(),
        calibration_shift=0.001, budget=BUDGETS["int8"], broken=(),
    )  # fmt: skip
    return ParityRecord(reference=exam, rows=(row,), provenance=MADE)


def bench() -> BenchRecord:
    row = BenchRow(
        name="v2", model=evaluation().model, load_s=2.0, questions_per_s=11.9, latency_p50_s=0.1011,
        latency_p95_s=0.1345, latency_p95_high_s=0.1521, latency_n=100, threads=2,
        peak_memory_bytes=612_000_000, file_bytes=None,
        accuracy=share(0.3, 0.2, 0.4), agreement=share(1.0, 0.9, 1.0),
    )  # fmt: skip
    return BenchRecord(data=DATA, method="letter", rows=(row,), provenance=MADE)


def release(**more: Any) -> Release:
    fields: dict[str, Any] = {
        "name": "v2", "base": "embedded:smollm2-135m", "base_fingerprint": "0" * 64,
        "weights": "adapter", "weights_hash": "1" * 64, "scheme": None, "prompt_hash": "2" * 64,
        "style": PromptStyle(), "target": "letter", "method": "letter", "data_hash": "5" * 64,
        "policy": "starter-1", "policy_hash": "3" * 64, "files": {},
        "calibration": Threshold(
            temperature=1.3, threshold=0.6123, risk=0.2, bound=0.19, coverage=0.0813, quantile=0.9,
            level=0.9, subjects=("Anatomy | gross", "Surgery"), n=320, source="starter:train",
            hash="6" * 64,
        ),
        "created": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "provenance": MADE,
    }  # fmt: skip
    return Release(**{**fields, **more})


EVIDENCE = Evidence(
    comparison=comparison(), slices=slices(), analysis=analysis(), regression=regression(),
    general=general(), safety=safety(), served=served(), bench=bench(),
)  # fmt: skip
FILES = {
    "adapter_config.json": FileRef(sha256="7" * 64, size_bytes=1),
    "adapter_model.safetensors": FileRef(sha256="1" * 64, size_bytes=2),
    "policy.toml": FileRef(sha256="8" * 64, size_bytes=3),
}
WAIVER = Waiver(rule="latency", name="Ann | Bo", reason="the machine\nwas busy that day")


def verdict(
    evidence: Evidence = EVIDENCE, margins: Margins | None = None, champion: str | None = "9" * 64,
    of: Release | None = None, waivers: tuple[Waiver, ...] = (),
) -> GateRecord:  # fmt: skip
    return apply_gate((of or release()).id, champion, evidence, margins or Margins(), waivers)


def context(evidence: Evidence = EVIDENCE, asked: bool = True, **more: Any) -> ReleaseContext:
    fields: dict[str, Any] = {
        "release": release(), "evidence": evidence, "files": FILES,
        "verdict": verdict(evidence) if asked else None,
        "hub_base": "HuggingFaceTB/SmolLM2-135M-Instruct", "licence": "Apache-2.0",
        "licences": {DATA.source: "Apache-2.0"},
    }  # fmt: skip
    return ReleaseContext(**{**fields, **more})
