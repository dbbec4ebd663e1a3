"""The endpoint under load; one JSON line.

    python benchmarks/serve_load.py [--data file:medmcqa_validation.parquet] [--json-out FILE]

Starts `medtune serve` as a process of its own, with every guard but those that would send exam
questions to reviewers.  First the same questions are scored offline, in a process that is gone
before the server starts.  Then: 32 clients that each ask as soon as they are answered; an open loop
at 80 % of what these reached (arrivals of a Poisson process, which do not wait for answers); an
open loop at ten times of it, and how long one question takes right after that.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil

from medtune.core.provenance import collect_provenance
from medtune.core.records import Question
from medtune.data.load import load_split

CLIENTS = 32
SHARE = 0.8
"""Of the capacity, in the sustained load."""
OVERLOAD = 10
POLICY = """
version = "load"
order = ["size", "privacy", "crisis", "classifier", "scope", "injection", "confidence", "output"]
[classifier]
action = "annotate"
[injection]
action = "annotate"
"""


@dataclass
class Seen:
    """What came of some requests."""

    codes: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    """Of those that were answered."""

    def percentile(self, share: float) -> float:
        """Return a percentile of the latencies, seconds."""
        return sorted(self.seconds)[min(len(self.seconds) - 1, int(share * len(self.seconds)))]


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    questions = load_split(arguments.data, size=arguments.questions).questions
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        offline, batches = pool.submit(score_offline, arguments.model, questions).result()
    print(f"offline: {offline:.2f}, in batches {batches:.2f} questions/s", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder, served(arguments, Path(folder)) as server:
        bodies = [{"stem": q.stem, "options": list(q.options)} for q in questions]
        found = asyncio.run(measured(server, bodies, arguments.sustained_s))
    result = {
        "benchmark": "serve_load",
        "offline_questions_per_s": round(offline, 2),
        "offline_in_batches_questions_per_s": round(batches, 2),
        "closed_loop_share_of_offline": round(found["closed_questions_per_s"] / offline, 3),
        "closed_loop_share_of_batches": round(found["closed_questions_per_s"] / batches, 3),
        **found,
        "clients": CLIENTS,
        "questions": len(questions),
        "data": arguments.data,
        "model": arguments.model,
        "provenance": collect_provenance().model_dump(mode="json"),
    }
    line = json.dumps(result)
    print(line)
    if arguments.json_out:
        Path(arguments.json_out).write_text(line + "\n")


def score_offline(name: str, questions: Sequence[Question]) -> tuple[float, float]:
    """Score all questions in one call, and in batches of as many as there are clients.

    Returns:
        Questions/s of both, each the better of two.
    """
    from medtune.models.open_model import open_model
    from medtune.models.weights_card import resolve_prompt_defaults
    from medtune.serving.inference.predictor import Predictor
    from medtune.workflows.open_guards import open_guards

    style = resolve_prompt_defaults(name).style
    model = open_model(name, style=style, light=True)
    predictor = Predictor(model, style, "letter", open_guards(), None, name)
    predictor.predict(questions[:CLIENTS])
    best = [0.0, 0.0]
    for _ in range(2):
        for place, size in enumerate((len(questions), CLIENTS)):
            start = time.perf_counter()
            for at in range(0, len(questions), size):
                predictor.predict(questions[at : at + size])
            best[place] = max(best[place], len(questions) / (time.perf_counter() - start))
    return best[0], best[1]


@dataclass(frozen=True)
class Served:
    """A running endpoint."""

    url: str
    process: psutil.Process


@contextmanager
def served(arguments: argparse.Namespace, folder: Path) -> Iterator[Served]:
    """Start the endpoint, wait until it is ready, and stop it."""
    (folder / "policy.toml").write_text(POLICY)
    command = [
        sys.executable, "-m", "medtune", "serve", arguments.model, "--port", str(arguments.port),
        "--method", "letter", "--policy", str(folder / "policy.toml"), "--data", str(folder),
    ]  # fmt: skip
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log)
    url = f"http://127.0.0.1:{arguments.port}"
    try:
        for _ in range(300):
            try:
                if httpx2.get(f"{url}/readyz").status_code == 200:
                    break
            except httpx2.TransportError:
                pass
            time.sleep(0.2)
        else:
            raise SystemExit((folder / "log").read_text())
        yield Served(url, psutil.Process(process.pid))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


async def measured(server: Served, bodies: Sequence[dict[str, Any]], sustained_s: float) -> Any:
    """Put all loads on a server, one after the other."""
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=server.url, limits=limits, timeout=60) as client:
        await closed(client, bodies[:CLIENTS])
        start = time.perf_counter()
        crowd = await closed(client, bodies)
        capacity = len(bodies) / (time.perf_counter() - start)
        batch_s = CLIENTS / capacity
        print(f"closed loop: {capacity:.2f} questions/s", file=sys.stderr)
        steady = await opened(client, bodies, SHARE * capacity, sustained_s)
        memory = server.process.memory_info().rss
        flood = await opened(client, bodies, OVERLOAD * capacity, 30)
        ended = time.perf_counter()
        grown = server.process.memory_info().rss - memory
        alone = await ask(client, bodies[0], again=True)
        recovery = time.perf_counter() - ended
    return {
        "closed_questions_per_s": round(capacity, 2),
        "closed_codes": dict(crowd.codes),
        "batch_s": round(batch_s, 3),
        "sustained_s": sustained_s,
        "sustained_n": sum(steady.codes.values()),
        "sustained_codes": dict(steady.codes),
        "sustained_p50_s": round(statistics.median(steady.seconds), 3),
        "sustained_p99_s": round(steady.percentile(0.99), 3),
        "sustained_p99_in_batches": round(steady.percentile(0.99) / batch_s, 2),
        "overload_codes": dict(flood.codes),
        "overload_p99_s": round(flood.percentile(0.99), 3),
        "overload_grown_mb": round(grown / 1e6),
        "recovery_s": round(recovery, 2),
        "recovered_code": alone[0],
    }


async def closed(client: httpx2.AsyncClient, bodies: Sequence[dict[str, Any]]) -> Seen:
    """Let clients ask one question after the other until all are asked."""
    rest, seen = iter(bodies), Seen()

    async def client_of_many() -> None:
        for body in rest:
            note(seen, await ask(client, body))

    await asyncio.gather(*(client_of_many() for _ in range(CLIENTS)))
    return seen


async def opened(
    client: httpx2.AsyncClient, bodies: Sequence[dict[str, Any]], rate: float, seconds: float
) -> Seen:
    """Let questions arrive at a rate, whatever became of those before."""
    lots, seen, under_way = random.Random(0), Seen(), set()
    end = time.perf_counter() + seconds
    due = time.perf_counter()
    while due < end:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = asyncio.create_task(ask(client, lots.choice(bodies)))
        task.add_done_callback(lambda done: note(seen, done.result()))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        due += lots.expovariate(rate)
    while under_way:
        await asyncio.wait(under_way)
    return seen


async def ask(
    client: httpx2.AsyncClient, body: dict[str, Any], again: bool = False
) -> tuple[int, float]:
    """Ask one question; status (0 is a broken connection) and seconds."""
    start = time.perf_counter()
    while True:
        try:
            code = (await client.post("/v1/answer", json=body)).status_code
        except httpx2.TransportError:
            code = 0
        if code == 200 or not again:
            return code, time.perf_counter() - start
        await asyncio.sleep(0.1)


def note(seen: Seen, told: tuple[int, float]) -> None:
    """Add a request."""
    code, seconds = told
    seen.codes[code] += 1
    if code == 200:
        seen.seconds.append(seconds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded:smollm2-135m")
    parser.add_argument("--data", default="starter:train")
    parser.add_argument("--questions", type=int, default=320)
    parser.add_argument("--sustained-s", type=float, default=180)
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--json-out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
