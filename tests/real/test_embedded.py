from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from medtune.models import builtin
from medtune.models.local.local_model import LocalModel
from medtune.models.sources import ModelSource


def test_the_wheel_carries_the_expected_file() -> None:
    file = builtin.find_gguf()
    assert file is not None
    assert file.stat().st_size == 98_362_432
    builtin.verify_sha256(file)


def test_the_converted_model_is_smollm2(model: LocalModel) -> None:
    assert model.describe().parameters == 134_515_008
    tokenizer = model.encoder.tokenizer
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    assert tokenizer.convert_tokens_to_ids(marks) == [0, 1, 2]


def test_it_loads_in_about_a_second_once_converted(source: ModelSource) -> None:
    start = time.process_time()  # a busy machine is no failure
    LocalModel.load(source, dtype="float32")
    assert time.process_time() - start < 5, "a conversion takes tens of seconds"


def test_two_processes_at_once_convert_into_one_whole_cache(tmp_path: Path) -> None:
    environment = {**os.environ, "MEDTUNE_CACHE": str(tmp_path), "OMP_NUM_THREADS": "1"}
    program = "from medtune.models.builtin import convert_once; print(convert_once())"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [process.communicate()[0].strip().splitlines()[-1] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert said[0] == said[1]
    folders = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert [str(path) for path in folders] == [said[0]]
    assert (folders[0] / "model.safetensors").stat().st_size > 500_000_000
