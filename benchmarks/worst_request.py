"""How long requests that are made to hold the endpoint up hold its health check up; one JSON line.

    python benchmarks/worst_request.py [--repeats 5] [--json-out FILE]

Starts `medtune serve` on a fake model as a process of its own, with the largest question that a
policy may allow.  While a request is under way, `/healthz` is asked every 10 ms over a connection
of its own; the longest wait for it is kept.  Then, in the middle of each request, the process is
sent SIGTERM, and the time until it has ended is taken.  The same requests are sent by
`tests/unit/serving/test_pressure.py`, with wider limits.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2

from medtune.core.provenance import collect_provenance
from medtune.guardrails.policy import STARTER_POLICY

LARGEST = {"stem": 20_000, "option": 4000, "options": 10}
STOPPED_AFTER_S = 0.5
"""Into a request, until the process is told to end."""


def filled(unit: str, length: int) -> str:
    """Return as many characters of a repeated unit."""
    return (unit * (length // len(unit) + 1))[:length]


def largest(unit: str) -> dict[str, Any]:
    """Return the longest question that the largest policy allows, of one unit."""
    options = [f"{filled(unit, 3900)} {place}" for place in range(10)]
    return {"stem": f"{filled(unit, 19_900)} what?", "options": options}


def chat(*texts: str) -> dict[str, Any]:
    """Return a chat whose last text is the user's, and those before it the system's."""
    roles = ["system"] * (len(texts) - 1) + ["user"]
    turns = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
    return {"model": "m", "messages": turns}


WORST: dict[str, tuple[str, Any]] = {
    "letters in a chat": ("/v1/chat/completions", chat("a) " * 160_000)),
    "a chat as long as may be": (
        "/v1/chat/completions",
        chat(filled("Adam Smith, ", 60_000), "a) " * 20_000),
    ),
    "names": ("/v1/answer", largest("Adam Smith, ")),
    "one long word": ("/v1/answer", largest("A'")),
    "marks": ("/v1/answer", largest("\u0315\u0316")),
    "characters that stand for many": ("/v1/answer", largest("\ufdfa")),
    "a chat of such characters": ("/v1/chat/completions", chat("\ufdfa" * 60_000)),
    "a legal batch of 500 kB": ("/v1/answer/batch", {"questions": [largest("Aa, ")] * 8}),
    "a batch full of faults": ("/v1/answer/batch", {"questions": [[]] * 100_000}),
    "an object full of faults": (
        "/v1/answer/batch",
        {"questions": [{str(place): 1 for place in range(30_000)}]},
    ),
}
"""Path and body by name."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--port", type=int, default=8124)
    parser.add_argument("--json-out")
    arguments = parser.parse_args()
    url = f"http://127.0.0.1:{arguments.port}"
    with served(arguments.port):
        idle = longest_wait(url, lambda: time.sleep(2))
        rows = {
            name: [held(url, path, body) for _ in range(arguments.repeats)]
            for name, (path, body) in WORST.items()
        }
    ends = {name: stopped(arguments.port, name) for name in WORST}
    result = {
        "benchmark": "worst_request",
        "repeats": arguments.repeats,
        "idle_longest_ms": round(1000 * idle, 1),
        "requests": {
            name: {
                "code": found[0]["code"],
                "took_s": max(row["took_s"] for row in found),
                "healthz_longest_ms": max(row["longest_ms"] for row in found),
                **ends[name],
            }
            for name, found in rows.items()
        },
        "provenance": collect_provenance().model_dump(mode="json"),
    }
    line = json.dumps(result)
    if arguments.json_out:
        Path(arguments.json_out).write_text(json.dumps(result, indent=1) + "\n")
    print(line)


def held(url: str, path: str, body: Any) -> dict[str, Any]:
    """Send a request, and take the longest wait for the health check beside it."""
    start = time.perf_counter()
    codes: list[int] = []
    longest = longest_wait(
        url, lambda: codes.append(httpx2.post(f"{url}{path}", json=body, timeout=60).status_code)
    )
    return {
        "longest_ms": round(1000 * longest, 1),
        "took_s": round(time.perf_counter() - start, 2),
        "code": codes[0],
    }


def longest_wait(url: str, work: Any) -> float:
    """Do something, and return the longest wait for the health check meanwhile, seconds."""
    done = threading.Event()

    def run() -> None:
        try:
            work()
        finally:
            done.set()

    longest = 0.0
    with httpx2.Client(base_url=url, timeout=60) as client:
        client.get("/healthz")
        thread = threading.Thread(target=run)
        thread.start()
        while not done.wait(0.01):
            start = time.perf_counter()
            client.get("/healthz").raise_for_status()
            longest = max(longest, time.perf_counter() - start)
        thread.join()
    return longest


def stopped(port: int, name: str) -> dict[str, Any]:
    """Tell the process to end in the middle of a request; exit code, and seconds until then."""
    path, body = WORST[name]

    def send() -> None:
        with suppress(httpx2.TransportError):
            httpx2.post(f"http://127.0.0.1:{port}{path}", json=body, timeout=60)

    with served(port) as process:
        sender = threading.Thread(target=send)
        sender.start()
        time.sleep(STOPPED_AFTER_S)
        start = time.perf_counter()
        process.send_signal(signal.SIGTERM)
        code = process.wait(120)
        ended = time.perf_counter() - start
        sender.join()
    return {"ended_s": round(ended, 2), "exit_code": code}


def policy() -> str:
    """Return the starter policy with the largest sizes that a policy may allow."""
    text = STARTER_POLICY.read_text(encoding="utf-8")
    for size, value in LARGEST.items():
        text = re.sub(rf"^{size} = \d+", f"{size} = {value}", text, flags=re.MULTILINE)
    return text


@contextmanager
def served(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start the endpoint, wait until it is ready, and stop it."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "policy.toml").write_text(policy())
        command = [
            sys.executable, "-m", "medtune", "serve", "fake:constant", "--port", str(port),
            "--policy", str(folder / "policy.toml"), "--data", str(folder),
        ]  # fmt: skip
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(command, stderr=log, stdout=log)
        try:
            for _ in range(300):
                try:
                    if httpx2.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                        break
                except httpx2.TransportError:
                    pass
                time.sleep(0.1)
            else:
                raise SystemExit((folder / "log").read_text())
            yield process
        finally:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
