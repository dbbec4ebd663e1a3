from __future__ import annotations

import re

from tests.unit.data.test_datasheet import tables
from tests.unit.releases.export import dossiers as make

from medtune.releases.export.render import render_release_datasheet
from medtune.releases.gate_schema import Evidence

SECTIONS = [
    "Motivation", "Composition", "Collection process", "Preprocessing, cleaning, labelling", "Uses",
    "Distribution", "Maintenance",
]  # fmt: skip


def test_the_sections_are_those_of_the_paper_and_the_tables_whole() -> None:
    text = render_release_datasheet(make.context())
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS
    for table in tables(text):
        assert {len(row) for row in table} == {len(table[0])}
        assert set(table[1]) == {"---"}


def test_questions_by_use_with_source_count_licence_and_hash() -> None:
    release = make.release()
    used, inside = tables(render_release_datasheet(make.context()))
    rows = {row[0]: row[1:] for row in used[2:]}
    assert release.data_hash is not None
    assert rows["train on"] == [*["not recorded"] * 3, f"`{release.data_hash[:12]}`"]
    assert rows["calibrate with"][:3] == ["starter:train", "320", "not recorded"]
    assert rows["evaluate"] == [
        make.DATA.source, "4,183", "Apache-2.0", f"`{make.DATA.hash[:12]}`",
    ]  # fmt: skip
    assert rows["check for regressions (frozen suite)"][1] == "300"
    counts = dict(row for row in inside[2:])
    assert counts["subject: Surgery"] == "369"
    exam = make.analysis().evaluation
    assert {f"right answer: {k}": f"{n:,}" for k, n in exam.letters_right.items()}.items() <= (
        counts.items()
    )


def test_a_changed_record_changes_the_sheet() -> None:
    assert "12 × repeated" in render_release_datasheet(make.context())
    data = make.DATA.model_copy(update={"excluded": {"repeated": 13}, "n": 4182})
    analysis = make.analysis(evaluation=make.evaluation(data=data))
    text = render_release_datasheet(
        make.context(make.EVIDENCE.model_copy(update={"analysis": analysis}))
    )
    assert "(evaluate): 13 × repeated." in text
    assert "| 4,182 |" in text


def test_what_no_record_knows_is_not_recorded() -> None:
    text = render_release_datasheet(
        make.context(
            Evidence(), asked=False, release=make.release(data_hash=None, calibration=None)
        )
    )
    assert "| train on | not recorded | not recorded | not recorded | not recorded |" in text
    assert "What was left out: not recorded." in text
    assert "Overlap of training and frozen questions: not recorded." in text
    assert not re.search(r"\d", text.split("## Composition", 1)[1].split("## Maintenance", 1)[0])


def test_texts_are_told_of() -> None:
    assert "holds no question's text" in render_release_datasheet(make.context())
    assert "under their sources' licences" in render_release_datasheet(make.context(), texts=True)
    assert "secret" not in render_release_datasheet(make.context(), texts=True)
