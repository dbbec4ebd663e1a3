"""Run a model on a server that speaks OpenAI's API: vLLM, llama-server, Ollama, LM Studio, OpenAI.

There are two ways to ask a question, chosen by the model's name:

- `remote:URL#MODEL`: the chat is sent to /chat/completions, and the server's template renders
  the prompt.
- `remote:URL#MODEL@hub:ORG/NAME` (or `@path:DIR`): medtune renders the prompt with that model's
  chat template and sends token ids to /completions, exactly those of `LocalModel`.

docs/remote.md lists what each method needs of a server.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from medtune.core.errors import RemoteError
from medtune.core.progress import Progress
from medtune.core.protocols import (
    ContinuationScore,
    Decoding,
    GenerateRequest,
    Generation,
    Message,
    ScoreRequest,
)
from medtune.core.records import ModelDescription, content_hash
from medtune.models.remote.api import Answer, ServedModel
from medtune.models.remote.desktop_servers import DesktopServer, recognize_server
from medtune.models.remote.http import Server
from medtune.models.remote.logprobs import (
    compute_letter_logprobs,
    missing_logprobs_error,
    parse_top_logprobs,
)
from medtune.models.remote.name import RemoteName
from medtune.models.remote.prompt import Prompts, load_encoder
from medtune.models.remote.score_by_echo import EchoScorer
from medtune.models.remote.score_by_token import TokenScorer

if TYPE_CHECKING:
    from medtune.models.chat_encoder import ChatEncoder

TOP_LOGPROBS = 20
"""Number of requested top tokens: the maximum of OpenAI, and of vLLM by default."""
IDENTITY_FIELDS = ("id", "root", "parent", "owned_by", "meta")
"""Fields that identify a model in a server's list; others (such as the start time) change."""

SCHEMA_TOKENS = 32
"""Room for the JSON around a constrained answer."""

Scores = tuple[ContinuationScore, ...]


class RemoteModel:
    """An AnswerModel that runs on a server.

    Args:
        name: Its parsed name.
        server: The connection.
        encoder: The model's chat template and tokenizer; None leaves both to the server.
        progress: Reports once that a letter is not among the top tokens.
        listed: Number of top tokens to request.

    Attributes:
        floored: Number of letters so far that were not listed and got an upper bound.

    Raises:
        RemoteError: The server cannot be reached, or does not list its models.
        UnknownModelError: The server does not have this model.
    """

    def __init__(
        self,
        name: RemoteName,
        server: Server,
        encoder: ChatEncoder | None = None,
        progress: Progress | None = None,
        listed: int = TOP_LOGPROBS,
    ) -> None:
        self.name = name
        self.encoder = encoder
        self.floored = 0
        self._progress = progress
        self._listed = self._fewest = listed
        self._served = ServedModel(name, server)
        self._prompts = Prompts(name.name, self._served, encoder)
        self._echo = EchoScorer(self._served)
        self._chosen: EchoScorer | TokenScorer | None = None
        self._choosing = threading.Lock()

    @classmethod
    def connect(
        cls, name: str, progress: Progress | None = None, parallel: int | None = None
    ) -> Self:
        """Connect to the server of a model name.

        Args:
            name: The name.
            progress: See the class.
            parallel: Most requests under way; None is the default of `Server`.

        Raises:
            ModelError: The name, the server, the model on it or the tokenizer cannot be used.
        """
        parsed = RemoteName.parse(name)
        encoder = load_encoder(parsed.tokenizer, progress) if parsed.tokenizer else None
        server = Server() if parallel is None else Server(parallel=parallel)
        model = cls(parsed, server, encoder, progress)
        if encoder is not None and model._desktop is not None:
            raise model._desktop.refuse_tokenizer(name)
        return model

    @cached_property
    def _desktop(self) -> DesktopServer | None:
        """Ollama or LM Studio; None for any other server."""
        return recognize_server(self._served)

    @property
    def parallel(self) -> int:
        """Most questions under way."""
        return self._served.server.parallel

    def check(self) -> None:
        """Check that the server is reachable.

        Raises:
            RemoteError: The server cannot be reached, or refuses.
        """
        self._served.check()

    def describe(self) -> ModelDescription:
        """Describe the model by what the server tells about it; its weights are not seen."""
        entry = self._served.entry
        told = {key: entry[key] for key in IDENTITY_FIELDS if key in entry}
        return ModelDescription(
            source=self.name.name,
            fingerprint=content_hash({**told, **(self._desktop.identity if self._desktop else {})}),
            parameters=0,
            dtype="remote",
            device=self.name.host,
        )

    def render(self, messages: Sequence[Message]) -> str:
        """Render the prompt that the model reads, as far as it is known.

        With a tokenizer, or from a server that renders its template (llama-server), it is the
        exact text.  Otherwise it is a plain transcript, marked as such: the server's template is
        unknown, and a change of it does not change the prompt's fingerprint.
        """
        return self._prompts.render_for_display(messages)

    def score(self, requests: Sequence[ScoreRequest]) -> list[Scores]:
        """Score every continuation: letters by top tokens, texts by echo or token by token.

        Raises:
            RemoteError: The server fails, or does not offer the log-probabilities needed.
            TemplateError: The prompt must be rendered here, but the chat template is unknown.
        """
        answers = self._served.server.map_parallel(self._score, requests)
        floored = sum(missing for _, missing in answers)
        if floored and not self.floored and self._progress is not None:
            short = f", where {self._listed} were asked for," if self._fewest < self._listed else ""
            self._progress.log_message(
                f"{self.name.name}: some letters are not among the {self._fewest} likeliest tokens "
                f"that the server lists{short} and get an upper bound of their probability "
                "(docs/remote.md)"
            )
        self.floored += floored
        return [scores for scores, _ in answers]

    def generate(self, requests: Sequence[GenerateRequest], decoding: Decoding) -> list[Generation]:
        """Generate answers; the effect of the seed depends on the server.

        Raises:
            RemoteError: The server fails, or constrained answers, beams or top-k are requested.
        """
        if self.encoder is not None and any(request.choices is not None for request in requests):
            raise RemoteError(
                f"{self.name.name}: constrained answers to prompts that are written here",
                expected="a chat: servers constrain those, by response_format",
                fix="leave the tokenizer out of the name, or use --method letter",
            )
        if decoding.beams > 1 or decoding.top_k:
            raise RemoteError(
                f"{self.name.name}: beams or top-k from a server",
                expected="temperature and top-p: the OpenAI API knows no others",
            )
        how = {
            "max_tokens": decoding.max_new_tokens,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "seed": decoding.seed,
        }

        def answer(request: GenerateRequest) -> Generation:
            if request.choices is not None:
                return self._choose(request, how)
            if self.encoder is None:
                found = self._served.chat(request.messages, how)
            else:
                found = self._served.complete(self._prompts.build_prompt(request.messages), how)
            return Generation(found.text.strip(), self._count_tokens(found), found.finish == "stop")

        return self._served.server.map_parallel(answer, requests)

    def _choose(self, request: GenerateRequest, how: dict[str, Any]) -> Generation:
        """Generate one of some answers, as JSON by a schema that lists them."""
        choices = tuple(request.choices or ())
        room = max(len(text.encode()) for text in choices) + SCHEMA_TOKENS
        found = self._served.chat(
            request.messages,
            {
                **how,
                "max_tokens": max(how["max_tokens"], room),
                "response_format": _choices_schema(choices),
            },
        )
        try:
            text = json.loads(found.text)["answer"]
        except (ValueError, KeyError, TypeError):
            text = None
        if text not in choices:
            raise RemoteError(
                f"{self.name.url} does not keep to a schema: it answers {found.text[:80]!r}",
                expected='a server that constrains chats by response_format: {"type": '
                '"json_schema"}',
                fix="leave --constrained out",
            )
        return Generation(text, self._count_tokens(found), True)

    def _count_tokens(self, answer: Answer) -> int:
        if answer.tokens is None:
            raise RemoteError(
                f"{self.name.url} does not say how many tokens an answer has",
                expected="usage.completion_tokens in every answer",
            )
        return answer.tokens

    def _score(self, request: ScoreRequest) -> tuple[Scores, int]:
        """Score one request; also return the number of letters with only a bound."""
        letters = [text.strip() for text in request.continuations]
        # Options may be single characters themselves; after a lead they are texts.
        texts = request.lead and letters == [option.strip() for option in request.options]
        if all(len(letter) == 1 for letter in letters) and not texts:
            return self._score_letters(request, letters)
        if self._desktop is not None:
            raise self._desktop.refuse_texts(self.name.name)
        if self.encoder is None:
            prompt = self._prompts.render_text(request.messages) + request.lead
            return self._echo.score_texts(prompt, request.continuations), 0
        ids = self._prompts.encode_prompt(request.messages)
        answers = self._prompts.encode_answers(request)
        return self._find_scorer(ids).score_tokens(ids, answers, request.continuations), 0

    def _find_scorer(self, prompt: list[int]) -> EchoScorer | TokenScorer:
        """Return the text scorer that the server supports, which is probed once."""
        with self._choosing:
            if self._chosen is None:
                echoes = self._echo.supports_echo(prompt)
                self._chosen = self._echo if echoes else TokenScorer(self._served, prompt)
            return self._chosen

    def _score_letters(self, request: ScoreRequest, letters: list[str]) -> tuple[Scores, int]:
        """Score all letters with one request; also return the number of unlisted ones."""
        how: dict[str, Any] = {"max_tokens": 1, "temperature": 0}
        if self.encoder is None and not request.lead:
            how |= {"logprobs": True, "top_logprobs": self._listed}
            answer = self._served.chat(request.messages, how)
        else:
            prompt = self._prompts.build_prompt(request.messages, request.lead)
            answer = self._served.complete(prompt, {**how, "logprobs": self._listed})
        if not answer.logprobs and self._desktop is not None and self._desktop.logprobs:
            raise missing_logprobs_error(self._desktop.logprobs, self._desktop.name)
        listed = parse_top_logprobs(answer.logprobs)
        self._fewest = min(self._fewest, len(listed))
        logs, missing = compute_letter_logprobs(listed, letters)
        scores = (
            ContinuationScore(log, 1, len(letter.encode()))
            for log, letter in zip(logs, letters, strict=True)
        )
        return tuple(scores), missing


def _choices_schema(choices: Sequence[str]) -> dict[str, Any]:
    """Return the response format that allows only some answers.

    An object, because OpenAI's strict schemas have no other root.
    """
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "string", "enum": list(choices)}},
        "required": ["answer"],
        "additionalProperties": False,
    }
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": schema},
    }
