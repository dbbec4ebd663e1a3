"""Batches are read from every format, and what cannot be read is told."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.unit.batch_audit.chats import Chats, pack, pad_batch

from medtune.batch_audit.audit_batches import audit_batches
from medtune.batch_audit.batch_reader import read_batches
from medtune.core.errors import DataError, InputError, ModelError

ROW: dict[str, Any] = {"input_ids": [1, 2, 3], "labels": [-100, 2, 3]}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_json_lines_hold_examples_and_batches(tmp_path: Path) -> None:
    batch = {name: [values, values] for name, values in ROW.items()}
    rows, source = read_batches(write(tmp_path / "rows.jsonl", ROW, batch))
    assert source == str(tmp_path / "rows.jsonl")
    assert rows.count == 3
    assert rows.ids.tolist() == [1, 2, 3] * 3
    assert rows.labels.tolist() == [-100, 2, 3] * 3
    assert [rows.locate(n) for n in range(3)] == ["line 1", "line 2, row 1", "line 2, row 2"]


def test_a_compressed_file_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress((json.dumps(ROW) + "\n").encode() * 2))
    assert read_batches(path)[0].count == 2
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match="cut off"):
        read_batches(path)


def test_safetensors_hold_one_batch_or_several(tmp_path: Path) -> None:
    batch = {name: np.array([values, values]) for name, values in ROW.items()}
    path = tmp_path / "batches.safetensors"
    save_file(batch, path)
    assert read_batches(path)[0].count == 2
    save_file({f"{n}.{k}": v for n in (0, 10, 2) for k, v in batch.items()}, path)
    rows, _ = read_batches(path)
    assert rows.count == 6
    assert [rows.locate(n) for n in (0, 2, 4)] == [f"batch {n}, row 1" for n in (0, 2, 10)]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="cannot be read"):
        read_batches(path)


@pytest.mark.parametrize("split", [True, False])
def test_prepared_datasets_of_axolotl_and_llama_factory(
    tmp_path: Path, chatml: Chats, split: bool
) -> None:
    import datasets

    rows: list[dict[str, Any]] = [
        {**row, "attention_mask": [1] * len(row["input_ids"]), "source": "x", "length": 3}
        for row in [*chatml.healthy(4), pack(chatml.healthy(3))]
    ]
    for row in rows:
        row.setdefault("position_ids", list(range(len(row["input_ids"]))))
    dataset = datasets.Dataset.from_list(rows)
    saved = datasets.DatasetDict(train=dataset, eval=dataset.select([0])) if split else dataset
    saved.save_to_disk(str(tmp_path / "last_run_prepared" / "3f2a"))
    for folder in (tmp_path / "last_run_prepared", tmp_path / "last_run_prepared" / "3f2a"):
        record = audit_batches(folder, chatml.tokenizer, accept=["duplicates"])
        assert (record.rows, record.examples, record.findings) == (5, 7, ())
    # LLaMA-Factory's have labels, but no position ids.
    datasets.Dataset.from_list(chatml.healthy(4)).save_to_disk(str(tmp_path / "tokenized"))
    assert audit_batches(tmp_path / "tokenized", chatml.tokenizer).findings == ()


def test_lists_of_a_fixed_size_are_read(tmp_path: Path) -> None:
    import datasets

    kind = datasets.List(datasets.Value("int32"), length=3)
    columns = {name: [values] * 2 for name, values in ROW.items()}
    features = datasets.Features(dict.fromkeys(columns, kind))
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(str(tmp_path / "fixed"))
    rows, _ = read_batches(tmp_path / "fixed")
    assert rows.ids.tolist() == [1, 2, 3] * 2
    assert rows.labels.tolist() == [-100, 2, 3] * 2


def test_tensors_of_bfloat16_are_read(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file as save_tensors

    batch = {name: torch.tensor([values]) for name, values in ROW.items()}
    batch["attention_mask"] = torch.tensor([[1, 1, 0]], dtype=torch.bfloat16)
    save_tensors(batch, tmp_path / "batch.safetensors")
    for batches in (tmp_path / "batch.safetensors", [batch]):
        rows, _ = read_batches(batches)
        assert rows.ids.tolist() == [1, 2, 3]
        assert rows.attention is not None
        assert rows.attention.tolist() == [1, 1, 0]
    batch["input_ids"] = torch.tensor([[1, 2, 301]], dtype=torch.bfloat16)
    with pytest.raises(DataError, match="input_ids is bfloat16, which rounds numbers above 256"):
        read_batches([batch])


def test_iterables_of_lists_arrays_and_mappings(chatml: Chats) -> None:
    batch = pad_batch(chatml.healthy(4), chatml.pad)
    arrays = {name: np.array(values) for name, values in batch.items()}
    for batches in (batch, [batch], iter([arrays]), (one for one in chatml.healthy(4))):
        rows, _ = read_batches(batches)
        assert rows.count == 4


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"input_ids": [1, 2]}, "line 1: no labels, only input_ids"),
        ({"text": "hello"}, "line 1: no input_ids, only text"),
        ({}, "line 1: no input_ids, only nothing"),
        ([1, 2], "line 1: list"),
        ({"input_ids": [1, 2], "labels": [1]}, "labels has 1 rows, row 1 of 1; the ids have 1"),
        ({"input_ids": [[1], [2, 3]], "labels": [[1]]}, "labels has 1 rows"),
        ({"input_ids": [1.5, 2], "labels": [1, 2]}, "input_ids holds .*1.5"),
        ({"input_ids": [1, None], "labels": [1, 2]}, "input_ids holds None"),
        ({"input_ids": [1, 2**70], "labels": [1, 2]}, "input_ids holds 1180591620717411303424"),
        ({"input_ids": [1, 2**63], "labels": [1, 2]}, "input_ids holds 9.22"),
        ({"input_ids": [1, float("nan")], "labels": [1, 2]}, "input_ids holds nan"),
        ({"input_ids": [1, float("inf")], "labels": [1, 2]}, "input_ids holds inf"),
        ({"input_ids": ["a", "b"], "labels": [1, 2]}, "input_ids holds"),
        ({"input_ids": [1, [2]], "labels": [1, 2]}, "rows that are no lists"),
        ({"input_ids": [], "labels": []}, "no token ids"),
        ({**ROW, "attention_mask": [1]}, "attention_mask has other lengths"),
        ({"input_ids": [[[1]]], "labels": [[[1]]]}, "line 1: input_ids|dimensions"),
    ],
)
def test_a_bad_batch_is_told_with_its_line(tmp_path: Path, batch: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_batches(write(tmp_path / "rows.jsonl", batch))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.jsonl", "", "has no batch"),
        ("cut.jsonl", '{"input_ids": [1], "labels": [1]}\n{"input_', "line 2 .* cut off"),
        ("broken.jsonl", "{]\n", "line 1 is no JSON object"),
        ("rows.csv", "a,b\n", "unknown format"),
        ("rows.gz", "a,b\n", "unknown format"),
        ("rows.jsonl.gz", "plain", "no gzip file"),
        ("rows.safetensors", "plain", "cannot be read"),
    ],
)
def test_a_bad_file_is_told(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_batches(tmp_path / name)


def test_what_is_no_batch_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_batches(tmp_path / "nowhere.jsonl")
    with pytest.raises(DataError, match="no prepared dataset"):
        read_batches(tmp_path)
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(DataError, match="cannot be read"):
        read_batches(tmp_path)
    with pytest.raises(InputError, match="int is no iterable"):
        read_batches(3)  # type: ignore[arg-type]


def test_an_error_without_a_message_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    def fail(folder: str) -> None:
        raise AssertionError

    monkeypatch.setattr(datasets, "load_from_disk", fail)
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(DataError, match="cannot be read"):
        read_batches(tmp_path)


def test_a_tokenizer_that_is_none_is_told(tmp_path: Path, folder: Path, chatml: Chats) -> None:
    with pytest.raises(InputError, match="dict is no tokenizer"):
        audit_batches([ROW], {})
    with pytest.raises(ModelError, match="fake:oracle has no tokenizer"):
        audit_batches([ROW], "fake:oracle")
    (tmp_path / "tokenizer_config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        audit_batches([ROW], f"path:{tmp_path}")
    assert audit_batches(chatml.healthy(), f"path:{folder / 'chatml'}").findings == ()
