"""Find the files of a run of lm-evaluation-harness, and read its results and samples.

Shapes: 0.4.3 to 0.4.13 write `results_DATE.json` and `samples_TASK_DATE.jsonl`, one sample a line;
0.4.0 to 0.4.2 `results.json` and `MODEL_TASK.jsonl`, a JSON list.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medtune.core.errors import PredictionsError

SAMPLES = re.compile(
    r"samples_(?P<task>.+?)(?:_(?P<date>\d{4}-\d\d-\d\dT[\d.:-]+))?\.jsonl?(\.gz)?"
)
RESULTS = re.compile(r"results(?:_(?P<date>\d{4}-\d\d-\d\dT[\d.:-]+))?\.json")
VERSION = re.compile(r"0\.4\.\d+")
SUPPORTED = "a log of lm-evaluation-harness 0.4 (checked: 0.4.13), written with --log_samples"


@dataclass(frozen=True)
class LmEvalRun:
    """Files of one run: its results, and the samples of its tasks."""

    path: Path
    """The folder or file as named by the user."""
    results: Mapping[str, Any] | None
    samples: Mapping[str, Path]
    """File of each task's samples."""
    notes: tuple[str, ...] = ()
    date: str | None = None

    def find(self, *keys: str) -> Any:
        """Return a value of the results; None where it is missing."""
        value: Any = self.results
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    @property
    def groups(self) -> dict[str, list[str]]:
        """Tasks with samples of every outermost group."""
        children = self.find("group_subtasks") or {}
        inner = {name for names in children.values() for name in names}
        found: dict[str, list[str]] = {}
        for group in children:
            if group not in inner:
                leaves = [task for task in self._leaves(group) if task in self.samples]
                if leaves and leaves != [group]:
                    found[group] = leaves
        return found

    def leaves_of(self, name: str) -> list[str]:
        """Return the tasks with samples of a task or a group, also of an inner one."""
        return [task for task in self._leaves(name) if task in self.samples]

    def _leaves(self, name: str) -> list[str]:
        children = (self.find("group_subtasks") or {}).get(name) or []
        if name in self.samples or not children:
            return [name]
        return [leaf for child in children for leaf in self._leaves(child)]

    @property
    def evaluations(self) -> dict[str, list[str]]:
        """Tasks of each evaluation: a group is one, and so is every other task."""
        groups = self.groups
        grouped = {task for tasks in groups.values() for task in tasks}
        return groups | {task: [task] for task in self.samples if task not in grouped}


@dataclass
class _Files:
    results: dict[str, Path] = field(default_factory=dict)
    """By date."""
    samples: dict[str, dict[str, Path]] = field(default_factory=dict)
    """By date and task."""


def is_lm_eval_folder(folder: Path) -> bool:
    """Return whether a folder, or a folder in it, holds results or samples of the harness."""
    return any(
        _list_files(place).samples or _list_files(place).results for place in _places(folder)
    )


def find_run(path: Path) -> LmEvalRun:
    """Find the run that a folder, a results file or a samples file belongs to.

    Raises:
        PredictionsError: There is none, several models are in one folder, the results are damaged,
            have no samples, or are of another version.
    """
    if path.is_dir():
        return _find_run_in(path)
    if RESULTS.fullmatch(path.name):
        files, date = _list_files(path.parent), RESULTS.fullmatch(path.name)["date"] or ""  # type: ignore[index]
        return _make_run(path, path, files.samples.get(date, {}), date)
    match = SAMPLES.fullmatch(path.name)
    if match is None:
        return _make_run(path, None, {path.name.partition(".json")[0]: path}, "")
    date = match["date"] or ""
    results = _list_files(path.parent).results.get(date)
    return _make_run(path, results, {match["task"]: path}, date)


def _find_run_in(folder: Path) -> LmEvalRun:
    places = [place for place in _places(folder) if _list_files(place).results]
    places = places or [place for place in _places(folder) if _list_files(place).samples]
    if not places:
        raise PredictionsError(f"{folder} holds no log", expected=SUPPORTED)
    if len(places) > 1:
        raise PredictionsError(
            f"{folder} holds the results of {len(places)} models: "
            + ", ".join(place.name for place in places[:5]),
            expected="the folder of one model",
        )
    (place,) = places
    files = _list_files(place)
    dates = sorted({*files.results, *files.samples})
    date = max(files.results or files.samples)
    notes: tuple[str, ...] = ()
    if len(dates) > 1:
        notes = (f"{place.name} holds {len(dates)} runs; this is the newest, of {date}.",)
    samples = files.samples.get(date, {})
    return _make_run(folder, files.results.get(date), samples, date, notes)


def _places(folder: Path) -> list[Path]:
    return [folder, *(place for place in _list_folder(folder) if place.is_dir())]


def _list_folder(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise PredictionsError(f"{folder} cannot be read: {error.strerror}") from error


def _list_files(folder: Path) -> _Files:
    files = _Files()
    names = [place for place in _list_folder(folder) if place.is_file()]
    for place in names:
        if found := RESULTS.fullmatch(place.name):
            files.results[found["date"] or ""] = place
        elif found := SAMPLES.fullmatch(place.name):
            files.samples.setdefault(found["date"] or "", {})[found["task"]] = place
    if "" in files.results and "" not in files.samples:
        # 0.4.0 to 0.4.2: the model's arguments precede the task's name.
        tasks = _read_results(files.results[""]).get("results") or {}
        for place in names:
            for task in tasks:
                if place.name.endswith((f"_{task}.jsonl", f"_{task}.jsonl.gz")):
                    files.samples.setdefault("", {})[task] = place
    return files


def _make_run(
    path: Path,
    results_file: Path | None,
    samples: Mapping[str, Path],
    date: str,
    notes: tuple[str, ...] = (),
) -> LmEvalRun:
    results = _read_results(results_file) if results_file is not None else None
    if results is None:
        notes += ("there is no results file beside the samples: accuracy as recomputed.",)
    else:
        _refuse_other_versions(results, results_file)
    if not samples:
        raise PredictionsError(
            f"{path} has results, but no samples",
            expected="samples_TASK_DATE.jsonl beside the results",
            fix="run lm_eval again with --log_samples",
        )
    return LmEvalRun(path, results, dict(samples), notes, date or None)


def _read_results(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PredictionsError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise PredictionsError(
            f"{path} is cut off, or no JSON: {error}", expected=SUPPORTED
        ) from error
    if not isinstance(found, dict) or not isinstance(found.get("results"), dict):
        raise PredictionsError(f"{path} has no results", expected=SUPPORTED)
    return found


def _refuse_other_versions(results: Mapping[str, Any], path: Path | None) -> None:
    version = results.get("lm_eval_version")
    if version is not None and not VERSION.match(str(version)):
        raise PredictionsError(
            f"{path} is of lm-evaluation-harness {version}, whose logs are not known here",
            expected=SUPPORTED,
        )


def read_samples(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read samples with their line numbers: a JSON object per line, or a JSON list.

    Raises:
        PredictionsError: The file is missing, empty, cut off or no log.
    """
    number, found = 0, False
    opened = gzip.open if path.name.endswith(".gz") else open
    try:
        with opened(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                found = found or bool(line.strip())
                if number == 1 and line.lstrip().startswith("["):
                    yield from enumerate(json.loads(line + file.read()), 1)
                    return
                if line.strip():
                    sample = json.loads(line)
                    if not isinstance(sample, dict):
                        raise ValueError("not an object")
                    yield number, sample
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise PredictionsError(
            f"{path} is cut off or damaged at line {max(number, 1)}: {error}",
            expected="one sample per line, as lm_eval --log_samples writes them",
            fix="copy the file again, or run lm_eval again",
        ) from error
    except OSError as error:
        raise PredictionsError(f"{path} cannot be read: {error.strerror}") from error
    if not found:
        raise PredictionsError(f"{path} is empty", expected=SUPPORTED)
