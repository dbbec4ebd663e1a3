"""The Python API on the embedded model: fine-tune, evaluate, compress, serve."""

from __future__ import annotations

from pathlib import Path

from starlette.testclient import TestClient

import medtune as mt


def test_a_model_is_fine_tuned_compressed_and_served(tmp_path: Path) -> None:
    questions = mt.load_questions("starter:train", limit=24)
    tuned = mt.finetune(
        "embedded:smollm2-135m",
        questions,
        out=tmp_path / "run",
        target="letter",
        steps=2,
        batch_size=2,
        dtype="float32",
    )
    assert (tuned.record.steps, tuned.model) == (2, f"adapter:{tmp_path / 'run' / 'adapter'}")
    assert tuned.model in tuned._repr_html_()
    by_name = mt.evaluate(tuned.model, questions, limit=4, dtype="float32")
    assert by_name.record.trained_on == 4
    # An open model keeps the prompt that it was trained with, and what it was trained on.
    opened = mt.evaluate(mt.open_model(tuned.model, dtype="float32"), questions, limit=4)
    assert (opened.record.prompt_hash, opened.record.trained_on) == (by_name.record.prompt_hash, 4)
    assert opened.record.model == by_name.record.model

    small = mt.compress(tuned.model, "int8", tmp_path / "packed", limit=4)
    assert small.model == f"path:{tmp_path / 'packed' / 'int8'}"
    assert small.verdict in small._repr_html_()
    app = mt.create_app(small.model, folder=tmp_path / "serve", unfit=True, logs=False)
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 1)) as client:
        assert client.get("/readyz").status_code == 200
