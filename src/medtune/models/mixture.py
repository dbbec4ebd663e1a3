"""Answer by several models together: `mix:DIR`, a log-linear pool of their probabilities.

The log-probability of an option is the weighted sum of the models' log-probabilities, normalised
over the options (logarithmic opinion pool; Genest and Zidek 1986, Statistical Science 1, 114-135).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medtune.core.errors import ModelError
from medtune.core.model_names import MIX_PREFIX, is_search_model
from medtune.core.option_logprobs import log_probabilities, log_softmax, option_probabilities
from medtune.core.prompt import (
    HIDDEN_STEM,
    PromptStyle,
    form_for_method,
    prompt_fingerprint,
    visible_stem,
)
from medtune.core.protocols import (
    AnswerModel,
    ContinuationScore,
    Decoding,
    GenerateRequest,
    Generation,
    Message,
    ScoreRequest,
)
from medtune.core.records import (
    MIN_OPTIONS,
    EvaluationRecord,
    ModelDescription,
    Question,
    content_hash,
)
from medtune.core.run_folder import read_record
from medtune.core.schemas.mixture import MixtureParent, MixtureRecord
from medtune.models.search_model import (
    SearchModel,
    generate_best_option,
    render_plain,
)
from medtune.models.weights_card import resolve_prompt_defaults

MIX_FILE = "mix.json"
DTYPES = ("float32", "bfloat16", "float16", "nf4")
"""Precisions that a model can be opened in by name."""
OpenParent = Callable[[str, PromptStyle, str], AnswerModel]
"""Opens a parent by its name, prompt style and dtype."""


def read_mixture(name: str) -> MixtureRecord:
    """Read the mixture of a name such as mix:runs/mix.

    Raises:
        ModelError: The folder holds no mixture.
    """
    folder = Path(name.removeprefix(MIX_PREFIX))
    record = read_record(folder / MIX_FILE, MixtureRecord)
    if record is None:
        raise ModelError(
            f"{folder} holds no mixture",
            expected=f"{MIX_FILE}, as `medtune mix` writes it",
            fix="medtune mix --calibration EVALUATION --calibration EVALUATION --out DIR",
        )
    return record


def find_own_search(name: str) -> str | None:
    """Return the search that a model's name is, or that is among its parents; None without one.

    Raises:
        ModelError: The name is that of a mixture that does not exist.
    """
    if is_search_model(name):
        return name
    if not name.startswith(MIX_PREFIX):
        return None
    names = (parent.name for parent in read_mixture(name).parents)
    return next((each for each in names if each is not None and is_search_model(each)), None)


def pool_log_probabilities(
    weights: Sequence[float], logs: Sequence[Sequence[float]]
) -> tuple[float, ...]:
    """Pool the log-probabilities of one question's options.

    Args:
        weights: One per model.
        logs: `[model][option]`.
    """
    return log_softmax(
        [
            math.fsum(w * log for w, log in zip(weights, column, strict=True))
            for column in zip(*logs, strict=True)
        ]
    )


def describe_mixture(
    name: str, record: MixtureRecord, parents: Sequence[ModelDescription]
) -> ModelDescription:
    """Describe a mixture by its weights, its parents and how these are asked."""
    identity = [
        [model.fingerprint, model.adapter, asked.method, asked.normalization, asked.prompt_hash]
        for model, asked in zip(parents, (p.evaluation for p in record.parents), strict=True)
    ]
    dtypes = dict.fromkeys(m.dtype for m in parents if m.dtype not in (None, "none"))
    weights = [model.parameters for model in parents if model.parameters is not None]
    return ModelDescription(
        source=name,
        fingerprint=content_hash([identity, [parent.weight for parent in record.parents]]),
        parameters=sum(weights) if len(weights) == len(parents) else None,
        dtype=" and ".join(filter(None, dtypes)) or "none",
        device=" and ".join(dict.fromkeys(m.device for m in parents if m.device)) or None,
    )


@dataclass(frozen=True, slots=True)
class _OpenParent:
    """A parent that is open, with its own prompt and method."""

    model: AnswerModel
    style: PromptStyle
    evaluation: EvaluationRecord

    def ask(self, questions: Sequence[Question]) -> list[tuple[float, ...]]:
        """Return the log-probabilities of the options of each question."""
        normalization = self.evaluation.normalization
        assert normalization is not None, "free answers are refused when the weights are fitted"
        assert normalization != "character", "imported evaluations are refused as well"
        requests = [self._request(question) for question in questions]
        answers = self.model.score(requests)
        for request, scores in zip(requests, answers, strict=True):
            if not all(math.isfinite(score.logprob) for score in scores):
                raise ModelError(
                    f"{self.evaluation.model.source} gives scores that are not numbers: "
                    f"question {request.id}",
                    expected="a finite log-probability for every option",
                )
        return [log_probabilities(option_probabilities(s, normalization)) for s in answers]

    def _request(self, question: Question) -> ScoreRequest:
        form = form_for_method(self.evaluation.method, "text")
        messages = self.style.build_messages(question, form)
        beyond: Any = getattr(self.model, "beyond", lambda _: None)
        if (found := beyond(messages)) is not None:
            raise ModelError(
                f"question {question.id} makes a prompt of {found[0]:,} tokens",
                expected=f"at most {found[1]:,}, which is what {self.evaluation.model.source} "
                "reads",
                fix="shorten it or leave it out",
            )
        lead, continuations = self.style.split_continuations(question, form)
        return ScoreRequest(
            question.id, visible_stem(question), question.options, messages, lead, continuations
        )


class MixtureModel:
    """An AnswerModel that pools the probabilities of other models, asked each in its own way."""

    def __init__(self, name: str, record: MixtureRecord, parents: Sequence[_OpenParent]) -> None:
        self._name, self._record, self._parents = name, record, parents

    @classmethod
    def open(cls, name: str, open_parent: OpenParent, dtype: str = "auto") -> MixtureModel:
        """Open a mixture and each of its parents, all of which stay in memory.

        Args:
            name: mix: and the folder of the mixture.
            open_parent: Opens a model.
            dtype: Precision of all parents; auto opens each as it was when the weights were fitted.

        Raises:
            ModelError: There is no mixture, or a parent is missing or no longer the same.
        """
        record = read_mixture(name)
        parents = [_open(name, parent, open_parent, dtype) for parent in record.parents]
        return cls(name, record, parents)

    def without(self, excluded: Collection[int]) -> MixtureModel:
        """Return a model whose first search leaves out some passages, by row."""
        parents = list(self._parents)
        for at, parent in enumerate(parents):
            if isinstance(parent.model, SearchModel):
                parents[at] = replace(parent, model=parent.model.without(excluded))
                break
        return MixtureModel(self._name, self._record, parents)

    def describe(self) -> ModelDescription:
        """Describe the weights, and the parents as they are open now."""
        described = [parent.model.describe() for parent in self._parents]
        return describe_mixture(self._name, self._record, described)

    def render(self, messages: Sequence[Message]) -> str:
        """Render a chat as plain text; each parent is asked by a prompt of its own."""
        return render_plain(messages)

    def score(self, requests: Sequence[ScoreRequest]) -> list[tuple[ContinuationScore, ...]]:
        """Score the options; each counts as one token of one byte, whatever its length.

        Raises:
            ModelError: A parent fails, or the options are asked for one by one.
        """
        return [
            tuple(ContinuationScore(value, 1, 1) for value in logs) for logs in self._ask(requests)
        ]

    def generate(
        self,
        requests: Sequence[GenerateRequest],
        decoding: Decoding,  # noqa: ARG002 - there is one answer
    ) -> list[Generation]:
        """Answer with a sentence that names the likeliest option.

        Raises:
            ModelError: A parent fails.
        """
        logs = self._ask(requests)
        return [generate_best_option(r, each) for r, each in zip(requests, logs, strict=True)]

    def _ask(
        self, requests: Sequence[ScoreRequest] | Sequence[GenerateRequest]
    ) -> list[tuple[float, ...]]:
        if any(len(request.options) < MIN_OPTIONS for request in requests):
            raise ModelError(
                f"{self._name} is asked for one option at a time",
                expected="all options of a question together: a mixture has no passages of its own",
                fix="evaluate it without passages in the prompt",
            )
        # A request without a stem is one whose stem is hidden.
        questions = [
            Question(id=r.id, stem=r.stem or HIDDEN_STEM, options=r.options, answer=None)
            for r in requests
        ]
        answers = [parent.ask(questions) for parent in self._parents]
        weights = [parent.weight for parent in self._record.parents]
        return [pool_log_probabilities(weights, logs) for logs in zip(*answers, strict=True)]


def _open(name: str, parent: MixtureParent, open_parent: OpenParent, dtype: str) -> _OpenParent:
    """Open a parent, and refuse one that is not asked as when the weights were fitted."""
    asked = parent.evaluation
    if parent.name is None:
        raise ModelError(
            f"{name} does not say where the adapter of {parent.label} is",
            fix="mix again, and name every model in order: --model adapter:RUN --model ...",
        )
    unusual = {
        "passages in its prompt": asked.open_book is not None and asked.open_book.kind != "search",
        f"orders = {asked.orders}": asked.orders != "given",
        "worked examples": bool(asked.shots),
    }
    if any(unusual.values()):
        what = " and ".join(word for word, said in unusual.items() if said)
        raise ModelError(
            f"{parent.name} was evaluated with {what}",
            expected="questions asked once, as given, without anything else in the prompt",
            fix="compute such a mixture from evaluations: medtune mix A B",
        )
    precision = asked.model.dtype if dtype == "auto" and asked.model.dtype in DTYPES else dtype
    style = resolve_prompt_defaults(parent.name).style
    model = open_parent(parent.name, style, precision)
    found, fix = model.describe(), "restore it, or evaluate it and mix again"
    if (found.fingerprint, found.adapter) != (asked.model.fingerprint, asked.model.adapter):
        raise ModelError(
            f"{parent.name} has other weights than when it was mixed",
            expected=f"fingerprint {(asked.model.fingerprint or '')[:12]}"
            + (f" with adapter {asked.model.adapter[:12]}" if asked.model.adapter else ""),
            fix=fix,
        )
    if prompt_fingerprint(style, model.render) != asked.prompt_hash:
        raise ModelError(
            f"{parent.name} was evaluated by another prompt than it is asked by now",
            expected="the default prompt, or the one that an adapter was trained on",
            fix="evaluate it with `medtune evaluate`, and mix again",
        )
    return _OpenParent(model, style, asked)
