from __future__ import annotations

from pathlib import Path

import torch

from medtune.training.checkpoint import has_checkpoints, load_newest_checkpoint, save_checkpoint

OURS, OTHER = "a" * 64, "b" * 64


def test_a_later_step_of_another_training_deletes_nothing(tmp_path: Path) -> None:
    assert not has_checkpoints(tmp_path)
    save_checkpoint(tmp_path, 500, OTHER, {"value": 5})
    for step in (10, 20, 30):
        save_checkpoint(tmp_path, step, OURS, {"value": step})
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "step-000020-aaaaaaaa.pt",
        "step-000030-aaaaaaaa.pt",
        "step-000500-bbbbbbbb.pt",
    ]
    for inputs, value in ((OURS, 30), (OTHER, 5)):
        found = load_newest_checkpoint(tmp_path, inputs)
        assert found is not None
        assert found["value"] == value


def test_checkpoints_of_the_first_versions_are_read(tmp_path: Path) -> None:
    torch.save({"step": 7, "inputs": OURS}, tmp_path / "step-000007.pt")
    found = load_newest_checkpoint(tmp_path, OURS)
    assert found is not None
    assert found["step"] == 7
    assert load_newest_checkpoint(tmp_path, OTHER) is None
