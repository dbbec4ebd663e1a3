"""Profile a model (`medtune profile MODEL`): how close its jobs come to the matrix products.

Letter and cloze evaluation and LoRA training run three times on the same questions: once to warm
up, once with every matrix product recorded, once timed.  Then each product is timed by itself.
Attention that is one kernel, as on a GPU, has no products that could be recorded.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

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
Job = Callable[[], tuple[int, float]]
"""Returns its number of questions or examples, and its seconds."""


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
    gpu = torch.cuda.get_device_name() if opened.device.type == "cuda" else None
    asked = tuple(split.questions)

    def evaluate(method: Method) -> Job:
        exam = Exam(asked, split.description, PromptStyle(), method, "byte")

        def job() -> tuple[int, float]:
            start = time.perf_counter()
            evaluate_model(opened, exam, "profile", STRICT_PARSER, NoProgress())
            return len(asked), time.perf_counter() - start

        return job

    def train() -> tuple[int, float]:
        with tempfile.TemporaryDirectory() as folder:
            done = fine_tune(
                adapted, experiment, asked, split.description, Path(folder), NoProgress()
            )
        return done.examples, done.duration_s

    found = []
    for method in METHODS:
        progress.log_message(f"{method}: {len(asked)} questions")
        found.append(_profile_job(f"evaluate by {method}", evaluate(method), opened.device))
    # It changes the network that the evaluations read.
    adapted = LoraModel(opened, experiment.training.lora, seed=0)
    progress.log_message(f"training: {len(asked)} examples")
    found.append(_profile_job("train by LoRA", train, opened.device))
    return ProfileRecord(
        model=described,
        data=split.description,
        jobs=tuple(found),
        provenance=collect_provenance(gpu),
    )


def _profile_job(name: str, job: Job, device: torch.device) -> JobProfile:
    job()
    with ProductRecorder() as recorder:
        job()
    units, seconds = job()
    gflop, products = time_products(recorder.calls, device)
    return JobProfile(
        job=name,
        units=units,
        seconds=seconds,
        products_s=sum(one.seconds for one in products),
        gflop=gflop,
        products=products,
    )
