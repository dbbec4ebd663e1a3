"""Which questions make up `train_size`: by lot, in shares per subject or letter."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medtune.core.errors import DataError
from medtune.core.experiment import BalanceConfig, DataConfig
from medtune.core.intervals import wilson
from medtune.core.predictions_io import ANALYSIS, read_evaluation
from medtune.core.records import LETTERS, Outcome, Proportion, Question
from medtune.core.run_folder import read_record
from medtune.core.schemas.analysis import AnalysisRecord
from medtune.core.schemas.dataset import UNKNOWN, BalanceRecord
from medtune.data.arrow_table import QuestionTable
from medtune.data.dedup.wording_clusters import wording_ranks
from medtune.data.hash_sampling import lowest, shares

LEAST_JUDGED = 10
"""Subjects with fewer questions in the earlier evaluation are not called weak."""


@dataclass(frozen=True, slots=True)
class BalancedDraw:
    """What a draw chose."""

    questions: QuestionTable
    left: int
    """How many were not drawn."""
    balance: tuple[BalanceRecord, ...]


def draw(questions: QuestionTable, data: DataConfig, seed: int, source: str) -> BalancedDraw:
    """Draw `train_size` questions; all of them where no size is set.

    Args:
        questions: What there is after overlap and curation.
        data: Size, way of sampling, balance, diversity.
        seed: Of the lots.
        source: Name of the data, for messages.

    Returns:
        The questions in their former order; repetitions of one bear the ids "ID~2", "ID~3".

    Raises:
        DataError: There are fewer than `train_size`, or the earlier evaluation does not fit.
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
    order = list(range(len(names))) if data.sample == "first" else lowest(seed, names)
    if data.curation.diversity.on:
        ranks = wording_ranks(list(questions), order)
        order.sort(key=lambda place: ranks[place])  # stable: lots decide inside a rank
    groups = _groups(questions, data.balance)
    weights = _Weights(data.balance, Counter(groups), source)
    most = {g: size if data.balance.repeat else n for g, n in weights.available.items()}
    given = shares(size, weights.shares, most)
    places = sorted(_taken(order, groups, given))
    chosen = questions.take(places)
    distinct = len(set(places))
    if distinct < len(places):
        chosen = QuestionTable.of(_numbered(chosen))
    records = tuple(weights.records(given)) if data.balance.by != "none" else ()
    return BalancedDraw(chosen, len(questions) - distinct, records)


def _groups(questions: QuestionTable, balance: BalanceConfig) -> list[str]:
    if balance.by == "subject":
        return [subject or UNKNOWN for subject in questions.texts("subject")]
    if balance.by == "letter":
        return [LETTERS[answer] for answer in questions.answers]
    return [""] * len(questions)


def _taken(order: Sequence[int], groups: Sequence[str], given: dict[str, int]) -> Iterator[int]:
    """Take each group's share in order, from the start again where it is larger than the group."""
    members: dict[str, list[int]] = defaultdict(list)
    for place in order:
        members[groups[place]].append(place)
    for name, share in given.items():
        for number in range(share):
            yield members[name][number % len(members[name])]


def _numbered(questions: QuestionTable) -> Iterator[Question]:
    seen: Counter[str] = Counter()
    for question in questions:
        seen[question.id] += 1
        number = seen[question.id]
        yield (
            question
            if number == 1
            else question.model_copy(update={"id": f"{question.id}~{number}"})
        )


class _Weights:
    """How much of the size each group gets, and why."""

    def __init__(self, balance: BalanceConfig, available: Counter[str], source: str) -> None:
        self.available = dict(available.most_common())
        self.earlier: dict[str, Proportion] = {}
        self.weak: set[str] = set()
        if balance.weak_from:
            self._judge(Path(balance.weak_from), source)
            if balance.weak_by == "holm":
                self.weak = self._shown_weak(Path(balance.weak_from))
        self.shares = {
            name: self._share(balance, count) * (balance.weak_factor if name in self.weak else 1)
            for name, count in self.available.items()
        }

    def records(self, given: dict[str, int]) -> Iterator[BalanceRecord]:
        """Write down what each group got."""
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

    @staticmethod
    def _share(balance: BalanceConfig, count: int) -> float:
        if balance.by == "letter":
            return 1.0
        # Shares proportional to n^(1/T), as multilingual models sample languages
        # (Conneau et al. 2020, arXiv 1911.02116, section 3.1).
        return float(count ** (1 / balance.temperature))

    def _judge(self, folder: Path, source: str) -> None:
        """Call the subjects weak in which an earlier model was worse than over all questions."""
        record, predictions = read_evaluation(folder)
        for name in self.available:
            some = [p.outcome for p in predictions if (p.subject or UNKNOWN) == name]
            if len(some) >= LEAST_JUDGED:
                right = sum(outcome is Outcome.CORRECT for outcome in some)
                self.earlier[name] = wilson(right, len(some))
        if not self.earlier:
            raise DataError(
                f"{folder}: no subject of {source} has {LEAST_JUDGED} questions or more in it",
                expected=f"an evaluation of questions about {', '.join(list(self.available)[:5])}",
                fix="name another evaluation in data.balance.weak_from",
            )
        overall = record.accuracy.value
        self.weak = {name for name, found in self.earlier.items() if found.value < overall}

    def _shown_weak(self, folder: Path) -> set[str]:
        """Read which subjects an analysis of that evaluation showed to be weak."""
        analysis = read_record(folder / ANALYSIS, AnalysisRecord)
        if analysis is None:
            raise DataError(
                f"{folder} holds no analysis",
                expected=f'{ANALYSIS}, for data.balance.weak_by = "holm"',
                fix=f"medtune analyze {folder}",
            )
        return self.earlier.keys() & set(analysis.weak_subjects)
