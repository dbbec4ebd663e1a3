"""The tagger: what it reads, how it is trained, written and loaded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medtune.core.errors import InputError
from medtune.data.load import load_split
from medtune.guardrails.benchmark.labelled_lines import TemplateText, load_templates
from medtune.guardrails.privacy import train_tagger as training
from medtune.guardrails.privacy.tagger import (
    DEFAULT_TAGGER_FILE,
    IdentifierTagger,
    Lexicon,
    TrainedTagger,
    describe_tokens,
    load_default_tagger,
    load_tagger,
    split_tokens,
    write_tagger,
)
from medtune.guardrails.privacy.template_texts import TemplateFiller

NONE = frozenset[str]()
TEMPLATES = [
    TemplateText(id=f"author_99-{place}", kind="template" if "<" in text else "clean", text=text)
    for place, text in enumerate(
        (
            "Mr <name>{given_m} {family}</name>, 54, has chest pain.",
            "Please ring <name>{given_f}</name> on <phone>{phone}</phone>.",
            "Seen by Dr <name>{family}</name> at <address>{street}, {city}</address>.",
            "Crohn disease was described first by whom?",
            "The patient <name>{family|upper}, {given}</name> was seen.",
        )
    )
]


def train_small(monkeypatch: pytest.MonkeyPatch) -> tuple[TrainedTagger, bytes]:
    monkeypatch.setitem(training.TRAINER, "max_iterations", 40)
    exam = [question.stem for question in load_split("starter:train", size=80).questions]
    return training.train_tagger(TEMPLATES * 20, exam, "starter:train", 17)


def test_texts_are_split_as_written() -> None:
    text = "Dr O'Brien-Łuk, 王伟\nक़ुरैशी T4N0"
    tokens = split_tokens(text)
    assert [token.text for token in tokens] == [
        "Dr", "O", "'", "Brien", "-", "Łuk", ",", "王", "伟", "\n", "क़ुरैशी", "T", "4", "N", "0",
    ]  # fmt: skip
    assert all(text[token.start : token.end] == token.text for token in tokens)


def test_features_tell_place_shape_and_lists() -> None:
    lexicon = Lexicon(
        given=frozenset({"ada"}), family=frozenset({"bell"}), words=frozenset({"saw"}),
        terms=NONE, eponyms=frozenset({"bell"}),
    )  # fmt: skip
    first, saw, bell = describe_tokens(split_tokens("Ada saw Bell"), lexicon)
    assert {"0=ada", "s=Xx", "l=g", "-1=edge", "1=saw"} <= set(first)
    assert {"l=w", "-1=ada", "1sl=Xx fe"} <= set(saw)
    assert {"l=fe", "1=edge", "a=1 Xx fe"} <= set(bell)
    assert describe_tokens([], lexicon) == []


def test_templates_are_filled_and_marked() -> None:
    filler = TemplateFiller(3)
    for line in TEMPLATES * 6:
        text = filler.fill(line.text)
        assert len(text.spans) == line.text.count("</")
        assert not set("<>{}") & set(text.text)
        assert all(text.text[start:end].strip() for _, start, end in text.spans)
    again = [TemplateFiller(5).fill(line.text) for line in TEMPLATES]
    assert again == [TemplateFiller(5).fill(line.text) for line in TEMPLATES]


def test_it_learns_names_is_written_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, weights = train_small(monkeypatch)
    assert (trained, weights) == train_small(monkeypatch), "the same seed, the same tagger"
    text = "Mr Karl Weber, 61, has chest pain. Please ring Ada on 0161 496 0000."
    found = list(IdentifierTagger(trained, weights).find(text))
    assert [(kind, text[start:end]) for kind, start, end in found] == [
        ("name", "Karl Weber"), ("name", "Ada"), ("phone", "0161 496 0000"),
    ]  # fmt: skip
    file = tmp_path / "tagger.zip"
    write_tagger(file, trained, weights)
    before = file.read_bytes()
    read = load_tagger(file)
    assert read.trained == trained
    assert list(read.find(text)) == found
    write_tagger(file, trained, weights)
    assert file.read_bytes() == before


def test_held_out_authors_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    found = training.measure_recall(IdentifierTagger(*train_small(monkeypatch)), TEMPLATES, 4)
    assert set(found) == {"address", "name", "phone"}
    assert (found["name"].n, found["phone"].n) == (4, 1)
    assert found["name"].value > 0


def test_every_template_can_be_filled_and_is_somebodys() -> None:
    lines = load_templates()
    assert len({line.author for line in lines}) == 38
    assert len({line.id for line in lines}) == len(lines)
    filler = TemplateFiller(1)
    for line in lines:
        spans = filler.fill(line.text).spans
        assert bool(spans) == (line.kind == "template"), line.id


def test_threads_share_it_and_long_texts_are_cut() -> None:
    shipped = load_default_tagger()
    texts = [f"Mrs Adaeze Okonkwo-{place} rang about her son Emeka." for place in range(40)]
    one_by_one = [list(shipped.find(text)) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda text: list(shipped.find(text)), texts)) == one_by_one
    long = "The patient, Mr Karl Weber, has chest pain. " * 400
    found = [long[start:end] for kind, start, end in shipped.find(long) if kind == "name"]
    assert found.count("Karl Weber") > 390


@pytest.mark.parametrize("data", [b"", b"no archive", b"PK\x05\x06" + 18 * b"\0"])
def test_what_is_no_tagger_is_told(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "tagger.zip"
    with pytest.raises(InputError, match="cannot be read as a tagger"):
        load_tagger(file)
    file.write_bytes(data)
    with pytest.raises(InputError, match="train-tagger"):
        load_tagger(file)


@pytest.mark.parametrize("place", [1000, 100_000, 500_000])
def test_a_damaged_tagger_is_told(tmp_path: Path, place: int) -> None:
    file = tmp_path / "tagger.zip"
    data = bytearray(DEFAULT_TAGGER_FILE.read_bytes())
    data[place : place + 64] = bytes(64)
    file.write_bytes(data)
    with pytest.raises(InputError, match="cannot be read as a tagger"):
        load_tagger(file)


@pytest.mark.parametrize("disease", ["Polycythaemia vera", "Polycythemia vera"])
def test_a_disease_with_a_given_names_word_is_no_name(disease: str) -> None:
    assert [*load_default_tagger().find(disease)] == []


def test_words_that_are_usually_small_are_in_no_list_of_names() -> None:
    exam = ["It is polycythemia vera, not rose.", "Is vera benign?", "The vera test: ask Vera."]
    lexicon = training.make_lexicon(TemplateFiller(1), exam)
    assert "vera" in lexicon.words
    assert "vera" not in lexicon.given
    assert "rose" in lexicon.given, "seen once"


@pytest.mark.parametrize("name", ["Ana Weber", "Moumita Sutradhar (Dey"])
def test_words_beside_a_name_are_of_it(name: str) -> None:
    text = f"sd/- Mrs {name}) M: 98300 555 93"
    assert name in {text[start:end] for kind, start, end in load_default_tagger().find(text)}


@pytest.mark.parametrize(
    ("stem", "named"),
    [
        ("Sonal, a 30 year old female, has pain", True), ("Nurse Ruth assesses a patient", True),
        ("Ramesh 40 yrs male with polyuria", True), ("A man, Damu who drinks", True),
        ("Mr Rao has a cough", True), ("Fogarty's catheter is used for", False),
        ("A patient with Graves disease", False), ("Mean age of onset of Wilson disease", False),
    ],
)  # fmt: skip
def test_exam_questions_that_name_somebody_are_told(stem: str, named: bool) -> None:
    assert bool(training.NAMED_PERSON.search(stem)) == named
