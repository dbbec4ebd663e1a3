from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from medtune.core.experiment import Experiment, RetrievalConfig
from medtune.core.progress import NoProgress
from medtune.core.protocols import Example, Message
from medtune.core.records import Question, SplitDescription
from medtune.core.token_trie import ScoredSequence
from medtune.retrieval.evidence import EvidenceFinder, Passages
from medtune.retrieval.index import build_index
from medtune.retrieval.schema import Passage
from medtune.training.epochs import filter_by_length, plan_epoch
from medtune.training.examples import ExampleEncoder
from medtune.training.passages import (
    TrainingPassages,
    hash_training_passages,
    write_training_passages,
)

DATA = SplitDescription(source="a.csv", n=1, excluded={}, hash="d" * 64)
ASKED = Question(
    id="q", stem="Which?", options=("red", "blue"), answer=1, explanation="It is. So it is."
)
PER_OPTION: Passages = (("red one two three",), ("blue one two three",))
SHARED: Passages = (("both one two three",),) * 2


class Characters:
    """A trainable model whose tokens are characters, and that has no chat template."""

    def render(self, messages: Sequence[Message]) -> str:
        return "".join(f"<{message.content}>" for message in messages)

    def encode(self, messages: Sequence[Message], answer: str) -> Example:
        prompt = self.render(messages)
        return Example(tuple(map(ord, f"{prompt}{answer}$")), len(prompt))

    def encode_options(
        self, prompts: Sequence[Sequence[Message]], lead: str, texts: Sequence[str]
    ) -> tuple[ScoredSequence, ...]:
        rendered = [self.render(prompt) for prompt in prompts]
        return tuple(
            ScoredSequence(tuple(map(ord, prompt + lead + text)), len(prompt + lead), len(prompt))
            for prompt, text in zip(rendered, texts, strict=True)
        )


class Said(NoProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def log_message(self, text: str) -> None:
        self.lines.append(text)


def text(example: Example) -> str:
    return "".join(map(chr, example.tokens))


def experiment(**training: Any) -> Experiment:
    return Experiment.model_validate({"prompt": {"system": ""}, "training": training})


def read(folder: Path, found: dict[Question, Passages], kind: str = "per-option") -> Any:
    index = build_index(
        [Passage(id="1", text="x", source="a.txt")], [], folder / "index", "none", NoProgress()
    )
    evidence = EvidenceFinder(index, RetrievalConfig.model_validate({"kind": kind, "words": 5}))
    path = folder / "passages.arrow"
    write_training_passages(path, hash_training_passages(evidence, DATA), found.items())
    return TrainingPassages.read(path, evidence, DATA)


def encoder(config: Experiment, passages: TrainingPassages | None) -> ExampleEncoder:
    return ExampleEncoder(Characters(), config, [ASKED], passages)  # type: ignore[arg-type]


def test_the_right_answer_stands_behind_the_passages_of_the_right_option(tmp_path: Path) -> None:
    encode = encoder(experiment(), read(tmp_path, {ASKED: PER_OPTION}))
    assert text(encode(ASKED)) == "<Which?\nReference: blue one two three>The answer is: blue$"


def test_shared_passages_stand_before_every_option(tmp_path: Path) -> None:
    encode = encoder(experiment(target="letter"), read(tmp_path, {ASKED: SHARED}, "shared"))
    first, second = encode.build_option_prompts(ASKED)
    assert first == second
    assert text(encode(ASKED)).startswith(
        "<Which?\nA. red\nB. blue\nReference: both one two three\nAnswer with the letter"
    )


def test_without_passages_the_book_is_closed() -> None:
    encode = encoder(experiment(), None)
    assert text(encode(ASKED)) == "<Which?>The answer is: blue$"
    encode.fit_passages([ASKED], NoProgress())
    assert encode.build_option_prompts(ASKED) == encoder(experiment(), None).build_option_prompts(
        ASKED.permute_options((1, 0))
    )


def test_an_epoch_permutes_the_options_with_their_passages(tmp_path: Path) -> None:
    passages = read(tmp_path, {ASKED: PER_OPTION})
    encode = encoder(experiment(target="letter"), passages)
    shown: set[str] = set()
    for epoch in range(8):
        (((question, order),),) = plan_epoch([ASKED], encode, experiment().training, 17, epoch)
        shown.add(text(encode(question.permute_options(order))))
    answer = "Reference: blue one two three\nAnswer with the letter of the right option.>"
    assert shown == {
        f"<Which?\nA. red\nB. blue\n{answer}B$",
        f"<Which?\nA. blue\nB. red\n{answer}A$",
    }
    swapped = encode.build_option_prompts(ASKED.permute_options((1, 0)))
    assert ["blue one" in chat[0].content for chat in swapped] == [True, False]


@pytest.mark.parametrize(
    ("normalization", "lengths"), [("sum", (1, 1)), ("token", (4, 5)), ("byte", (3, 4))]
)
def test_options_are_compared_each_behind_its_passages(
    tmp_path: Path, normalization: str, lengths: tuple[int, ...]
) -> None:
    config = Experiment.model_validate(
        {
            "prompt": {"system": ""},
            "training": {"objective": "choice", "answer_share": 0.2},
            "evaluation": {"normalization": normalization},
        }
    )
    example = encoder(config, read(tmp_path, {ASKED: PER_OPTION}))(ASKED)
    shown = ["".join(map(chr, option.tokens)) for option in example.options]
    assert shown == [
        f"<Which?\nReference: {option} one two three>The answer is: {option}"
        for option in ASKED.options
    ]
    scored = ["".join(map(chr, o.tokens[o.first :])) for o in example.options]
    assert scored == [" red", " blue"]
    assert (example.right, example.lengths, example.answer_share) == (1, lengths, 0.2)


def test_letters_have_no_length() -> None:
    example = encoder(experiment(target="letter", objective="choice"), None)(ASKED)
    assert [chr(option.tokens[-1]) for option in example.options] == ["A", "B"]
    assert example.lengths == (1, 1)


def test_an_option_that_is_too_long_leaves_its_question_out() -> None:
    config = experiment(objective="choice", max_tokens=40)
    long = ASKED.model_copy(update={"options": ("red" * 9, "blue")})
    said = Said()
    assert filter_by_length([ASKED, long], encoder(config, None), config.training, said) == [ASKED]
    assert said.lines == ["1 of 2 examples exceed 40 tokens: left out"]
    assert filter_by_length([long], encoder(experiment(max_tokens=40), None), config.training, said)


@pytest.mark.parametrize(
    ("limit", "shown"),
    [
        (58, "\nReference: blue one two three"),
        (57, "\nReference: blue one two …"),
        (46, "\nReference: blue …"),
        (45, ""),
    ],
)
def test_passages_are_cut_until_the_example_fits(tmp_path: Path, limit: int, shown: str) -> None:
    encode = encoder(experiment(max_tokens=limit), read(tmp_path, {ASKED: PER_OPTION}))
    said = Said()
    encode.fit_passages([ASKED], said)
    example = encode(ASKED)
    assert text(example) == f"<Which?{shown}>The answer is: blue$"
    assert len(example.tokens) <= limit
    # Every option is cut to the same number of words.
    counts = {len(chat[0].content.split()) for chat in encode.build_option_prompts(ASKED)}
    assert len(counts) == 1
    expected = f"1 of 1 questions were cut to fit {limit} tokens, {int(not shown)} of them"
    assert "".join(said.lines) == ("" if limit == 58 else f"passages of {expected} to nothing")


def test_passages_are_cut_by_the_longest_option(tmp_path: Path) -> None:
    longer: Passages = ((f"red one {'x' * 40}",), ("blue one two",))
    encode = encoder(experiment(max_tokens=63), read(tmp_path, {ASKED: longer}))
    encode.fit_passages([ASKED], NoProgress())
    assert "Reference: blue one …" in text(encode(ASKED))


def test_an_explanation_is_cut_only_when_no_passage_is_left(tmp_path: Path) -> None:
    config = experiment(target="text+explanation", max_tokens=37)
    encode, said = encoder(config, read(tmp_path, {ASKED: PER_OPTION})), Said()
    encode.fit_passages([ASKED], said)
    (kept,) = filter_by_length([ASKED], encode, config.training, said)
    assert text(encode(kept)) == "<Which?>The answer is: blue\nIt is.$"
    assert [line.partition(" were")[0] for line in said.lines] == [
        "passages of 1 of 1 questions",
        "1 of 1 explanations",
    ]


def test_an_example_that_is_too_long_without_passages_is_left_out(tmp_path: Path) -> None:
    long = Question(id="long", stem="Which? " * 20, options=("red", "blue"), answer=0)
    config = experiment(max_tokens=70)
    encode = encoder(config, read(tmp_path, {ASKED: PER_OPTION, long: PER_OPTION}))
    said = Said()
    encode.fit_passages([ASKED, long], said)
    assert filter_by_length([ASKED, long], encode, config.training, said) == [ASKED]
    assert said.lines[-1] == "1 of 2 examples exceed 70 tokens: left out"
