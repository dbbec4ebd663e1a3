"""How fast passages are indexed and searched, by BM25 in a folder and by PostgreSQL.

    python benchmarks/search_speed.py --train file:medmcqa_train.parquet
        --evaluate snapshot:DIR:validation [--postgres postgresql://user@host/database]

Evaluated questions are searched on one core, with the features of the option scorer and with the
best passage alone, and the passages of a prompt are found for each of them.  Passages that leak an
evaluated question are not left out: accuracy here compares the engines, and is no result.  Prints
one JSON line.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from medtune.core.experiment import RetrievalConfig
from medtune.core.progress import NoProgress
from medtune.core.provenance import collect_provenance
from medtune.core.records import Question
from medtune.data.load import load_split
from medtune.retrieval.evidence import EvidenceFinder
from medtune.retrieval.index import FolderIndex, PassageIndex, build_index
from medtune.retrieval.option_features import ALL_FEATURES, PLAIN_FEATURES, search_options
from medtune.retrieval.passages import passages_from_questions
from medtune.retrieval.postgres_index import PostgresIndex, build_postgres_index
from medtune.retrieval.schema import PassageSource

STEMMER = "english"
Result = TypeVar("Result")


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    passages = passages_from_questions(load_split(arguments.train).questions, arguments.train, None)
    sources = [PassageSource(source=arguments.train, licence=None, passages=len(passages))]
    questions = load_split(arguments.evaluate).questions[: arguments.limit]
    result: dict[str, Any] = {
        "benchmark": "search_speed",
        "train": Path(arguments.train).name,
        "evaluate": Path(arguments.evaluate).name,
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "index"
        build_s, built = measure(
            lambda: build_index(passages, sources, folder, STEMMER, NoProgress())
        )
        open_s, index = measure(lambda: FolderIndex.open(folder))
        result["bm25"] = describe(built, build_s, open_s, index, questions)
        if arguments.postgres:
            store = Path(temporary) / "postgres"
            build_s, stored = measure(
                lambda: build_postgres_index(
                    passages, sources, store, STEMMER, arguments.postgres, NoProgress()
                )
            )
            open_s, database = measure(lambda: PostgresIndex.open(store))
            few = questions[: arguments.postgres_limit]
            result["postgres"] = describe(stored, build_s, open_s, database, few)
    result["provenance"] = collect_provenance().model_dump(mode="json")
    print(json.dumps(result))
    if arguments.json_out:
        arguments.json_out.write_text(json.dumps(result, indent=2) + "\n")


def measure(act: Callable[[], Result]) -> tuple[float, Result]:
    """Return the seconds that an act takes, and its result."""
    start = time.perf_counter()
    result = act()
    return time.perf_counter() - start, result


def describe(
    built: PassageIndex,
    build_s: float,
    open_s: float,
    index: PassageIndex,
    questions: Sequence[Question],
) -> dict[str, Any]:
    """Search for the questions, and describe the index and its speed."""
    finder = EvidenceFinder(index, RetrievalConfig(kind="per-option"))
    features = measure_questions(
        questions, lambda q: search_options(index, q.stem, q.options, ALL_FEATURES)
    )
    evidence = measure_questions(questions, lambda q: finder.find(q.stem, q.options))
    right = [
        int(search_options(index, q.stem, q.options, PLAIN_FEATURES)[:, 0].argmax()) == q.answer
        for q in questions
        if q.answer is not None
    ]
    return {
        "passages": built.manifest.passages,
        "build_s": round(build_s, 1),
        "open_s": round(open_s, 2),
        "size_mb": round(built.manifest.size_bytes / 1e6, 1),
        "questions": len(questions),
        "features": features,
        "evidence": evidence,
        "best_passage_accuracy": round(float(np.mean(right)), 4),
    }


def measure_questions(
    questions: Sequence[Question], act: Callable[[Question], object]
) -> dict[str, float]:
    """Measure an act on every question: seconds for all, milliseconds of the median and p95."""
    times = [measure(partial(act, question))[0] for question in questions]
    middle, slow = np.percentile(times, [50, 95]) * 1000
    return {
        "all_s": round(sum(times), 1),
        "p50_ms": round(float(middle), 1),
        "p95_ms": round(float(slow), 1),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--train", required=True, help="questions to index")
    parser.add_argument("--evaluate", required=True, help="questions to search for")
    parser.add_argument("--limit", type=int, help="most questions")
    parser.add_argument("--postgres", help="database to measure beside it")
    parser.add_argument(
        "--postgres-limit", type=int, default=500, help="most questions for PostgreSQL"
    )
    parser.add_argument("--json-out", type=Path, help="also write the line to a file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
