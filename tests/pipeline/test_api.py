"""The promised names of the package, on fakes."""

from __future__ import annotations

import json
import pickle
import re
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from starlette.testclient import TestClient
from tests.conftest import CommandLine

import medtune as mt
from medtune.core.errors import ConfigError, FolderError, InputError, ModelError, PredictionsError

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
RECALL = "starter:recall"


def evaluated(kind: str = "noisy", n: int = 20, **settings: Any) -> mt.Evaluation:
    return mt.evaluate(f"fake:{kind}", RECALL, limit=n, **settings)


@pytest.mark.parametrize(
    ("page", "number", "name"), [("api.md", 0, "after"), ("own-model.md", 0, "result")]
)
def test_the_examples_of_the_documentation_run(
    page: str, number: int, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    code = BLOCK.findall((ROOT / "docs" / page).read_text())[number]
    names: dict[str, Any] = {}
    exec(compile(code, page, "exec"), names)
    assert isinstance(names[name], mt.Evaluation)
    assert not list(tmp_path.iterdir()), "nothing is written unless a folder is named"


def test_an_evaluation_unpacks_saves_loads_and_shows_itself(tmp_path: Path) -> None:
    found = evaluated("oracle", label="<b>")
    record, predictions = found
    assert (record, predictions) == (found.record, found.predictions)
    assert (found.accuracy.value, found.folder) == (1.0, None)
    assert pickle.loads(pickle.dumps(found)) == found
    kept = found.save(tmp_path / "e")
    loaded = mt.Evaluation.load(tmp_path / "e")
    assert loaded == kept == found
    assert loaded.folder == tmp_path / "e"
    frame = loaded.to_frame()
    assert len(frame) == 20
    assert frame["correct"].all()
    shown = found._repr_html_()
    assert "&lt;b&gt;" in shown
    assert "<b>" not in shown
    assert "100.0" in shown
    with pytest.raises(FolderError, match="another evaluation"):
        evaluated("noisy").save(tmp_path / "e")
    assert mt.Evaluation.load(tmp_path / "e") == found


def test_a_folder_is_reused(tmp_path: Path) -> None:
    first = evaluated(out=tmp_path / "e")
    again = evaluated(out=str(tmp_path / "e"))
    assert again.record.provenance == first.record.provenance
    assert first.folder == again.folder == tmp_path / "e"


def test_the_command_and_the_function_make_the_same_files(
    medtune: CommandLine, tmp_path: Path
) -> None:
    medtune.record("evaluate", "fake:noisy", RECALL, "--limit", 20, "--out", "cli")
    evaluated(out=tmp_path / "api")
    read = (tmp_path / name / "predictions.jsonl" for name in ("cli", "api"))
    assert len({path.read_text() for path in read}) == 1


def test_a_comparison_saves_loads_and_shows_itself(tmp_path: Path) -> None:
    a, b = evaluated("noisy"), evaluated("oracle", out=tmp_path / "b")
    found = mt.compare(a, tmp_path / "b")
    assert found.verdict.startswith("fake:oracle is better than fake:noisy")
    assert found.difference == b.accuracy.value - a.accuracy.value
    assert found.p_value == found.record.p_value < 0.05
    kept = found.save(tmp_path / "c")
    assert (tmp_path / "c" / "report.html").is_file()
    # The evaluation in memory is written as well, for the links of the page.
    assert mt.Evaluation.load(tmp_path / "c" / "evaluations" / "a").accuracy == a.accuracy
    loaded = mt.Comparison.load(tmp_path / "c")
    assert (loaded.record, loaded.slices) == (kept.record, kept.slices)
    frame = loaded.to_frame()
    assert frame["dimension"].tolist()[0] == "all"
    assert len(frame) == 1 + len(found.slices)
    assert escape(found.verdict) in loaded._repr_html_()
    copied = loaded.save(tmp_path / "copy")
    assert mt.Comparison.load(tmp_path / "copy").record == copied.record
    (tmp_path / "c" / "report.html").unlink()
    assert loaded.save(tmp_path / "again").record == copied.record


def broken_links(page: Path) -> list[str]:
    links = re.findall(r'href="([^"#:]+)"', page.read_text())
    assert len(links) > 5
    return [link for link in links if not (page.parent / unquote(link)).is_file()]


def test_a_loaded_comparison_is_saved_elsewhere_with_its_links(tmp_path: Path) -> None:
    found = mt.compare(evaluated("noisy"), evaluated("oracle", out=tmp_path / "b"))
    found.save(tmp_path / "c")
    place = tmp_path / "deep" / "er" / "copy"
    mt.Comparison.load(tmp_path / "c").save(place)
    (tmp_path / "c").rename(tmp_path / "gone")
    assert broken_links(place / "report.html") == []
    # Where an evaluation is gone, its links are as dead as they were.
    (tmp_path / "b").rename(tmp_path / "lost")
    mt.Comparison.load(place).save(tmp_path / "again")
    assert (tmp_path / "again" / "report.html").is_file()
    other = mt.compare(evaluated("oracle"), tmp_path / "lost").save(tmp_path / "other")
    with pytest.raises(FolderError, match="another evaluation"):
        mt.Comparison.load(other.folder or "").save(tmp_path / "gone")


def test_two_evaluations_of_one_name_are_told_apart() -> None:
    record = mt.compare(evaluated(), evaluated()).record
    assert record.a != record.b


def test_evaluations_of_different_questions_are_refused() -> None:
    with pytest.raises(PredictionsError, match="5 are the same"):
        mt.compare(evaluated(n=5), evaluated(n=6))
    with pytest.raises(PredictionsError, match="holds no comparison"):
        mt.Comparison.load("nowhere")
    with pytest.raises(PredictionsError, match="nowhere"):
        mt.Evaluation.load("nowhere")


def test_an_analysis_saves_and_shows_itself(tmp_path: Path) -> None:
    found = mt.analyze(evaluated("biased"), mt.evaluate("fake:biased", "starter:transfer"))
    assert found.record.selective is not None
    assert found.record.selective.calibrated_n
    assert len(found.to_frame()) == len(found.record.slices) > 0
    assert found.folder is None
    kept = found.save(tmp_path / "e")
    assert (tmp_path / "e" / "analysis.html").is_file()
    assert kept.folder == tmp_path / "e"
    assert mt.Evaluation.load(tmp_path / "e") == found.evaluation
    assert "accuracy by slice" in found._repr_html_()


def test_an_index_is_searched_and_answers(tmp_path: Path) -> None:
    questions = mt.load_questions("starter:train", limit=30)
    index = mt.search_index(questions, tmp_path / "ix")
    best, *_ = index.search(questions[3].stem, count=2)
    assert best.passage.question == questions[3].stem
    assert index.model == f"search:{tmp_path / 'ix'}"
    assert mt.evaluate(index.model, RECALL, limit=4).record.open_book is not None
    assert mt.evaluate(mt.open_model(index.model), RECALL, limit=4).record.open_book is not None
    assert "30 passages" in index._repr_html_()
    clean = mt.search_index(questions, tmp_path / "clean", without=RECALL)
    assert clean.record.manifest.sources[0].passages == clean.record.manifest.passages > 0


def test_an_application_answers_and_closes_its_store(tmp_path: Path) -> None:
    app = mt.create_app("search:starter", folder=tmp_path / "serve", logs=False)
    asked = {"stem": "What is lacking in scurvy?", "options": ["Vitamin C", "Zinc"]}
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 1)) as client:
        assert client.get("/healthz").status_code == 200
        reply = client.post("/v1/answer", json=asked)
    assert reply.status_code == 200, reply.text
    assert (tmp_path / "serve").is_dir()


def test_batches_are_audited(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    path.write_text(json.dumps({"input_ids": [1, 5, 6, 2], "labels": [-100] * 4}) + "\n")
    found = mt.audit(path, "embedded:smollm2-135m")
    assert found.findings
    assert "nothing" in found.findings[0].message or found.serious


def test_bad_names_are_refused() -> None:
    with pytest.raises(ModelError, match="names no model"):
        mt.evaluate("nonsense", RECALL)
    with pytest.raises(ModelError, match="names no model"):
        mt.open_model("nonsense")
    with pytest.raises(InputError, match="names no dataset"):
        mt.load_questions("nonsense")
    with pytest.raises(ModelError, match="has no method score"):
        mt.evaluate(object(), RECALL)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="1 questions have no label"):
        mt.evaluate("fake:noisy", [{"stem": "What?", "options": ["A", "B"], "answer": None}])
    with pytest.raises(InputError, match="scheme 'int9'"):
        mt.compress("fake:noisy", "int9", "out")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="no weights to quantize"):
        mt.compress("fake:noisy", "int8", "out")
    with pytest.raises(InputError, match="without a folder"):
        mt.evaluate("fake:noisy", RECALL, log="lm-eval")
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"method": "leter"}, "method 'leter'; did you mean letter?"),
        ({"variant": "plan"}, "variant 'plan'; did you mean plain?"),
        ({"form": "word"}, "form 'word'"),
        ({"log": "lmeval", "out": "out"}, "log 'lmeval'; did you mean lm-eval?"),
        ({"dtype": "float99"}, "dtype 'float99'; did you mean"),
        ({"limit": 0}, "limit 0"),
        ({"settings": {"shotz": 2}}, "shotz: unknown key; did you mean shots?"),
        ({"settings": 2}, "settings 2"),
        ({"style": "letter"}, "style 'letter'"),
        ({"retrieval": "shared"}, "retrieval 'shared'"),
        ({"columns": ["A"]}, "columns ['A']"),
    ],
)
def test_settings_from_python_are_checked(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        mt.evaluate("fake:oracle", RECALL, **settings)
    assert not Path("out").exists()


def test_a_method_is_checked_before_anything_is_read(tmp_path: Path) -> None:
    said = "method 'leter'; did you mean letter"
    with pytest.raises(InputError, match=said):
        mt.compress("nonsense", "int8", tmp_path / "out", method="leter")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=said):
        mt.create_app("nonsense", folder=tmp_path / "out", method="leter")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="method 'generate'\nexpected: one of letter, cloze"):
        mt.create_app("nonsense", folder=tmp_path / "out", method="generate")
    assert not (tmp_path / "out").exists()


def test_settings_may_be_dicts() -> None:
    record, _ = evaluated(settings={"options_only": 0}, style={"system": "Answer."})
    assert record.options_only is None
    assert evaluated().record.options_only is not None


@pytest.mark.parametrize("name", ["adapter", "dtype", "batch"])
def test_an_open_model_is_not_opened_anew(name: str) -> None:
    given: dict[str, Any] = {name: {"adapter": "a", "dtype": "float32", "batch": 2}[name]}
    with pytest.raises(InputError, match="with a model that is open"):
        mt.evaluate(mt.open_model("fake:oracle"), RECALL, **given)


def test_a_fine_tuning_names_every_fault_before_anything_is_written(tmp_path: Path) -> None:
    questions = mt.load_questions("starter:train", limit=2)
    with pytest.raises(ConfigError) as caught:
        mt.finetune(None, questions, out=tmp_path / "run", epocs=2, batch_size=0)
    assert "did you mean epochs?" in str(caught.value)
    assert "training.batch_size" in str(caught.value)
    with pytest.raises(InputError, match="an experiment, and training"):
        mt.finetune(experiment=mt.Experiment(), out=tmp_path / "run", epochs=2)
    with pytest.raises(InputError, match="an experiment, and evaluate"):
        mt.finetune(experiment=mt.Experiment(), out=tmp_path / "run", evaluate=RECALL)
    missing = tmp_path / "missing.csv"
    with pytest.raises(InputError, match=r"missing\.csv does not exist"):
        mt.finetune(out=tmp_path / "run", evaluate=[missing])
    for model in ("fake:oracle", "nonsense"):
        with pytest.raises(ModelError, match=r"cannot be trained|names no model"):
            mt.finetune(model, questions, evaluate=list(questions), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
