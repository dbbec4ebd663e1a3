from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree

from tests.unit.serving.store_cases import START, item

from medtune.serving.api.label_studio_export import CONFIG, build_review_tasks
from medtune.serving.schemas import Decision, Reviewed, ReviewerDecision
from medtune.serving.storage.store import Store


def opinion(reviewer: str, decision: Decision, second: bool = False) -> ReviewerDecision:
    return ReviewerDecision(
        request_id="a",
        reviewer=reviewer,
        time=START + timedelta(minutes=1),
        decision=decision,
        second=second,
    )


CONTESTED = Reviewed(
    item=item("a", state="decided", wants_second=True),
    opinions=(
        opinion("ann", Decision(kind="approve")),
        opinion("bob", Decision(kind="edit", chosen=2, note="<b>see</b> the guideline"), True),
        opinion("cy", Decision(kind="reject")),
    ),
    final=Decision(kind="reject"),
)


def choice(name: str, value: str) -> dict[str, object]:
    return {
        "id": f"a-{name}",
        "from_name": name,
        "to_name": "stem",
        "type": "choices",
        "value": {"choices": [value]},
    }


def test_task_in_full() -> None:
    (task,) = build_review_tasks([CONTESTED])
    note = {
        "id": "a-note",
        "from_name": "note",
        "to_name": "stem",
        "type": "textarea",
        "value": {"text": ["<b>see</b> the guideline"]},
    }
    told = {"created_at": "2026-05-04T12:01:00.123456+00:00", "was_cancelled": False}
    assert task == {
        "data": {
            "request_id": "a",
            "stem": "Which drug is given in labour?",
            "options": [
                {"value": "A. Oxytocin"},
                {"value": "B. Warfarin"},
                {"value": "C. Digoxin"},
            ],
            "subject": "Obstetrics",
            "topic": "sensitive.pregnancy",
            "reviewers": ["ann", "bob", "cy"],
        },
        "predictions": [
            {"model_version": "r-1", "score": 0.7, "result": [choice("answer", "A. Oxytocin")]}
        ],
        "annotations": [
            {
                **told,
                "ground_truth": False,
                "result": [choice("decision", "approve"), choice("answer", "A. Oxytocin")],
            },
            {
                **told,
                "ground_truth": False,
                "result": [choice("decision", "edit"), choice("answer", "C. Digoxin"), note],
            },
            {**told, "ground_truth": True, "result": [choice("decision", "reject")]},
        ],
    }
    assert json.loads(json.dumps(task)) == task


def test_undecided_item_without_a_proposal() -> None:
    bare = item("a", proposed=None, probabilities=None, subject=None)
    (task,) = build_review_tasks([Reviewed(item=bare, opinions=(), final=None)])
    assert task["predictions"] == task["annotations"] == []
    waits = Reviewed(item=bare, opinions=CONTESTED.opinions[2:], final=None)
    assert not build_review_tasks([waits])[0]["annotations"][0]["ground_truth"]


def test_options_that_are_alike_after_redaction_stay_apart() -> None:
    alike = item("a", options=("[NAME]", "[NAME]"))
    (task,) = build_review_tasks([Reviewed(item=alike, opinions=(), final=None)])
    assert task["data"]["options"] == [{"value": "A. [NAME]"}, {"value": "B. [NAME]"}]


def test_interface_fits_the_tasks() -> None:
    (task,) = build_review_tasks([CONTESTED])
    tags = {tag.get("name"): tag for tag in ElementTree.fromstring(CONFIG).iter()}
    for name in ("stem", "options"):
        assert any(tag.get("value") == f"${name}" for tag in tags.values())
    for annotation in (*task["annotations"], *task["predictions"]):
        for result in annotation["result"]:
            tag = tags[result["from_name"]]
            assert tag.tag.lower() == result["type"]
            assert tag.get("toName") == result["to_name"]
    kinds = [choice.get("value") for choice in tags["decision"]]
    assert kinds == ["approve", "edit", "reject"]


def test_what_the_store_gives_can_be_exported(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'medtune.db'}")
    assert build_review_tasks(store.reviews.list_decided()) == []
    store.close()
