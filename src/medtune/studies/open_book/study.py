"""Run the open-book study (`medtune study open-book MODEL DATA --index DIR`).

Each model answers by closed book and with passages in its prompt, per option and shared, for
several numbers of passages and sizes of the index; the search alone stands beside them.  Passages
that leak a question are left out.  Every evaluation is a cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from medtune.core.errors import InputError
from medtune.core.experiment import ColumnMapping, RetrievalConfig
from medtune.core.progress import Progress
from medtune.core.prompt import PromptStyle
from medtune.core.records import Method, content_hash
from medtune.core.run_folder import lock_folder, read_valid_record, write_record
from medtune.data.load import load_split
from medtune.evaluation.exam import Exam, SearchReference
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.models.open_model import find_unloaded_model, open_model
from medtune.models.search_model import SearchModel
from medtune.models.weights_card import resolve_prompt_defaults
from medtune.retrieval.evidence import EvidenceFinder
from medtune.retrieval.index import PassageIndex
from medtune.retrieval.subset import IndexSubset
from medtune.studies.grid import StudyCell
from medtune.studies.grid_schema import GridState
from medtune.studies.open_book.analysis import build_open_book_record
from medtune.studies.open_book.schema import (
    PASSAGES,
    PROMPT_KINDS,
    SHARES,
    BookSetting,
    OpenBookRecord,
    SearchedIndex,
)
from medtune.studies.runner import StudiedModel, Study
from medtune.workflows.search_reference import search_without_leaks
from medtune.workflows.training_overlap import count_training_overlap

SEARCHED_FOLDER = "searched"


class OpenBookStudy(Study[OpenBookRecord]):
    """The open-book study of models on one split.

    Args:
        folder: Folder of the study.
        progress: Progress reports.
        models: Names of the models.
        data: Questions.
        index: Folder of the passage index.
        passages: Numbers of passages in a prompt.
        shares: Shares of the index, per cent.
        words: Most words of a passage in a prompt.
        method: letter or cloze.
        limit: Use only the first questions.
        columns: Column mapping of the data.
        dtype: Precision of the models.

    Raises:
        InputError: A model or a share occurs twice, a number is out of range, or a share of an
            index with vectors is asked for.
    """

    name = "open book"
    page = "open-book.html"

    def __init__(
        self,
        folder: Path,
        progress: Progress,
        models: Sequence[str],
        data: str,
        index: Path,
        passages: Sequence[int] = PASSAGES,
        shares: Sequence[float] = SHARES,
        words: int = RetrievalConfig().words,
        method: Method = "cloze",
        limit: int | None = None,
        columns: ColumnMapping | None = None,
        dtype: str = "auto",
    ) -> None:
        super().__init__(folder, progress)
        _check(models, passages, shares)
        self._method, self._words, self._passages = method, words, sorted(passages)
        self._search = SearchModel.open(f"search:{index}")
        if self._search.index.manifest.encoder is not None and min(shares) < 100:
            raise InputError(
                f"{index} has vectors, which a share of its passages cannot be searched by",
                expected="--shares 100, or an index without --encoder",
            )
        self._split = load_split(data, columns, limit, progress)
        questions = self._split.questions
        self._asked = {
            name: _AskedModel(
                studied=StudiedModel(
                    partial(find_unloaded_model, name, None, dtype, progress),
                    partial(
                        open_model,
                        name,
                        questions=questions,
                        style=(style := resolve_prompt_defaults(name).style),
                        dtype=dtype,
                        progress=progress,
                        # An open-book model is asked without passages on purpose.
                        retrieval=RetrievalConfig(),
                    ),
                ),
                style=style,
                trained_on=count_training_overlap(name, questions),
            )
            for name in models
        }
        with lock_folder(folder / SEARCHED_FOLDER, wait=True):
            self._shares = {share: self._search_share(share) for share in sorted(shares)}

    def list_cells(self) -> list[StudyCell]:
        """List the evaluations."""
        return [self._cell(setting) for setting in self._settings]

    def build_record(self, state: GridState) -> OpenBookRecord:
        """Compare the settings."""
        return build_open_book_record(
            {s: self.read_cell(self._cell_name(s)) for s in self._settings},
            {share: searched.record for share, searched in self._shares.items()},
            self._search.index.manifest,
            self._words,
            state.cell_s,
        )

    @cached_property
    def _settings(self) -> list[BookSetting]:
        searches = [BookSetting(model=None, kind="search", share=share) for share in self._shares]
        answers = [
            setting
            for model in self._asked
            for setting in (
                BookSetting(model=model, kind="closed"),
                *(
                    BookSetting(model=model, kind=kind, passages=count, share=share)
                    for share in self._shares
                    for kind in PROMPT_KINDS
                    for count in self._passages
                ),
            )
        ]
        return [*searches, *answers]

    def _search_share(self, share: float) -> _SearchedShare:
        """Search a share of the index for every question, or read what was found before."""
        index: PassageIndex = self._search.index
        if share < 100:
            index = IndexSubset(index, share / 100)
        search = self._search.in_index(index)
        inputs = content_hash([search.describe().fingerprint, self._split.description.hash])
        path = self.folder / SEARCHED_FOLDER / f"{share:g}.json"
        record = read_valid_record(path, SearchedIndex, inputs)
        if record is None:
            found = search_without_leaks(search, self._split.questions, self.progress)
            record = SearchedIndex(
                inputs=inputs,
                index=found.reference.index,
                passages=found.reference.passages,
                excluded=tuple(sorted(found.excluded)),
                right=found.reference.right,
                similarity=found.reference.similarity,
            )
            write_record(path, record)
        return _SearchedShare(index, search.without(record.excluded), record)

    def _cell_name(self, setting: BookSetting) -> str:
        place = list(self._asked).index(setting.model) + 1 if setting.model is not None else ""
        parts = [f"model{place}"] if setting.model is not None else []
        parts.append(setting.kind)
        parts += [str(setting.passages)] if setting.passages else []
        parts += [f"{setting.share:g}-percent"] if setting.share is not None else []
        return "-".join(parts)

    def _cell(self, setting: BookSetting) -> StudyCell:
        largest = max(self._shares)
        share = self._shares[setting.share if setting.share is not None else largest]
        asked = self._asked[setting.model] if setting.model is not None else None
        style = asked.style if asked is not None else PromptStyle()
        exam = replace(
            Exam.for_likelihood(
                self._split.questions, self._split.description, style, self._method
            ),
            search=share.reference,
            trained_on=asked.trained_on if asked is not None else None,
        )
        if setting.passages:
            exam = replace(exam, evidence=self._evidence(setting, share))
        identity = asked.studied.identity if asked is not None else share.search
        label = setting.model or "search"

        def work(folder: Path) -> None:
            model = asked.studied.model if asked is not None else share.search
            self.evaluate(model, exam, label, folder)

        name, inputs = self._cell_name(setting), exam.hash_inputs(identity, STRICT_PARSER.version)
        return StudyCell(name, inputs, work)

    def _evidence(self, setting: BookSetting, share: _SearchedShare) -> EvidenceFinder:
        assert setting.kind in PROMPT_KINDS, "the others have no passages"
        settings = RetrievalConfig(kind=setting.kind, passages=setting.passages, words=self._words)
        return EvidenceFinder(share.index, settings, frozenset(share.record.excluded))


@dataclass(frozen=True, slots=True)
class _SearchedShare:
    """A share of the index, searched for every question."""

    index: PassageIndex
    search: SearchModel
    """The search alone, without passages that leak a question."""
    record: SearchedIndex

    @property
    def reference(self) -> SearchReference:
        """Return the search baseline of an exam."""
        found = self.record
        return SearchReference(
            index=found.index,
            passages=found.passages,
            left_out=len(found.excluded),
            right=found.right,
            similarity=found.similarity,
            fingerprint=self.search.describe().fingerprint,
        )


@dataclass(frozen=True, slots=True)
class _AskedModel:
    """A model of the study, and how it is asked."""

    studied: StudiedModel
    style: PromptStyle
    trained_on: int | None


def _check(models: Sequence[str], passages: Sequence[int], shares: Sequence[float]) -> None:
    for option, given in (("MODEL", models), ("--passages", passages), ("--shares", shares)):
        if not given or len(set(given)) < len(given):
            raise InputError(
                f"{option} {', '.join(map(str, given))}", expected="one or more, each once"
            )
    if not all(1 <= count <= 10 for count in passages):
        raise InputError(
            f"--passages {', '.join(map(str, passages))}",
            expected="1 to 10 passages; the closed book is always evaluated",
        )
    if not all(0 < share <= 100 for share in shares):
        raise InputError(
            f"--shares {', '.join(f'{share:g}' for share in shares)}",
            expected="per cent of the index, above 0 and at most 100",
        )
