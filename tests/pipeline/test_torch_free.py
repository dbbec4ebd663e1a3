from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

# Runs commands, separated by "+", in one process; after each, what it drew in goes to stderr.
PROGRAM = """
import sys
from medtune.cli import main
line = " ".join(sys.argv[1:])
for command in line.split(" + "):
    try:
        main(command.split())
    except SystemExit as exit_:
        code = exit_.code
    heavy = {"torch", "transformers", "peft", "accelerate", "datasets"} & set(sys.modules)
    print("heavy:", code, *sorted(heavy), file=sys.stderr)
sys.exit(code)
"""


def run(
    folder: Path, *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
    )


def saved_outputs(folder: Path) -> str:
    result = {"opa": "Yes", "opb": "No", "opc": "Maybe", "opd": "Never", "cop": 0}
    path = folder / "evaluation.json"
    path.write_text(json.dumps({"results": [{"prediction": "Yes", **result}]}))
    return str(path)


def test_torch_is_not_imported_where_it_is_not_needed(tmp_path: Path) -> None:
    saved_outputs(tmp_path)
    commands = [
        "--help",
        "rescore evaluation.json",
        "evaluate fake:oracle starter:recall",
        "evaluate fake:noisy starter:recall --method generate --out e",
        "compare e e",
        "prepare --out p",
        "answer What? --option a --option b",
        "models list",
        "index build starter --limit 40 --without starter:recall --out ix",
        "index info ix --query scurvy",
        "evaluate search:ix starter:recall",
    ]
    done = run(tmp_path, " + ".join(commands), environment={"MEDTUNE_CACHE": str(tmp_path / "c")})
    found = [line for line in done.stderr.splitlines() if line.startswith("heavy:")]
    assert dict(zip(commands, found, strict=True)) == dict.fromkeys(commands, "heavy: 0")


def test_help_is_quick() -> None:
    def seconds(program: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
        return time.perf_counter() - start

    for _ in range(3):
        duration = seconds("from medtune.cli import main; main(['--help'])")
        # On a slow or busy machine the libraries alone take most of half a second.
        if duration < max(
            0.5, 3 * seconds("import typer, rich.console, rich.table, pydantic.main")
        ):
            return
    pytest.fail(f"the best of three took more than half a second, the last {duration:.2f} s")


def test_an_evaluation_in_a_real_process(tmp_path: Path) -> None:
    done = run(tmp_path, "evaluate", "fake:oracle", "starter:recall", "--json")
    assert json.loads(done.stdout)["accuracy"]["value"] == 1.0
    assert done.stderr.splitlines()[-1] == "heavy: 0"
    assert "starter:recall · letter" in done.stderr


def test_offline_an_uncached_model_is_one_sentence(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        *("evaluate", "hub:medtune-test/no-such-model", "starter:recall"),
        environment={"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")},
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[:2] == [
        "error: hub:medtune-test/no-such-model: HF_HUB_OFFLINE is set and the model is not in "
        "the local cache",
        "to do: unset it once, or use embedded:smollm2-135m or path:DIR",
    ]


def test_offline_the_models_at_hand_are_listed(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        *("models", "list", "--json"),
        environment={
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(tmp_path / "hf"),
            "MEDTUNE_CACHE": str(tmp_path / "cache"),
        },
    )
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == "heavy: 0"
    assert [model["name"] for model in json.loads(done.stdout)["models"]] == [
        "embedded:smollm2-135m"
    ]


def test_an_interrupt_is_130(tmp_path: Path) -> None:
    import signal

    program = (
        # A shell that starts the tests in the background has them ignore it.
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from medtune.models import fake\n"
        "def score(self, requests):\n"
        "    print('scoring', flush=True)\n"
        "    time.sleep(30)\n"
        "fake.FakeModel.score = score\n"
        "from medtune.cli import main\n"
        "main(['evaluate', 'fake:oracle', 'starter:recall'])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "scoring\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not list(tmp_path.rglob("record.json"))
