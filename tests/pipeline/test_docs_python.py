"""Python in README, docs and llms.txt: every call can be made, and what needs no weights runs."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import medtune

ROOT = Path(__file__).parents[2]
TEXTS = ("README.md", "llms.txt", *(f"docs/{p.name}" for p in sorted((ROOT / "docs").glob("*.md"))))
RUN = ("open-book", "own-model", "own-questions")
"""Pages whose Python trains nothing."""
MY_CSV = "question,a,b,c,d,key\nWhich is it?,one,two,three,four,b\nWhich else?,1,2,3,4,a\n"


def blocks(name: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)


def calls(code: str) -> Iterator[ast.Call]:
    """Yield the calls of public functions."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("mt."):
            yield node


def test_every_call_in_the_docs_fits_the_signature() -> None:
    seen = 0
    for name in TEXTS:
        for call in (call for code in blocks(name) for call in calls(code)):
            function = getattr(medtune, ast.unparse(call.func).removeprefix("mt."))
            given = {word.arg: None for word in call.keywords if word.arg is not None}
            try:
                inspect.signature(function).bind(*call.args, **given)
            except TypeError as error:
                pytest.fail(f"{name}: {ast.unparse(call)}: {error}")
            seen += 1
    assert seen > 15


@pytest.mark.parametrize("page", RUN)
def test_python_that_needs_no_weights_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.csv").write_text(MY_CSV)
    known: dict[str, Any] = {}
    for code in blocks(f"docs/{page}.md"):
        exec(code.replace("embedded:smollm2-135m", "fake:noisy"), known)
    assert capsys.readouterr().out
