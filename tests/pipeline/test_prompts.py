from __future__ import annotations

from html import unescape
from pathlib import Path

import pytest
from tests.conftest import CommandLine

from medtune.core.prompt import PromptStyle
from medtune.studies.prompts.schema import PromptVariant, list_variants

TOML = """
[model]
source = "fake:noisy"
[data]
calibration_size = 40
evaluate = ["starter:recall"]
evaluate_size = 30
[evaluation]
methods = ["{method}"]
"""


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    path = tmp_path / "e.toml"
    path.write_text(TOML.format(method="letter"))
    return path


def test_a_prompt_is_chosen_on_one_split_and_reported_on_the_other(
    medtune: CommandLine, experiment: Path
) -> None:
    record = medtune.record("study", "prompts", experiment, "--out", "p")
    # 4 systems, 3 option lines, 3 instructions, with and without examples
    assert len(record["points"]) == 4 * 3 * 3 * 2
    # The fake reads the options alone: all prompts are alike, and the own one is kept.
    own = record["points"][0]["variant"]
    assert record["chosen"] == own == PromptVariant.from_style(PromptStyle()).model_dump()
    assert {p["gain"] for p in record["points"]} == {0.0}
    assert record["calibration"]["source"].endswith("#calibration")
    assert record["calibration"]["n"] == 40
    assert record["own_reported"]["data"]["source"] == "starter:recall"
    assert record["own_reported"]["counts"]["n"] == 30
    assert "own prompt is the best of 72" in record["verdict"]
    reported = sorted(path.name for path in Path("p/cells").glob("reported-*"))
    assert reported == ["reported-00"]  # nothing but the own and the chosen one is asked there
    page = unescape(Path("p/prompts.html").read_text(encoding="utf-8"))
    assert record["verdict"] in page
    code, out, _ = medtune("study", "prompts", experiment, "--out", "p")
    assert code == 0
    assert "own prompt is the best" in out


def test_what_a_method_does_not_show_is_not_varied(medtune: CommandLine, experiment: Path) -> None:
    experiment.write_text(TOML.format(method="cloze"))
    record = medtune.record("study", "prompts", experiment, "--shots", "0,1,2", "--out", "p")
    assert len(record["points"]) == 4 * 3


def test_shards_add_up(medtune: CommandLine, experiment: Path) -> None:
    command = ("study", "prompts", experiment, "--shots", "0", "--out", "p")
    state = medtune.record(*command, "--shard", "1/2")
    assert (state["kind"], state["done"], state["cells"]) == ("grid", 18, 36)
    assert not list(Path("p/cells").glob("reported-*"))
    assert medtune.record(*command, "--shard", "2/2")["kind"] == "prompts"


def test_without_a_calibration_split_nothing_is_chosen(
    medtune: CommandLine, experiment: Path
) -> None:
    more = ("--set", "data.calibration_size=0")
    code, _, err = medtune("study", "prompts", experiment, *more)
    assert code == 2
    assert "nothing to choose a prompt on" in err
    code, _, err = medtune("study", "prompts", experiment, "--shots", "-1")
    assert code == 2
    code, _, err = medtune("study", "prompts", experiment, "--shots", "9999")
    assert code == 2
    assert "9999 worked examples" in err


def test_variants_hold_the_own_prompt_first_and_none_twice() -> None:
    own = PromptStyle(system="You are a helpful AI assistant.")
    found = list_variants(own, (0,))
    assert found[0] == PromptVariant.from_style(own)
    assert len(set(found)) == len(found) == 3 * 3 * 3
    assert found[1].apply_to_style(own).text == own.text
