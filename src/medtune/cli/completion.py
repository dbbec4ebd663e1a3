"""Complete names of models, data, experiments and folders in a shell.

A shell asks at every press of the tab key: nothing here reads a file or loads a package.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from pathlib import Path
from typing import get_args

from medtune.core.config import SHIPPED_EXPERIMENTS
from medtune.core.predictions_io import PREDICTIONS_FILE
from medtune.core.schemas.compression import Scheme

BASH = "complete_bash"
STARTER = ("starter", "starter:train", "starter:recall", "starter:transfer", "starter:general")
MODELS = (
    "embedded:smollm2-135m",
    "search:starter",
    "fake:oracle",
    "fake:constant",
    "fake:biased",
    "fake:noisy",
)
WEIGHTS = ("adapter", "model")
"""Folders of trained weights in a run folder."""

_head = ""
"""What bash takes for an earlier word: the part of a name up to its last colon."""


def join_bash_words(environment: MutableMapping[str, str]) -> None:
    """Join the words of a command line that bash splits at colons, such as `starter:recall`."""
    global _head
    if environment.get("_MEDTUNE_COMPLETE") != BASH or "COMP_WORDS" not in environment:
        return
    count = int(environment.get("COMP_CWORD", "0"))
    split = environment["COMP_WORDS"].split("\n")[: count + 1]
    split += [""] * (count + 1 - len(split))
    words: list[str] = []
    for place, word in enumerate(split):
        colon = place > 0 and (word.startswith(":") or (split[place - 1].endswith(":") and word))
        if colon:
            words[-1] += word
        else:
            words.append(word)
    head, colon, tail = words.pop().rpartition(":")
    _head = head + colon
    environment["COMP_WORDS"] = "\n".join([*words, tail])
    environment["COMP_CWORD"] = str(len(words))


def complete_model(incomplete: str) -> list[str]:
    """Return the models that a word may become: named ones, and runs that were trained."""
    return _matches(incomplete, [*MODELS, *_find_runs()])


def complete_data(incomplete: str) -> list[str]:
    """Return the questions that a word may become: the starter splits, files, and snapshots."""
    files = _list_files(incomplete, (".csv", ".tsv", ".jsonl", ".json", ".parquet"))
    runs = (run for run in _list_folders("runs") if _is_folder(run, "data"))
    return _matches(incomplete, [*STARTER, *files, *(f"snapshot:{run}/data" for run in runs)])


def complete_experiment(incomplete: str) -> list[str]:
    """Return the experiments that a word may become: files, and names of those that ship."""
    files = (
        path for place in ("experiments/", incomplete) for path in _list_files(place, (".toml",))
    )
    shipped = sorted(file.stem for file in SHIPPED_EXPERIMENTS.glob("*.toml"))
    return _matches(incomplete, [*files, *shipped])


def complete_evaluation(incomplete: str) -> list[str]:
    """Return the folders of evaluations that a word may become."""
    folders = ["runs/eval", *(f"{run}/eval" for run in _list_folders("runs")), incomplete]
    found = (place for folder in folders for place in _list_folders(folder))
    return _matches(incomplete, (p for p in found if Path(p, PREDICTIONS_FILE).is_file()))


def complete_run(incomplete: str) -> list[str]:
    """Return the run folders with trained weights that a word may become."""
    return _matches(incomplete, _find_runs())


def complete_schemes(incomplete: str) -> list[str]:
    """Return the quantization schemes that a comma-separated list may end with."""
    before, comma, _ = incomplete.rpartition(",")
    named = before.split(",")
    return _matches(
        incomplete, (before + comma + name for name in get_args(Scheme) if name not in named)
    )


def _find_runs() -> Iterator[str]:
    return (run for run in _list_folders("runs") if any(_is_folder(run, w) for w in WEIGHTS))


def _is_folder(*parts: str) -> bool:
    return Path(*parts).is_dir()


def _list_files(incomplete: str, suffixes: tuple[str, ...]) -> Iterator[str]:
    """List the files with a suffix in the folder that a word names so far."""
    return (path for path in _list(incomplete) if path.endswith(suffixes))


def _list_folders(folder: str) -> Iterator[str]:
    return (path for path in _list(f"{folder.rstrip('/')}/") if _is_folder(path))


def _list(incomplete: str) -> list[str]:
    folder, slash, _ = incomplete.rpartition("/")
    try:
        return [folder + slash + p.name for p in sorted(Path(folder + slash or ".").iterdir())]
    except OSError:
        return []


def _matches(incomplete: str, known: Iterable[str]) -> list[str]:
    """Return the known words that begin as the word does, without what bash has already."""
    word = _head + incomplete
    return list(dict.fromkeys(k.removeprefix(_head) for k in known if k.startswith(word)))
