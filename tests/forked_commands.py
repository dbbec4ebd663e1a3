"""Commands in processes of their own, without the seconds that each would import libraries for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

# Imports what commands need, under one environment, and forks for every command that it is told.
PROGRAM = """
import json, os, sys, traceback
import datasets, peft, torch, transformers
import medtune.models.local.local_model
from medtune.cli import main

for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if not child:
        os.environ.update(asked["environment"])
        os.chdir(asked["folder"])
        for number, path in enumerate(asked["files"], 1):
            os.dup2(os.open(path, os.O_WRONLY), number)
        code = 1
        try:
            main(asked["arguments"])
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class ForkedCommands:
    """Runs medtune's commands as `python -m medtune` would, each in a fork of one process.

    Libraries read their settings when they are imported: what is of them is in the environment of
    the whole, such as HF_HOME; what is read at each use may change from command to command.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, folder: Path, arguments: tuple[str, ...], environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run one command in a folder."""
        files = [folder / "stdout", folder / "stderr"]
        for file in files:
            file.write_bytes(b"")
        asked = {
            "folder": str(folder),
            "arguments": arguments,
            "environment": dict(environment),
            "files": [str(file) for file in files],
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(asked)}\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        out, err = (file.read_text() for file in files)
        return subprocess.CompletedProcess(arguments, code, out, err)

    def __enter__(self) -> ForkedCommands:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
