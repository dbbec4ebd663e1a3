"""The choice objective is what an examination scores, in loss and in gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medtune.core.experiment import Experiment
from medtune.core.option_logprobs import option_probabilities
from medtune.core.protocols import Example, ScoreRequest
from medtune.core.records import Question
from medtune.models.adapters.full import FullFineTuned
from medtune.models.adapters.lora import LoraModel
from medtune.models.adapters.trainable import TrainableModel
from medtune.models.local.local_model import LocalModel
from medtune.training.collate import collate, loss_weight
from medtune.training.examples import ExampleEncoder
from medtune.training.losses import compute_loss

QUESTIONS = [
    Question(
        id="biased",
        stem="Which vitamin prevents scurvy?",
        options=("Zinc", "Vitamin C, also called ascorbic acid, of citrus fruits", "Iron", "B12"),
        answer=1,
    ),
    Question(id="two", stem="Is the heart a muscle?", options=("Yes", "No"), answer=0),
    Question(
        id="prefixes",
        stem="Which of these is a beginning of another?",
        options=("Hepatitis", "Hepatitis B", "Hepatitis B virus", "Hepatitis B-virus"),
        answer=2,
    ),
    *(
        Question(
            id=f"{count} options",
            stem="Which number is the largest?",
            options=tuple(f"{number} bones" for number in range(count)),
            answer=count - 1,
        )
        for count in (3, 5, 6, 7, 8, 9, 10)
    ),
]


class Passages:
    """Passages of every option, as `TrainingPassages` finds them."""

    def find(self, question: Question) -> Any:
        return tuple((f"About {option}, number {i}.",) for i, option in enumerate(question.options))


def make_experiment(**training: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "training": {
                "objective": "choice",
                "method": "full",
                "learning_rate": 1e-4,
                **training,
            }
        }
    )


def make_trainable(model: LocalModel, experiment: Experiment) -> TrainableModel:
    """Make a trainable model; the update of LoRA is not zero, as it is at the start."""
    if experiment.training.method == "full":
        return FullFineTuned(model)
    made = LoraModel(model, experiment.training.lora, seed=0)
    for name, parameter in made.parameters.items():
        if ".lora_B." in name:
            nn.init.normal_(parameter, std=0.1)
    return made


def encode(
    trainable: TrainableModel, experiment: Experiment, open_book: bool = False
) -> list[Example]:
    passages: Any = Passages() if open_book else None
    encoder = ExampleEncoder(trainable, experiment, QUESTIONS, passages)
    return [encoder(question) for question in QUESTIONS]


def separate_loss(network: Any, example: Example, smoothing: float) -> Tensor:
    """Compute the loss of a question by a pass for every option, by torch's own functions."""
    scores = []
    for option, length in zip(example.options, example.lengths, strict=True):
        logs = network(torch.tensor([option.tokens])).logits[0].log_softmax(-1)
        terms = [logs[at - 1, option.tokens[at]] for at in range(option.first, len(option.tokens))]
        scores.append(torch.stack(terms).sum() / length)
    choice = nn.functional.cross_entropy(
        torch.stack(scores)[None], torch.tensor([example.right]), label_smoothing=smoothing
    )
    logs = network(torch.tensor([example.tokens])).logits[0, example.prompt - 1 : -1]
    answer = nn.functional.cross_entropy(logs, torch.tensor(example.tokens[example.prompt :]))
    share = example.answer_share
    return example.weight * ((1 - share) * choice + share * answer)


def take_gradients(trainable: TrainableModel, loss: Tensor) -> dict[str, Tensor]:
    torch.autograd.backward(loss)
    found = {name: p.grad for name, p in trainable.parameters.items() if p.grad is not None}
    for parameter in trainable.parameters.values():
        parameter.grad = None
    return found


def packed_loss(
    trainable: TrainableModel, examples: Sequence[Example], smoothing: float, branches: bool
) -> Tensor:
    batch = collate(examples, torch.device("cpu"), branches=branches)
    trainable.head.packs = branches  # type: ignore[assignment]
    logits = trainable.head(batch.tokens, batch.wanted, batch.lengths, batch.prefix, batch.ends)
    return compute_loss(logits, batch, smoothing)


@pytest.mark.parametrize("branches", [True, False], ids=["branches", "padded"])
@pytest.mark.parametrize(
    ("training", "open_book"),
    [
        pytest.param({}, False, id="text"),
        pytest.param({"target": "letter"}, False, id="letter"),
        pytest.param({"method": "lora"}, False, id="text, low-rank"),
        pytest.param(
            {"method": "lora", "target": "letter", "answer_share": 0.3}, True, id="letter, low-rank"
        ),
        pytest.param({"label_smoothing": 0.1}, True, id="passages of each option"),
        pytest.param({"answer_share": 0.3, "label_smoothing": 0.1}, False, id="with the answer"),
        pytest.param(
            {"answer_share": 0.5, "target": "text+explanation", "weigh_by": "subject"},
            True,
            id="with the answer and passages",
        ),
    ],
)
def test_branches_give_the_loss_and_gradient_of_separate_passes(
    tiny: LocalModel, training: dict[str, Any], open_book: bool, branches: bool
) -> None:
    experiment = make_experiment(**training)
    trainable = make_trainable(tiny, experiment)
    assert trainable.packs
    examples = encode(trainable, experiment, open_book)
    smoothing = experiment.training.label_smoothing
    network = trainable.head.get_submodule("network")
    alone = torch.stack([separate_loss(network, e, smoothing) for e in examples]).sum()
    expected = take_gradients(trainable, alone)
    loss = packed_loss(trainable, examples, smoothing, branches)
    assert loss.item() == pytest.approx(alone.item(), abs=1e-5)
    found = take_gradients(trainable, loss)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, atol=1e-5), name


def test_a_stem_is_computed_once(tiny: LocalModel) -> None:
    trainable = FullFineTuned(tiny, False)
    examples = encode(trainable, make_experiment())
    batch = collate(examples, torch.device("cpu"))
    assert len(batch.lengths) == len(examples)
    apart = collate(examples, torch.device("cpu"), branches=False)
    assert len(batch.tokens) < 0.5 * len(apart.tokens)
    assert sum(map(loss_weight, examples)) == len(examples)


def test_the_loss_is_the_one_of_an_examination(tiny: LocalModel) -> None:
    trainable, experiment = FullFineTuned(tiny, False), make_experiment()
    examples = encode(trainable, experiment)
    view = trainable.inference_view()
    for question, example in zip(QUESTIONS, examples, strict=True):
        lead, continuations = experiment.prompt.split_continuations(question, "text")
        messages = experiment.prompt.build_messages(question, "text")
        request = ScoreRequest(
            question.id, question.stem, question.options, messages, lead, continuations
        )
        (scores,) = view.score([request])
        assert question.answer is not None
        right = option_probabilities(scores, "byte")[question.answer]
        loss = packed_loss(trainable, [example], 0.0, branches=True)
        assert loss.item() == pytest.approx(-torch.tensor(right).log().item(), abs=1e-5)
