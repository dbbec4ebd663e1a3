from __future__ import annotations

import tempfile
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from medtune.core.config import config_hash, load_experiment, to_toml
from medtune.core.errors import ConfigError
from medtune.core.experiment import (
    ColumnMapping,
    DataConfig,
    EvaluationConfig,
    Experiment,
    LoraSettings,
    ModelConfig,
    NotebookExperiment,
    RetrievalConfig,
    TrainingConfig,
)
from medtune.core.prompt import LetterForm, PromptStyle, TextForm

NOTEBOOK = NotebookExperiment(recipe="notebook")


def loaded(text: str, *overrides: str) -> Experiment | NotebookExperiment:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "experiment.toml"
        path.write_bytes(text.encode())
        return load_experiment(path, overrides)


def finetune(text: str, *overrides: str) -> Experiment:
    experiment = loaded(text, *overrides)
    assert isinstance(experiment, Experiment)
    return experiment


def faults(text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(text, *overrides)
    return caught.value.faults


# Reading


def test_no_file_is_the_quickstart() -> None:
    assert load_experiment(None) == Experiment()


def test_an_empty_file_is_the_quickstart_too() -> None:
    assert loaded("") == Experiment()


def test_a_file_changes_what_it_names_and_nothing_else() -> None:
    made = finetune('name = "mine"\n[training.lora]\nrank = 8\n')
    assert made.name == "mine"
    assert made.training == TrainingConfig(lora=LoraSettings(rank=8))
    assert made.model == ModelConfig()


@pytest.mark.parametrize(
    ("training", "fault"),
    [
        ('objective = "letter"', '"letter" is called "choice" now, with target = "letter"'),
        ("label_smoothing = 0.1", 'label_smoothing and answer_share need objective = "choice"'),
        ('objective = "choice"\nending = false', "looks at no ending: leave ending out"),
        ('objective = "choice"\ntarget = "text+explanation"', "set answer_share, or leave"),
        ('weigh_by = "letter"', "needs permute_options = false"),
        ('target = "word"', "training.target"),
    ],
)
def test_training_settings_that_do_not_fit_together_are_a_fault(training: str, fault: str) -> None:
    assert fault in "\n".join(faults(f"[training]\n{training}\n"))


def test_training_settings_that_fit_together() -> None:
    made = finetune('[training]\ntarget = "letter"\nobjective = "choice"\n').training
    assert (made.target, made.objective) == ("letter", "choice")
    finetune('[training]\nobjective = "choice"\ntarget = "letter+text"\nanswer_share = 0.5\n')
    finetune('[training]\nweigh_by = "letter"\npermute_options = false\n')


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('kind = "per option"', "retrieval.kind: found 'per option'; input should be 'none', 'per"),
        ('kind = "per-option"', "method generate scores none: set evaluation.methods"),
        ('kind = "per-option"\nquery = "stem"', "searches for the options: leave query out"),
        ('index = "runs/x/index"', "kind is not set, so no prompt would show a passage"),
        ('kind = "shared"\nwords = 4', "retrieval.words: found 4; "),
        ('kind = "shared"\npassages = 0', "retrieval.passages: found 0; "),
        ('kind = "shared"\npassage = 2', "retrieval.passage: unknown key; did you mean passages?"),
    ],
)
def test_settings_of_retrieval_that_do_not_fit_are_a_fault(text: str, fault: str) -> None:
    assert fault in "\n".join(faults(f"[retrieval]\n{text}\n"))


def test_settings_of_retrieval_that_fit() -> None:
    per_option = 'kind = "per-option"\n[evaluation]\nmethods = ["letter", "cloze"]\n'
    assert finetune(f"[retrieval]\n{per_option}").retrieval.is_open_book
    # The free answer and the explanation that is taught stand behind shared passages.
    shared = finetune(
        '[retrieval]\nkind = "shared"\npassages = 3\n[training]\ntarget = "text+explanation"\n'
    )
    assert shared.retrieval.summary == "shared evidence, 3 passages of 60 words"
    # The closed-book control of an open-book experiment.
    closed = finetune(f"[retrieval]\n{per_option}", "retrieval.kind=none")
    assert not closed.retrieval.is_open_book
    assert closed.retrieval.prompt_settings is None


def test_settings_of_retrieval_are_written_out() -> None:
    made = finetune('[retrieval]\nkind = "shared"\nindex = "runs/x/index"\n')
    table = tomllib.loads(to_toml(made))["retrieval"]
    assert table == {
        "kind": "shared",
        "index": "runs/x/index",
        "passages": 1,
        "words": 60,
        "query": "stem and options",
    }
    assert finetune(to_toml(made)) == made
    assert finetune(to_toml(Experiment())) == Experiment()


def test_the_hash_of_an_experiment_covers_its_passages_but_not_where_the_index_lies() -> None:
    def hashed(text: str) -> str:
        return config_hash(finetune(f"[retrieval]\n{text}\n"))

    shared = hashed('kind = "shared"')
    assert shared == hashed('kind = "shared"\nindex = "runs/x/index"')
    assert len({shared, hashed('kind = "shared"\nwords = 61'), config_hash(Experiment())}) == 3
    # A closed book's hash is what it was before books could be open.
    assert config_hash(finetune("[training]\nepochs = 6\nlearning_rate = 2e-3\n")) == (
        "39cb2fc5ba6eaa70c5bfa0cb4c5ae0e49dfdf313a1f81a4d471923fef1a28563"
    )
    assert hashed('kind = "none"\npassages = 3') == config_hash(Experiment())


def test_the_recipe_picks_the_kind_of_experiment() -> None:
    assert loaded('recipe = "notebook"\nseed = 3\n') == NotebookExperiment(
        recipe="notebook", seed=3
    )


def test_an_experiment_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Experiment().training.epochs = 9  # type: ignore[misc]


# Faults


def test_every_fault_is_reported_at_once() -> None:
    text = """
        nmae = "x"
        seed = 1.5
        [data]
        evaluate = []
        [prompt.text]
        answer = "x"
        [training]
        epoch = 3
        batch_size = "many"
        [training.lora]
        dropout = 1.5
        rnak = 3
        [evaluation]
        methods = ["cloze", "guess"]
    """
    found = faults(text, "seed", "model.dtype=int4")
    keys = [fault.partition(":")[0] for fault in found]
    assert sorted(keys) == [
        "--set seed",
        "data.evaluate",
        "evaluation.methods.1",
        "model.dtype",
        "nmae",
        "prompt.text.answer",
        "seed",
        "training.batch_size",
        "training.epoch",
        "training.lora.dropout",
        "training.lora.rnak",
    ]


def test_the_message_names_the_file_and_counts_the_faults(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[training]\nepochs = 0\nrank = 3\n")
    with pytest.raises(ConfigError) as caught:
        load_experiment(path)
    assert caught.value.found == (
        f"{path}: 2 faults\n"
        "  - training.epochs: found 0; input should be greater than 0\n"
        "  - training.rank: unknown key"
    )


def test_faults_without_a_file_name_the_quickstart() -> None:
    with pytest.raises(ConfigError, match="built-in quickstart: 1 fault"):
        load_experiment(None, ["sed=3"])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("sed = 3", "sed: unknown key; did you mean seed?"),
        ("[trainig]\nepochs = 1", "trainig: unknown key; did you mean training?"),
        ("[training]\nepoch = 1", "training.epoch: unknown key; did you mean epochs?"),
        (
            "[training.lora]\ntarget = []",
            "training.lora.target: unknown key; did you mean targets?",
        ),
        (
            "[data.columns]\noption = []",
            "data.columns.option: unknown key; did you mean options?",
        ),
        ("[prompt.text]\nanwser = ''", "prompt.text.anwser: unknown key; did you mean answer?"),
        ("xyzzy = 1", "xyzzy: unknown key"),
    ],
)
def test_an_unknown_key_names_the_nearest_one_of_its_table(text: str, fault: str) -> None:
    assert faults(text) == [fault]


def test_an_unknown_key_of_the_notebook_recipe_is_compared_with_its_own_keys() -> None:
    assert faults('recipe = "notebook"\ntrainsize = 3\nschedule = 1') == [
        "trainsize: unknown key; did you mean train_size?",
        "schedule: unknown key",
    ]


@pytest.mark.parametrize("name", ["notebook", "finetune"])
def test_an_unknown_key_that_is_called_like_a_recipe_is_an_unknown_key(name: str) -> None:
    found = faults(f"[{name}]\nepochs = 1")
    assert len(found) == 1
    assert found[0].startswith(f"{name}: unknown key")


@pytest.mark.parametrize("value", ["'none'", "3", "['finetune']", "{}"])
def test_an_unknown_recipe_names_the_known_ones(value: str) -> None:
    (fault,) = faults(f"recipe = {value}")
    assert fault.startswith("recipe: found ")
    assert fault.endswith(", expected 'finetune' or 'notebook'")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", '"Has Capitals"'),
        ("name", '"../up"'),
        ("name", '""'),
        ("data.train_size", "0"),
        ("data.evaluate", "[]"),
        ("training.epochs", "0"),
        ("training.learning_rate", "0.0"),
        ("training.learning_rate", "nan"),
        ("training.learning_rate", "inf"),
        ("training.warmup_steps", "-1"),
        ("training.schedule", '"step"'),
        ("training.lora.dropout", "1.0"),
        ("training.lora.rank", "0"),
        ("training.lora.targets", "[]"),
        ("evaluation.shots", "-1"),
        ("evaluation.methods", "[]"),
        ("evaluation.normalization", '"char"'),
        ("prompt.letter.answer", '"no placeholder"'),
        ("data.columns.answer_base", "2"),
    ],
)
def test_a_value_outside_its_range_is_refused_by_its_key(key: str, value: str) -> None:
    (fault,) = faults("", f"{key}={value}")
    assert fault.startswith(f"{key}: found ")


def test_a_method_named_twice_is_refused() -> None:
    (fault,) = faults('[evaluation]\nmethods = ["cloze", "letter", "cloze"]')
    assert fault.endswith("a method is named twice: cloze, letter, cloze")


# --set


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("training.epochs=2", 2),
        (" training . epochs = 2 ", 2),
        ("training.epochs=2  # few", 2),
    ],
)
def test_set_reads_toml_values(override: str, value: int) -> None:
    assert finetune("", override).training.epochs == value


def test_set_reads_booleans_floats_and_lists() -> None:
    made = finetune(
        "",
        "training.permute_options=false",
        "training.learning_rate=5e-4",
        'data.evaluate=["starter:recall"]',
        'evaluation.methods=["letter"]',
    )
    assert made.training.permute_options is False
    assert made.training.learning_rate == 5e-4
    assert made.data.evaluate == ("starter:recall",)
    assert made.evaluation.methods == ("letter",)


@pytest.mark.parametrize(
    "value",
    ["hub:org/name", "path:/a b/c", "file:x=y.csv:dev", 'say "hi"', "a # b", "C:\\x", ""],
)
def test_set_takes_what_is_not_toml_as_a_string(value: str) -> None:
    assert finetune("", f"model.source={value}").model.source == value


def test_a_quoted_string_loses_its_quotes() -> None:
    assert finetune("", 'model.source="path:x"').model.source == "path:x"
    assert finetune("", "name='7'").name == "7"


def test_set_beats_the_file_and_the_last_set_wins() -> None:
    assert finetune("seed = 1", "seed=2", "seed=3").seed == 3


def test_set_keeps_the_neighbours_in_its_table() -> None:
    made = finetune("[training]\nepochs = 9\nbatch_size = 8\n", "training.epochs=1")
    assert (made.training.epochs, made.training.batch_size) == (1, 8)


def test_set_can_pick_the_recipe() -> None:
    assert loaded("", "recipe=notebook", "train_size=8") == NotebookExperiment(
        recipe="notebook", train_size=8
    )


@pytest.mark.parametrize("text", ["seed", "=3", "training.=3", ".seed=3", "a..b=3", ""])
def test_a_malformed_set_is_a_fault_with_an_example(text: str) -> None:
    assert faults("", text) == [f"--set {text}: expected key=value, such as training.epochs=2"]


def test_a_set_below_a_plain_value_is_a_fault() -> None:
    assert faults("seed = 1", "seed.value=3") == [
        "--set seed.value=3: seed is a value, not a table"
    ]


def test_a_malformed_set_is_reported_beside_an_unknown_one() -> None:
    assert faults("", "seed", "sed=1") == [
        "--set seed: expected key=value, such as training.epochs=2",
        "sed: unknown key; did you mean seed?",
    ]


# Files


def test_bad_toml_is_told_with_its_place() -> None:
    (fault,) = faults("seed = 1\nname = \n")
    assert fault.startswith("not TOML: ")
    assert "line 2" in fault


def test_a_key_given_twice_is_not_toml() -> None:
    assert faults("seed = 1\nseed = 2")[0].startswith("not TOML: ")


def test_a_file_that_is_not_utf8_is_told_at_its_byte(tmp_path: Path) -> None:
    path = tmp_path / "latin.toml"
    path.write_bytes(b'name = "na\xefve"\n')
    with pytest.raises(ConfigError) as caught:
        load_experiment(path)
    assert caught.value.faults == ["not UTF-8 at byte 10"]


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as missing:
        load_experiment(tmp_path / "none.toml")
    assert missing.value.faults == ["no such file"]
    with pytest.raises(ConfigError) as folder:
        load_experiment(tmp_path)
    assert folder.value.faults == ["a folder, expected a TOML file"]


def test_a_path_below_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError):
        load_experiment(tmp_path / "file" / "experiment.toml")


@pytest.mark.parametrize(
    "name",
    [
        "quickstart",
        "medmcqa",
        "medmcqa-full",
        "notebook",
        "ablation",
        "open-book",
        "learning-curve",
    ],
)
def test_the_experiments_that_come_along_are_without_fault(name: str) -> None:
    path = Path(__file__).parents[3] / "experiments" / f"{name}.toml"
    assert load_experiment(path).name == name


def test_an_experiment_that_comes_along_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "medmcqa").mkdir()  # a folder of that name is no experiment
    assert load_experiment(Path("medmcqa"), ["seed=3"]).name == "medmcqa"
    (tmp_path / "quickstart").write_text('name = "mine"')  # a file is
    assert load_experiment(Path("quickstart")).name == "mine"


@pytest.mark.parametrize("path", ["quickstart.toml", "here/quickstart", "./none.toml"])
def test_a_path_is_not_taken_for_a_name(path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_experiment(Path(path))
    assert caught.value.faults == ["no such file"]


def test_an_unknown_name_lists_the_experiments_that_come_along() -> None:
    with pytest.raises(ConfigError, match=r"shipped are ablation, learning-curve, .*quickstart"):
        load_experiment(Path("quikstart"))


def test_the_quickstart_that_comes_along_is_the_built_in_one() -> None:
    path = Path(__file__).parents[3] / "experiments" / "quickstart.toml"
    assert config_hash(load_experiment(path)) == config_hash(Experiment())


def test_the_notebook_that_comes_along_is_the_built_in_one() -> None:
    path = Path(__file__).parents[3] / "experiments" / "notebook.toml"
    assert load_experiment(path) == NOTEBOOK


# Writing


@pytest.mark.parametrize("experiment", [Experiment(), NOTEBOOK], ids=["default", "notebook"])
def test_an_experiment_written_out_reads_back(experiment: Experiment | NotebookExperiment) -> None:
    assert loaded(to_toml(experiment)) == experiment


def test_every_default_is_spelled_out_and_nothing_is_null() -> None:
    text = to_toml(Experiment())
    assert tomllib.loads(text)["training"]["lora"]["dropout"] == 0.0
    assert "# data.train_size: not set" in text.splitlines()
    assert "None" not in text


# TOML admits no control characters but tab in a string; they have a test of their own below.
TEXT = st.text(
    st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from('\n\r\t"\\{}#='), max_size=20
)
NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,12}", fullmatch=True)
SIZES = st.integers(1, 10**6)
TEXTS = st.lists(TEXT, min_size=1, max_size=3).map(tuple)
ANSWERS = st.tuples(TEXT, st.sampled_from(["{text}", "{letter}"]), TEXT).map("".join)
METHODS = st.lists(
    st.sampled_from(["cloze", "letter", "generate"]), min_size=1, max_size=3, unique=True
).map(tuple)
COLUMNS = st.builds(
    ColumnMapping,
    id=TEXT,
    stem=TEXT,
    options=TEXTS,
    answer=TEXT,
    answer_base=st.sampled_from([0, 1, None]),
    group=TEXT,
)
EXPERIMENTS = st.builds(
    Experiment,
    name=NAMES,
    seed=st.integers(-(2**53), 2**53),
    model=st.builds(ModelConfig, source=TEXT, attention=st.sampled_from(["auto", "sdpa", "eager"])),
    data=st.builds(
        DataConfig,
        train=TEXT,
        evaluate=TEXTS,
        train_size=st.none() | SIZES,
        evaluate_size=st.none() | SIZES,
        columns=COLUMNS,
    ),
    prompt=st.builds(
        PromptStyle,
        system=TEXT,
        option=TEXT,
        text=st.builds(TextForm, instruction=TEXT, answer=ANSWERS, list_options=st.booleans()),
        letter=st.builds(LetterForm, answer=ANSWERS),
    ),
    training=st.builds(
        TrainingConfig,
        epochs=SIZES,
        learning_rate=st.floats(1e-12, 1e6),
        weight_decay=st.floats(0, 1e20),
        permute_options=st.booleans(),
        lora=st.builds(
            LoraSettings,
            rank=SIZES,
            dropout=st.floats(0, 1, exclude_max=True),
            targets=TEXTS,
        ),
    ),
    evaluation=st.builds(EvaluationConfig, methods=METHODS, shots=st.integers(0, 5)),
)
NOTEBOOKS = st.builds(
    NotebookExperiment,
    recipe=st.just("notebook"),
    name=NAMES,
    model=TEXT,
    columns=COLUMNS,
    epochs=st.floats(1e-3, 1e3),
    cutoff=st.integers(0, 10**6),
)


@given(EXPERIMENTS | NOTEBOOKS)
@example(Experiment(data=DataConfig(columns=ColumnMapping(options=("~",)))))
def test_any_experiment_written_out_reads_back(experiment: Experiment | NotebookExperiment) -> None:
    again = loaded(to_toml(experiment))
    assert again == experiment
    assert config_hash(again) == config_hash(experiment)


@pytest.mark.parametrize("character", ["\x00", "\x08", "\x0b", "\x1b", "\x1f", "\x7f"], ids=ascii)
def test_a_control_character_in_a_text_is_written_so_that_it_reads_back(character: str) -> None:
    experiment = Experiment(prompt=PromptStyle(system=f"a{character}b"))
    assert loaded(to_toml(experiment)) == experiment


def test_a_mapping_per_source_reads_back() -> None:
    sources = ("file:my data/a.b.csv", 'file:"quoted".json')
    mappings = {source: ColumnMapping(stem="q", options=("a", "b")) for source in sources}
    data = DataConfig(train=sources[0], evaluate=sources[1:], mappings=mappings)
    experiment = Experiment(data=data)
    assert loaded(to_toml(experiment)) == experiment


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('balance.by = "subject"', "balance shares out train_size, which is not set"),
        ('balance.by = "letter"', "balance shares out train_size, which is not set"),
        ("curation.diversity.on = true", "curation.diversity shares out train_size"),
        ("balance.temperature = 2.0", 'temperature and weak_from need by = "subject"'),
        ('balance.weak_from = "runs/x"', 'temperature and weak_from need by = "subject"'),
        ('balance.weak_by = "holm"', "weak_by judges the evaluation that weak_from names"),
        ("balance.repeat = true", 'repeat needs by = "subject" or "letter"'),
        ('mappings."file:x".stem = "q"', "mappings names file:x, which is no source here"),
        ("curation.negation.max_share = 1.5", "less than or equal to 1"),
        ('overlap.within_train = "drop"', "'remove' or 'keep'"),
    ],
)
def test_settings_of_data_that_do_not_fit_are_named(text: str, fault: str) -> None:
    (found,) = faults(f"[data]\n{text}")
    assert fault in found


# Hash


def test_the_hash_is_64_hex_digits_and_the_same_however_defaults_are_given() -> None:
    first = config_hash(Experiment())
    assert first == config_hash(finetune("seed = 17\n[training]\nepochs = 4\n"))
    assert len(first) == 64
    assert int(first, 16) >= 0


def changed(value: Any, annotation: Any) -> Any:
    """Return another value of the same kind."""
    if isinstance(annotation, types.UnionType):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    if get_origin(annotation) is Literal:
        return next(choice for choice in get_args(annotation) if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if value is None:
        return 1
    if isinstance(value, dict):
        return value | {"file:another.csv": ColumnMapping(stem="q")}
    if isinstance(value, tuple):
        blank = 1 if annotation == tuple[int, ...] else "x"
        return (*value, value[0] if value else blank)
    return f"{value}x"


def every_single_change(record: BaseModel, path: str = "") -> Iterator[tuple[str, BaseModel]]:
    for name, field in type(record).model_fields.items():
        value = getattr(record, name)
        if isinstance(value, BaseModel):
            for place, inner in every_single_change(value, f"{path}{name}."):
                yield place, record.model_copy(update={name: inner})
        elif name != "recipe":
            other = changed(value, field.annotation)
            yield f"{path}{name}", record.model_copy(update={name: other})


CHOICE = Experiment(training=TrainingConfig(objective="choice"))
OPEN_BOOK = Experiment(retrieval=RetrievalConfig(kind="shared"))
UNUSED_CLOSED_BOOK = {
    "prompt.evidence",
    *(f"retrieval.{n}" for n in ("passages", "words", "query")),
}
"""Settings without effect where no prompt shows a passage."""
UNUSED_ANSWERS = {"training.label_smoothing", "training.answer_share"}
"""Settings without effect where the loss compares no options."""


@pytest.mark.parametrize(
    ("experiment", "without_effect"),
    [
        (Experiment(), UNUSED_CLOSED_BOOK | UNUSED_ANSWERS | {"retrieval.index"}),
        (OPEN_BOOK, UNUSED_ANSWERS | {"retrieval.index"}),
        (CHOICE, UNUSED_CLOSED_BOOK | {"retrieval.index"}),
        (NOTEBOOK, set()),
    ],
    ids=["finetune", "open book", "choice", "notebook"],
)
def test_the_hash_changes_with_any_setting_that_has_an_effect(
    experiment: Experiment | NotebookExperiment, without_effect: set[str]
) -> None:
    same = config_hash(experiment)
    hashes = {}
    for place, other in every_single_change(experiment):
        assert isinstance(other, Experiment | NotebookExperiment)
        hashes[place] = config_hash(other)
    assert len(hashes) > 10
    assert {place for place, found in hashes.items() if found == same} == without_effect
    others = [found for found in hashes.values() if found != same]
    assert len(set(others)) == len(others)
