"""JSON over HTTP to one server: many requests at once, patient where patience may help.

Retried: no connection, a broken or slow one, 429 and 5xx, at most four times, with exponential
backoff and jitter; a Retry-After is honoured.  Anything else is told at once, in the server's
words.  The key comes from the environment, goes into one header, and nowhere else.
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
LONGEST_PAUSE_S = 30.0
CONNECT_S = 10.0
KEYS = ("MEDTUNE_API_KEY", "OPENAI_API_KEY")
GOES_ON = "once the server is up, give the same command again: it goes on where it stopped"
NOT_OFFERED = 501
"""The one 5xx that says "never", not "not now"; llama-server uses it."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Server:
    """The connection to a server.

    Args:
        parallel: Most requests under way at once.
        timeout_s: Longest silence of the server within one request, seconds.
        pause_s: Before the first retry, seconds; doubled for each further one.

    Raises:
        RemoteError: The key in the environment cannot be sent.
    """

    def __init__(
        self,
        *,
        parallel: int = 8,
        timeout_s: float = 300.0,
        pause_s: float = 0.5,
    ) -> None:
        self.parallel = parallel
        self._pause_s = pause_s
        self._key = _key()
        self._jitter = random.Random()
        self._stop = threading.Event()
        self._client = httpx2.Client(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx2.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s)),
            limits=httpx2.Limits(max_connections=parallel),
        )
        weakref.finalize(self, self._client.close)

    def get(self, url: str) -> dict[str, Any]:
        """Fetch an object.

        Raises:
            RemoteError: See `post`.
        """
        return self._send("GET", url, None)

    def post(self, url: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send an object, receive one.

        Raises:
            RemoteError: The server cannot be reached, refuses (then with its status), or answers
                with something else than a JSON object.
        """
        return self._send("POST", url, body)

    def each(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Do some work that asks this server, for many items at once; results in their order.

        The first failure ends the waiting of all others.
        """
        self._stop.clear()
        with ThreadPoolExecutor(self.parallel) as pool:
            try:
                return list(pool.map(work, items))
            except BaseException:
                self._stop.set()
                raise

    def _send(self, method: str, url: str, body: dict[str, Any] | None) -> dict[str, Any]:
        for attempt in range(RETRIES + 1):
            after = 0.0
            cause: Exception | None = None
            try:
                response = self._client.request(method, url, json=body)
            except httpx2.TransportError as error:
                cause = error
                fault = self._unreachable(url, error)
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                raise RemoteError(f"{url}: {self._safe(str(error))}") from error
            else:
                if response.is_success:
                    return _object(url, response)
                fault = self._refusal(url, response)
                if not _may_pass(response.status_code):
                    raise fault
                after = _retry_after(response.headers.get("retry-after", ""))
            if attempt == RETRIES or self._stop.wait(self._pause(attempt, after)):
                break
        raise fault from cause

    def _pause(self, attempt: int, after: float) -> float:
        pause = self._pause_s * (1 << attempt) * self._jitter.uniform(0.5, 1)
        return min(LONGEST_PAUSE_S, max(pause, after))

    def _unreachable(self, url: str, error: Exception) -> RemoteError:
        why = self._safe(str(error)) or type(error).__name__
        return RemoteError(
            f"{url} does not answer: {why} (tried {RETRIES + 1} times)",
            expected="a server that speaks OpenAI's API",
            fix=f"check the address; {GOES_ON}",
        )

    def _refusal(self, url: str, response: httpx2.Response) -> RemoteError:
        status = response.status_code
        fix = ""
        if status in {401, 403}:
            fix = f"put the server's key into the environment variable {KEYS[0]}"
        elif status == 404:
            fix = "check the URL: most servers want it to end in /v1"
        elif _may_pass(status):
            fix = GOES_ON
        return RemoteError(
            f"{url} refuses with status {status}: {self._safe(_words(response))}",
            fix=fix,
            status=status,
        )

    def _safe(self, text: str) -> str:
        """Take the key out of what others wrote: some servers quote it."""
        return text.replace(self._key, "***") if self._key else text


def _key() -> str:
    for name in KEYS:
        if key := os.environ.get(name, "").strip():
            if not (key.isascii() and key.isprintable()):
                raise RemoteError(
                    f"{name} holds characters that an HTTP header may not have",
                    fix="set it to the key alone",
                )
            return key
    return ""


def _may_pass(status: int) -> bool:
    return status == 429 or (status >= 500 and status != NOT_OFFERED)


def _object(url: str, response: httpx2.Response) -> dict[str, Any]:
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


def _words(response: httpx2.Response) -> str:
    """Find what a refusing server says, in whichever of the usual places it says so."""
    try:
        said = response.json()
    except ValueError:
        said = response.text
    for name in ("error", "message", "detail"):
        if isinstance(said, dict) and name in said:
            said = said[name]
    return " ".join(str(said).split())[:300] or response.reason_phrase


def _retry_after(header: str) -> float:
    """Read a Retry-After header: seconds, or a date; 0 for anything else."""
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    return max(0.0, (when - datetime.now(UTC)).total_seconds()) if when.tzinfo else 0.0
