from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from tests.conftest import CommandLine

from medtune.commands import analyze as analyze_recipe
from medtune.commands import compare as compare_recipe
from medtune.commands import evaluate as evaluate_recipe
from medtune.commands import prepare as prepare_recipe
from medtune.commands import train as train_recipe
from medtune.core.errors import CheckFailed, DataError, Interrupted
from medtune.core.experiment import ColumnMapping, EvaluationConfig
from medtune.core.records import RunRecord
from medtune.spotcheck import commands as review_recipe
from medtune.studies import runner
from medtune.studies.robustness.study import RobustnessStudy
from medtune.studies.test_size.schema import SamplePlan
from medtune.studies.test_size.study import SampleSizeStudy


def raising(error: BaseException) -> Callable[..., NoReturn]:
    def recipe(*arguments: Any, **settings: Any) -> NoReturn:
        raise error

    return recipe


def test_done_is_0(medtune: CommandLine) -> None:
    code, out, err = medtune("evaluate", "fake:oracle", "starter:recall", "--limit", 5)
    assert code == 0
    assert "starter:recall" in out
    assert "100.0" in out
    assert "predictions" in err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (CheckFailed("accuracy fell"), 1, "error: accuracy fell"),
        (DataError("no rows", fix="add some"), 2, "error: no rows\nto do: add some"),
        (Interrupted("stopped at step 3"), 130, "error: stopped at step 3"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_exit_codes(
    medtune: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    message: str,
) -> None:
    monkeypatch.setattr(compare_recipe, "compare", raising(error))
    found, out, err = medtune("compare", "a", "b")
    assert found == code
    assert out == ""
    assert message in err


@pytest.mark.parametrize("verb", ["", "run", "prepare", "evaluate", "compare", "rescore", "models"])
def test_help_is_0_and_on_stdout(medtune: CommandLine, verb: str) -> None:
    code, out, err = medtune(*verb.split(), "--help")
    assert code == 0
    assert "Usage:" in out
    assert err == ""


def test_help_calls_the_command_by_its_name(medtune: CommandLine) -> None:
    assert medtune("--help")[1].startswith("Usage: medtune [OPTIONS] COMMAND")


def test_help_says_that_it_is_no_medical_advice(medtune: CommandLine) -> None:
    assert "not medical advice" in " ".join(medtune("--help")[1].split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Usage:"),
        (("models",), "Usage:"),
        (("evaluate",), "Missing"),
        (("frobnicate",), "frobnicate"),
        (("evaluate", "fake:oracle", "starter", "--limit", "many"), "--limit"),
        (("evaluate", "fake:oracle", "starter", "--limit", "0"), "--limit"),
        (("evaluate", "fake:oracle", "starter", "--method", "guess"), "guess"),
        (("evaluate", "fake:oracle", "starter", "--frob"), "--frob"),
        (("compare", "a"), "Missing"),
        (("rescore", "x.json", "--matcher", "lenient"), "lenient"),
    ],
)
def test_a_wrong_command_line_is_2_and_says_why(
    medtune: CommandLine, arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = medtune(*arguments)
    assert code == 2
    assert message in out + err


def test_json_is_one_document_and_nothing_else(medtune: CommandLine) -> None:
    code, out, err = medtune("evaluate", "fake:noisy", "starter:recall", "--json")
    assert code == 0
    record = json.loads(out)
    assert record["kind"] == "evaluation"
    assert record["counts"]["n"] == 80
    assert set(record["accuracy"]) == {"value", "low", "high", "n"}
    assert "fake:noisy · starter:recall · letter" in err  # the progress


def test_json_stays_whole_when_nothing_is_done_again(medtune: CommandLine) -> None:
    arguments = ("evaluate", "fake:noisy", "starter:recall", "--json")
    first = json.loads(medtune(*arguments)[1])
    code, out, err = medtune(*arguments)
    assert code == 0
    assert json.loads(out) == first
    assert "still valid" in err


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (("gpt-9", "starter:recall"), ["'gpt-9' names no model", "expected: embedded:"]),
        (("fake:psychic", "starter:recall"), ["'fake:psychic' names no model"]),
        (("runs/served", "starter:recall"), ["names no model: there is no such folder"]),
        (("path:nowhere", "starter:recall"), ["path:nowhere is no folder", "config.json"]),
        (("fake:oracle", "medqa"), ["'medqa' names no dataset", "expected: starter"]),
        (("fake:oracle", "starter:exam"), ["starter:exam: no such split", "recall"]),
        (("fake:oracle", "file:none.csv"), ["none.csv does not exist"]),
        (
            ("fake:oracle", "starter:recall", "--limit", "81"),
            ["starter:recall has 80 usable questions, 81 were asked for"],
        ),
        (
            ("fake:oracle", "starter:recall", "--shots", "2"),
            ["--shots 2 without --shots-from", "starter:train"],
        ),
        (
            ("fake:oracle", "starter:recall", "--shots", "321", "--shots-from", "starter:train"),
            ["--shots 321, but starter:train has 320 labelled", "fewer shots"],
        ),
        (
            ("fake:oracle", "starter:recall", "--shots", "1", "--shots-from", "starter:recall"),
            ["--shots 1, but starter:recall has 0 labelled"],
        ),
        (
            ("fake:oracle", "starter:recall", "--adapter", "nowhere"),
            ["nowhere is no adapter of medtune's", "medtune.json is missing"],
        ),
        (
            ("fake:oracle", "starter:recall", "--map", "stern=question"),
            ["data.columns.stern: unknown key; did you mean stem?"],
        ),
        (("fake:oracle", "starter:recall", "--map", "stem"), ["expected key=value"]),
    ],
)
def test_bad_input_of_evaluate(
    medtune: CommandLine, arguments: tuple[str, ...], messages: list[str]
) -> None:
    code, out, err = medtune("evaluate", *arguments)
    assert code == 2
    assert out == ""
    for message in messages:
        assert message in err
    assert not Path("runs").exists()


def test_an_empty_folder_is_no_adapter(medtune: CommandLine, tmp_path: Path) -> None:
    code, _, err = medtune("evaluate", "fake:oracle", "starter:recall", "--adapter", tmp_path)
    assert code == 2
    assert "no adapter of medtune's" in err


def test_compare_of_what_is_no_evaluation(medtune: CommandLine, tmp_path: Path) -> None:
    medtune("evaluate", "fake:oracle", "starter:recall", "--limit", 5, "--out", "good")
    for arguments in [("good", "nowhere"), (tmp_path, "good")]:
        code, out, err = medtune("compare", *arguments)
        assert code == 2
        assert out == ""
        assert "holds no evaluation" in err


def test_an_out_that_cannot_be_a_folder(medtune: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    for out in ("taken", "taken/inside"):
        code, _, err = medtune(
            "evaluate", "fake:oracle", "starter:recall", "--limit", 1, "--out", out
        )
        assert code == 2
        assert "cannot write" in err


def test_columns_are_mapped(medtune: CommandLine, tmp_path: Path) -> None:
    rows = ["Frage,eins,zwei,Lösung,Nr", "Which?,Yes,No,1,x1", "What?,This,That,2,x2"]
    (tmp_path / "own.csv").write_text("\n".join(rows))
    code, out, _ = medtune(
        *("evaluate", "fake:oracle", "file:own.csv", "--json", "--out", "own"),
        *("--map", "stem=Frage", "--map", "options=eins, zwei"),
        *("--map", "answer=Lösung", "--map", "answer_base=1", "--map", "id=Nr"),
    )
    assert code == 0
    assert json.loads(out)["letters_right"] == {"A": 1, "B": 1}
    lines = (tmp_path / "own" / "predictions.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["x1", "x2"]


@pytest.mark.parametrize("name", ['the "stem"', "a\\b", "2024", "true", "[x]", "it's"])
def test_a_column_may_have_any_name(medtune: CommandLine, tmp_path: Path, name: str) -> None:
    row = {name: "Which?", "o1": "Yes", "o2": "No", "key": "Yes"}
    (tmp_path / "own.jsonl").write_text(json.dumps(row))
    code, _, err = medtune(
        *("evaluate", "fake:oracle", "file:own.jsonl", "--map", f"stem={name}"),
        *("--map", "options=o1,o2", "--map", "answer=key"),
    )
    assert code == 0, err


def test_a_mapped_column_that_does_not_exist(medtune: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("question,opa,opb,opc,opd,cop\nWhich?,a,b,c,d,0")
    code, _, err = medtune("evaluate", "fake:oracle", "file:own.csv", "--map", "stem=Frage")
    assert code == 2
    assert "lacks the column Frage" in err
    assert "--map stem=... --map options=a,b,c,d --map answer=..." in err


def test_evaluate_hands_everything_on(
    medtune: CommandLine, monkeypatch: pytest.MonkeyPatch, enough: Enough
) -> None:
    monkeypatch.setattr(evaluate_recipe, "evaluate", enough)
    code, _, _ = medtune(
        *("evaluate", "fake:oracle", "starter:recall", "--method", "cloze", "--limit", 7),
        *("--shots", 3, "--shots-from", "starter", "--normalization", "token", "--form", "text"),
        *("--max-new-tokens", 9, "--dtype", "float32", "--batch", 5, "--label", "mine"),
    )
    assert code == 1
    assert enough.given == ["fake:oracle", "starter:recall"]
    options = enough.named
    assert (options.out, options.keep_in) == (None, Path("runs/eval"))
    assert (options.method, options.limit, options.shots_from) == ("cloze", 7, "starter")
    assert (options.settings.shots, options.settings.max_new_tokens) == (3, 9)
    assert options.settings.normalization == "token"
    assert (options.dtype, options.batch, options.form) == ("float32", 5, "text")
    assert options.label == "mine"


def test_folders_are_named_after_what_was_examined(medtune: CommandLine, tmp_path: Path) -> None:
    medtune("evaluate", "fake:oracle", "starter:recall", "--limit", 3)
    medtune("evaluate", "fake:oracle", "starter:recall", "--limit", 3, "--method", "generate")
    names = sorted(path.name.rpartition("-") for path in (tmp_path / "runs" / "eval").iterdir())
    assert [name for name, _, _ in names] == [
        "fake-oracle-starter-recall-generate-first-3",
        "fake-oracle-starter-recall-letter-first-3",
    ]
    assert all(re.fullmatch("[0-9a-f]{8}", end) for _, _, end in names)


def test_every_fault_of_an_experiment_is_listed(medtune: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(
        'name = "Bad Name"\n[training]\nepochs = 0\nlearing_rate = 1.0\n[model]\ndtype = "int3"\n'
    )
    code, out, err = medtune("run", "bad.toml", "--set", "trainig.epochs=2", "--set", "nonsense")
    assert code == 2
    assert out == ""
    assert "bad.toml: 6 faults" in err
    assert "name: found 'Bad Name'" in err
    assert "training.epochs: found 0" in err
    assert "training.learing_rate: unknown key; did you mean learning_rate?" in err
    assert "model.dtype: found 'int3'" in err
    assert "trainig: unknown key; did you mean training?" in err
    assert "--set nonsense: expected key=value" in err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("epochs = ", "not TOML"),
        ('recipe = "pretrain"', "recipe: found 'pretrain', expected 'finetune' or 'notebook'"),
        (None, "no such file"),
    ],
)
def test_an_experiment_that_is_none(
    medtune: CommandLine, tmp_path: Path, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "bad.toml").write_text(content)
    code, _, err = medtune("run", "bad.toml")
    assert code == 2
    assert message in err


@pytest.mark.parametrize("verb", ["run", "prepare"])
def test_an_unknown_set_key_has_a_hint(medtune: CommandLine, verb: str) -> None:
    code, _, err = medtune(verb, "--set", "training.epoch=2")
    assert code == 2
    assert "training.epoch: unknown key; did you mean epochs?" in err


def test_the_notebooks_experiment_is_not_prepared_in_parts(
    medtune: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "notebook.toml").write_text('recipe = "notebook"')
    code, _, err = medtune("prepare", "notebook.toml")
    assert code == 2
    assert "medtune run" in err


def test_settings_change_the_folder(medtune: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[Path] = []

    def recipe(experiment: object, folder: Path, progress: object) -> None:
        folders.append(folder)
        raise CheckFailed("enough")

    monkeypatch.setattr(prepare_recipe, "prepare", recipe)
    medtune("prepare")
    medtune("prepare", "--set", "training.epochs=2")
    medtune("prepare", "--out", "own")
    assert folders[0].parent == folders[1].parent == Path("runs")
    assert all(folder.name.startswith("quickstart-") for folder in folders[:2])
    assert folders[0] != folders[1]
    assert folders[2] == Path("own")


def test_models_list(medtune: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEDTUNE_CACHE", str(tmp_path / "cache"))
    code, out, err = medtune("models", "list", "--json")
    assert code == 0
    assert err == ""
    listed = json.loads(out)
    assert listed["kind"] == "models"
    assert listed["cache"] == str(tmp_path / "cache")
    assert listed["models"][0]["name"] == "embedded:smollm2-135m"
    assert listed["models"][0]["state"] in {"installed", "missing"}
    code, out, _ = medtune("models", "list")
    assert code == 0
    assert "embedded:smollm2-135m" in "".join(out.split())


def test_models_info_of_a_fake(medtune: CommandLine) -> None:
    code, out, _ = medtune("models", "info", "fake:oracle", "--json")
    assert code == 0
    assert json.loads(out)["state"] == "ready"


def test_models_info_of_nothing(medtune: CommandLine) -> None:
    code, out, err = medtune("models", "info", "gpt-9", "--json")
    assert (code, out) == (2, "")
    assert "'gpt-9' names no model" in err


# Orders, baselines, worked examples: what the verbs hand on


class Enough:
    """Stands where a recipe was, remembers how it was called, and ends the command."""

    def __init__(self) -> None:
        self.given: list[Any] = []
        self.named = SimpleNamespace()

    def __call__(self, *arguments: Any, **named: Any) -> NoReturn:
        self.given = list(arguments)
        self.named = SimpleNamespace(**named)
        raise CheckFailed("enough")


@pytest.fixture
def enough() -> Enough:
    return Enough()


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        ((), {"orders": "given", "options_only": 500, "shots_by": "fixed", "constrained": False}),
        (("--orders", "cyclic"), {"orders": "cyclic"}),
        (("--orders", "pride"), {"orders": "pride"}),
        (("--options-only", 0), {"options_only": 0}),
        (("--options-only", 12), {"options_only": 12}),
        (("--shots", 2, "--shots-by", "random"), {"shots": 2, "shots_by": "random"}),
        (("--shots-by", "subject"), {"shots_by": "subject"}),
        (("--constrained",), {"constrained": True}),
        (("--max-new-tokens", 3), {"max_new_tokens": 3}),
    ],
)
def test_every_setting_of_an_exam_reaches_the_recipe(
    medtune: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    enough: Enough,
    arguments: tuple[object, ...],
    settings: dict[str, Any],
) -> None:
    monkeypatch.setattr(evaluate_recipe, "evaluate", enough)
    assert medtune("evaluate", "fake:oracle", "starter:recall", *arguments)[0] == 1
    options = enough.named
    assert options.settings == EvaluationConfig(**settings)
    assert (options.variant, options.adapter, options.label) == ("plain", None, None)


def test_a_variant_and_an_adapter_reach_the_recipe(
    medtune: CommandLine, monkeypatch: pytest.MonkeyPatch, enough: Enough
) -> None:
    monkeypatch.setattr(evaluate_recipe, "evaluate", enough)
    medtune("evaluate", "m", "d", "--variant", "stem-injection", "--adapter", "runs/x/adapter")
    assert enough.named.variant == "stem-injection"
    assert enough.named.adapter == Path("runs/x/adapter")


def test_analyze_hands_everything_on(
    medtune: CommandLine, monkeypatch: pytest.MonkeyPatch, enough: Enough
) -> None:
    monkeypatch.setattr(analyze_recipe, "analyze", enough)
    assert medtune("analyze", "e")[0] == 1
    assert enough.given == [Path("e"), None]
    medtune("analyze", "e", "--calibration", "c")
    assert enough.given == [Path("e"), Path("c")]


def test_compare_hands_everything_on(
    medtune: CommandLine, monkeypatch: pytest.MonkeyPatch, enough: Enough
) -> None:
    monkeypatch.setattr(compare_recipe, "compare", enough)
    medtune("compare", "x/a", "b/")
    assert enough.given == [Path("x/a"), Path("b")]
    assert enough.named.out == Path("runs/compare/a-b")
    assert enough.named.calibration_a is enough.named.calibration_b is None
    medtune("compare", "a", "b", "--calibration-a", "c", "--calibration-b", "d", "--out", "o")
    assert enough.given == [Path("a"), Path("b")]
    options = enough.named
    assert (options.calibration_a, options.calibration_b) == (Path("c"), Path("d"))
    assert options.out == Path("o")


def test_a_study_of_robustness_hands_everything_on(
    medtune: CommandLine, monkeypatch: pytest.MonkeyPatch, enough: Enough
) -> None:
    monkeypatch.setattr(runner, "run_study", enough)
    medtune("study", "robustness", "fake:noisy", "starter")
    study, folder, counts, _ = enough.given
    assert (study, counts) == (RobustnessStudy, None)
    assert vars(enough.named) == {
        "model": "fake:noisy",
        "data": "starter",
        "method": "letter",
        "adapter": None,
        "limit": None,
        "columns": ColumnMapping(),
        "dtype": "auto",
    }
    assert folder == Path("runs/robustness/fake-noisy-starter-letter")
    medtune(
        *("study", "robustness", "fake:noisy", "file:x.csv", "--method", "cloze", "--limit", 9),
        *("--adapter", "a", "--dtype", "float16", "--map", "stem=Frage", "--out", "o"),
    )
    _, folder, *_ = enough.given
    given = vars(enough.named)
    assert (given["data"], given["method"], given["limit"]) == ("file:x.csv", "cloze", 9)
    assert (given["adapter"], given["dtype"]) == (Path("a"), "float16")
    assert (given["columns"].stem, folder) == ("Frage", Path("o"))


def test_a_study_of_test_sizes_hands_everything_on(
    medtune: CommandLine, monkeypatch: pytest.MonkeyPatch, enough: Enough
) -> None:
    monkeypatch.setattr(runner, "run_study", enough)
    medtune("study", "test-size", "a")
    study, folder, *_ = enough.given
    assert (study, folder) == (SampleSizeStudy, Path("runs/test-size/a"))
    assert vars(enough.named) == {
        "a": Path("a"),
        "b": None,
        "plan": SamplePlan(),
        "by_subject": False,
    }
    medtune(
        *("study", "test-size", "a", "b", "--sizes", "10,20", "--draws", 500, "--seed", 3),
        *("--by-subject", "--out", "o"),
    )
    given = vars(enough.named)
    assert (given["b"], given["by_subject"], enough.given[1]) == (Path("b"), True, Path("o"))
    assert given["plan"] == SamplePlan((10, 20), 500, 3)


@pytest.mark.parametrize("sizes", ["", "ten", "10,,20", "10;20", "1.5"])
def test_sizes_that_are_no_numbers(medtune: CommandLine, sizes: str) -> None:
    code, out, err = medtune("study", "test-size", "a", "--sizes", sizes)
    assert (code, out) == (2, "")
    assert f"error: --sizes {sizes}".strip() in err
    assert "expected: whole numbers, such as 20,50,100" in err


def test_a_review_hands_everything_on(
    medtune: CommandLine, monkeypatch: pytest.MonkeyPatch, enough: Enough
) -> None:
    monkeypatch.setattr(review_recipe, "draw_spot_check", enough)
    medtune("review", "sample", "a", "b")
    assert enough.given[:4] == [[Path("a"), Path("b")], 100, 0, Path("review")]
    assert enough.given[5] is None
    medtune(*("review", "sample", "a", "--n", 7, "--seed", 3, "--against", "s"), *("--out", "o"))
    assert enough.given[:4] == [[Path("a")], 7, 3, Path("o")]
    assert enough.given[5] == Path("s")
    monkeypatch.setattr(review_recipe, "score_spot_check", enough)
    medtune("review", "score", "o")
    assert enough.given[:2] == [Path("o"), ()]
    medtune("review", "score", "o", "--marks", "a.csv", "--marks", "b.jsonl")
    assert list(enough.given[1]) == [Path("a.csv"), Path("b.jsonl")]


def test_a_sample_says_what_to_do_with_its_sheet(medtune: CommandLine) -> None:
    medtune(
        *("evaluate", "fake:noisy", "starter:recall", "--limit", 30, "--method", "generate"),
        *("--out", "e"),
    )
    code, out, err = medtune("review", "sample", "e", "--n", 20, "--json")
    assert code == 0
    assert json.loads(out)["n"] == 20
    assert "items: review/items.jsonl and items.csv" in err
    assert "a copy, marks-NAME.csv: the letter" in err
    assert "then: medtune review score review" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluate", "m", "d", "--orders", "random"), "random"),
        (("evaluate", "m", "d", "--variant", "upside-down"), "upside-down"),
        (("evaluate", "m", "d", "--shots-by", "luck"), "luck"),
        (("evaluate", "m", "d", "--shots", "-1"), "--shots"),
        (("evaluate", "m", "d", "--options-only", "-1"), "--options-only"),
        (("evaluate", "m", "d", "--max-new-tokens", "0"), "--max-new-tokens"),
        (("analyze",), "Missing"),
        (("analyze", "e", "--calibration"), "--calibration"),
        (("compare", "a", "b", "--calibration", "c"), "--calibration"),
        (("study",), "Usage:"),
        (("study", "frobnicate"), "frobnicate"),
        (("study", "robustness", "m"), "Missing"),
        (("study", "test-size"), "Missing"),
        (("review",), "Usage:"),
        (("review", "sample"), "Missing"),
        (("review", "sample", "e", "--n", "0"), "--n"),
    ],
)
def test_a_wrong_examination_or_study_is_2_and_says_why(
    medtune: CommandLine, arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = medtune(*arguments)
    assert code == 2
    assert message in out + err


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        ("", ("analyze", "compare", "evaluate", "study", "review")),
        (
            "evaluate",
            (
                *("--orders", "given|cyclic|pride", "--variant", "--options-only", "--shots-by"),
                *("fixed|random|subject", "--constrained", "--shots-from", "--json", "--out"),
            ),
        ),
        ("analyze", ("--calibration", "--json")),
        ("compare", ("--calibration-a", "--calibration-b", "--out", "--json")),
        ("study", ("test-size", "robustness")),
        ("study robustness", ("--method", "--adapter", "--limit", "--json")),
        ("study test-size", ("--sizes", "--draws", "--seed", "--by-subject", "--json")),
        ("review", ("sample", "score")),
        ("review sample", ("--against", "--seed", "--n ", "--out")),
        ("review score", ("--marks", "--json")),
    ],
)
def test_help_lists_what_there_is(
    medtune: CommandLine, verb: str, options: tuple[str, ...]
) -> None:
    code, out, err = medtune(*verb.split(), "--help")
    assert (code, err) == (0, "")
    for option in options:
        assert option in out


def test_trainings_of_several_seeds_are_one_json_document(
    medtune: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickstart = Path(__file__).parents[2] / "results" / "quickstart.json"
    training = RunRecord.model_validate_json(quickstart.read_bytes()).trainings[0]
    records = [training, training.model_copy(update={"seed": 18})]
    monkeypatch.setattr(train_recipe, "finetune", lambda **_: SimpleNamespace(records=records))
    code, out, _ = medtune("train", "--json")
    assert code == 0
    assert [found["seed"] for found in json.loads(out)] == [training.seed, 18]
    records.pop()
    assert medtune.record("train")["seed"] == training.seed
