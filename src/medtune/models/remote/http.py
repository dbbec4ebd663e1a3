"""Send JSON over HTTP to one server, in parallel and with retries.

Connection errors, timeouts, 429 and 5xx are retried at most four times, with exponential backoff
and jitter; a Retry-After is honoured.  Other errors are raised at once, with the server's message.
The API key is read from the environment and is sent in one header only.
"""

from __future__ import annotations

import os
import random
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx2

from medtune.core.errors import RemoteError

RETRIES = 4
MAX_PAUSE_S = 30.0
CONNECT_TIMEOUT_S = 10.0
KEY_VARIABLES = ("MEDTUNE_API_KEY", "OPENAI_API_KEY")
RESUME_HINT = "once the server is up, give the same command again: it goes on where it stopped"
NOT_OFFERED = 501
"""The one permanent 5xx status; llama-server uses it."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Server:
    """The connection to a server.

    Args:
        parallel: Most parallel requests.
        timeout_s: Read timeout of one request, seconds.
        pause_s: Pause before the first retry, seconds; doubled for each further one.
        retries: Most retries of a request.
        key_variables: Environment variables that may contain the API key; the first one counts.

    Raises:
        RemoteError: The key in the environment is no valid header value.
    """

    def __init__(
        self,
        *,
        parallel: int = 8,
        timeout_s: float = 300.0,
        pause_s: float = 0.5,
        retries: int = RETRIES,
        key_variables: Sequence[str] = KEY_VARIABLES,
    ) -> None:
        self.parallel = parallel
        self._pause_s, self._retries, self._key_variables = pause_s, retries, key_variables
        self._key = _read_key(key_variables)
        self._jitter = random.Random()
        self._stop = threading.Event()
        self._client = httpx2.Client(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx2.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s)),
            limits=httpx2.Limits(max_connections=parallel),
        )
        weakref.finalize(self, self._client.close)

    def get(self, url: str) -> dict[str, Any]:
        """Send a GET request; return the JSON object.

        Raises:
            RemoteError: See `post`.
        """
        return self._send("GET", url, None)

    def post(self, url: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a POST request with a JSON object; return the JSON object of the response.

        Raises:
            RemoteError: The server cannot be reached, refuses (then with its status), or does not
                respond with a JSON object.
        """
        return self._send("POST", url, body)

    def map_parallel(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Apply `work` to items in parallel; return the results in order.

        The first failure cancels the retries of all others.
        """
        self._stop.clear()
        with ThreadPoolExecutor(self.parallel) as pool:
            try:
                return list(pool.map(work, items))
            except BaseException:
                self._stop.set()
                raise

    def _send(self, method: str, url: str, body: dict[str, Any] | None) -> dict[str, Any]:
        for attempt in range(self._retries + 1):
            after = 0.0
            cause: Exception | None = None
            try:
                response = self._client.request(method, url, json=body)
            except httpx2.TransportError as error:
                cause = error
                fault = self._unreachable(url, error)
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                raise RemoteError(f"{url}: {self._redact_key(str(error))}") from error
            else:
                if response.is_success:
                    return _parse_object(url, response)
                fault = self._refusal(url, response)
                if not is_retryable(response.status_code):
                    raise fault
                after = _retry_after(response.headers.get("retry-after", ""))
            if attempt == self._retries or self._stop.wait(self._pause(attempt, after)):
                break
        raise fault from cause

    def _pause(self, attempt: int, after: float) -> float:
        pause = self._pause_s * (1 << attempt) * self._jitter.uniform(0.5, 1)
        return min(MAX_PAUSE_S, max(pause, after))

    def _unreachable(self, url: str, error: Exception) -> RemoteError:
        why = self._redact_key(str(error)) or type(error).__name__
        return RemoteError(
            f"{url} does not answer: {why} (tried {self._retries + 1} times)",
            expected="a server that speaks OpenAI's API",
            fix=f"check the address; {RESUME_HINT}",
        )

    def _refusal(self, url: str, response: httpx2.Response) -> RemoteError:
        status = response.status_code
        fix = ""
        if status in {401, 403}:
            fix = f"put the server's key into the environment variable {self._key_variables[0]}"
        elif status == 404:
            fix = "check the URL: most servers want it to end in /v1"
        elif is_retryable(status):
            fix = RESUME_HINT
        return RemoteError(
            f"{url} refuses with status {status}: {self._redact_key(_error_message(response))}",
            fix=fix,
            status=status,
        )

    def _redact_key(self, text: str) -> str:
        """Redact the API key in a text: some servers quote it."""
        return text.replace(self._key, "***") if self._key else text


def _read_key(variables: Sequence[str]) -> str:
    for name in variables:
        if key := os.environ.get(name, "").strip():
            if not (key.isascii() and key.isprintable()):
                raise RemoteError(
                    f"{name} contains characters that an HTTP header may not have",
                    fix="set it to the key alone",
                )
            return key
    return ""


def is_retryable(status: int) -> bool:
    """Return whether a request is sent again after a status: busy, or a fault of the server."""
    return status == 429 or (status >= 500 and status != NOT_OFFERED)


def _parse_object(url: str, response: httpx2.Response) -> dict[str, Any]:
    try:
        found = response.json()
    except ValueError as error:
        raise RemoteError(
            f"{url} answers with something that is not JSON: {response.text[:80]!r}",
            expected="a server that speaks OpenAI's API",
            fix="check the URL: most servers want it to end in /v1",
        ) from error
    if not isinstance(found, dict):
        raise RemoteError(f"{url} answers with a JSON {type(found).__name__}, not an object")
    return found


def _error_message(response: httpx2.Response) -> str:
    """Return the error message of a response, from any of the usual fields."""
    try:
        said = response.json()
    except ValueError:
        said = response.text
    for name in ("error", "message", "detail"):
        if isinstance(said, dict) and name in said:
            said = said[name]
    return " ".join(str(said).split())[:300] or response.reason_phrase


def _retry_after(header: str) -> float:
    """Parse a Retry-After header (seconds or a date) to seconds; 0 for anything else."""
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    return max(0.0, (when - datetime.now(UTC)).total_seconds()) if when.tzinfo else 0.0
