"""Audits of real batches: TRL's trainer, transformers' collator, medtune's own examples."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import CommandLine

from medtune.batch_audit.audit_batches import audit_batches
from medtune.batch_audit.schema import AuditRecord
from medtune.commands.notebook import PaddedTexts, format_training_text
from medtune.core.experiment import Experiment
from medtune.core.records import Question
from medtune.models.local.local_model import LocalModel
from medtune.models.sources import ModelSource

NAME = "embedded:smollm2-135m"
MASKING_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}"
    "{% endgeneration %}{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""SmolLM2's template, with the marks by which TRL masks what is no answer."""

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def tokenizer(source: ModelSource) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(source.folder)


def prompts_and_completions(questions: tuple[Question, ...]) -> Rows:
    return [
        {
            "prompt": [{"role": "user", "content": q.stem}],
            "completion": [{"role": "assistant", "content": f"The answer is: {q.answer_text}."}],
        }
        for q in questions[:24]
    ]


def plain_texts(questions: tuple[Question, ...]) -> Rows:
    return [
        {"prompt": f"{q.stem}\nAnswer:", "completion": f" {q.answer_text}."} for q in questions[:24]
    ]


def chats(questions: tuple[Question, ...]) -> Rows:
    """Chats of two turns, every other one with a system prompt."""
    return [
        {
            "messages": [
                *([{"role": "system", "content": "Be careful."}] if n % 2 else []),
                {"role": "user", "content": q.stem},
                {"role": "assistant", "content": f"It is {q.answer_text}."},
                {"role": "user", "content": f"Why not {q.options[(q.answer or 0) - 1]}?"},
                {"role": "assistant", "content": f"Because it is {q.answer_text}."},
            ]
        }
        for n, q in enumerate(questions[:24])
    ]


def audit_trl(
    tiny_source: ModelSource, folder: Path, rows: Rows, template: str | None, settings: Any
) -> AuditRecord:
    """Audit the batches of a real SFTTrainer."""
    import datasets
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    processing = AutoTokenizer.from_pretrained(tiny_source.folder)
    processing.chat_template = template or processing.chat_template
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(tiny_source.folder),
        args=SFTConfig(
            output_dir=str(folder),
            per_device_train_batch_size=4,
            report_to="none",
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
            dataloader_pin_memory=False,
            **settings,
        ),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=processing,
    )
    return audit_batches(trainer.get_train_dataloader(), trainer.processing_class)


Build = Callable[[tuple[Question, ...]], Rows]
PACKED = {"packing": True, "padding_free": True, "max_length": 256}
TRL_CASES: dict[str, tuple[Build, str | None, dict[str, Any], set[str]]] = {
    "prompt and completion": (prompts_and_completions, None, {}, set()),
    "answers only": (chats, MASKING_TEMPLATE, {"assistant_only_loss": True}, set()),
    "padding-free": (
        prompts_and_completions,
        None,
        {"padding_free": True, "max_length": None},
        set(),
    ),
    "packed": (prompts_and_completions, None, PACKED, set()),
    # A model that is asked in plain text as well has no fault: this is a warning.
    "plain text": (plain_texts, None, {}, {"not-chat-template"}),
    "no mask": (chats, None, {}, {"prompt-supervised"}),
    "cut": (prompts_and_completions, None, {"max_length": 48}, {"answer-cut"}),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", TRL_CASES)
def test_batches_of_trl(
    tiny_source: ModelSource, starter: tuple[Question, ...], tmp_path: Path, case: str
) -> None:
    build, template, settings, expected = TRL_CASES[case]
    record = audit_trl(tiny_source, tmp_path, build(starter), template, settings)
    codes = {finding.code for finding in record.findings}
    assert codes - {"nothing-supervised"} == expected
    assert ("nothing-supervised" in codes) <= (case == "cut")
    assert record.supervised > 0


def notebook_texts(questions: tuple[Question, ...]) -> list[str]:
    columns = ("opa", "opb", "opc", "opd")
    rows = [
        {"question": q.stem, **dict(zip(columns, q.options, strict=True)), "cop": q.answer}
        for q in questions
        if len(q.options) == len(columns)
    ]
    return [text for row in rows if (text := format_training_text(row))][:16]


def test_the_seed_notebooks_batches_have_its_faults(
    tokenizer: Any, starter: tuple[Question, ...], tmp_path: Path, medtune: CommandLine
) -> None:
    from transformers import DataCollatorForLanguageModeling

    tokenizer.pad_token = tokenizer.eos_token
    dataset = PaddedTexts(tokenizer, notebook_texts(starter), 512)
    collate = DataCollatorForLanguageModeling(tokenizer=tokenizer, mlm=False)
    batches = [collate([dataset[n] for n in range(k, k + 4)]) for k in range(0, len(dataset), 4)]
    record = audit_batches(batches, tokenizer)
    found = {finding.code: finding for finding in record.findings}
    assert set(found) == {"ending-unsupervised", "prompt-supervised", "wasted-positions"}
    assert found["ending-unsupervised"].count == found["prompt-supervised"].count == len(dataset)
    assert "⟧<|im_end|>" in found["ending-unsupervised"].example
    # The ids and labels alone say the same.
    file = tmp_path / "ids.jsonl"
    rows = [row for b in batches for row in zip(*(b[k].tolist() for k in KEYS), strict=True)]
    file.write_text("".join(json.dumps(dict(zip(KEYS, row, strict=True))) + "\n" for row in rows))
    code, out, err = medtune("audit", file, "--tokenizer", NAME, "--json")
    assert code == 1
    assert {finding["code"] for finding in json.loads(out)["findings"]} == set(found)
    assert "2 serious findings: ending-unsupervised, prompt-supervised" in err


KEYS = ("input_ids", "labels")


@pytest.mark.parametrize("target", ["text", "letter"])
def test_medtunes_own_examples_are_healthy(
    model: LocalModel, starter: tuple[Question, ...], target: str
) -> None:
    from medtune.core.prompt import form_for_target

    experiment = Experiment.model_validate({"training": {"target": target}})
    style, form = experiment.prompt, form_for_target(experiment.training.target)
    rows = []
    for question in starter[:40]:
        prompt = style.build_messages(question, form)
        answer = style.render_target(question, experiment.training.target)
        example = model.encoder.encode_example(prompt, answer)
        hidden = [-100] * example.prompt
        rows.append(
            {
                "input_ids": list(example.tokens),
                "labels": hidden + list(example.tokens[example.prompt :]),
            }
        )
    assert audit_batches(rows, NAME).findings == ()
