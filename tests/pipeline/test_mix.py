"""Mix evaluations of fakes and a search, and ask the mixture as an answer model."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import CommandLine
from tests.unit.analysis.synthetic import evaluation, predictions

from medtune.core.errors import PredictionsError
from medtune.core.predictions_io import read_predictions, write_evaluation
from medtune.core.progress import NoProgress
from medtune.core.prompt import PromptStyle
from medtune.core.run_folder import hash_file, write_record
from medtune.data.load import load_split
from medtune.data.trained_on import question_hashes
from medtune.mixtures.fit import fit_mixture, mix_evaluations
from medtune.mixtures.mix import mix
from medtune.models.weights_card import WeightsCard
from medtune.retrieval.index import build_index
from medtune.retrieval.passages import passages_from_questions
from medtune.retrieval.schema import PassageSource
from medtune.workflows.training_overlap import count_training_overlap

REPORTED = ("a-reported", "b-reported")
CALIBRATED = ("--calibration", "a-calibration", "--calibration", "b-calibration")


def build(folder: Path) -> str:
    """Index the train split and four of the reported questions, which leak."""
    questions = [
        *load_split("starter:train", for_training=True).questions,
        *load_split("starter:recall").questions[:4],
    ]
    passages = passages_from_questions(questions, "starter:train", None)
    source = PassageSource(source="starter:train", licence=None, passages=len(passages))
    build_index(passages, [source], folder, "english", NoProgress())
    return f"search:{folder}"


@pytest.fixture
def evaluated(medtune: CommandLine, tmp_path: Path) -> CommandLine:
    """Evaluate a biased fake (a) and a search (b) on reported and calibration questions."""
    for letter, model in (("a", "fake:biased"), ("b", build(tmp_path / "index"))):
        for split, role in (("recall", "reported"), ("transfer", "calibration")):
            medtune.record("evaluate", model, f"starter:{split}", "--out", f"{letter}-{role}")
    return medtune


def test_a_mixture_is_fitted_applied_and_asked_alike(evaluated: CommandLine) -> None:
    record = evaluated.record("mix", *REPORTED, *CALIBRATED, "--out", "m")
    assert record["written"] == {"mixture": "m/mix.json"}
    assert all(parent["weight"] >= 0 for parent in record["parents"])
    assert record["log_loss"] < min(parent["log_loss"] for parent in record["parents"])
    assert record["calibration"]["source"] == "starter:transfer"
    assert [c["a"] for c in record["comparisons"]] == [
        "fake:biased",
        "search:" + str(Path.cwd() / "index"),
    ]
    assert {c["b"] for c in record["comparisons"]} == {"mixture"}
    mixed = json.loads(Path("m/evaluation/record.json").read_text())
    assert mixed["mixed_from"] == [
        json.loads(Path(folder, "record.json").read_text())["inputs"] for folder in REPORTED
    ]
    live = evaluated.record("evaluate", "mix:m", "starter:recall", "--out", "live")
    assert live["model"] == mixed["model"]
    assert live["accuracy"] == mixed["accuracy"]
    # The search among its parents leaves out what leaks, here as well as there.
    assert live["open_book"]["left_out"] >= 4
    assert (live["open_book"], live["search"]) == (mixed["open_book"], mixed["search"])
    assert live["inputs"] != mixed["inputs"]
    for a, b in zip(
        read_predictions(Path("live/predictions.jsonl")),
        read_predictions(Path("m/evaluation/predictions.jsonl")),
        strict=True,
    ):
        assert a.probabilities == pytest.approx(b.probabilities, abs=1e-9)
    # The mixture's own calibration serves it as any model's does.
    analysis = evaluated.record("analyze", "live", "--calibration", "m/calibration")
    assert analysis["selective"]["calibrated_n"] == record["n"]
    code, out, err = evaluated("mix", *REPORTED, *CALIBRATED, "--out", "m")
    assert code == 0
    assert "starter:transfer, never to be reported on" in out
    assert "report no accuracy on these" in err


def test_a_mixture_searches_its_own_index_and_reads_no_prompt(evaluated: CommandLine) -> None:
    evaluated.record("mix", *CALIBRATED, "--out", "m")
    for more, said in (
        (("--search", "index"), "expected: one index"),
        (("--retrieval", "shared", "--search", "index"), "expected: one index"),
        (("--retrieval", "shared"), "which reads no prompt"),
    ):
        code, _, err = evaluated("evaluate", "mix:m", "starter:recall", *more)
        assert code == 2
        assert said in err
    answer = evaluated.record(
        *("answer", "Which vitamin is deficient in scurvy?", "--option", "Vitamin A"),
        *("--option", "Vitamin C", "--model", "mix:m", "--calibration", "m/calibration"),
    )
    assert answer["model"] == "mix:m"
    assert answer["reply"]["measured"]["accuracy"]["n"] == 80
    assert sum(answer["reply"]["probabilities"]) == pytest.approx(1.0)


def test_a_fit_alone_needs_no_reported_questions(evaluated: CommandLine) -> None:
    record = evaluated.record("mix", *CALIBRATED)
    assert record["evaluation"] is None
    assert record["comparisons"] == []
    assert record["written"]["mixture"] == "runs/mix/a-calibration-b-calibration/mix.json"
    code, out, _ = evaluated("mix", *CALIBRATED)
    assert code == 0
    assert "mixture" in out


def test_what_cannot_be_mixed_is_refused_and_nothing_is_written(evaluated: CommandLine) -> None:
    evaluated.record(
        "evaluate", "fake:noisy", "starter:recall", "--method", "generate", "--out", "f"
    )
    evaluated.record("evaluate", "fake:noisy", "starter:recall", "--limit", 9, "--out", "few")

    def calibrated(*folders: str) -> list[str]:
        return [word for folder in folders for word in ("--calibration", folder)]

    for given, said in (
        ((*REPORTED, *calibrated("b-calibration", "a-calibration")), "in its model"),
        ((*REPORTED, *calibrated(*REPORTED)), "80 calibration questions are among"),
        ((*REPORTED, *calibrated("a-calibration")), "2 evaluations, 1 calibrations"),
        (calibrated("a-calibration"), "a mixture of one model"),
        (calibrated("f", "b-reported"), "gives no probabilities"),
        (calibrated("few", "b-reported"), "answered 9 questions"),
        (calibrated("nowhere", "b-reported"), "nowhere holds no evaluation"),
        ((*CALIBRATED, "--model", "fake:noisy"), "1 names of models, 2 calibrations"),
    ):
        code, _, err = evaluated("mix", *given, "--out", "m")
        assert code == 2
        assert said in err
    assert not Path("m").exists()


def test_another_mixture_is_not_overwritten(evaluated: CommandLine) -> None:
    evaluated.record("mix", *CALIBRATED, "--out", "m")
    before = Path("m/mix.json").read_bytes()
    evaluated.record("evaluate", "fake:noisy", "starter:transfer", "--out", "c")
    code, _, err = evaluated(
        "mix", "--calibration", "a-calibration", "--calibration", "c", "--out", "m"
    )
    assert code == 2
    assert "m contains another mixture" in err
    assert Path("m/mix.json").read_bytes() == before
    code, _, err = evaluated("mix", "--calibration", "c", "--calibration", "m/calibration")
    assert code == 2
    assert "m/calibration is of a mixture" in err


def test_two_good_models_are_better_together_and_noise_gets_no_weight() -> None:
    one, two, noise = (
        evaluation(label, predictions(1500, skill, seed, cyclic=False, habit=0.0))
        for label, skill, seed in (("one", 1.0, 1), ("two", 1.0, 2), ("noise", 0.0, 3))
    )
    record = fit_mixture([one, two, noise], ["fake:noisy"] * 3)
    weights = [parent.weight for parent in record.parents]
    assert weights[0] == pytest.approx(weights[1], rel=0.25)
    assert weights[2] < 0.2 * weights[0]
    mixed, answers = mix_evaluations("mix:m", record, [one, two, noise])
    assert mixed.accuracy.value > max(one[0].accuracy.value, two[0].accuracy.value) + 0.05
    right = [np.log(p.probabilities or ())[p.answer] for p in answers]
    assert -float(np.mean(right)) == pytest.approx(record.log_loss)


def test_a_model_that_is_sure_of_wrong_options_gets_the_weight_0() -> None:
    good = evaluation("good", predictions(300, 1.0, 1, cyclic=False))
    wrong = evaluation("wrong", predictions(300, -1.0, 2, cyclic=False))
    record = fit_mixture([good, wrong], [None, None])
    assert record.parents[0].weight > 0
    assert record.parents[1].weight == 0.0


def test_the_adapter_of_a_run_is_found_beside_its_evaluations(tmp_path: Path) -> None:
    adapter = tmp_path / "run" / "adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    weights = hash_file(adapter / "adapter_model.safetensors")
    questions = load_split("starter:recall").questions[:5]
    hashes = "\n".join(question_hashes(questions[:2])).encode()
    (adapter / "trained_on.hashes").write_bytes(hashes)
    card = WeightsCard(
        base="hub:example/small-1.7b",
        base_fingerprint="f" * 64,
        prompt_hash="p" * 64,
        style=PromptStyle(),
        target="letter",
        data_hash=None,
        config_hash=None,
        trained_on=hashlib.sha256(hashes).hexdigest(),
        weights_hash=weights,
        medtune="0.2.0",
    )
    write_record(adapter / "medtune.json", card)
    folders = [tmp_path / "run" / "eval" / "tuned", tmp_path / "elsewhere", tmp_path / "base"]
    for seed, (folder, label) in enumerate(zip(folders, ("one", "two", "base"), strict=True)):
        found, given = evaluation(label, predictions(60, 1.0, seed, cyclic=False))
        if label == "one":
            model = found.model.model_copy(update={"adapter": weights})
            found = found.model_copy(update={"model": model})
        write_evaluation(folder, found, given)
    record = mix([], folders, tmp_path / "m", NoProgress())
    names = [parent.name for parent in record.parents]
    assert names == [f"adapter:{adapter.resolve()}", None, "hub:example/small-1.7b"]
    assert count_training_overlap(f"mix:{tmp_path / 'm'}", questions) == 2
    named = mix([], folders, tmp_path / "m", NoProgress(), ["fake:a", "fake:b", "fake:c"])
    assert [parent.name for parent in named.parents] == ["fake:a", "fake:b", "fake:c"]


def test_different_questions_are_counted() -> None:
    one = evaluation("one", predictions(20, 1.0))
    two = evaluation("two", predictions(20, 1.0, tag="other"))
    with pytest.raises(PredictionsError, match="one answered 20 questions, two 20; 0 are the same"):
        fit_mixture([one, two], [None, None])
