"""Estimate how long jobs take on this machine, from a measurement of a second.

A job's cost has two terms: matrix products, and everything else.  Both were measured with the
embedded model on a quickstart of six epochs (two cores of an Intel Xeon with AMX, which the record
in results/quickstart.json found slower) and scale with the machine's speed in each, with the
number of parameters and with the length of the questions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from medtune.core.experiment import Experiment
from medtune.core.provenance import available_cores
from medtune.core.records import Method, Question
from medtune.core.schemas.plan import JobEstimate, MachineSpeed

ERROR_FACTOR = 2.0
"""Factor by which an estimate may be wrong on an idle machine.

Evaluations of the quickstart took 0.6 to 1.5 times their estimate, its training and the whole run
0.9 to 1.1 times.
"""
REFERENCE_PARAMETERS = 134_515_008
REFERENCE_ELEMENTS = 2.55
"""10^9 elements/s on the machine of the quickstart."""
SHORT_QUESTION = 215
"""Mean characters of a starter question and its options."""
MEASURED_S = 0.25
"""Length of a measurement, of which the fastest call counts."""
ROWS, WIDTH, HIDDEN = 1024, 576, 1536
"""Shapes of the embedded model's largest products in one pass."""
PROCESS_BYTES = 900_000_000
"""Resident size of Python with its libraries."""
PASS_BYTES = 600_000_000
"""Activations of one pass of the embedded model that scores or generates."""
TRAINING_BYTES = 2_700_000_000
"""Activations and gradients of one pass of the embedded model that trains."""


@dataclass(frozen=True, slots=True)
class UnitCost:
    """Cost of a question or an example of the embedded model's."""

    gflop: float
    """In matrix products."""
    other_s: float
    """Everything else, on the machine of the quickstart."""


EVALUATION_COSTS: dict[Method, UnitCost] = {
    "cloze": UnitCost(16, 0.011),
    "letter": UnitCost(16, 0.014),
    "generate": UnitCost(16, 0.097),
}
TRAINING_COST = UnitCost(28, 0.059)
START_S = 6.0
"""Loading of libraries and of the model, once per command."""
RUN_S = 20.0
"""The same of a run, with its text search, its comparisons and its pages."""
ORDERS_COST = 3.4
"""Cost of scoring four orders of the options, in that of one (results/eval_speed.json)."""


@dataclass(frozen=True, slots=True)
class JobCosts:
    """Costs of jobs with one model on one machine."""

    speed: MachineSpeed
    parameters: int = REFERENCE_PARAMETERS

    def evaluation_seconds(
        self,
        method: Method,
        questions: int,
        characters: float = SHORT_QUESTION,
        options_only: int = 0,
        orders: str = "given",
        shots: int = 0,
    ) -> float:
        """Estimate an evaluation.

        Args:
            method: Method of the evaluation.
            questions: Number of questions.
            characters: Mean characters of a question with its options.
            options_only: Number of questions that are asked again without the stem.
            orders: Orders of the options.
            shots: Worked examples before a question.
        """
        again = 0 if method == "generate" else min(options_only, questions)
        passes = questions * (ORDERS_COST if orders == "cyclic" else 1) + again
        # The prefix of worked examples is computed once where they are the same.
        length = characters * (1 + 0.2 * shots)
        return self._seconds(EVALUATION_COSTS[method], passes * length / SHORT_QUESTION)

    def training_seconds(self, examples: int, characters: float = SHORT_QUESTION) -> float:
        """Estimate a training on a number of examples, every epoch counted."""
        return self._seconds(TRAINING_COST, examples * characters / SHORT_QUESTION)

    def _seconds(self, unit: UnitCost, units: float) -> float:
        products = unit.gflop / self.speed.products
        other = unit.other_s * REFERENCE_ELEMENTS / self.speed.elements
        return units * (products + other) * self.parameters / REFERENCE_PARAMETERS

    def evaluation_memory(self, bytes_per_weight: float) -> int:
        """Estimate the peak memory of an evaluation, bytes."""
        return round(PROCESS_BYTES + self.parameters * bytes_per_weight + self._scaled(PASS_BYTES))

    def training_memory(self, bytes_per_weight: float) -> int:
        """Estimate the peak memory of a training, bytes."""
        weights = self.parameters * bytes_per_weight
        return round(PROCESS_BYTES + weights + self._scaled(TRAINING_BYTES))

    def _scaled(self, activations: float) -> float:
        """Scale activations: layers times width grows as the 2/3 power of the parameters."""
        return float(activations * (self.parameters / REFERENCE_PARAMETERS) ** (2 / 3))


def measure_speed(dtype: str = "auto") -> MachineSpeed | None:
    """Measure the CPU; None with an accelerator, on which no job's cost was measured.

    Args:
        dtype: Dtype of the model.
    """
    import torch
    from torch.nn.functional import silu

    from medtune.models.device import choose_device, choose_dtype, single_threaded

    device = choose_device()
    if device.type != "cpu":
        return None
    kind = choose_dtype(dtype, device)
    rows, weights = torch.randn(ROWS, WIDTH).to(kind), torch.randn(WIDTH, HIDDEN).to(kind)
    values = torch.randn(ROWS, HIDDEN).to(kind)
    with torch.inference_mode(), single_threaded():
        product_s = _shortest_time(lambda: rows @ weights)
        element_s = _shortest_time(lambda: silu(values) * values)
    cores = available_cores()
    return MachineSpeed(
        products=cores * 2 * ROWS * WIDTH * HIDDEN / product_s / 1e9,
        elements=cores * ROWS * HIDDEN / element_s / 1e9,
    )


def _shortest_time(work: Callable[[], object]) -> float:
    """Return the seconds of a call: one thread's own time, which others on the machine leave."""
    work()
    shortest, start = float("inf"), time.perf_counter()
    while time.perf_counter() - start < MEASURED_S:
        before = time.thread_time()
        work()
        shortest = min(shortest, time.thread_time() - before)
    return shortest


def estimate_usual_jobs(speed: MachineSpeed, bytes_per_weight: int) -> tuple[JobEstimate, ...]:
    """Estimate the quickstart, 1,000 questions by each method, and 1,000 training examples."""
    costs, quickstart = JobCosts(speed), Experiment()
    settings = quickstart.evaluation
    whole = RUN_S + costs.training_seconds(320 * quickstart.training.epochs)
    for method in settings.methods:  # two splits, before and after
        whole += 4 * costs.evaluation_seconds(method, 80, options_only=settings.options_only)
    for method in ("cloze", "letter"):  # what was forgotten: general questions, before and after
        whole += 2 * costs.evaluation_seconds(method, 120)
    training = costs.training_memory(bytes_per_weight)
    # A run evaluates after its training, whose memory is not returned.
    peak = training + PASS_BYTES
    asking = costs.evaluation_memory(bytes_per_weight)
    return (
        JobEstimate(job="medtune run: the quickstart", seconds=whole, memory_bytes=peak),
        *(
            JobEstimate(
                job=f"medtune evaluate: 1,000 questions by {method}",
                seconds=costs.evaluation_seconds(method, 1000, options_only=500),
                memory_bytes=asking,
            )
            for method in ("letter", "cloze", "generate")
        ),
        JobEstimate(
            job="medtune train: 1,000 examples, one epoch",
            seconds=costs.training_seconds(1000),
            memory_bytes=training,
        ),
    )


def mean_characters(questions: Sequence[Question]) -> float:
    """Return the mean characters of questions with their options, by up to 1,000 of them."""
    some = questions[:: max(1, len(questions) // 1000)]
    lengths = [len(question.stem) + sum(map(len, question.options)) for question in some]
    return sum(lengths) / len(lengths) if lengths else float(SHORT_QUESTION)
