from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.real.test_score import BARE, LISTED, naive, requests

from medtune.core.prompt import FormName, PromptStyle
from medtune.core.protocols import Decoding, GenerateRequest, ScoreRequest
from medtune.core.records import Question
from medtune.core.token_batching import common_prefix_length
from medtune.evaluation.score import cyclic_orders
from medtune.models import builtin
from medtune.models.local import continuation_scorer
from medtune.models.local.local_model import LocalModel
from medtune.models.sources import ModelSource, resolve_model

FORMS: tuple[FormName, ...] = ("letter", "text")


@pytest.fixture(scope="module")
def small(tiny_source: ModelSource) -> LocalModel:
    """The tiny model for tests that only ask it."""
    return LocalModel.load(tiny_source, dtype="float32")


@dataclass
class Passes:
    """What a decoder was given to read: rows, tokens a row, tokens that it had read before."""

    seen: list[tuple[int, int, int]] = field(default_factory=list)

    def __call__(self, _: object, __: object, given: dict[str, Any]) -> None:
        past = given.get("past_key_values")
        # A prefix is read into an empty cache; None is a pass without any.
        before = -1 if past is None else past.get_seq_length()
        self.seen.append((*given["input_ids"].shape, before))

    @property
    def read(self) -> list[int]:
        """Lengths of the prefixes that were read."""
        return [width for _, width, before in self.seen if before == 0]

    @property
    def used(self) -> list[int]:
        """Lengths of the prefixes that scoring passes went on from; -1 is none."""
        return [before for _, _, before in self.seen if before != 0]


def watched(model: LocalModel) -> Passes:
    passes = Passes()
    model.network.get_decoder().register_forward_pre_hook(passes, with_kwargs=True)
    return passes


def logprobs(model: LocalModel, asked: Sequence[ScoreRequest]) -> list[list[float]]:
    return [[s.logprob for s in scores] for scores in model.score(asked)]


def agree(model: LocalModel, asked: Sequence[ScoreRequest]) -> None:
    for request, found in zip(asked, logprobs(model, asked), strict=True):
        assert found == pytest.approx(naive(model, request), abs=1e-4), request.id


def per_subject(questions: Sequence[Question], form: FormName) -> list[ScoreRequest]:
    """Put before every question two others of its subject."""
    out = []
    for question in questions:
        own = [q for q in questions if q.subject == question.subject and q is not question]
        lead, texts = BARE.split_continuations(question, form)
        messages = BARE.build_messages(question, form, (own * 2)[:2])
        out.append(
            ScoreRequest(question.id, question.stem, question.options, messages, lead, texts)
        )
    return out


def turned(question: Question, form: FormName, shots: Sequence[Question]) -> list[ScoreRequest]:
    """Ask in every cyclic order of the options."""
    out = []
    for order in cyclic_orders(len(question.options)):
        shown = question.permute_options(order)
        lead, texts = LISTED.split_continuations(shown, form)
        messages = LISTED.build_messages(shown, form, shots)
        out.append(ScoreRequest(question.id, question.stem, shown.options, messages, lead, texts))
    return out


# Scores


@pytest.mark.parametrize("form", FORMS)
def test_five_shots_are_read_once_and_scores_hold(
    tiny: LocalModel, starter: tuple[Question, ...], form: FormName
) -> None:
    passes = watched(tiny)
    asked = requests(starter[:15], BARE, form, shots=5)
    found = logprobs(tiny, asked)
    (length,) = passes.read
    assert length > 200
    assert set(passes.used) == {length}
    for request, values in zip(asked, found, strict=True):
        assert values == pytest.approx(naive(tiny, request), abs=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_openings_per_subject_are_kept_apart(
    small: LocalModel, starter: tuple[Question, ...], form: FormName
) -> None:
    names = sorted({q.subject or "" for q in starter})[:3]
    # Subjects alternate in the requests; the first two questions open all others of a subject.
    groups = [[q for q in starter if q.subject == name][:7] for name in names]
    asked = []
    for place in range(2, 7):
        for group in groups:
            asked += requests((*group[:2], group[place]), LISTED, form, shots=2)
    assert len({r.messages[:-1] for r in asked}) == 3
    agree(small, asked)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shots", [0, 2])
def test_cyclic_orders_of_a_question_share_a_row(
    tiny: LocalModel, starter: tuple[Question, ...], form: FormName, shots: int
) -> None:
    asked = [r for q in starter[2:7] for r in turned(q, form, starter[:shots])]
    assert [r.id for r in asked[:5]] == [starter[2].id] * 4 + [starter[3].id]
    passes = watched(tiny)
    found = logprobs(tiny, asked)
    assert sum(rows for rows, _, before in passes.seen if before != 0) == 5
    for request, values in zip(asked, found, strict=True):
        assert values == pytest.approx(naive(tiny, request), abs=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_any_number_of_options_and_any_batch_agree(
    small: LocalModel, starter: tuple[Question, ...], form: FormName
) -> None:
    mixed = [
        q.model_copy(update={"options": q.options[:keep], "answer": 0})
        for q, keep in zip(starter[3:15], [2, 3, 4] * 4, strict=True)
    ]
    ten = tuple(f"{n} grams{' a day' * (n % 3)}" for n in range(10))
    mixed.append(Question(id="ten", stem="How many?", options=ten, answer=0))
    mixed.append(Question(id="two", stem="Is it?", options=("Vitamin", "Vitamin C"), answer=0))
    asked = [r for q in mixed for r in requests((*starter[:3], q), LISTED, form, shots=3)]
    together = logprobs(small, asked)
    small.batch = 1
    alone = logprobs(small, asked)
    small.batch = 64
    for request, one, many in zip(asked, alone, together, strict=True):
        expected = naive(small, request)
        assert len(expected) == len(request.options)
        assert one == pytest.approx(expected, abs=1e-4)
        assert many == pytest.approx(expected, abs=1e-4)


def test_rare_openings_are_right_too(small: LocalModel, starter: tuple[Question, ...]) -> None:
    # Three openings of their own, one shared by two requests, beside one that many share.
    rare = per_subject(starter[:3], "text") + requests(starter[20:24], LISTED, "text", shots=2)
    common = requests(starter[30:40], LISTED, "text", shots=1)
    agree(small, [*rare[:2], *common, *rare[2:]])
    agree(small, rare)
    agree(small, rare[:1])


def test_the_embedded_model_agrees_as_well(
    model: LocalModel, starter: tuple[Question, ...]
) -> None:
    agree(model, requests(starter[:5], BARE, "text", shots=1))


# Prefixes


def test_a_kept_prefix_serves_the_next_call_and_no_other_opening(
    tiny: LocalModel, starter: tuple[Question, ...]
) -> None:
    passes = watched(tiny)
    first = requests(starter[:9], BARE, "letter", shots=3)
    logprobs(tiny, first)
    (length,) = passes.read
    passes.seen.clear()
    agree_with = logprobs(tiny, requests((*starter[:3], *starter[9:15]), BARE, "letter", shots=3))
    assert passes.read == []
    assert set(passes.used) == {length}
    assert len(agree_with) == 6

    passes.seen.clear()
    other = requests(starter[1:9], BARE, "letter", shots=3)
    found = logprobs(tiny, other)
    assert len(passes.read) == 1
    for request, values in zip(other, found, strict=True):
        assert values == pytest.approx(naive(tiny, request), abs=1e-4)

    passes.seen.clear()
    logprobs(tiny, first)  # both are kept
    assert passes.read == []


def test_a_prefix_that_fits_by_its_messages_alone_is_not_used(
    tiny: LocalModel, starter: tuple[Question, ...]
) -> None:
    # No shots: all prompts share the system message; these also the beginning of their stems,
    # so that what is kept for this opening is too long for other questions.
    stem = "A patient of the same ward was seen again in the morning round and then asked: "
    alike = [q.model_copy(update={"stem": stem + q.stem}) for q in starter[:6]]
    passes = watched(tiny)
    for questions in (tuple(alike), starter[6:12], tuple(alike)):
        asked = requests(questions, BARE, "letter")
        found = logprobs(tiny, asked)
        for request, values in zip(asked, found, strict=True):
            assert values == pytest.approx(naive(tiny, request), abs=1e-4)
    assert passes.read[0] > passes.read[1]


def test_a_handful_of_requests_reads_no_prefix(
    tiny: LocalModel, starter: tuple[Question, ...]
) -> None:
    passes = watched(tiny)
    logprobs(tiny, requests(starter[:8], BARE, "letter", shots=5))
    assert passes.read == []
    assert set(passes.used) == {-1}
    logprobs(
        tiny,
        requests(starter[: 5 + continuation_scorer.MIN_PREFIX_QUESTIONS], BARE, "letter", shots=5),
    )
    assert len(passes.read) == 1


@pytest.fixture(params=["qwen2", "mistral"])
def sliding(request: pytest.FixtureRequest, tmp_path: Path) -> LocalModel:
    """A random model that sees the last eight tokens only: Qwen2 in one layer, Mistral in both."""
    from transformers import AutoConfig, AutoModelForCausalLM

    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(builtin.convert_once() / name, tmp_path / name)
    own: dict[str, Any] = {}
    if request.param == "qwen2":
        kinds = ["sliding_attention", "full_attention"]
        own = {"use_sliding_window": True, "layer_types": kinds}
    config = AutoConfig.for_model(
        request.param,
        vocab_size=49152,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=True,
        initializer_range=0.2,
        sliding_window=8,
        **own,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    return LocalModel.load(resolve_model(f"path:{tmp_path}"), dtype="float32")


@pytest.mark.parametrize("form", FORMS)
def test_a_sliding_window_is_the_models_own(
    sliding: LocalModel, starter: tuple[Question, ...], form: FormName
) -> None:
    passes = watched(sliding)
    asked = requests(starter[:8], LISTED, form, shots=2)
    asked += turned(starter[9], form, starter[:2])
    found = logprobs(sliding, asked)
    assert set(passes.used) == {-1}
    assert passes.read == []
    for request, values in zip(asked, found, strict=True):
        assert values == pytest.approx(naive(sliding, request), abs=1e-4)


class Deaf(torch.nn.Module):
    """A decoder that counts positions by itself, whatever it is told."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, **given: Any) -> Any:
        return self.inner(**(given | {"position_ids": None}))


def test_a_model_that_counts_positions_itself_is_read_path_by_path(
    tiny_source: ModelSource, starter: tuple[Question, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaForCausalLM

    told = LlamaForCausalLM.get_decoder
    monkeypatch.setattr(LlamaForCausalLM, "get_decoder", lambda self: Deaf(told(self)))
    deaf = LocalModel.load(tiny_source, dtype="float32")
    passes = Passes()
    deaf.network.model.register_forward_pre_hook(passes, with_kwargs=True)
    asked = requests(starter[:8], LISTED, "text")
    found = logprobs(deaf, asked)
    assert set(passes.used) == {-1}
    for request, values in zip(asked, found, strict=True):
        assert values == pytest.approx(naive(deaf, request), abs=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_plain_products_give_the_fused_kernels_scores(
    small: LocalModel, tiny_source: ModelSource, starter: tuple[Question, ...], form: FormName
) -> None:
    fused = LocalModel.load(tiny_source, dtype="float32", attention="sdpa")
    names = [m.network.config._attn_implementation for m in (small, fused)]
    assert names == ["medtune_short", "sdpa"]
    asked = requests(starter[:8], LISTED, form, shots=1)
    for mine, its in zip(logprobs(small, asked), logprobs(fused, asked), strict=True):
        assert mine == pytest.approx(its, abs=1e-4)


# Constrained generation


def limited(questions: Sequence[Question], form: FormName) -> list[GenerateRequest]:
    out = []
    for q in questions:
        choices = tuple(BARE.render_answer(q, i, form) for i in range(len(q.options)))
        out.append(GenerateRequest(q.id, q.stem, q.options, BARE.build_messages(q, form), choices))
    return out


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_a_constrained_answer_is_an_option_and_nothing_else(
    small: LocalModel, starter: tuple[Question, ...], form: FormName, temperature: float
) -> None:
    asked = limited(starter[:24], form)
    # Not even a limit below its length cuts an option short.
    answers = small.generate(asked, Decoding(max_new_tokens=1, temperature=temperature))
    for request, answer in zip(asked, answers, strict=True):
        assert request.choices is not None
        assert answer.text in request.choices
        assert answer.stopped
    assert len({answer.text for answer in answers}) > 1


@pytest.mark.parametrize("which", ["small", "model"])
def test_a_constrained_letter_is_the_likeliest(
    which: str, starter: tuple[Question, ...], request: pytest.FixtureRequest
) -> None:
    asked: LocalModel = request.getfixturevalue(which)
    questions = starter[:8]
    scores = logprobs(asked, requests(questions, BARE, "letter"))
    answers = asked.generate(limited(questions, "letter"), Decoding())
    best = ["ABCD"[row.index(max(row))] for row in scores]
    assert [answer.text for answer in answers] == best


def test_a_free_answer_in_the_same_call_stays_free(
    small: LocalModel, starter: tuple[Question, ...]
) -> None:
    decoding = Decoding(max_new_tokens=3)
    bound = limited(starter[:6], "text")
    free = [replace(r, choices=None) for r in bound]
    alone = small.generate(free, decoding)
    mixed = [r for pair in zip(bound, free, strict=True) for r in pair]
    answers = small.generate(mixed, decoding)
    # Its length neither: options of more than three tokens are written beside it.
    assert answers[1::2] == alone
    assert max(a.tokens for a in answers[::2]) > 3 >= max(a.tokens for a in answers[1::2])
    for request, answer in zip(bound, answers[::2], strict=True):
        assert request.choices is not None
        assert answer.text in request.choices
    assert not any(a.text in (r.choices or ()) for r, a in zip(bound, alone, strict=True))


def test_what_a_folder_advises_for_generation_does_not_bend_the_choice(
    tiny_source: ModelSource, starter: tuple[Question, ...], tmp_path: Path
) -> None:
    assert tiny_source.folder is not None
    folder = shutil.copytree(tiny_source.folder, tmp_path / "advised")
    (folder / "generation_config.json").write_text(
        '{"do_sample": true, "repetition_penalty": 5.0, "temperature": 0.7, "top_k": 1}'
    )
    advised = LocalModel.load(resolve_model(f"path:{folder}"), dtype="float32")
    plain = LocalModel.load(tiny_source, dtype="float32")
    asked = [replace(r, choices=None) for r in limited(starter[:4], "letter")]
    for decoding in (Decoding(max_new_tokens=6), Decoding(max_new_tokens=6, temperature=1.5)):
        assert advised.generate(asked, decoding) == plain.generate(asked, decoding)


# Open book: every option behind a passage of its own


def open_book(question: Question, form: FormName, style: PromptStyle) -> list[ScoreRequest]:
    """Ask for each option alone, behind a passage about it."""
    lead, texts = style.split_continuations(question, form)
    return [
        ScoreRequest(
            question.id,
            question.stem,
            (option,),
            style.build_messages(question, form, passages=[f"A text on {option}, {place}."]),
            lead,
            (text,),
        )
        for place, (option, text) in enumerate(zip(question.options, texts, strict=True))
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("style", [BARE, LISTED], ids=["bare", "listed"])
def test_options_behind_their_own_passages_score_as_alone(
    small: LocalModel, starter: tuple[Question, ...], form: FormName, style: PromptStyle
) -> None:
    asked = [request for q in starter[:6] for request in open_book(q, form, style)]
    agree(small, asked)
    together = logprobs(small, asked)
    alone = [logprobs(small, [request])[0] for request in asked]
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, abs=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_a_stem_before_several_passages_is_read_once(
    tiny: LocalModel, starter: tuple[Question, ...], form: FormName
) -> None:
    question = starter[0]
    asked = open_book(question, form, BARE)
    sequences = [row[0].tokens for row in tiny._scorer._encode_continuations(asked)]
    paths = [tokens[:-1] for tokens in sequences]
    shared = paths[0][: common_prefix_length(min(paths), max(paths))]
    # Everything before the passages is shared, and only computed once.
    assert question.stem in tiny.encoder.tokenizer.decode(shared)
    passes = watched(tiny)
    logprobs(tiny, asked)
    (read,) = [rows * width for rows, width, _ in passes.seen]
    assert read == len({tuple(path[: n + 1]) for path in paths for n in range(len(path))})
    assert read <= sum(map(len, paths)) - 3 * len(shared)


def test_the_embedded_model_scores_options_behind_passages_as_alone(
    starter: tuple[Question, ...],
) -> None:
    model = LocalModel.load(resolve_model("embedded:smollm2-135m"), dtype="float32")
    passes = watched(model)
    for form in FORMS:
        asked = [request for q in starter[:3] for request in open_book(q, form, BARE)]
        agree(model, asked)
    together = sum(rows * width for rows, width, _ in passes.seen)
    passes.seen.clear()
    for form in FORMS:
        for request in (r for q in starter[:3] for r in open_book(q, form, BARE)):
            model.score([request])
    assert together < 0.6 * sum(rows * width for rows, width, _ in passes.seen)
