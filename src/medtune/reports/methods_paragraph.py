"""Write the Methods paragraph of a paper from records: one sentence per recorded fact.

A sentence is written only if its facts are in the records; facts that are missing are named in the
last sentence. Works are cited only for methods that were used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from medtune.analysis.breakdown import ALPHA
from medtune.core.formatting import format_percent, join_words
from medtune.core.records import (
    ComparisonRecord,
    EvaluationRecord,
    Method,
    Orders,
    Provenance,
    RunRecord,
    TrainingRecord,
)
from medtune.core.schemas.analysis import AnalysisRecord, PairedSlice
from medtune.core.schemas.dataset import SnapshotManifest, short_source_name
from medtune.data.dedup.decontaminate import EVALUATED_REASONS

REFERENCES = {
    "Broder 1997": "Broder AZ. On the resemblance and containment of documents. Proceedings of "
    "Compression and Complexity of Sequences 1997:21–29.",
    "Cameron and Miller 2015": "Cameron AC, Miller DL. A practitioner’s guide to cluster-robust "
    "inference. J Hum Resour 2015;50:317–372.",
    "Guo et al. 2017": "Guo C, Pleiss G, Sun Y, Weinberger KQ. On calibration of modern neural "
    "networks. Proceedings of ICML 2017:1321–1330.",
    "Hanley and Lippman-Hand 1983": "Hanley JA, Lippman-Hand A. If nothing goes wrong, is "
    "everything all right? Interpreting zero numerators. JAMA 1983;249:1743–1745.",
    "Holm 1979": "Holm S. A simple sequentially rejective multiple test procedure. Scand J Stat "
    "1979;6:65–70.",
    "Hu et al. 2021": "Hu EJ, Shen Y, Wallis P, et al. LoRA: low-rank adaptation of large language "
    "models. arXiv:2106.09685, 2021.",
    "McNemar 1947": "McNemar Q. Note on the sampling error of the difference between correlated "
    "proportions or percentages. Psychometrika 1947;12:153–157.",
    "Miller 2024": "Miller E. Adding error bars to evals: a statistical approach to language model "
    "evaluations. arXiv:2411.00640, 2024.",
    "Tango 1998": "Tango T. Equivalence test and confidence interval for the difference in "
    "proportions for the paired-sample design. Stat Med 1998;17:891–908.",
    "Wilson 1927": "Wilson EB. Probable inference, the law of succession, and statistical "
    "inference. J Am Stat Assoc 1927;22:209–212.",
    "Zheng et al. 2024": "Zheng C, Zhou H, Meng F, Zhou J, Huang M. Large language models are not "
    "robust multiple choice selectors. Proceedings of ICLR 2024, arXiv:2309.03882.",
}
_CHOICES: dict[Method, str] = {
    "letter": "the option whose letter was the most probable next token after a prompt that lists "
    "the options",
    "cloze": "the option whose text was likeliest after the question",
    "generate": "read from generated text by a rule-based parser",
}
_NORMALIZATIONS: dict[str, str] = {
    "sum": "by the sum of the log-probabilities of its tokens",
    "token": "by mean log-probability per token",
    "byte": "by log-probability per byte",
}
_ORDERS: dict[Orders, str] = {
    "given": "Options were shown in the given order",
    "cyclic": "Options were shown in all cyclic orders, and their probabilities averaged",
    "pride": "Options were shown in the given order, and the estimated prior of the letters was "
    "divided out (Zheng et al. 2024)",
}
_HASH_DIGITS = 12


@dataclass(frozen=True, slots=True)
class MethodsParagraph:
    """The Methods paragraph of a comparison, an evaluation or a run."""

    text: str
    references: tuple[str, ...]
    """Works that the text cites."""

    def to_markdown(self) -> str:
        """Return the paragraph and its references as Markdown."""
        lines = ["## Methods", "", self.text]
        if self.references:
            lines += ["", "### References", "", *(f"- {work}" for work in self.references)]
        return "\n".join(lines) + "\n"


def describe_comparison_methods(
    record: ComparisonRecord,
    a: AnalysisRecord,
    b: AnalysisRecord,
    slices: Sequence[PairedSlice] = (),
) -> MethodsParagraph:
    """Describe how two models were compared."""
    exams = (_with_label(a.evaluation, record.a), _with_label(b.evaluation, record.b))
    draft = _Draft()
    draft.say(
        f"{record.b} was compared with {record.a} in a paired design: both answered the same "
        f"{record.n:,} multiple-choice questions of {short_source_name(record.split)}"
    )
    _describe_exams(draft, exams)
    if record.differs:
        draft.say(
            f"The two evaluations also differ in {join_words(record.differs)}, so that their "
            "difference is not due to the models alone"
        )
    _describe_paired_test(draft, [record])
    _describe_multiplicity(draft, record, slices)
    _describe_calibration(
        draft,
        [
            analysis.model_copy(update={"evaluation": exam})
            for analysis, exam in zip((a, b), exams, strict=True)
        ],
    )
    _miss_trainings(draft, exams)
    _describe_environments(draft, [exam.provenance for exam in exams])
    return draft.finish()


def describe_evaluation_methods(
    record: EvaluationRecord, analysis: AnalysisRecord | None = None
) -> MethodsParagraph:
    """Describe how one model was evaluated."""
    draft = _Draft()
    draft.say(
        f"{record.label} answered {record.counts.n:,} multiple-choice questions of "
        f"{short_source_name(record.data.source)}"
    )
    _describe_exams(draft, [record])
    draft.say("Accuracies are given with Wilson’s score intervals, 95 % (Wilson 1927)")
    if analysis is not None:
        _describe_calibration(draft, [analysis])
    _miss_trainings(draft, [record])
    _describe_environments(draft, [record.provenance])
    return draft.finish()


def describe_run_methods(record: RunRecord, manifest: SnapshotManifest | None) -> MethodsParagraph:
    """Describe how a run trained and compared models."""
    draft = _Draft()
    training = record.trainings[0]
    groups = record.evaluations_by_exam()
    splits = {e.data.source: e.counts.n for (e, *_) in groups}
    draft.say(
        "The base model and the fine-tuned model were compared in a paired design: both answered "
        "the same multiple-choice questions of "
        + join_words(f"{short_source_name(s)} (n = {n:,})" for s, n in splits.items())
    )
    _describe_training(draft, record.trainings)
    if manifest is None:
        draft.miss("how the training data were cleaned")
    else:
        _describe_decontamination(draft, manifest)
    methods = dict.fromkeys(group[0].method for group in groups)
    if len(methods) > 1:
        draft.say(f"The primary method is {next(iter(methods))}, chosen in the experiment file")
    for method in methods:
        some = [e for group in groups for e in group if e.method == method]
        _describe_answers(draft, some, named=len(methods) > 1)
    _describe_data(draft, [group[0] for group in groups if group[0].method == groups[0][0].method])
    _describe_baselines(draft, record.evaluations)
    _describe_trained_on(draft, record.evaluations)
    primary = [c for c in record.comparisons if c.method == record.evaluations[0].method]
    _describe_paired_test(draft, primary)
    if len(record.comparisons) > 1:
        corrected = all(c.p_holm is not None for c in record.comparisons)
        draft.say(
            f"The run makes {len(record.comparisons)} comparisons; "
            + (
                "p-values are also given after Holm’s correction for all of them (Holm 1979)"
                if corrected
                else "their p-values are not corrected for multiplicity"
            )
        )
    if record.spreads:
        draft.say(
            "Means over seeds are given with intervals of Student’s t over seeds, for these "
            "questions, and their differences from the base with intervals over questions, for "
            "these models"
        )
    _describe_environments(draft, [training.provenance, record.provenance])
    return draft.finish()


class _Draft:
    """Sentences and missing facts, as they are collected."""

    def __init__(self) -> None:
        self._sentences: list[str] = []
        self._missing: list[str] = []

    def say(self, sentence: str) -> None:
        """Add a sentence, without its full stop, unless it was said already."""
        if (text := f"{sentence}.") not in self._sentences:
            self._sentences.append(text)

    def miss(self, fact: str) -> None:
        """Add a fact that is not recorded."""
        if fact not in self._missing:
            self._missing.append(fact)

    def finish(self) -> MethodsParagraph:
        """Join the sentences, and list the works that they cite."""
        last = [f"Not recorded: {'; '.join(self._missing)}."] if self._missing else []
        text = " ".join([*self._sentences, *last])
        return MethodsParagraph(
            text, tuple(work for name, work in REFERENCES.items() if name in text)
        )


def _describe_exams(draft: _Draft, exams: Sequence[EvaluationRecord]) -> None:
    _describe_data(draft, exams)
    _describe_models(draft, exams)
    _describe_answers(draft, exams)
    _describe_baselines(draft, exams)
    _describe_trained_on(draft, exams)


def _describe_data(draft: _Draft, exams: Sequence[EvaluationRecord]) -> None:
    """Describe the identity of the questions, and which rows were left out."""
    several = len({e.data.source for e in exams}) > 1
    for exam in exams:
        data = exam.data
        of = f" of {short_source_name(data.source)}" if several else ""
        if data.hash:
            draft.say(f"The questions{of} have the content hash {_short(data.hash)} (sha256)")
        else:
            draft.miss(f"a hash of the questions{of}")
        if data.excluded is None or (exam.origin is not None and not data.excluded):
            draft.miss(f"which rows{of} were left out")
        elif data.excluded:
            draft.say(
                f"Left out before{of and f', from {short_source_name(data.source)}'}: "
                + join_words(f"{n:,} {_rows(n)} ({reason})" for reason, n in data.excluded.items())
            )
        else:
            draft.say(f"No row{of} was left out")
        if exam.variant != "plain":
            draft.say(f"The questions{of} were changed first (variant {exam.variant})")


def _describe_models(draft: _Draft, exams: Sequence[EvaluationRecord]) -> None:
    unknown = []
    for exam in exams:
        model = exam.model
        facts = []
        if model.fingerprint and model.fingerprint != model.source:
            facts.append(f"weights {_short(model.fingerprint)}")
        else:
            unknown.append(exam.label)
        if model.adapter:
            facts.append(f"with an adapter, sha256 {_short(model.adapter)}")
        if model.parameters:
            facts.append(f"{model.parameters:,} parameters")
        if model.dtype not in (None, "", "none"):
            facts.append(f"{model.dtype} arithmetic")
        if exam.mixed_from:
            facts.append(f"a mixture of {len(exam.mixed_from)} evaluations")
        draft.say(f"{exam.label} is {model.source}{f' ({join_words(facts)})' if facts else ''}")
        if (origin := exam.origin) is not None:
            draft.say(
                f"The answers of {exam.label} are from a log of {origin.display_name}, task "
                f"{origin.task}, and count as correct by its metric {origin.metric}"
            )
    if unknown:
        draft.miss(f"the identity of the weights of {join_words(unknown)}")


def _describe_answers(
    draft: _Draft, exams: Sequence[EvaluationRecord], named: bool = False
) -> None:
    """Describe prompt and method; settings that all evaluations share are said once."""
    for exam in exams:
        book = exam.open_book
        if book is not None and book.kind == "search":
            draft.say(
                f"{exam.label} is a text search in {book.passages:,} passages, with a query for "
                "each option; the answer was the option with the highest score"
            )
            continue
        choice = _CHOICES[exam.method]
        if exam.method == "cloze" and exam.normalization is not None:
            scale = exam.normalization
            choice += f", {_NORMALIZATIONS.get(scale, f'by log-probability per {scale}')}"
        if exam.method == "generate":
            if exam.parser is not None:
                choice += f" (version {exam.parser})"
            if exam.constrained:
                choice += "; only an option’s letter or text could be generated"
        draft.say(f"{f'Method {exam.method}: the' if named else 'The'} answer was {choice}")
        if exam.method == "generate" and not named:
            draft.say(
                f"Of the answers of {exam.label}, {exam.counts.unparsed:,} could not be read and "
                "count as not correct"
            )
        elif exam.origin is None:
            draft.say(_ORDERS[exam.orders])
        else:
            draft.miss(f"in which order {exam.label} was shown the options")
        if exam.shots is not None:
            shown = f"{exam.shots} worked examples ({exam.shots_by or 'choice not recorded'})"
            draft.say(f"Prompts had {shown if exam.shots else 'no worked examples'}")
        else:
            draft.miss(f"how many worked examples the prompts of {exam.label} had")
        if book is not None:
            draft.say(
                f"Prompts of {exam.label} showed {book.passages:,} passages "
                f"{'for each option' if book.kind == 'per-option' else 'for all options'} of an "
                f"index without {book.left_out:,} near-duplicates of these questions"
            )
        if exam.prompt_hash:
            draft.say(f"The prompt has the fingerprint {_short(exam.prompt_hash)}")
        else:
            draft.miss(f"the prompt of {exam.label}")


def _describe_baselines(draft: _Draft, exams: Sequence[EvaluationRecord]) -> None:
    first = exams[0]
    names = [
        f"chance ({format_percent(first.chance)} %)",
        f"always giving {first.majority_letter} ({format_percent(first.majority.value)} %)",
    ]
    if len({exam.data.source for exam in exams}) > 1:
        names = ["chance", "the most frequent right letter"]
    blind = {exam.options_only.n for exam in exams if exam.options_only is not None}
    if blind:
        names.append(f"the same model without the stem (n = {join_words(map(str, sorted(blind)))})")
    searches = {e.search.passages: e for e in exams if e.search is not None}
    for passages in searches:
        names.append(
            f"a text search in {passages:,} passages of training questions, without "
            "near-duplicates of the evaluated ones, on the same questions"
        )
    draft.say(f"Baselines are {join_words(names)}")
    if not searches and all(e.open_book is None for e in exams):
        draft.miss("the accuracy of a search in training questions, as a baseline")


def _describe_trained_on(draft: _Draft, exams: Sequence[EvaluationRecord]) -> None:
    for exam in exams:
        if exam.trained_on is not None:
            draft.say(
                f"Of the {exam.counts.n:,} questions of {short_source_name(exam.data.source)}, "
                f"{exam.trained_on:,} are in the fine-tuning data of {exam.label} with the same "
                "text; pretraining data were not searched"
            )
    if unknown := dict.fromkeys(exam.label for exam in exams if exam.trained_on is None):
        draft.miss(f"which of these questions are in the training data of {join_words(unknown)}")


def _describe_paired_test(draft: _Draft, comparisons: Sequence[ComparisonRecord]) -> None:
    draft.say(
        "Accuracies are given with Wilson’s score intervals (Wilson 1927), their paired difference "
        "with Tango’s score interval (Tango 1998) with a continuity correction of half a question, "
        "all 95 %"
    )
    draft.say(
        f"The test is McNemar’s exact test, two-sided, at a level of {100 * ALPHA:g} % "
        "(McNemar 1947)"
    )
    for record in comparisons:
        discordant = record.only_a + record.only_b
        of = f" of {short_source_name(record.split)}" if len(comparisons) > 1 else ""
        one = f" ({record.b})" if len({c.b for c in comparisons}) > 1 else ""
        rule = (
            ""
            if discordant
            else ", with 3 / n as the upper bound of the discordance (Hanley and Lippman-Hand 1983)"
        )
        draft.say(
            f"With {discordant:,} discordant of {record.n:,} questions{of}{one}, a true difference "
            f"of {format_percent(record.minimum_detectable)} points is found with 80 % power "
            f"(Miller 2024){rule}"
        )
    for record in comparisons:
        if len(comparisons) == 1 and record.design_effect is not None:
            draft.say(
                "Questions of one group, topic or subject are not independent: the design effect "
                f"of these clusters is {record.design_effect:.2f} (Cameron and Miller 2015); the "
                "interval does not include it"
            )


def _describe_multiplicity(
    draft: _Draft, record: ComparisonRecord, slices: Sequence[PairedSlice]
) -> None:
    draft.say(
        "The p-value is not corrected for other comparisons"
        if record.p_holm is None
        else "The p-value is also given after Holm’s correction for all comparisons of the run "
        "(Holm 1979)"
    )
    tested = {s.dimension: 0 for s in slices}
    for part in slices:
        tested[part.dimension] += part.p_holm is not None
    if counts := [f"{dimension} ({n})" for dimension, n in tested.items() if n]:
        draft.say(
            f"Subgroups were compared by {join_words(counts)}, with p-values corrected by Holm’s "
            "method for the number of subgroups of each kind (Holm 1979)"
        )


def _describe_calibration(draft: _Draft, analyses: Sequence[AnalysisRecord]) -> None:
    """Describe the calibration error, and where temperatures were fitted.

    The labels are those of the analyses' evaluations.
    """
    known = [analysis for analysis in analyses if analysis.calibration is not None]
    if not known:
        return
    draft.say(
        "Calibration error is the root of the mean squared distance of confidence and accuracy in "
        "bins of equal size, debiased"
    )
    plain = []
    for analysis in known:
        found, label = analysis.selective, analysis.evaluation.label
        if found is None or found.temperature is None or found.calibrated_n is None:
            plain.append(label)
            continue
        source = short_source_name(found.calibrated_on) if found.calibrated_on else "other data"
        draft.say(
            f"The temperature of {label} ({found.temperature:.2f}) was fitted on "
            f"{found.calibrated_n:,} other questions, of {source} (Guo et al. 2017)"
        )
    if plain:
        draft.say(f"No temperature was fitted for {join_words(plain)}")


def _miss_trainings(draft: _Draft, exams: Iterable[EvaluationRecord]) -> None:
    if trained := [exam.label for exam in exams if exam.model.adapter]:
        draft.miss(
            f"with which settings and seed {join_words(trained)} was trained, which the report of "
            "its run says"
        )


def _describe_training(draft: _Draft, trainings: Sequence[TrainingRecord]) -> None:
    first = trainings[0]
    base, audit = first.base, first.audit
    way = "LoRA (Hu et al. 2021)" if first.method == "lora" else "training all weights"
    seeds = [str(training.seed) for training in trainings]
    draft.say(
        f"The base model is {base.source} (weights {_short(base.fingerprint or 'unknown')}, "
        f"{base.dtype} arithmetic)"
    )
    draft.say(
        f"It was fine-tuned by {way}, {first.trainable_parameters:,} of "
        f"{first.total_parameters:,} weights, on {first.data.n:,} questions of "
        f"{short_source_name(first.data.source)} for {first.epochs} epochs ({first.steps:,} "
        f"steps), with {'seed' if len(seeds) == 1 else 'seeds'} {join_words(seeds)}"
    )
    draft.say(
        f"The model learned to answer with the option’s {first.target.replace('+', ' and ')}; the "
        f"loss covered {audit.supervised:,} of {audit.tokens:,} tokens, "
        f"{audit.prompt_supervised:,} of them in a prompt, and the end of the turn in "
        f"{audit.ends_supervised:,} of {audit.examples:,} examples"
    )
    kept = [t.kept_step for t in trainings if t.kept_step is not None]
    if kept:
        steps = join_words(f"{step:,}" for step in dict.fromkeys(kept))
        draft.say(f"The weights of step {steps} were kept, as the best on the validation split")


def _describe_decontamination(draft: _Draft, manifest: SnapshotManifest) -> None:
    excluded = dict(manifest.train_split.description.excluded)
    exact, near = (excluded.pop(EVALUATED_REASONS[kind], 0) for kind in ("exact", "near"))
    searched = manifest.config.overlap.near
    also = f" and near-duplicates of them ({near:,}; MinHash, Broder 1997)" if searched else ""
    draft.say(
        f"Before training, questions that are also evaluated ({exact:,}){also} were removed from "
        "the training data"
    )
    if not searched:
        draft.say("Near-duplicates were not searched for")
    if excluded:
        draft.say(
            "Also left out of the training data: "
            + join_words(f"{n:,} {_rows(n)} ({reason})" for reason, n in excluded.items())
        )
    for source in manifest.sources:
        if source.revision:
            draft.say(
                f"{short_source_name(source.source)} was read at revision {source.revision[:12]}"
            )


def _describe_environments(draft: _Draft, records: Iterable[Provenance | None]) -> None:
    for made in records:
        if made is None:
            draft.miss("versions and machine")
            continue
        commit = f", commit {made.commit[:12]}" if made.commit else ""
        packages = [f"{name} {version}" for name, version in made.packages.items()]
        draft.say(
            f"Computed with medtune {made.medtune}{commit}, Python {made.python}"
            f"{''.join(f', {package}' for package in packages)} on {made.gpu or made.cpu} "
            f"({made.cores} cores)"
        )


def _with_label(exam: EvaluationRecord, label: str) -> EvaluationRecord:
    return exam if exam.label == label else exam.model_copy(update={"label": label})


def _short(digest: str) -> str:
    return digest[:_HASH_DIGITS]


def _rows(n: int) -> str:
    return "row" if n == 1 else "rows"
