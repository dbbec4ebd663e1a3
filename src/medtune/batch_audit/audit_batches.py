"""Audit training batches (`medtune audit FILE --tokenizer NAME`).

    medtune audit batches.jsonl --tokenizer embedded:smollm2-135m

    from medtune.batch_audit.audit_batches import audit_batches
    audit_batches(trainer.get_train_dataloader(), trainer.processing_class)

The ids, the labels and the tokenizer suffice: no model is loaded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, get_args

from medtune.batch_audit.batch_reader import read_batches
from medtune.batch_audit.examples import align_labels, find_padding, split_examples
from medtune.batch_audit.findings import FindingCollector, mark_supervised
from medtune.batch_audit.label_checks import check_labels
from medtune.batch_audit.layout_checks import (
    check_copies,
    check_packing,
    check_padding,
    check_shifts,
    check_vocabulary,
)
from medtune.batch_audit.schema import AuditRecord, FindingCode
from medtune.batch_audit.text_checks import check_texts, check_tokenizer
from medtune.batch_audit.tokenizer_facts import TokenizerFacts, describe_tokenizer
from medtune.core.errors import InputError

_SAMPLE_TOKENS = 400


def audit_batches(
    batches: str | Path | Iterable[Any], tokenizer: Any, *, accept: Collection[str] = ()
) -> AuditRecord:
    """Audit training batches.

    Args:
        batches: A file (JSON lines or safetensors), a folder of `datasets`, or an iterable of
            dictionaries with lists or tensors, such as a DataLoader; each with `input_ids` and
            `labels`, and perhaps `attention_mask`, `position_ids` or segments.
        tokenizer: A model's name (embedded:, hub:, path:), or a tokenizer of transformers.
        accept: Codes of findings that are on purpose.

    Raises:
        DataError: The batches cannot be read, or have no labels.
        ModelError: There is no such tokenizer.
        InputError: An accepted code is unknown, or the object is no tokenizer.
    """
    unknown = sorted(set(accept) - set(get_args(FindingCode)))
    if unknown:
        raise InputError(
            f"no finding has the code {', '.join(unknown)}",
            expected=", ".join(get_args(FindingCode)),
        )
    facts = describe_tokenizer(tokenizer)
    rows, source = read_batches(batches)
    supervised, shifts = align_labels(rows)
    # A shift to the right has lost the last label of every row.
    reliable = (shifts == 0) | (shifts == 1)
    padded = find_padding(rows, facts, supervised, reliable)
    examples = list(split_examples(padded, facts))
    found = FindingCollector(rows, supervised, facts)
    known = check_vocabulary(rows, facts, found)
    if known:
        check_shifts(rows, shifts, found)
    check_padding(padded, found)
    check_copies(examples, found)
    if known and check_tokenizer(examples, facts, found):
        check_packing(padded, examples, facts, found)
        check_texts(examples, facts, found)
        check_labels(examples, facts, found)
    first = examples[0] if examples else None
    return AuditRecord(
        source=source,
        tokenizer=facts.name,
        rows=rows.count,
        examples=len(examples),
        positions=len(rows.ids),
        padding=int((padded.left + padded.right).sum()),
        supervised=int(supervised.sum()),
        longest=int(padded.text_lengths.max()),
        chat_examples=sum(bool(example.turns) for example in examples),
        has_chat_template=facts.has_template,
        accepted=tuple(code for code in get_args(FindingCode) if code in accept),
        notes=(*rows.notes, *_describe_limits(facts)),
        findings=found.build(len(examples), accept),
        sample=""
        if first is None
        else mark_supervised(
            first.ids[:_SAMPLE_TOKENS].tolist(), first.supervised[:_SAMPLE_TOKENS].tolist(), facts
        ),
    )


def _describe_limits(facts: TokenizerFacts) -> list[str]:
    """Describe what could not be examined with this tokenizer."""
    if not facts.has_template:
        return ["the tokenizer has no chat template: prompts and turns were not examined"]
    if facts.markup is None:
        return ["the chat template could not be read: prompts and turns were not examined"]
    return []
