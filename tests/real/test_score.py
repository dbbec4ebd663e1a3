from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from medtune.core.errors import ModelError
from medtune.core.experiment import LoraSettings
from medtune.core.prompt import FormName, PromptStyle, TextForm
from medtune.core.protocols import Decoding, GenerateRequest, Generation, Message, ScoreRequest
from medtune.core.records import Question
from medtune.core.schemas.compression import Scheme
from medtune.data.load import load_split
from medtune.models.adapters import lora
from medtune.models.device import choose_dtype
from medtune.models.light.int_layers import Int8Linear, quantize_int8
from medtune.models.local import selected_logits
from medtune.models.local.local_model import LocalModel
from medtune.models.local.selected_logits import AnswerHead, check_head_is_last, exact_logits
from medtune.models.sources import ModelSource

LISTED = PromptStyle(text=TextForm(list_options=True))
BARE = PromptStyle()


def requests(
    questions: tuple[Question, ...], style: PromptStyle, form: FormName, shots: int = 0
) -> list[ScoreRequest]:
    out = []
    for question in questions[shots:]:
        lead, texts = style.split_continuations(question, form)
        messages = style.build_messages(question, form, questions[:shots])
        out.append(
            ScoreRequest(question.id, question.stem, question.options, messages, lead, texts)
        )
    return out


@torch.inference_mode()
def naive(model: LocalModel, request: ScoreRequest) -> list[float]:
    """Score each continuation in a pass of its own, with the model's own logits."""
    (prompt,) = model.encoder.encode_prompts([request.messages])
    totals = []
    for text in request.continuations:
        ((ids, lead),) = model.encoder.encode_answers([request.lead + text], [request.lead])
        whole = torch.tensor([prompt + ids])
        # From the prompt's last token on: the vocabulary is large, prompts are long.
        logits = model.network(whole, logits_to_keep=len(ids) + 1).logits[0]
        first = min(lead, len(ids) - 1)
        logprobs = logits.log_softmax(-1)
        totals.append(sum(logprobs[at, ids[at]].item() for at in range(first, len(ids))))
    return totals


@pytest.mark.parametrize(
    ("style", "form"), [(BARE, "letter"), (BARE, "text"), (LISTED, "text")], ids=str
)
def test_scores_are_those_of_separate_passes(
    model: LocalModel, starter: tuple[Question, ...], style: PromptStyle, form: FormName
) -> None:
    asked = requests(starter[:6], style, form)
    for request, scores in zip(asked, model.score(asked), strict=True):
        assert [s.logprob for s in scores] == pytest.approx(naive(model, request), abs=1e-4)


def test_scores_hold_for_shared_openings_prefixes_and_any_number_of_options(
    model: LocalModel,
) -> None:
    questions = (
        Question(id="2", stem="Is it?", options=("Vitamin", "Vitamin C"), answer=0),
        Question(id="3", stem="Which?", options=("Vitamin A", "Vitamin B", "Vitamin C"), answer=2),
        Question(
            id="10", stem="How many?", options=tuple(f"{n} grams" for n in range(10)), answer=0
        ),
    )
    for form in ("text", "letter"):
        asked = requests(questions, LISTED, form)
        for request, scores in zip(asked, model.score(asked), strict=True):
            assert len(scores) == len(request.options)
            assert [s.logprob for s in scores] == pytest.approx(naive(model, request), abs=1e-4)


def test_a_prompt_beyond_the_models_positions_is_told(model: LocalModel) -> None:
    fits, long = [[Message("user", "Which vitamin? " * n)] for n in (900, 9_000)]
    assert model.beyond(fits) is None
    found = model.beyond(long)
    assert found is not None
    tokens, most = found
    assert most == 8192
    assert tokens == len(model.encoder.encode_prompts([long])[0]) > most


def test_a_letters_token_is_found_by_encoding_also_after_a_space(model: LocalModel) -> None:
    question = Question(id="q", stem="Which?", options=("One", "Two"), answer=0)
    style = PromptStyle.model_validate({"letter": {"answer": "Answer: {letter}"}})
    (request,) = requests((question,), style, "letter")
    assert (request.lead, request.continuations) == ("Answer:", (" A", " B"))
    (scores,) = model.score([request])
    assert [s.logprob for s in scores] == pytest.approx(naive(model, request), abs=1e-4)


@pytest.mark.parametrize("form", ["letter", "text"])
def test_batch_1_and_batch_32_agree_in_fp32(
    model: LocalModel, starter: tuple[Question, ...], form: FormName
) -> None:
    asked = requests(starter[:36], BARE, form, shots=2)
    model.batch = 32
    together = model.score(asked)
    model.batch = 1
    alone = model.score(asked)
    model.batch = 64
    for one, many in zip(alone, together, strict=True):
        left, right = [s.logprob for s in one], [s.logprob for s in many]
        assert left == pytest.approx(right, abs=1e-4)
        assert left.index(max(left)) == right.index(max(right))


def test_batch_1_and_batch_32_agree_on_real_medmcqa(model: LocalModel, real_data: Path) -> None:
    split = load_split(f"file:{real_data}/medmcqa_validation.parquet", size=64)
    asked = requests(tuple(split.questions), BARE, "letter")
    model.batch = 32
    together = model.score(asked)
    model.batch = 1
    alone = model.score(asked)
    model.batch = 64
    for one, many in zip(alone, together, strict=True):
        left, right = [s.logprob for s in one], [s.logprob for s in many]
        assert left == pytest.approx(right, abs=1e-4)
        assert left.index(max(left)) == right.index(max(right))


def test_greedy_text_does_not_depend_on_the_batch(
    model: LocalModel, starter: tuple[Question, ...]
) -> None:
    asked = [
        GenerateRequest(q.id, q.stem, q.options, BARE.build_messages(q, "letter"))
        for q in starter[:6]
    ]
    model.batch = 1
    alone = model.generate(asked, Decoding(max_new_tokens=12))
    model.batch = 64
    assert model.generate(asked, Decoding(max_new_tokens=12)) == alone


def test_sampling_is_repeatable_and_follows_its_seed(
    model: LocalModel, starter: tuple[Question, ...]
) -> None:
    asked = [
        GenerateRequest(q.id, q.stem, q.options, BARE.build_messages(q, "letter"))
        for q in starter[:4]
    ]
    hot = Decoding(max_new_tokens=8, temperature=1.5, seed=1)
    assert model.generate(asked, hot) == model.generate(asked, hot)
    other = Decoding(max_new_tokens=8, temperature=1.5, seed=2)
    assert model.generate(asked, hot) != model.generate(asked, other)


def test_one_likeliest_token_is_the_greedy_choice_and_beams_find_likelier_answers(
    model: LocalModel, starter: tuple[Question, ...]
) -> None:
    asked = [
        GenerateRequest(q.id, q.stem, q.options, BARE.build_messages(q, "letter"))
        for q in starter[:4]
    ]
    greedy = model.generate(asked, Decoding(max_new_tokens=8))
    hot = Decoding(max_new_tokens=8, temperature=1.5, top_k=1, seed=1)
    assert model.generate(asked, hot) == greedy
    beams = model.generate(asked, Decoding(max_new_tokens=8, beams=4))

    def likelihoods(answers: list[Generation]) -> list[float]:
        requests = [
            ScoreRequest(r.id, r.stem, r.options, r.messages, "", (answer.text,))
            for r, answer in zip(asked, answers, strict=True)
        ]
        return [scores[0].logprob for scores in model.score(requests)]

    # Search is a heuristic: an answer of it may be less likely, their sum is not.
    assert sum(likelihoods(beams)) >= sum(likelihoods(greedy)) - 1e-3


def test_an_architecture_that_changes_its_logits_after_the_head_is_refused(
    tiny: LocalModel,
) -> None:
    check_head_is_last(tiny.network, "tiny")
    plain = tiny.network.forward

    def scaled(*args: object, **kwargs: object) -> object:
        out = plain(*args, **kwargs)
        out.logits = out.logits * 2
        return out

    tiny.network.forward = scaled
    with pytest.raises(ModelError, match="changes its logits"):
        check_head_is_last(tiny.network, "tiny")


def test_scores_that_are_not_numbers_are_refused(
    tiny: LocalModel, starter: tuple[Question, ...]
) -> None:
    with torch.no_grad():
        tiny.network.get_output_embeddings().weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="not numbers"):
        tiny.score(requests(starter[:1], BARE, "letter"))


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize("prefix", [0, 1])
def test_the_head_reads_only_the_tokens_that_are_asked_for(
    tiny: LocalModel, packs: bool, prefix: int
) -> None:
    ids = torch.tensor([[1, 5, 6, 7], [1, 8, 0, 0]])
    tokens = torch.tensor([1, 5, 6, 7, 8] if prefix else [1, 5, 6, 7, 1, 8])
    lengths, wanted = [4 - prefix, 2 - prefix], torch.tensor([3, 4 if prefix else 5])
    logits = AnswerHead(tiny.network, packs)(tokens, wanted, lengths, prefix)
    own = tiny.network(ids).logits
    assert torch.allclose(logits[0], own[0, 3], atol=1e-5)
    assert torch.allclose(logits[1], own[1, 1], atol=1e-5)


@torch.inference_mode()
def test_the_head_of_a_bf16_model_computes_in_fp32(tiny_source: ModelSource) -> None:
    network = LocalModel.load(tiny_source, dtype="bfloat16").network
    torch.manual_seed(0)
    states = torch.randn(70, 32, dtype=torch.bfloat16)
    found = AnswerHead(network).exact_logits(states)
    right = states.double() @ network.get_output_embeddings().weight.double().t()
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), right, atol=1e-5)
    assert not torch.allclose(AnswerHead(network).logits(states).double(), right, atol=1e-3)


@torch.inference_mode()
@pytest.mark.parametrize("bias", [True, False])
def test_a_head_is_cast_a_block_at_a_time(monkeypatch: pytest.MonkeyPatch, bias: bool) -> None:
    layer = torch.nn.Linear(32, 1000, bias=bias, dtype=torch.bfloat16)
    states = torch.randn(3, 32, dtype=torch.bfloat16)
    whole = exact_logits(layer, states)
    monkeypatch.setattr(selected_logits, "CAST_BLOCK_WEIGHTS", 32 * 7)  # 7 does not go into 1,000
    with LargestCast() as seen:  # type: ignore[no-untyped-call]
        found = exact_logits(layer, states)
    assert torch.equal(found, whole) or torch.allclose(found, whole, atol=1e-6)
    assert 0 < seen.largest <= 32 * 7


class LargestCast(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches how many numbers are cast at once."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in ("to", "_to_copy"):
            self.largest = max(self.largest, out.numel())
        return out


@torch.inference_mode()
def test_an_adapted_head_computes_in_fp32(tiny_source: ModelSource) -> None:
    model = LocalModel.load(tiny_source, dtype="bfloat16")
    settings = LoraSettings(targets=("lm_head",))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True`")
        lora.LoraModel(model, settings, seed=0)
    layer = model.network.get_output_embeddings()
    torch.manual_seed(1)
    layer.lora_B["default"].weight.normal_(std=0.1)
    states = torch.randn(5, 32, dtype=torch.bfloat16)
    update = layer.lora_B["default"].weight.double() @ layer.lora_A["default"].weight.double()
    weight = layer.weight.double() + layer.scaling["default"] * update
    found = exact_logits(layer, states)
    assert torch.allclose(found.double(), states.double() @ weight.t(), atol=1e-4)


@pytest.mark.parametrize("light", [True, False])
def test_letters_in_bf16_do_not_tie_by_rounding(
    source: ModelSource, starter: tuple[Question, ...], light: bool
) -> None:
    model = LocalModel.load(source, dtype="bfloat16", light=light)
    asked = requests(starter[:24], BARE, "letter")
    for scores in model.score(asked):
        values = [score.logprob for score in scores]
        # Letters are read off one position: in bf16 their logits are multiples of 1/8.
        assert len(set(values)) == len(values)
        assert any(abs(8 * (v - values[0]) - round(8 * (v - values[0]))) > 1e-3 for v in values)


@pytest.mark.parametrize("scheme", ["int8", "int8-dynamic"])
def test_heads_of_integers_return_fp32_between_layers_in_bf16(scheme: Scheme) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 300, bias=False)
    whole, scale = quantize_int8(layer.weight.data)
    packed = Int8Linear(whole, scale, coarse=scheme == "int8-dynamic")
    states = torch.randn(4, 64).bfloat16()
    found = exact_logits(packed, states)
    assert found.dtype == torch.float32
    assert torch.equal(found, packed(states.float()))


def test_constrained_letters_in_bf16_are_chosen_by_the_exact_head(
    tiny_source: ModelSource, starter: tuple[Question, ...]
) -> None:
    model = LocalModel.load(tiny_source, dtype="bfloat16")
    asked = [
        GenerateRequest(q.id, q.stem, q.options, BARE.build_messages(q, "letter"), tuple(q.letters))
        for q in starter[:32]
    ]
    written = [answer.text for answer in model.generate(asked, Decoding(max_new_tokens=1))]
    found = []
    for scores, question in zip(
        model.score(requests(starter[:32], BARE, "letter")), starter, strict=False
    ):
        values = [score.logprob for score in scores]
        found.append(question.letters[values.index(max(values))])
    assert sum(a == b for a, b in zip(written, found, strict=True)) >= 31


def test_float16_on_a_cpu_is_refused_with_its_price() -> None:
    with pytest.raises(ModelError, match="17 times slower"):
        choose_dtype("float16", torch.device("cpu"))
