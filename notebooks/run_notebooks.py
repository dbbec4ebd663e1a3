"""Run the notebooks and store their output, without what differs from run to run.

    python notebooks/run_notebooks.py [NAME.ipynb ...]     # rewrites them in place; default: all

A notebook is its own source: edit its cells, then run this.  Cells with the tag `exact` print the
same on every machine; a test compares them with what is stored.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
NOTEBOOKS = tuple(sorted(FOLDER.glob("*.ipynb")))
EXACT = "exact"
"""Tag of a cell whose output is the same on every machine."""
CELL_LIMIT_S = 600
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_WIDGET = "application/vnd.jupyter.widget-view+json"


def main(names: list[str]) -> None:
    """Run notebooks and write their output into them."""
    for path in [Path(name) for name in names] or NOTEBOOKS:
        with tempfile.TemporaryDirectory() as folder:
            notebook = run_notebook(path, Path(folder))
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def run_notebook(path: Path, folder: Path) -> Any:
    """Run a notebook in a folder, on one thread, without the network; return it normalised.

    Raises:
        CellExecutionError: A cell raised an error.
    """
    notebook = nbformat.read(path, as_version=4)
    settings = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    client = NotebookClient(
        notebook,
        timeout=CELL_LIMIT_S,
        kernel_name="python3",  # the interpreter that runs this
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env={**os.environ, **settings})
    return normalize(notebook, folder)


def normalize(notebook: Any, folder: Path) -> Any:
    """Remove what differs from run to run: counts, progress bars, warnings, folders."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = [
                _normalize_output(output, folder) for output in cell.outputs if _is_kept(output)
            ]
    return notebook


def _is_kept(output: Any) -> bool:
    if output.output_type == "stream":
        return bool(output.name == "stdout" and output.text.strip())
    return _WIDGET not in output.get("data", {})


def _normalize_output(output: Any, folder: Path) -> Any:
    if output.output_type == "stream":
        output.text = _normalize_text(output.text, folder)
        return output
    output.pop("execution_count", None)
    if output.output_type == "execute_result":
        output.execution_count = None
    output.data = {
        kind: _normalize_text(value, folder) if isinstance(value, str) else value
        for kind, value in output.data.items()
    }
    return output


def _normalize_text(text: str, folder: Path) -> str:
    text = _ANSI.sub("", text).replace(f"{folder}/", "").replace(str(Path.home()), "~")
    # A progress bar rewrites its line: the last state stays.
    return "\n".join(line.rpartition("\r")[2] for line in text.split("\n"))


if __name__ == "__main__":
    main(sys.argv[1:])
