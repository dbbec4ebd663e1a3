"""Draw `train_size` questions at random, balanced by subject or letter."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medtune.core.errors import DataError
from medtune.core.experiment import BalanceConfig, DataConfig
from medtune.core.intervals import wilson_interval
from medtune.core.predictions_io import ANALYSIS_FILE, read_evaluation
from medtune.core.records import LETTERS, Outcome, Proportion, Question
from medtune.core.run_folder import read_record
from medtune.core.schemas.analysis import AnalysisRecord
from medtune.core.schemas.dataset import NO_SUBJECT, BalanceRecord
from medtune.data.arrow_table import QuestionTable
from medtune.data.dedup.wording_clusters import rank_in_wording_clusters
from medtune.data.hash_sampling import allocate_proportionally, order_by_hash

MIN_SUBJECT_QUESTIONS = 10
"""Least number of questions in the earlier evaluation for a subject to count as weak."""


@dataclass(frozen=True, slots=True)
class BalancedDraw:
    """Result of a balanced draw."""

    questions: QuestionTable
    left: int
    """Number of questions that were not drawn."""
    balance: tuple[BalanceRecord, ...]


def draw_balanced(
    questions: QuestionTable, data: DataConfig, seed: int, source: str
) -> BalancedDraw:
    """Draw `train_size` questions of a source, or all if no size is set.

    Returns:
        The questions in their original order; repetitions have the ids "ID~2", "ID~3".

    Raises:
        DataError: There are fewer than `train_size`, or the earlier evaluation does not match.
    """
    size = data.train_size
    if size is None:
        return BalancedDraw(questions, 0, ())
    if size > len(questions) and not data.balance.repeat:
        raise DataError(
            f"{source} has {len(questions)} usable questions, train_size asks for {size}",
            fix="lower data.train_size, or leave it out",
        )
    names = questions.ids
    order = list(range(len(names))) if data.sample == "first" else order_by_hash(seed, names)
    if data.curation.diversity.on:
        ranks = rank_in_wording_clusters(list(questions), order)
        order.sort(key=lambda place: ranks[place])  # stable: keeps the random order inside a rank
    groups = _group_by_balance(questions, data.balance)
    weights = _GroupWeights(data.balance, Counter(groups), source)
    most = {g: size if data.balance.repeat else n for g, n in weights.available.items()}
    given = allocate_proportionally(size, weights.shares, most)
    places = sorted(_take_shares(order, groups, given))
    chosen = questions.take(places)
    distinct = len(set(places))
    if distinct < len(places):
        chosen = QuestionTable.from_questions(_number_repeats(chosen))
    records = tuple(weights.balance_records(given)) if data.balance.by != "none" else ()
    return BalancedDraw(chosen, len(questions) - distinct, records)


def _group_by_balance(questions: QuestionTable, balance: BalanceConfig) -> list[str]:
    if balance.by == "subject":
        return [subject or NO_SUBJECT for subject in questions.read_column("subject")]
    if balance.by == "letter":
        return [LETTERS[answer] for answer in questions.answers]
    return [""] * len(questions)


def _take_shares(
    order: Sequence[int], groups: Sequence[str], given: dict[str, int]
) -> Iterator[int]:
    """Yield each group's share in order, repeating the group if the share is larger."""
    members: dict[str, list[int]] = defaultdict(list)
    for place in order:
        members[groups[place]].append(place)
    for name, share in given.items():
        for number in range(share):
            yield members[name][number % len(members[name])]


def _number_repeats(questions: QuestionTable) -> Iterator[Question]:
    seen: Counter[str] = Counter()
    for question in questions:
        seen[question.id] += 1
        number = f"~{seen[question.id]}" if seen[question.id] > 1 else ""
        yield question.model_copy(update={"id": f"{question.id}{number}"})


class _GroupWeights:
    """Weights of the groups in the draw."""

    def __init__(self, balance: BalanceConfig, available: Counter[str], source: str) -> None:
        self.available = dict(available.most_common())
        self.earlier: dict[str, Proportion] = {}
        self.weak: set[str] = set()
        if balance.weak_from:
            self._find_weak_by_mean(Path(balance.weak_from), source)
            if balance.weak_by == "holm":
                self.weak = self._read_weak_by_holm(Path(balance.weak_from))
        # By subject n^(1/T), as multilingual models sample languages
        # (Conneau et al. 2020, arXiv 1911.02116, section 3.1).
        power = 0.0 if balance.by == "letter" else 1 / balance.temperature
        self.shares = {
            name: count**power * (balance.weak_factor if name in self.weak else 1)
            for name, count in self.available.items()
        }

    def balance_records(self, given: dict[str, int]) -> Iterator[BalanceRecord]:
        """Yield the record of each group's share."""
        scale = sum(self.available.values()) / sum(self.shares.values())
        for name, count in self.available.items():
            yield BalanceRecord(
                name=name,
                available=count,
                drawn=given[name],
                weight=scale * self.shares[name] / count,
                earlier=self.earlier.get(name),
                weak=name in self.weak,
            )

    def _find_weak_by_mean(self, folder: Path, source: str) -> None:
        """Mark the subjects as weak in which an earlier model was below its overall accuracy."""
        record, predictions = read_evaluation(folder)
        for name in self.available:
            some = [p.outcome for p in predictions if (p.subject or NO_SUBJECT) == name]
            if len(some) >= MIN_SUBJECT_QUESTIONS:
                right = sum(outcome is Outcome.CORRECT for outcome in some)
                self.earlier[name] = wilson_interval(right, len(some))
        if not self.earlier:
            raise DataError(
                f"{folder}: no subject of {source} has {MIN_SUBJECT_QUESTIONS} questions or "
                "more in it",
                expected=f"an evaluation of questions about {', '.join(list(self.available)[:5])}",
                fix="name another evaluation in data.balance.weak_from",
            )
        overall = record.accuracy.value
        self.weak = {name for name, found in self.earlier.items() if found.value < overall}

    def _read_weak_by_holm(self, folder: Path) -> set[str]:
        """Return the significantly weak subjects from the analysis of that evaluation."""
        analysis = read_record(folder / ANALYSIS_FILE, AnalysisRecord)
        if analysis is None:
            raise DataError(
                f"{folder} holds no analysis",
                expected=f'{ANALYSIS_FILE}, for data.balance.weak_by = "holm"',
                fix=f"medtune analyze {folder}",
            )
        return self.earlier.keys() & set(analysis.weak_subjects)
