"""Severities and remedies of the findings of an audit."""

from __future__ import annotations

from dataclasses import dataclass

from medtune.batch_audit.schema import FindingCode, Severity

RARE = 0.05
"""Share of examples up to which a finding that happens in healthy sets is a warning."""


@dataclass(frozen=True, slots=True)
class FindingText:
    """Severity and remedy of a finding."""

    severity: Severity
    remedy: str
    tolerated: bool = False
    """Whether a few examples (`RARE`) with it are a warning only."""


TEXTS: dict[FindingCode, FindingText] = {
    "another-tokenizer": FindingText(
        "serious",
        "name the tokenizer that made these ids: --tokenizer hub:ORG/NAME or path:DIR",
    ),
    "answer-cut": FindingText(
        "serious", "raise the maximal length, or leave these examples out", tolerated=True
    ),
    "answer-partly-supervised": FindingText(
        "serious",
        "supervise every answer from its first token to its end-of-turn token: compute the mask "
        "on token ids, not on lengths of separately encoded texts",
        tolerated=True,
    ),
    "beginning-missing": FindingText(
        "serious",
        "encode with the tokenizer's beginning-of-text token, as at inference "
        "(add_special_tokens=True unless the template writes it)",
    ),
    "boundaries-misplaced": FindingText(
        "serious", "restart position_ids (or the segment) exactly where an example begins"
    ),
    "duplicates": FindingText(
        "warning", "remove repeated examples; more epochs repeat all of them evenly"
    ),
    "ending-missing": FindingText(
        "serious",
        "close every answer with the template's end-of-turn token (TRL: messages or "
        "prompt/completion instead of a ready text; otherwise append tokenizer.eos_token)",
        tolerated=True,
    ),
    "ending-unsupervised": FindingText(
        "serious",
        "give the pad token an id of its own (pad_token = eos_token makes collators mask every "
        "ending), and include the end-of-turn token in the loss mask",
        tolerated=True,
    ),
    "foreign-markers": FindingText(
        "serious",
        "render the chats with this tokenizer's apply_chat_template, not by hand",
        tolerated=True,
    ),
    "identical-answers": FindingText(
        "warning", "check that the column with the answers was read, and that they vary"
    ),
    "labels-not-inputs": FindingText(
        "serious",
        "copy labels from input_ids, and set what is not to be learnt to -100; check that both "
        "were truncated, padded and shuffled alike",
    ),
    "labels-shifted": FindingText(
        "serious",
        "labels[t] has to be input_ids[t] for transformers, TRL, Axolotl and LLaMA-Factory: the "
        "model shifts them itself",
    ),
    "not-chat-template": FindingText(
        "serious",
        "render training texts by apply_chat_template, which inference uses as well",
        tolerated=True,
    ),
    "nothing-supervised": FindingText(
        "serious",
        "check that the response marker of the mask occurs in the token ids, that prompts are "
        "shorter than the maximal length, and that the template has {% generation %} if the "
        "trainer masks by it",
        tolerated=True,
    ),
    "outside-vocabulary": FindingText(
        "serious",
        "use the tokenizer that made these ids; of labels, only -100 is ignored by the loss",
    ),
    "packing-leaks": FindingText(
        "serious",
        "give packed examples boundaries: position_ids that restart, segment ids or "
        "cu_seq_lens, and an attention that heeds them (TRL: packing with padding_free)",
    ),
    "padding-attended": FindingText(
        "serious", "set attention_mask to 0 on padding; pad on the right for training"
    ),
    "padding-mixed": FindingText("warning", "pad all rows on the same side, in training the right"),
    "padding-supervised": FindingText("serious", "set the labels of padding to -100"),
    "prompt-cut": FindingText(
        "serious",
        "cut long examples at the right, or leave them out (tokenizer.truncation_side = 'right')",
        tolerated=True,
    ),
    "prompt-supervised": FindingText(
        "serious",
        "mask the prompt with -100 (TRL: prompt/completion columns or assistant_only_loss; "
        "Axolotl: train_on_inputs false); if it is on purpose, accept the finding",
        tolerated=True,
    ),
    "role-order": FindingText(
        "warning", "let user and assistant alternate, and let the assistant have the last turn"
    ),
    "special-tokens-as-text": FindingText(
        "serious",
        "encode by apply_chat_template, or by a tokenizer that knows these tokens as special "
        "(no split_special_tokens, no spaces inside of a marker)",
        tolerated=True,
    ),
    "stop-token-differs": FindingText(
        "serious",
        "set tokenizer.eos_token and generation_config.eos_token_id to the template's "
        "end-of-turn token (TRL: SFTConfig(eos_token=...))",
    ),
    "template-twice": FindingText(
        "serious",
        "give the trainer messages, or a rendered text, but not a rendered text as message",
    ),
    "tokens-unattended": FindingText(
        "serious",
        "compute attention_mask from lengths, not from ids != pad: 0 belongs on padding only",
    ),
    "two-beginnings": FindingText(
        "serious",
        "encode a rendered chat with add_special_tokens=False: the template has written the "
        "beginning of the text",
    ),
    "wasted-positions": FindingText(
        "warning", "pad to the longest row of a batch instead of to a fixed length, or pack"
    ),
}
