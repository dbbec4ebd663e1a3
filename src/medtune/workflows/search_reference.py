"""Search the training questions for evaluated ones, without those that leak them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medtune.core.choice import choose_option
from medtune.core.progress import Progress
from medtune.core.prompt import PromptStyle
from medtune.core.records import Question
from medtune.evaluation.exam import SearchReference
from medtune.evaluation.score import score_options
from medtune.models.search_model import SearchModel
from medtune.workflows.leaks import LeakFinder


@dataclass(frozen=True, slots=True)
class OpenBookQuestions:
    """The questions of an evaluation, beside an index of passages."""

    model: SearchModel
    """The search, without the passages that leak one of the questions."""
    excluded: frozenset[int]
    """Rows of these passages."""
    reference: SearchReference


def search_questions(
    name: str, questions: Sequence[Question], progress: Progress
) -> OpenBookQuestions:
    """Search for every question, after the passages that leak any of them are left out.

    Args:
        name: Name of the search model: search:DIR.
        questions: Labelled questions.
        progress: Progress to report to.

    Raises:
        RetrievalError: The folder holds no usable index.
    """
    return search_with(SearchModel.open(name), questions, progress)


def search_with(
    model: SearchModel, questions: Sequence[Question], progress: Progress
) -> OpenBookQuestions:
    """Search for every question with an open model; see `search_questions`."""
    leaks = LeakFinder(model.index)
    nearest = []
    with progress.task("leaks", len(questions)) as task:
        for question in questions:
            nearest.append(leaks.find_nearest(question))
            task.advance()
    excluded = frozenset().union(*(near.leaking for near in nearest))
    model = model.without(excluded)
    right = []
    with progress.task("search", len(questions)) as task:
        for question in questions:
            ((probabilities, _),) = score_options(model, PromptStyle(), "letter", [question])
            chosen = choose_option(probabilities, question.stem, question.options)
            right.append(chosen == question.answer)
            task.advance()
    reference = SearchReference(
        index=model.index.manifest.hash,
        passages=model.index.manifest.passages,
        left_out=len(excluded),
        right=tuple(right),
        similarity=tuple(near.similarity(excluded) for near in nearest),
    )
    return OpenBookQuestions(model, excluded, reference)
