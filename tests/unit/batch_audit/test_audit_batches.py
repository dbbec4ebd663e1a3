"""Every planted fault is found by its code, and healthy batches have no finding."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.batch_audit.chats import IGNORED, Chats, answer, pack, pad_batch, question
from tests.unit.batch_audit.faults import (
    FAULTS,
    Plant,
    boundaries_too_late,
    no_template,
    pad_is_eos,
)

from medtune.batch_audit.audit_batches import audit_batches
from medtune.batch_audit.finding_texts import TEXTS
from medtune.batch_audit.schema import AuditRecord
from medtune.core.errors import InputError

ALL = ("chatml", "llama3", "mistral", "base")
ONE_MORE = {
    "inverted_mask": {"nothing-supervised", "prompt-supervised"},
    "of_the_next_example": {"nothing-supervised"},
    "no_ending_in_text": {"answer-cut"},
}
"""Further findings that some faults rightly have."""


def codes(record: AuditRecord) -> list[str]:
    return [finding.code for finding in record.findings]


@pytest.mark.parametrize(
    ("plant", "code", "style"),
    [(plant, code, style) for plant, code, styles in FAULTS for style in styles],
    ids=lambda value: value.__name__ if callable(value) else value,
)
def test_a_planted_fault_is_found_by_its_code_alone(
    styles: dict[str, Chats], plant: Plant, code: str, style: str
) -> None:
    chats = styles[style]
    record = audit_batches(plant(chats), chats.tokenizer)
    assert code in codes(record)
    assert set(codes(record)) - ONE_MORE.get(plant.__name__, set()) <= {code}
    finding = next(finding for finding in record.findings if finding.code == code)
    assert 1 <= finding.count <= finding.of
    assert finding.example
    assert finding.remedy == TEXTS[finding.code].remedy


def test_the_faults_are_many_and_every_code_but_one_is_planted() -> None:
    assert len({plant for plant, _, _ in FAULTS}) > 40
    assert set(TEXTS) - {code for _, code, _ in FAULTS} == {
        "another-tokenizer",
        "stop-token-differs",
    }


def with_white_space(chats: Chats) -> list[dict[str, Any]]:
    """What the template writes behind an ending is there, and supervised."""
    after = chats.encode(chats.style.after)
    return [
        {"input_ids": row["input_ids"] + after, "labels": row["labels"] + after}
        for row in chats.healthy()
    ]


def padded_by_the_ending(chats: Chats) -> list[dict[str, Any]]:
    batch = pad_batch(chats.healthy(), chats.eos)
    del batch["attention_mask"]
    return [batch]


def padded_behind_white_space(chats: Chats) -> list[dict[str, Any]]:
    return [pad_batch(with_white_space(chats), chats.eos)]


def short_answers(chats: Chats) -> list[dict[str, Any]]:
    return [chats.example([("user", question(n)), ("assistant", "ABCD"[n % 4])]) for n in range(40)]


def long_answers(chats: Chats) -> list[dict[str, Any]]:
    return [
        chats.example([("user", question(n)), ("assistant", f"{n} " + answer(n) * 20)])
        for n in range(12)
    ]


def prefilled(chats: Chats) -> list[dict[str, Any]]:
    """The first words of every answer are given at inference as well."""
    rows = []
    for n in range(12):
        row = chats.example([("user", question(n)), ("assistant", f"The answer is: {answer(n)}")])
        first = next(n for n, label in enumerate(row["labels"]) if label != IGNORED)
        row["labels"][first : first + 4] = [IGNORED] * 4
        rows.append(row)
    return rows


def masked_by_column(chats: Chats) -> list[dict[str, Any]]:
    return [
        {
            "input_ids": row["input_ids"],
            "completion_mask": [int(label != IGNORED) for label in row["labels"]],
        }
        for row in chats.healthy()
    ]


def megatron(chats: Chats) -> list[dict[str, Any]]:
    return [
        {
            "tokens": row["input_ids"][:-1],
            "labels": row["input_ids"][1:],
            "loss_mask": [int(label != IGNORED) for label in row["labels"][1:]],
        }
        for row in chats.healthy()
    ]


def a_few_cut(chats: Chats) -> list[dict[str, Any]]:
    return [
        {name: values[:1000] for name, values in row.items()}
        for row in [
            *chats.healthy(60),
            *[chats.example([("user", question(n)), ("assistant", "so " * 2000)]) for n in (1, 2)],
        ]
    ]


def packed_by(name: str) -> Callable[[Chats], list[dict[str, Any]]]:
    """Pack with segments instead of positions."""

    def make(chats: Chats) -> list[dict[str, Any]]:
        examples = chats.healthy(8)
        row: dict[str, Any] = pack(examples)
        del row["position_ids"]
        sizes = [len(example["input_ids"]) for example in examples]
        if name == "cu_seq_lens_q":
            row[name] = [0, *np.cumsum(sizes).tolist()]
        elif name == "seq_lengths":
            row[name] = sizes
        else:
            row[name] = [n + 1 for n, size in enumerate(sizes) for _ in range(size)]
        return [row]

    make.__name__ = name
    return make


HEALTHY: list[Callable[[Chats], list[dict[str, Any]]]] = [
    lambda chats: chats.healthy(),
    lambda chats: chats.healthy(supervise="last"),
    lambda chats: [pad_batch(chats.healthy()[n : n + 4], chats.pad) for n in (0, 4, 8)],
    lambda chats: [pad_batch(chats.healthy(), chats.pad, left=True)],
    lambda chats: [
        pad_batch(chats.healthy(), chats.pad, length=len(chats.healthy()[3]["input_ids"]) + 8)
    ],
    lambda chats: [pack(chats.healthy(6)), pack(chats.healthy(12)[6:])],
    with_white_space,
    padded_by_the_ending,
    padded_behind_white_space,
    short_answers,
    long_answers,
    prefilled,
    masked_by_column,
    megatron,
    *map(packed_by, ("seq_idx", "attention_mask", "cu_seq_lens_q", "seq_lengths")),
]


@pytest.mark.parametrize("style", ALL)
@pytest.mark.parametrize("make", HEALTHY)
def test_healthy_batches_have_no_finding(
    styles: dict[str, Chats], make: Callable[[Chats], list[dict[str, Any]]], style: str
) -> None:
    chats = styles[style]
    record = audit_batches(make(chats), chats.tokenizer)
    assert record.findings == ()
    assert record.supervised > 0
    assert "⟦" in record.sample
    assert record.chat_examples == (0 if style == "base" else record.examples)


@pytest.mark.parametrize("style", ALL)
def test_a_few_long_examples_that_are_cut_are_a_warning(
    styles: dict[str, Chats], style: str
) -> None:
    record = audit_batches(a_few_cut(styles[style]), styles[style].tokenizer)
    assert codes(record) == ["answer-cut"]
    assert record.serious == ()
    assert (record.findings[0].count, record.findings[0].of) == (2, 62)


def test_texts_without_any_turn_are_a_warning(chatml: Chats) -> None:
    record = audit_batches(no_template(chatml), chatml.tokenizer)
    assert codes(record) == ["not-chat-template"]
    assert record.serious == ()


def test_letters_that_are_scored_need_no_ending(chatml: Chats) -> None:
    rows = short_answers(chatml)
    for row in rows:
        row["labels"][-1] = IGNORED
    record = audit_batches(rows, chatml.tokenizer)
    assert codes(record) == ["ending-unsupervised"]
    assert record.serious == ()


@pytest.mark.parametrize("style", ALL)
def test_one_ending_among_letters_that_are_scored_is_told(
    styles: dict[str, Chats], style: str
) -> None:
    rows = short_answers(styles[style])
    for n, row in enumerate(rows):
        row["labels"][-1 if n else -2] = IGNORED
    record = audit_batches(rows, styles[style].tokenizer)
    found = {finding.code: finding.count for finding in record.findings}
    assert found == {"ending-unsupervised": 39, "answer-partly-supervised": 1}


def test_the_same_masked_beginning_of_a_single_answer_is_told(chatml: Chats) -> None:
    rows = [*chatml.healthy(), prefilled(chatml)[1]]
    record = audit_batches(rows, chatml.tokenizer)
    assert [(f.code, f.count) for f in record.findings] == [("answer-partly-supervised", 1)]


def test_a_row_with_two_reasons_counts_once(chatml: Chats) -> None:
    rows = chatml.healthy()
    for row in rows:
        row["labels"][0], row["input_ids"][1] = -1, 1000
    found = audit_batches(rows, chatml.tokenizer).findings
    finding = next(one for one in found if one.code == "outside-vocabulary")
    assert (finding.count, finding.of, finding.unit) == (12, 12, "rows")
    assert "token ids from" in finding.message
    packed = boundaries_too_late(chatml)
    for row in packed:
        row["position_ids"][-1] = 7
    found = audit_batches(packed, chatml.tokenizer).findings
    finding = next(one for one in found if one.code == "boundaries-misplaced")
    assert (finding.count, finding.of, finding.unit) == (2, 2, "rows")


def test_lengths_that_do_not_add_up_are_noted(chatml: Chats) -> None:
    rows = [{**row, "seq_lengths": [1]} for row in chatml.healthy()]
    (note,) = audit_batches(rows, chatml.tokenizer).notes
    assert note == "seq_lengths does not add up to the number of ids and was not examined"


@pytest.mark.parametrize("style", ["chatml", "llama3"])
def test_ids_of_another_tokenizer_are_told(styles: dict[str, Chats], style: str) -> None:
    chats = styles[style]
    size = len(chats.tokenizer.get_vocab())
    rows = [
        {name: [i if i < 0 else (i * 7 + 11) % size for i in ids] for name, ids in row.items()}
        for row in chats.healthy()
    ]
    record = audit_batches(rows, chats.tokenizer)
    assert [finding.code for finding in record.serious] == ["another-tokenizer"]


def test_a_stop_token_that_the_template_never_writes(tmp_path: Path, chatml: Chats) -> None:
    from tests.unit.batch_audit.chats import STYLES, write_tokenizer

    folder = write_tokenizer(tmp_path / "model", STYLES["chatml"])
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in chatml.healthy()))
    name = f"path:{folder}"
    (folder / "generation_config.json").write_text('{"eos_token_id": [0]}')
    assert codes(audit_batches(rows, name)) == ["stop-token-differs"]
    (folder / "generation_config.json").write_text('{"eos_token_id": [0, 2]}')
    assert codes(audit_batches(rows, name)) == []


def test_what_is_on_purpose_is_accepted(chatml: Chats) -> None:
    rows = pad_is_eos(chatml)
    record = audit_batches(rows, chatml.tokenizer, accept=["ending-unsupervised"])
    assert (record.findings, record.accepted) == ((), ("ending-unsupervised",))
    with pytest.raises(InputError, match="no finding has the code endings"):
        audit_batches(rows, chatml.tokenizer, accept=["endings"])


def test_the_example_shows_what_is_supervised(chatml: Chats) -> None:
    (finding,) = audit_batches(pad_is_eos(chatml), chatml.tokenizer).findings
    assert finding.place == "batch 1, row 1"
    assert "⟦A. Aspirin, in a dose of 0 mg⟧<|im_end|>\n" in finding.example


def test_a_record_is_shown_in_a_notebook_and_as_a_frame(chatml: Chats) -> None:
    record = audit_batches(pad_is_eos(chatml), chatml.tokenizer)
    html = record._repr_html_()
    assert "<b>ending-unsupervised</b>" in html
    assert "&lt;|im_end|&gt;" in html
    assert "No finding" in audit_batches(chatml.healthy(), chatml.tokenizer)._repr_html_()
    assert AuditRecord.model_validate_json(record.model_dump_json()) == record
    pandas = pytest.importorskip("pandas")
    frame = record.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["code"].tolist() == ["ending-unsupervised"]


def test_ten_thousand_examples_take_seconds(chatml: Chats) -> None:
    rows = chatml.healthy(25) * 40
    batches = [pad_batch(rows[n : n + 50], chatml.pad, length=256) for n in range(0, 1000, 50)]
    start = time.process_time()
    record = audit_batches(batches, chatml.tokenizer, accept=["duplicates", "wasted-positions"])
    assert record.findings == ()
    assert time.process_time() - start < 5  # half a second where nothing else runs
