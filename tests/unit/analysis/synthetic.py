"""Made-up evaluations that look like MedMCQA's: 20 subjects, four letters, any number of them."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from medtune.core.intervals import wilson_interval
from medtune.core.predictions_io import Evaluation
from medtune.core.provenance import collect_provenance
from medtune.core.records import (
    LETTERS,
    EvaluationRecord,
    Method,
    ModelDescription,
    OrderAnswer,
    Outcome,
    OutcomeCounts,
    Prediction,
    SplitDescription,
)

SUBJECTS = {
    "Dental": 31,
    "Medicine": 13,
    "Surgery": 11,
    "Pathology": 10,
    "Pharmacology": 9,
    "Gynaecology & Obstetrics": 8,
    "Anatomy": 7,
    "Pediatrics": 7,
    "Social & Preventive Medicine": 7,
    "Microbiology": 6,
    "Biochemistry": 5,
    "Physiology": 5,
    "Radiology": 3,
    "Forensic Medicine": 3,
    "Ophthalmology": 2,
    "ENT": 2,
    "Anaesthesia": 2,
    "Skin": 1,
    "Orthopaedics": 1,
    "Psychiatry": 1,
}
"""Name and weight, as in the validation split."""


def predictions(
    n: int, skill: float, seed: int = 0, cyclic: bool = True, tag: str = "q", habit: float = 0.6
) -> list[Prediction]:
    """Answer n questions; the right option's score is larger by `skill`, A's by `habit`.

    The questions depend on n and tag alone: two skills are asked the same ones.
    """
    asked, noise = random.Random(f"{tag}{n}"), random.Random(f"{tag}{n}{seed}{skill}")
    names, weights = zip(*SUBJECTS.items(), strict=True)
    made = []
    for number in range(n):
        subject = asked.choices(names, weights)[0]
        answer = asked.choices(range(4), [32, 26, 24, 18])[0]
        negated = asked.random() < 0.15
        length = asked.randrange(2, 40)
        lift = skill * (0.3 if negated else 1) * (1.6 if subject == "Anatomy" else 1)
        contents = [noise.gauss(lift if i == answer else 0, 1.2) for i in range(4)]
        orders = []
        for shift in range(4 if cyclic else 1):
            order = tuple((i + shift) % 4 for i in range(4))
            scores = [contents[i] + (habit if place == 0 else 0) for place, i in enumerate(order)]
            weights_ = [math.exp(score) for score in scores]
            by_content = {i: w / sum(weights_) for i, w in zip(order, weights_, strict=True)}
            shares = tuple(by_content[i] for i in range(4))
            orders.append(
                OrderAnswer(order=order, chosen=shares.index(max(shares)), probabilities=shares)
            )
        mean = tuple(sum(o.probabilities[i] for o in orders) / len(orders) for i in range(4))
        chosen = mean.index(max(mean))
        word = "except" if negated else "namely"
        made.append(
            Prediction(
                id=f"{tag}-{number:05d}",
                stem=f"All of the following, {word} case {tag}{number}" + " of many" * length + "?",
                subject=subject,
                topic=f"{subject} {asked.randrange(12) + 1}",
                options=tuple(f"finding {number} of kind {kind}" for kind in "wxyz"),
                answer=answer,
                chosen=chosen,
                outcome=Outcome.CORRECT if chosen == answer else Outcome.WRONG,
                logprobs=tuple(map(math.log, mean)),
                probabilities=mean,
                orders=tuple(orders) if cyclic else None,
                mass=0.97,
            )
        )
    return made


def near_passages(given: Sequence[Prediction]) -> list[Prediction]:
    """Give every question a similarity to a passage, by its id."""
    return [
        p.model_copy(update={"similarity": random.Random(f"similar {p.id}").random()})
        for p in given
    ]


def free(given: Sequence[Prediction]) -> list[Prediction]:
    """Make free answers of them, every tenth one unparsed."""
    bare: dict[str, Any] = dict.fromkeys(("logprobs", "probabilities", "orders", "mass"))
    made = []
    for number, p in enumerate(given):
        changes = {**bare, "text": p.options[p.chosen or 0], "stopped": True}
        if number % 10 == 9:
            changes |= {"chosen": None, "outcome": Outcome.UNPARSED, "text": "I <b>think</b> ..."}
            changes |= {"reason": "names no option"}
        made.append(p.model_copy(update=changes))
    return made


def evaluation(
    label: str, given: Sequence[Prediction], method: Method = "letter", **changes: Any
) -> Evaluation:
    """Put a record to predictions."""
    n = len(given)
    outcomes = Counter(p.outcome for p in given)
    right = Counter(LETTERS[p.answer] for p in given)
    correct, wrong = outcomes[Outcome.CORRECT], outcomes[Outcome.WRONG]
    letter, most = right.most_common(1)[0]
    record = EvaluationRecord(
        inputs="i" * 64,
        label=label,
        model=ModelDescription(
            source="hub:example/small-1.7b",
            fingerprint="f" * 64,
            adapter="a" * 64 if label != "base" else None,
            parameters=1711376384,
            dtype="bfloat16",
            device="cpu",
        ),
        data=SplitDescription(
            source="file:data/validation.parquet", n=n, excluded={}, hash="d" * 64
        ),
        prompt_hash="p" * 64,
        method=method,
        normalization=None if method == "generate" else "byte",
        orders="cyclic" if given[0].orders else "given",
        counts=OutcomeCounts(
            n=n,
            correct=correct,
            wrong=wrong,
            unparsed=outcomes[Outcome.UNPARSED],
            abstained=outcomes[Outcome.ABSTAINED],
        ),
        accuracy=wilson_interval(correct, n),
        answer_rate=wilson_interval(correct + wrong, n),
        stop_rate=wilson_interval(n, n) if method == "generate" else None,
        chance=0.25,
        majority=wilson_interval(most, n),
        majority_letter=letter,
        letters_chosen=dict(Counter(LETTERS[p.chosen] for p in given if p.chosen is not None)),
        letters_right=dict(right),
        mean_mass=0.97 if method == "letter" else None,
        parser=3 if method == "generate" else None,
        duration_s=412.7,
        questions_per_s=10.14,
        provenance=collect_provenance(),
    )
    return Evaluation(record.model_copy(update=changes), list(given))
