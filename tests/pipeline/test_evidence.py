"""What `release evaluate` measures, on fakes: each record is what the commands alone would give."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.releases.export import dossiers as make

from medtune.commands.serve import PredictorLoader
from medtune.core.errors import InputError, ReleaseError
from medtune.core.experiment import RetrievalConfig
from medtune.core.progress import NoProgress
from medtune.data.arrow_table import QuestionTable
from medtune.data.load import Split, load_split
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_or_reuse
from medtune.guardrails.classifier.learned import DEFAULT_CLASSIFIER_FILE, unpacked
from medtune.models.open_index import open_index
from medtune.models.open_model import open_model
from medtune.models.weights_card import WeightsCard, resolve_prompt_defaults
from medtune.releases.build import build_release
from medtune.releases.commands import compare_releases, freeze_suite, read_release_log
from medtune.releases.contamination import count_overlap, is_untrained
from medtune.releases.endpoint_parity import measure_endpoint_parity
from medtune.releases.evidence import (
    EvidenceOptions,
    collect_evidence,
    load_suite,
)
from medtune.releases.evidence_store import EvidenceStore
from medtune.releases.gate_rules import judge_search
from medtune.releases.gate_schema import (
    Evidence,
    EvidenceRecord,
    LeastQuestions,
    Margins,
    ServedRecord,
)
from medtune.releases.registry import Registry
from medtune.releases.schema import LEARNED, Release
from medtune.retrieval.index import read_index_manifest
from medtune.serving.inference.predictor import Predictor
from medtune.workflows.benchmark import measure_model
from medtune.workflows.build_index import build_train_index

DATA, CALIBRATION, SUITE = "starter:transfer", "starter:train", "starter:recall"


@dataclass(frozen=True, slots=True)
class Measured:
    registry: Registry
    releases: dict[str, Release]
    records: dict[str, EvidenceRecord]

    def evidence(self, name: str) -> Evidence:
        return EvidenceStore(self.registry).read_evidence(self.records[name].records)


def built(registry: Registry, name: str, kind: str) -> Release:
    return build_release(registry, name, f"fake:{kind}", "ann", NoProgress())


def asked(data: Split | None = None) -> EvidenceOptions:
    return EvidenceOptions(data=data or load_split(DATA), calibration=load_split(CALIBRATION))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    registry = Registry(tmp_path_factory.mktemp("evidence") / "registry")
    freeze_suite(registry, SUITE, 40, "ann", NoProgress())
    releases = {
        name: built(registry, name, kind) for name, kind in (("v1", "noisy"), ("v2", "oracle"))
    }
    records = {"v1": collect_evidence(registry, "v1", asked(), "ann", NoProgress())}
    registry.set_alias("champion", releases["v1"], "ann", "release.promote")
    records["v2"] = collect_evidence(registry, "v2", asked(), "ann", NoProgress())
    return Measured(registry, releases, records)


def test_a_release_keeps_the_learned_guard_as_plain_json(measured: Measured) -> None:
    kept = measured.registry.objects.load_text(measured.releases["v1"].files[LEARNED])
    assert kept.encode() == unpacked(DEFAULT_CLASSIFIER_FILE)


def test_without_a_champion_nothing_is_compared(measured: Measured) -> None:
    record, found = measured.records["v1"], measured.evidence("v1")
    assert (record.champion, record.is_packed) == (None, False)
    assert (found.comparison, found.slices, found.packed) == (None, None, None)
    assert found.regression is not None
    assert (found.regression.comparison, found.regression.lost) == (None, None)
    assert found.regression.trained_on == 0
    assert found.served is not None
    # All are alike; forty questions do not show 98 %.
    assert found.served.agreement.value == 1.0
    (said,) = found.served.broken
    assert "183 questions or more can show it" in said
    assert found.bench is not None
    assert len(found.bench.rows) == 1


def test_evidence_names_all_that_it_was_measured_with(measured: Measured) -> None:
    record, found = measured.records["v2"], measured.evidence("v2")
    assert found.regression is not None
    assert (
        record.suite == found.regression.suite.hash == load_split(SUITE, size=40).description.hash
    )
    assert record.data == load_split(DATA).description
    assert record.calibration == load_split(CALIBRATION).description
    assert (record.trained_on, record.original) == (None, None)


def test_beside_a_champion_both_sit_the_same_in_cyclic_orders(measured: Measured) -> None:
    found = measured.evidence("v2")
    assert found.comparison is not None
    assert found.comparison.differs == ()
    assert found.comparison.n == len(load_split(DATA).questions)
    assert found.comparison.difference_low > 0.3
    assert found.analysis is not None
    assert found.analysis.evaluation.orders == "cyclic"
    assert found.analysis.selective is not None
    assert found.slices is not None
    assert {s.dimension for s in found.slices.slices} >= {"subject", "negation"}


def test_every_changed_answer_is_listed_lost_or_won(measured: Measured) -> None:
    regression = measured.evidence("v2").regression
    assert regression is not None
    assert regression.comparison is not None
    assert regression.lost is not None
    won = [one for one in regression.changed if one.after == one.answer]
    lost = [one for one in regression.changed if one.before == one.answer]
    assert len(won) == regression.comparison.only_b
    assert len(lost) == regression.comparison.only_a == 0
    assert (regression.lost.value, regression.lost.n) == (0, 40)
    stems = {q.stem for q in load_split(SUITE, size=40).questions}
    assert {one.stem for one in regression.changed} <= stems
    found = compare_releases(measured.registry, "v1", "v2")
    assert found.answers == regression.changed
    assert compare_releases(measured.registry, "v2", "v1").answers is None


def test_each_release_is_asked_as_it_is_served(measured: Measured) -> None:
    registry = measured.registry
    build_release(registry, "v3", "fake:oracle", "ann", NoProgress(), method="cloze")
    record = collect_evidence(registry, "v3", asked(), "ann", NoProgress())
    found = EvidenceStore(registry).read_evidence(record.records)
    assert found.comparison is not None
    assert (found.comparison.method, found.comparison.differs) == ("cloze", ())
    assert found.analysis is not None
    assert found.analysis.evaluation.method == "cloze"
    assert found.served is not None
    assert found.served.agreement.value == 1.0


def test_the_calibration_is_the_one_that_is_served(measured: Measured, tmp_path: Path) -> None:
    registry, split = measured.registry, load_split(CALIBRATION)
    model = open_model("fake:noisy", questions=split.questions)
    exam = Exam.for_likelihood(
        split.questions, split.description, resolve_prompt_defaults("fake:noisy").style, "letter"
    )
    evaluate_or_reuse(model, exam, "noisy", STRICT_PARSER, tmp_path, NoProgress())
    one = build_release(
        registry, "v4", "fake:noisy", "ann", NoProgress(), calibration_folder=tmp_path
    )
    assert one.calibration is not None
    sure = one.calibration.model_copy(update={"temperature": 0.05})
    two = one.model_copy(update={"name": "v5", "calibration": sure})
    registry.add_release(Release.model_validate(two.model_dump()), "ann")
    found = {}
    for name in ("v4", "v5"):
        record = collect_evidence(registry, name, asked(), "ann", NoProgress())
        analysis = EvidenceStore(registry).read_evidence(record.records).analysis
        assert analysis is not None
        assert analysis.selective is not None
        found[name] = analysis.selective
    assert found["v4"].after == found["v5"].after, "fitted anew, whatever is served"
    assert found["v4"].served is not None
    assert found["v5"].served is not None
    assert found["v4"].served.error < 0.15 < 0.4 < found["v5"].served.error


def test_what_was_asked_is_not_asked_again(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("it was asked again")

    monkeypatch.setattr("medtune.evaluation.run_exam.evaluate_model", never)
    monkeypatch.setattr("medtune.releases.evidence.measure_in_subprocess", never)
    again = collect_evidence(measured.registry, "v2", asked(), "ann", NoProgress())
    for kind in ("comparison", "slices", "regression", "bench"):  # an analysis has its date
        assert again.records[kind] == measured.records["v2"].records[kind], kind


def test_measuring_again_on_other_questions_is_another_look(measured: Measured) -> None:
    registry, evidence_store = measured.registry, EvidenceStore(measured.registry)
    release = measured.releases["v2"]
    before = evidence_store.list_evidence(release.id)
    collect_evidence(registry, "v2", asked(load_split(DATA, size=60)), "ann", NoProgress())
    after = evidence_store.list_evidence(release.id)
    assert after[:-1] == before
    assert after[-1].data.n == 60
    assert [look.n for look in evidence_store.list_evaluations(release)][-1] == 60
    said = read_release_log(registry, "v2")
    assert [line.detail["n"] for line in said.lines if line.action == "release.evaluate"][-1] == 60


def test_what_it_was_not_trained_on_is_no_answer(measured: Measured) -> None:
    taught = EvidenceOptions(
        data=load_split(DATA), calibration=load_split(CALIBRATION),
        trained_on=load_split("starter:train"),
    )  # fmt: skip
    with pytest.raises(InputError, match="v1 was not trained on starter:train"):
        collect_evidence(measured.registry, "v1", taught, "ann", NoProgress())


@dataclass(frozen=True, slots=True)
class Searched:
    """Evidence on a release beside a search in its training questions, and on a search itself."""

    registry: Registry
    trained: Release
    search: Release
    index: Path
    options: EvidenceOptions
    records: dict[str, EvidenceRecord]

    def evidence(self, release: Release) -> Evidence:
        records = self.records[release.name].records
        return EvidenceStore(self.registry).read_evidence(records, release)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    folder = tmp_path_factory.mktemp("searched")
    registry, train = Registry(folder / "registry"), load_split("starter:train")
    freeze_suite(registry, "starter:transfer", 40, "ann", NoProgress())
    plain = built(registry, "plain", "noisy")
    trained = plain.model_copy(update={"name": "trained", "data_hash": train.description.hash})
    trained = Release.model_validate(trained.model_dump())
    registry.add_release(trained, "ann")
    index = build_train_index(
        train.questions, "starter:train", "CC0-1.0", folder / "index", NoProgress()
    ).folder
    search = build_release(registry, "search", f"search:{index}", "ann", NoProgress())
    options = EvidenceOptions(
        data=load_split("starter:recall"), calibration=load_split("starter:transfer"),
        trained_on=train,
    )  # fmt: skip
    records = {
        "trained": collect_evidence(registry, "trained", options, "ann", NoProgress()),
        "search": collect_evidence(
            registry, "search", replace(options, trained_on=None), "ann", NoProgress()
        ),
    }
    return Searched(registry, trained, search, index, options, records)


def test_a_search_in_the_train_split_stands_beside_a_trained_release(searched: Searched) -> None:
    analysis = searched.evidence(searched.trained).analysis
    assert analysis is not None
    found = analysis.evaluation.search
    assert found is not None
    assert searched.records["trained"].search == found.index
    assert found.passages == 320
    # Facts that were taught in other words: twice what a model finds that answers at random.
    assert found.accuracy.value == 42 / 80
    assert found.only_search > found.only_model
    few = Margins(least=LeastQuestions(search=80))
    result = judge_search(searched.evidence(searched.trained), few)
    assert (result.outcome, result.n) == ("failed", 80)


def test_a_search_that_is_named_is_used_and_none_is_made_twice(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = replace(searched.options, search=searched.index)
    one = collect_evidence(searched.registry, "trained", asked, "ann", NoProgress())
    assert one.search == read_index_manifest(searched.index).hash

    def never(*_: object) -> None:
        raise AssertionError("it was searched again")

    monkeypatch.setattr("medtune.workflows.search_baseline.find_leaks", never)
    again = collect_evidence(searched.registry, "trained", asked, "ann", NoProgress())
    assert again.records["regression"] == one.records["regression"]


def test_a_release_may_be_a_search_itself(searched: Searched) -> None:
    assert searched.search.base == f"search:{searched.index}"
    assert (searched.search.weights, searched.search.is_trained) == ("base", False)
    found = searched.evidence(searched.search)
    assert found.analysis is not None
    exam = found.analysis.evaluation
    assert exam.open_book is not None
    assert (exam.open_book.kind, exam.search) == ("search", None)
    assert exam.accuracy.value == 42 / 80, "as the baseline of another release"
    assert found.served is not None
    assert found.served.agreement.value == 1.0
    assert judge_search(found, Margins()).reason == "it is a text search itself"
    assert found.regression is not None
    assert found.regression.trained_on == 0


def test_an_open_book_release_reads_its_own_index(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, index = searched.registry, read_index_manifest(searched.index)
    reads = RetrievalConfig(kind="shared", passages=2)
    defaults = replace(
        resolve_prompt_defaults("fake:noisy"), retrieval=reads, index_hash=index.hash
    )
    for module in ("releases.evidence", "releases.build", "workflows.benchmark"):
        monkeypatch.setattr(f"medtune.{module}.resolve_prompt_defaults", lambda _: defaults)
    # In this process, where the card is the one above.
    monkeypatch.setattr("medtune.releases.evidence.measure_in_subprocess", measure_model)
    served = []

    def measure(predictor: Predictor, *asked: Any) -> ServedRecord:
        served.append(predictor)
        return measure_endpoint_parity(predictor, *asked)

    monkeypatch.setattr("medtune.releases.endpoint_parity.measure_endpoint_parity", measure)
    book = searched.trained.model_copy(update={"name": "book"})
    registry.add_release(Release.model_validate(book.model_dump()), "ann")
    with pytest.raises(InputError, match="book reads passages of the index"):
        collect_evidence(registry, "book", searched.options, "ann", NoProgress())
    options = replace(searched.options, search=searched.index)
    record = collect_evidence(registry, "book", options, "ann", NoProgress())
    found = EvidenceStore(registry).read_evidence(record.records, book)
    assert found.analysis is not None
    exam = found.analysis.evaluation
    assert exam.open_book is not None
    assert (exam.open_book.kind, exam.open_book.index) == ("shared", index.hash)
    assert exam.search is not None, "the search alone stands beside the reader"
    assert found.served is not None
    assert found.served.agreement.value == 1.0
    assert [p.open_book and p.open_book.settings for p in served] == [reads]
    assert found.bench is not None
    assert found.bench.rows[0].accuracy.n == 80
    with pytest.raises(InputError, match="book reads passages of the index"):
        PredictorLoader(registry, NoProgress()).load("book", book)
    loader = PredictorLoader(registry, NoProgress(), index=open_index(searched.index))
    predictor = loader.load("book", book)
    assert predictor.open_book is not None
    assert predictor.open_book.index is predictor.index


def test_a_search_whose_index_was_built_again_is_refused(
    searched: Searched, tmp_path: Path
) -> None:
    registry = Registry(tmp_path / "registry")
    freeze_suite(registry, "starter:transfer", 9, "ann", NoProgress())
    train = load_split("starter:train").questions
    index = build_train_index(train[:99], "starter:train", None, tmp_path / "i", NoProgress())
    build_release(registry, "s1", f"search:{index.folder}", "ann", NoProgress())
    build_train_index(train[:98], "starter:train", None, tmp_path / "i", NoProgress())
    options = replace(searched.options, trained_on=None)
    with pytest.raises(ReleaseError, match="index of s1 has the fingerprint"):
        collect_evidence(registry, "s1", options, "ann", NoProgress())
    with pytest.raises(ReleaseError, match="index of s1 has the fingerprint"):
        PredictorLoader(registry, NoProgress()).load("s1", registry.find("s1"))


def test_a_search_that_holds_frozen_questions_says_so(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    freeze_suite(registry, "starter:transfer", 9, "ann", NoProgress())
    known = [*load_split("starter:train").questions, *load_split("starter:transfer").questions[:2]]
    index = build_train_index(known, "both", None, tmp_path / "i", NoProgress())
    build_release(registry, "s1", f"search:{index.folder}", "ann", NoProgress())
    options = EvidenceOptions(
        data=load_split("starter:recall"), calibration=load_split("starter:transfer")
    )
    record = collect_evidence(registry, "s1", options, "ann", NoProgress())
    found = EvidenceStore(registry).read_evidence(record.records).regression
    assert found is not None
    assert found.trained_on == 2


def test_a_registry_without_a_suite_is_told_so(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    built(registry, "v1", "noisy")
    with pytest.raises(InputError, match="no frozen suite"):
        collect_evidence(registry, "v1", asked(), "ann", NoProgress())


def test_frozen_questions_of_another_hash_are_refused(tmp_path: Path) -> None:
    registry, split = Registry(tmp_path), load_split(SUITE, size=9)
    EvidenceStore(registry).freeze_suite(SUITE, "5" * 64, split.questions, "ann")
    with pytest.raises(ReleaseError, match=f"have the hash {split.description.hash}"):
        load_suite(registry)


def card(**more: Any) -> WeightsCard:
    like = make.release()
    fields = {
        "kind": "model", "base": like.base, "base_fingerprint": like.base_fingerprint,
        "prompt_hash": like.prompt_hash, "style": like.style, "target": like.target,
        "data_hash": None, "config_hash": None, "weights_hash": "1" * 64, "medtune": "",
    }  # fmt: skip
    return WeightsCard.model_validate({**fields, **more})


@pytest.mark.parametrize(
    ("weights", "data_hash", "made_from", "taught_nothing"),
    [
        ("base", None, None, True),
        ("model", None, "0" * 64, True),  # a base, packed
        ("model", None, "8" * 64, False),  # packed from an adapter of unknown origin
        ("adapter", None, None, False),
        ("adapter", "5" * 64, None, False),
        ("model", "5" * 64, "0" * 64, False),
    ],
)
def test_only_a_base_was_taught_nothing(
    weights: str, data_hash: str | None, made_from: str | None, taught_nothing: bool
) -> None:
    one = make.release(weights=weights, data_hash=data_hash)
    found = None if weights == "base" else card(data_hash=data_hash, made_from=made_from)
    assert is_untrained(one, found) == taught_nothing


def test_what_is_not_packed_has_no_original(measured: Measured) -> None:
    options = replace(asked(), original="fake:noisy")
    with pytest.raises(InputError, match="v1 is not compressed"):
        collect_evidence(measured.registry, "v1", options, "ann", NoProgress())


def test_frozen_questions_are_found_among_others_however_written() -> None:
    frozen = load_split(SUITE, size=10).questions
    other = load_split("starter:train")
    assert count_overlap(other, {"a": frozen}, NoProgress()) == {"a": 0}
    again = [q.model_copy(update={"id": f"x{q.id}", "stem": q.stem.upper()}) for q in frozen[:3]]
    turned = [
        q.model_copy(
            update={"options": q.options[::-1], "answer": len(q.options) - 1 - (q.answer or 0)}
        )
        for q in frozen[3:5]
    ]
    mixed = QuestionTable.from_questions([*other.questions, *again, *turned])
    split = Split(mixed, other.description, (), None)
    assert count_overlap(split, {"a": frozen, "b": frozen[:2]}, NoProgress()) == {"a": 5, "b": 2}


def test_what_was_learned_by_heart_proves_nothing(measured: Measured) -> None:
    registry, train = measured.registry, load_split("starter:train")
    learned = measured.releases["v1"].model_copy(
        update={"name": "v9", "data_hash": train.description.hash}
    )
    registry.add_release(Release.model_validate(learned.model_dump()), "ann")
    taught = EvidenceOptions(data=train, calibration=load_split(DATA), trained_on=train)
    with pytest.raises(InputError, match="v9 was trained on 320 of the 320 questions"):
        collect_evidence(registry, "v9", taught, "ann", NoProgress())


def test_the_hashes_beside_the_weights_are_looked_at_without_a_train_split(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {40: 7, 80: 0}  # of the suite and of what is reported on
    monkeypatch.setattr(
        "medtune.releases.contamination.count_training_overlap",
        lambda _, questions: counts[len(questions)],
    )
    record = collect_evidence(measured.registry, "v2", asked(), "ann", NoProgress())
    found = EvidenceStore(measured.registry).read_evidence(record.records).regression
    assert found is not None
    assert found.trained_on == 7
    counts[80] = 3
    with pytest.raises(InputError, match="trained on 3 of the 80 questions"):
        collect_evidence(measured.registry, "v2", asked(), "ann", NoProgress())
