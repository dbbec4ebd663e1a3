"""A model behind any server that speaks OpenAI's API: vLLM, SGLang, TGI, llama-server, OpenAI.

There are two ways to put a question; the model's name tells which:

- `remote:URL#MODEL`: the chat goes to /chat/completions, and the server's template writes the
  prompt.
- `remote:URL#MODEL@hub:ORG/NAME` (or `@path:DIR`): medtune writes the prompt with that model's
  chat template and sends token ids to /completions, exactly those that `LocalModel` would read.

docs/remote.md tells what each method needs of a server.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
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
from medtune.models.remote.api import ServedModel
from medtune.models.remote.http import Server
from medtune.models.remote.logprobs import letter_logprobs, likeliest
from medtune.models.remote.name import RemoteName
from medtune.models.remote.prompt import Prompts, load_encoder
from medtune.models.remote.score_by_echo import EchoScorer
from medtune.models.remote.score_by_token import TokenScorer

if TYPE_CHECKING:
    from medtune.models.chat_encoder import ChatEncoder

TOP = 20
"""Likeliest tokens asked for: the most that OpenAI gives, and vLLM unless told otherwise."""
IDENTITY = ("id", "root", "parent", "owned_by", "meta")
"""What identifies a model in a server's list; other fields (when it was started) change."""

Scores = tuple[ContinuationScore, ...]


class RemoteModel:
    """An AnswerModel that a server runs.

    Args:
        name: Where it is.
        server: The connection.
        encoder: The model's chat template and tokenizer; None leaves both to the server.
        progress: Told once, when a letter is not among the likeliest tokens.
        listed: Likeliest tokens to ask for.

    Attributes:
        floored: Letters so far that the server did not list; they have an upper bound instead.

    Raises:
        RemoteError: The server cannot be reached, or does not list its models.
        UnknownModelError: It does not serve this model.
    """

    def __init__(
        self,
        name: RemoteName,
        server: Server,
        encoder: ChatEncoder | None = None,
        progress: Progress | None = None,
        listed: int = TOP,
    ) -> None:
        self.name = name
        self.encoder = encoder
        self.floored = 0
        self._progress = progress
        self._listed = listed
        self._served = ServedModel(name, server)
        self._prompts = Prompts(name.name, self._served, encoder)
        self._echo = EchoScorer(self._served)
        self._chosen: EchoScorer | TokenScorer | None = None
        self._choosing = threading.Lock()

    @classmethod
    def open(cls, name: str, progress: Progress | None = None) -> Self:
        """Connect to a server by a model's name.

        Raises:
            ModelError: The name, the server, the model on it or the tokenizer cannot be used.
        """
        parsed = RemoteName.parse(name)
        encoder = load_encoder(parsed.tokenizer, progress) if parsed.tokenizer else None
        return cls(parsed, Server(), encoder, progress)

    def check(self) -> None:
        """Ask whether the server is there.

        Raises:
            RemoteError: It cannot be reached, or refuses.
        """
        self._served.check()

    def describe(self) -> ModelDescription:
        """Say what the server says of the model; which weights it has loaded, only it knows."""
        entry = self._served.entry
        return ModelDescription(
            source=self.name.name,
            fingerprint=content_hash({key: entry[key] for key in IDENTITY if key in entry}),
            parameters=0,
            dtype="remote",
            device=self.name.host,
        )

    def render(self, messages: Sequence[Message]) -> str:
        """Show the text that the model reads, as far as it can be known.

        With a tokenizer, or from a server that shows its template (llama-server), it is the
        exact text.  Otherwise it is a plain transcript, marked as such: the server's own template
        is then unknown to medtune, and a change of it does not show in the prompt's fingerprint.
        """
        return self._prompts.shown(messages)

    def score(self, requests: Sequence[ScoreRequest]) -> list[Scores]:
        """Score every continuation: letters by the likeliest tokens, texts by echo or dictation.

        Raises:
            RemoteError: The server fails, or gives no log-probabilities of the kind needed.
            TemplateError: A prompt must be written here, and nothing says how.
        """
        answers = self._served.server.each(self._score, requests)
        floored = sum(missing for _, missing in answers)
        if floored and not self.floored and self._progress is not None:
            self._progress.say(
                f"{self.name.name}: some letters are not among the {self._listed} likeliest "
                "tokens and get an upper bound of their probability (docs/remote.md)"
            )
        self.floored += floored
        return [scores for scores, _ in answers]

    def generate(self, requests: Sequence[GenerateRequest], decoding: Decoding) -> list[Generation]:
        """Answer freely; what the seed does is the server's affair.

        Raises:
            RemoteError: The server fails, or constrained answers, beams or top-k are asked for.
        """
        if any(request.choices is not None for request in requests):
            raise RemoteError(
                f"{self.name.name}: constrained answers from a server",
                expected="free answers: servers have no common way to constrain them",
                fix="leave --constrained out, or use --method letter",
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
            if self.encoder is None:
                found = self._served.chat(request.messages, how)
            else:
                found = self._served.complete(self._prompts.prompt(request.messages), how)
            if found.tokens is None:
                raise RemoteError(
                    f"{self.name.url} does not say how many tokens an answer has",
                    expected="usage.completion_tokens in every answer",
                )
            return Generation(found.text.strip(), found.tokens, found.finish == "stop")

        return self._served.server.each(answer, requests)

    def _score(self, request: ScoreRequest) -> tuple[Scores, int]:
        """Score one request; also count the letters that have only a bound."""
        letters = [text.strip() for text in request.continuations]
        # Options may themselves be single characters; behind a lead they are texts.
        texts = request.lead and letters == [option.strip() for option in request.options]
        if all(len(letter) == 1 for letter in letters) and not texts:
            return self._score_letters(request, letters)
        if self.encoder is None:
            prompt = self._prompts.text(request.messages) + request.lead
            return self._echo.score_texts(prompt, request.continuations), 0
        ids = self._prompts.ids(request.messages)
        answers = self._prompts.turns(request)
        return self._reader(ids).score_tokens(ids, answers, request.continuations), 0

    def _reader(self, prompt: list[int]) -> EchoScorer | TokenScorer:
        """Find out, once, in which of two ways the server tells how likely given tokens are."""
        with self._choosing:
            if self._chosen is None:
                echoes = self._echo.offered(prompt)
                self._chosen = self._echo if echoes else TokenScorer(self._served, prompt)
            return self._chosen

    def _score_letters(self, request: ScoreRequest, letters: list[str]) -> tuple[Scores, int]:
        """Score letters, all in one request; also count those that are not listed."""
        how: dict[str, Any] = {"max_tokens": 1, "temperature": 0}
        if self.encoder is None and not request.lead:
            how |= {"logprobs": True, "top_logprobs": self._listed}
            answer = self._served.chat(request.messages, how)
        else:
            prompt = self._prompts.prompt(request.messages, request.lead)
            answer = self._served.complete(prompt, {**how, "logprobs": self._listed})
        logs, missing = letter_logprobs(likeliest(answer.logprobs), letters)
        scores = (
            ContinuationScore(log, 1, len(letter.encode()))
            for log, letter in zip(logs, letters, strict=True)
        )
        return tuple(scores), missing
