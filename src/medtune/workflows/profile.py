"""Profile a model (`medtune profile MODEL`): how close its jobs come to the matrix products.

Letter and cloze evaluation and LoRA training run twice on the same questions: once with every
matrix product recorded, once timed.  Then each product is timed by itself.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from medtune.core.experiment import Experiment
from medtune.core.progress import NoProgress, Progress
from medtune.core.prompt import PromptStyle
from medtune.core.provenance import collect_provenance
from medtune.core.records import Method
from medtune.core.schemas.profile import JobProfile, ProfileRecord
from medtune.data.load import load_split
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_model
from medtune.models.adapters.lora import LoraModel
from medtune.models.local.local_model import LocalModel
from medtune.models.matrix_products import ProductRecorder, time_products
from medtune.training.finetune import fine_tune
from medtune.workflows.finetune import resolve_trainable

METHODS: tuple[Method, ...] = ("letter", "cloze")
Job = Callable[[], object]


def profile(
    model: str, data: str, progress: Progress, *, questions: int, dtype: str = "auto"
) -> ProfileRecord:
    """Compare letter and cloze evaluation and LoRA training with their matrix products.

    Args:
        model: Name of a model that can be trained.
        data: Questions.
        progress: Reports each job.
        questions: Number of questions.
        dtype: Precision of the model.

    Raises:
        MedtuneError: The model or the data cannot be used.
    """
    settings = {"epochs": 1, "save_every": 10**6}
    experiment = Experiment.model_validate(
        {"model": {"source": model, "dtype": dtype}, "training": settings}
    )
    source = resolve_trainable(experiment, progress)
    split = load_split(data, size=questions, progress=progress, for_training=True)
    opened = LocalModel.load(source, dtype=dtype)
    described = opened.describe()
    asked = tuple(split.questions)

    def evaluate(method: Method) -> Job:
        exam = Exam(asked, split.description, PromptStyle(), method, "byte")
        return lambda: evaluate_model(opened, exam, "profile", STRICT_PARSER, NoProgress())

    def train() -> None:
        with tempfile.TemporaryDirectory() as folder:
            fine_tune(adapted, experiment, asked, split.description, Path(folder), NoProgress())

    found = []
    for method in METHODS:
        progress.log_message(f"{method}: {len(asked)} questions")
        found.append(_profile_job(f"evaluate by {method}", evaluate(method), len(asked), opened))
    # It changes the network that the evaluations read.
    adapted = LoraModel(opened, experiment.training.lora, seed=0)
    progress.log_message(f"training: {len(asked)} examples")
    found.append(_profile_job("train by LoRA", train, len(asked), opened))
    return ProfileRecord(
        model=described,
        data=split.description,
        jobs=tuple(found),
        provenance=collect_provenance(),
    )


def _profile_job(name: str, job: Job, units: int, model: LocalModel) -> JobProfile:
    with ProductRecorder() as recorder:
        job()
    start = time.perf_counter()
    job()
    seconds = time.perf_counter() - start
    gflop, products = time_products(recorder.calls, model.device)
    return JobProfile(
        job=name,
        units=units,
        seconds=seconds,
        products_s=sum(one.seconds for one in products),
        gflop=gflop,
        products=products,
    )
