"""Faults of training batches, planted into healthy ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.unit.batch_audit.chats import IGNORED, Chats, messages, pack, pad_batch

Rows = list[dict[str, Any]]
Plant = Callable[[Chats], Rows]


def change(chats: Chats, edit: Callable[[list[int], list[int]], Any]) -> Rows:
    """Edit ids and labels of every healthy example, in place or by a returned pair."""
    rows = []
    for row in chats.healthy():
        ids, labels = list(row["input_ids"]), list(row["labels"])
        ids, labels = edit(ids, labels) or (ids, labels)
        rows.append({"input_ids": ids, "labels": labels})
    return rows


def end_of(chats: Chats) -> int:
    return chats.encode(chats.style.end or chats.style.eos)[0]


def reencode(chats: Chats, edit: Callable[[str], str], keep: bool = True) -> Rows:
    """Edit the text of single-turn examples; the answer stays supervised."""
    rows = []
    for n in range(12):
        chat = messages(n, chats.name)[-2:]
        if n % 3:
            chat = [m for m in messages(n, chats.name) if m[0] != "system"]
        turns = [{"role": role, "content": content} for role, content in chat]
        prompt = chats.render(turns[:1], True)
        answer = chats.render(turns, False)[len(prompt) :].removesuffix(chats.style.after)
        ids, taught = chats.encode(edit(prompt)), chats.encode(answer)
        rows.append({"input_ids": ids + taught, "labels": [IGNORED] * len(ids) + taught})
    return rows


# Labels


def pad_is_eos(chats: Chats) -> Rows:
    """The collator of transformers masks every pad token, which is the end of a turn."""
    batch = pad_batch(chats.healthy(), end_of(chats))
    end = end_of(chats)
    batch["labels"] = [
        [IGNORED if token == end else label for token, label in zip(*pair, strict=True)]
        for pair in zip(batch["input_ids"], batch["labels"], strict=True)
    ]
    return [batch]


def ending_not_in_labels(chats: Chats) -> Rows:
    def edit(ids: list[int], labels: list[int]) -> None:
        labels[:] = [IGNORED if label == end_of(chats) else label for label in labels]

    return change(chats, edit)


def only_last_ending_unsupervised(chats: Chats) -> Rows:
    def edit(ids: list[int], labels: list[int]) -> None:
        labels[-1] = IGNORED

    return change(chats, edit)


def no_ending_in_text(chats: Chats) -> Rows:
    return change(chats, lambda ids, labels: (ids[:-1], labels[:-1]))


def another_ending(chats: Chats) -> Rows:
    known = (chats.style.bos, chats.style.eos)
    other = chats.encode(next(text for text in chats.style.special if text not in known))[0]
    return change(chats, lambda ids, labels: ([*ids[:-1], other], [*labels[:-1], other]))


def everything_supervised(chats: Chats) -> Rows:
    return change(chats, lambda ids, labels: (ids, list(ids)))


def users_supervised(chats: Chats) -> Rows:
    """The mask begins in the middle of the prompt."""

    def edit(ids: list[int], labels: list[int]) -> None:
        first = next(n for n, label in enumerate(labels) if label != IGNORED)
        labels[first - 14 : first] = ids[first - 14 : first]

    return change(chats, edit)


def last_prompt_token_supervised(chats: Chats) -> Rows:
    def edit(ids: list[int], labels: list[int]) -> None:
        first = next(n for n, label in enumerate(labels) if label != IGNORED)
        labels[first - 1] = ids[first - 1]

    return change(chats, edit)


def first_answer_token_masked(chats: Chats) -> Rows:
    def edit(ids: list[int], labels: list[int]) -> None:
        first = next(n for n, label in enumerate(labels) if label != IGNORED)
        labels[first] = IGNORED

    return change(chats, edit)


def only_ending_supervised(chats: Chats) -> Rows:
    return change(chats, lambda ids, labels: (ids, [*[IGNORED] * (len(ids) - 1), ids[-1]]))


def inverted_mask(chats: Chats) -> Rows:
    def edit(ids: list[int], labels: list[int]) -> None:
        labels[:] = [i if n == IGNORED else IGNORED for i, n in zip(ids, labels, strict=True)]

    return change(chats, edit)


def all_masked(chats: Chats) -> Rows:
    return change(chats, lambda ids, labels: (ids, [IGNORED] * len(ids)))


def some_masked(chats: Chats) -> Rows:
    rows = chats.healthy()
    for row in rows[::4]:
        row["labels"] = [IGNORED] * len(row["labels"])
    return rows


def shifted_left(chats: Chats) -> Rows:
    return change(chats, lambda ids, labels: (ids, [*labels[1:], IGNORED]))


def shifted_right(chats: Chats) -> Rows:
    return change(chats, lambda ids, labels: (ids, [IGNORED, *labels[:-1]]))


def of_the_next_example(chats: Chats) -> Rows:
    batch = pad_batch(chats.healthy(), chats.pad)
    batch["labels"] = [*batch["labels"][1:], batch["labels"][0]]
    return [batch]


def masked_with_zero(chats: Chats) -> Rows:
    def edit(ids: list[int], labels: list[int]) -> None:
        labels[:] = [0 if label == IGNORED else label for label in labels]

    return change(chats, edit)


def masked_with_minus_one(chats: Chats) -> Rows:
    def edit(ids: list[int], labels: list[int]) -> None:
        labels[:] = [-1 if label == IGNORED else label for label in labels]

    return change(chats, edit)


def holes(chats: Chats) -> Rows:
    def edit(ids: list[int], labels: list[int]) -> None:
        labels[-5] = IGNORED

    return change(chats, edit)


def cut(chats: Chats) -> Rows:
    return change(chats, lambda ids, labels: (ids[:85], labels[:85]))


def cut_left(chats: Chats) -> Rows:
    return change(chats, lambda ids, labels: (ids[-60:], labels[-60:]))


# Texts


def begins_twice(chats: Chats) -> Rows:
    bos = int(chats.tokenizer.bos_token_id)
    return change(chats, lambda ids, labels: ([bos, *ids], [IGNORED, *labels]))


def begins_nowhere(chats: Chats) -> Rows:
    return change(chats, lambda ids, labels: (ids[1:], labels[1:]))


def no_header(chats: Chats) -> Rows:
    header = chats.style.header.removeprefix(chats.style.end).lstrip("\n")
    return reencode(chats, lambda prompt: prompt.removesuffix(header))


def no_newline(chats: Chats) -> Rows:
    return reencode(chats, lambda prompt: prompt.rstrip("\n"))


def no_system(chats: Chats) -> Rows:
    return reencode(chats, lambda prompt: prompt[prompt.find("<|im_start|>user") :])


def another_template(chats: Chats) -> Rows:
    rows = []
    for n in range(12):
        chat = messages(n, "base")
        if chats.name == "chatml":
            text = f"[INST] {chat[0][1]} [/INST]"
        else:
            text = f"<|im_start|>user\n{chat[0][1]}<|im_end|>\n<|im_start|>assistant\n"
        ids, taught = chats.encode(text), [*chats.encode(chat[1][1]), end_of(chats)]
        rows.append({"input_ids": ids + taught, "labels": [IGNORED] * len(ids) + taught})
    return rows


def no_template(chats: Chats) -> Rows:
    rows = []
    for n in range(12):
        chat = messages(n, "base")
        ids = chats.encode(f"Question: {chat[0][1]}\nAnswer: ")
        taught = [*chats.encode(chat[1][1]), end_of(chats)]
        rows.append({"input_ids": ids + taught, "labels": [IGNORED] * len(ids) + taught})
    return rows


def template_twice(chats: Chats) -> Rows:
    rows = []
    for n in range(12):
        chat = messages(n, "base")
        inner = chats.render([{"role": "user", "content": chat[0][1]}], True)
        rows.append(chats.example([("user", inner), chat[1]]))
    return rows


def spelt_markers(chats: Chats) -> Rows:
    """The marks of turns are encoded as characters."""
    pieces = {
        token: [i for c in text.encode() for i in chats.tokenizer([chr(c)])["input_ids"][0]]
        for text in chats.style.special
        for token in chats.encode(text)
    }

    def edit(ids: list[int], labels: list[int]) -> tuple[list[int], list[int]]:
        new_ids: list[int] = []
        new_labels: list[int] = []
        for token, label in zip(ids, labels, strict=True):
            spelt = pieces.get(token, [token])
            new_ids += spelt
            new_labels += spelt if label != IGNORED else [IGNORED] * len(spelt)
        return new_ids, new_labels

    return change(chats, edit)


def users_in_a_row(chats: Chats) -> Rows:
    return [
        chats.example([("user", f"Hear me, {n}."), *messages(3 * n + 1, "base")]) for n in range(12)
    ]


# Rows


def padding_attended(chats: Chats) -> Rows:
    batch = pad_batch(chats.healthy(), chats.pad)
    batch["attention_mask"] = [[1] * len(row) for row in batch["input_ids"]]
    return [batch]


def left_padding_attended(chats: Chats) -> Rows:
    batch = pad_batch(chats.healthy(), chats.pad, left=True)
    batch["attention_mask"] = [[1] * len(row) for row in batch["input_ids"]]
    return [batch]


def left_padding_without_mask(chats: Chats) -> Rows:
    batch = pad_batch(chats.healthy(), chats.pad, left=True)
    del batch["attention_mask"]
    return [batch]


def padding_supervised(chats: Chats) -> Rows:
    batch = pad_batch(chats.healthy(), chats.pad)
    batch["labels"] = [
        [i if not seen else label for i, label, seen in zip(*columns, strict=True)]
        for columns in zip(
            batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True
        )
    ]
    return [batch]


def both_sides(chats: Chats) -> Rows:
    rows = chats.healthy()
    return [pad_batch(rows[:6], chats.pad), pad_batch(rows[6:], chats.pad, left=True)]


def tokens_unattended(chats: Chats) -> Rows:
    batch = pad_batch(chats.healthy(), chats.pad)
    for row in batch["attention_mask"]:
        row[5:9] = [0] * 4
    return [batch]


def endings_unattended(chats: Chats) -> Rows:
    """The attention mask is computed from the ids, with the ending as pad."""
    end = end_of(chats)
    batch = pad_batch(chats.healthy(), end)
    batch["attention_mask"] = [[int(i != end) for i in row] for row in batch["input_ids"]]
    return [batch]


def fixed_length(chats: Chats) -> Rows:
    return [pad_batch(chats.healthy(), chats.pad, length=512)]


def packed_without_boundaries(chats: Chats) -> Rows:
    rows = [pack(chats.healthy(4)), pack(chats.healthy(8)[4:])]
    for row in rows:
        del row["position_ids"]
    return rows


def packed_with_running_positions(chats: Chats) -> Rows:
    rows = packed_without_boundaries(chats)
    for row in rows:
        row["position_ids"] = list(range(len(row["input_ids"])))
    return rows


def boundaries_too_late(chats: Chats) -> Rows:
    rows = [pack(chats.healthy(4)), pack(chats.healthy(8)[4:])]
    for row in rows:
        places = row["position_ids"]
        row["position_ids"] = [*range(3), *places[:-3]]
        starts = [n for n, place in enumerate(places) if place == 0]
        moved = [n + 3 for n in starts[1:]]
        count = -1
        row["position_ids"] = []
        for n in range(len(places)):
            count = 0 if n in moved else count + 1
            row["position_ids"].append(count)
    return rows


def outside_vocabulary(chats: Chats) -> Rows:
    return change(chats, lambda ids, labels: ([i + 1000 for i in ids], labels))


def copies(chats: Chats) -> Rows:
    return chats.healthy(6) * 2


def same_answer(chats: Chats) -> Rows:
    return [chats.example([messages(n, "base")[0], ("assistant", "A. Aspirin")]) for n in range(30)]


BOTH = ("chatml", "llama3")
FAULTS: list[tuple[Plant, str, tuple[str, ...]]] = [
    (pad_is_eos, "ending-unsupervised", BOTH),
    (ending_not_in_labels, "ending-unsupervised", (*BOTH, "mistral", "base")),
    (only_last_ending_unsupervised, "ending-unsupervised", (*BOTH, "mistral", "base")),
    (no_ending_in_text, "ending-missing", (*BOTH, "mistral", "base")),
    (another_ending, "ending-missing", BOTH),
    (everything_supervised, "prompt-supervised", (*BOTH, "mistral")),
    (users_supervised, "prompt-supervised", (*BOTH, "mistral")),
    (last_prompt_token_supervised, "prompt-supervised", (*BOTH, "mistral")),
    (first_answer_token_masked, "answer-partly-supervised", (*BOTH, "mistral")),
    (only_ending_supervised, "answer-partly-supervised", (*BOTH, "mistral", "base")),
    (inverted_mask, "prompt-supervised", (*BOTH, "mistral")),
    (inverted_mask, "nothing-supervised", (*BOTH, "mistral")),
    (all_masked, "nothing-supervised", (*BOTH, "mistral", "base")),
    (some_masked, "nothing-supervised", (*BOTH, "mistral", "base")),
    (shifted_left, "labels-shifted", (*BOTH, "mistral", "base")),
    (shifted_right, "labels-shifted", (*BOTH, "mistral", "base")),
    (of_the_next_example, "labels-not-inputs", (*BOTH, "mistral", "base")),
    (masked_with_zero, "labels-not-inputs", (*BOTH, "mistral", "base")),
    (masked_with_minus_one, "outside-vocabulary", (*BOTH, "mistral", "base")),
    (holes, "answer-partly-supervised", (*BOTH, "mistral")),
    (cut, "answer-cut", BOTH),
    (cut_left, "prompt-cut", BOTH),
    (begins_twice, "two-beginnings", (*BOTH, "mistral")),
    (begins_nowhere, "beginning-missing", ("llama3", "mistral")),
    (no_header, "not-chat-template", BOTH),
    (no_newline, "not-chat-template", BOTH),
    (no_system, "not-chat-template", ("chatml",)),
    (another_template, "foreign-markers", BOTH),
    (no_template, "not-chat-template", (*BOTH, "mistral")),
    (template_twice, "template-twice", BOTH),
    (spelt_markers, "special-tokens-as-text", (*BOTH, "mistral")),
    (users_in_a_row, "role-order", BOTH),
    (padding_attended, "padding-attended", (*BOTH, "mistral", "base")),
    (left_padding_attended, "padding-attended", (*BOTH, "mistral", "base")),
    (left_padding_without_mask, "padding-attended", (*BOTH, "mistral", "base")),
    (padding_supervised, "padding-supervised", (*BOTH, "mistral", "base")),
    (both_sides, "padding-mixed", (*BOTH, "mistral", "base")),
    (tokens_unattended, "tokens-unattended", (*BOTH, "mistral", "base")),
    (endings_unattended, "tokens-unattended", BOTH),
    (fixed_length, "wasted-positions", (*BOTH, "mistral", "base")),
    (packed_without_boundaries, "packing-leaks", (*BOTH, "mistral", "base")),
    (packed_with_running_positions, "packing-leaks", (*BOTH, "mistral", "base")),
    (boundaries_too_late, "boundaries-misplaced", BOTH),
    (outside_vocabulary, "outside-vocabulary", (*BOTH, "mistral", "base")),
    (copies, "duplicates", (*BOTH, "mistral", "base")),
    (same_answer, "identical-answers", (*BOTH, "mistral", "base")),
]
"""Each fault, the code by which it has to be found, and the styles it can be planted in."""
