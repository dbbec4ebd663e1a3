"""The commands of docs/commands.md, typed in their order in one folder, as a reader would.

They run on a tiny model and a few questions: what is tried is that every command works after those
before it, not what comes out.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import httpx2
from tests.conftest import CommandLine
from tests.pipeline.printed_commands import ROOT, in_block
from tests.real.test_serve import MEDTUNE, free_port
from tests.unit.models.openai_server import OpenAiServer, serving

from medtune.models.sources import ModelSource

REFUSES = (
    "compress",
    "parity",
    "guard test",
    "release gate",
    "release promote",
    "release push",
    "update",
)
"""Commands whose exit may be 1: with so few questions, a check says no."""
NOTHING_YET = {
    "monitor report": "no question that a model was asked",
    "monitor corrections": "0 decided items",
}
"""Commands that have nothing to tell before anybody asked, and what they say then (exit 2)."""
ELSEWHERE = re.compile(
    r"study (decoding|ablation|learning-curve|prompts|open-book)|seeds=|runs/two|review sample"
)
"""Commands that take minutes even so, or serve until stopped; they have tests of their own."""
SMALL = {
    "epochs": 1, "train_size": 64, "evaluate_size": 16, "validation_size": 16,
    "calibration_size": 16, "max_new_tokens": 8,
}  # fmt: skip


def commands() -> list[str]:
    """List the commands of the long block."""
    text = (ROOT / "docs" / "commands.md").read_text()
    block = text[text.index("source .venv/bin/activate") :]
    return [line for _, line in in_block("```sh\n" + block[: block.index("```") + 3])]


def lay_out(folder: Path, model: str) -> None:
    """Put into a folder what its reader has: experiments, and files of their own."""
    for name in ("docs", "experiments"):
        shutil.copytree(ROOT / name, folder / name)
    for path in (folder / "experiments").glob("*.toml"):
        text = path.read_text()
        for key, value in SMALL.items():
            text = re.sub(rf"^{key} = \d+", f"{key} = {value}", text, flags=re.MULTILINE)
        text = text.replace('["cloze", "letter", "generate"]', '["cloze"]')
        path.write_text(instead(text, model))
    for name, n in (("train", 160), ("validation", 16)):
        rows = (
            {
                "id": f"{name}-{i}", "question": f"Which {name} sign number {i} is the {i * 7} th?",
                "opa": f"sign {i}", "opb": f"mark {i}", "opc": f"spot {i}", "opd": f"line {i}",
                "cop": i % 4, "subject_name": ("Anatomy", "Surgery")[i % 2], "topic_name": "signs",
                "exp": f"It is number {i} of them.", "choice_type": "single",
            }
            for i in range(n)
        )  # fmt: skip
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    lines = [f"Which is the {i}th nerve?,one {i},two {i},three {i},four {i},b" for i in range(12)]
    (folder / "my.csv").write_text("\n".join(["question,a,b,c,d,key", *lines]) + "\n")
    line = {"id": "1", "stem": "Which is the third nerve?", "options": ["this", "that"]}
    (folder / "questions.jsonl").write_text(json.dumps(line))
    (folder / "letter.txt").write_text("Dear Mrs Ada Brown")
    saved = {
        "id": "1", "question": "Which?", "opa": "a", "opb": "b", "opc": "c", "opd": "d", "cop": 0,
        "ground_truth": "a", "prediction": "The answer is: a", "correct": True,
        "match_type": "exact",
    }  # fmt: skip
    (folder / "evaluation_results.json").write_text(json.dumps({"results": [saved]}))


def instead(text: str, model: str) -> str:
    """Put the tiny model and small files for those that are not here."""
    for name in ("embedded:smollm2-135m", "hub:HuggingFaceTB/SmolLM2-1.7B-Instruct"):
        text = text.replace(name, model)
    text = text.replace("hub:openlifescienceai/medmcqa:train", "file:train.jsonl")
    text = text.replace("hub:openlifescienceai/medmcqa:validation", "file:validation.jsonl")
    # The embedded model's tokenizer has no name by which GGUF knows it once it is another's.
    return text.replace("int8,gguf-q8_0", "int8")


def typed(line: str) -> list[str]:
    """Part a command into words, its patterns filled in, as a shell does."""
    words = shlex.split(re.sub(r"(?:^|\s)#.*", "", line))
    here = Path()
    return [
        match
        for word in words
        for match in (sorted(map(str, here.glob(word))) if "*" in word else []) or [word]
    ]


def serves(words: list[str]) -> None:
    """Start an endpoint, ask whether it is ready, and stop it."""
    port = free_port()
    command = [*MEDTUNE, *words[1:], "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            for _ in range(300):
                try:
                    if httpx2.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                        return
                except httpx2.TransportError:
                    pass
                if process.poll() is not None:
                    # Nothing was promoted: so few questions show nothing.
                    _, said = process.communicate()
                    assert "champion" in " ".join(words), said
                    assert (process.returncode, "has no champion" in said) == (2, True), said
                    return
                time.sleep(0.1)
            raise AssertionError(f"{words} is not ready after half a minute")
        finally:
            process.terminate()


def test_every_command_of_the_readme_works(
    medtune: CommandLine, tiny_source: ModelSource, tmp_path: Path
) -> None:
    lay_out(tmp_path, tiny_source.name)
    with serving(OpenAiServer()) as server:
        for line in commands():
            if ELSEWHERE.search(line):
                continue
            line = instead(line, tiny_source.name)
            line = line.replace("http://localhost:8000/v1#my-model", f"{server.url}#fake")
            words = typed(line)
            if words[1] == "serve":
                serves(words)
                continue
            code, out, err = medtune(*words[1:])
            verb = " ".join(words[1:3])
            refused = code == 1 and verb.startswith(REFUSES)
            empty = code == 2 and verb in NOTHING_YET and NOTHING_YET[verb] in err
            assert code == 0 or refused or empty, f"{line}\n{out}\n{err}"
