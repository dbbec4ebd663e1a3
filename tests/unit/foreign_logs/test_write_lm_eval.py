from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.analysis.synthetic import evaluation, predictions

from medtune.core.records import Normalization
from medtune.foreign_logs.read_log import read_evaluation_log
from medtune.foreign_logs.write_lm_eval import PromptText, write_lm_eval_log


@pytest.mark.parametrize("normalization", ["sum", "byte"])
def test_a_space_before_some_continuations_only_is_part_of_them(
    tmp_path: Path, normalization: Normalization
) -> None:
    given = [
        p.model_copy(update={"logprobs": (-1.9, -2.2, -9.0, -9.0), "chosen": 0})
        for p in predictions(12, 1.0, cyclic=False)
    ]
    record = evaluation("base", given).record.model_copy(
        update={"method": "cloze", "normalization": normalization, "duration_s": None}
    )
    prompts = [PromptText("Why?", (" a", "bc", "d", "ef")) for _ in given]
    results_file, samples_file = write_lm_eval_log(tmp_path, record, given, prompts)
    # Reading recomputes every metric as the harness does, and refuses one that differs.
    _, same = read_evaluation_log(samples_file)
    assert [p.bytes for p in same] == [(2, 2, 1, 2)] * 12
    assert {p.chosen for p in same} == {0}
    results = json.loads(results_file.read_text())
    assert results["total_evaluation_time_seconds"] is None
