from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel
from tests.unit.releases.export import dossiers as make

from medtune.core.records import Prediction
from medtune.core.schemas.analysis import Failure
from medtune.releases.export.strip_texts import strip_texts
from medtune.releases.gate_schema import ChangedAnswer, Evidence

TEXTS = {"stem", "options", "text", "explanation", "sample", "redacted", "question", "output"}


def reachable(kind: Any) -> set[type[BaseModel]]:
    """Find all records inside a record."""
    found: set[type[BaseModel]] = set()
    waiting = [kind]
    while waiting:
        one = waiting.pop()
        if isinstance(one, type) and issubclass(one, BaseModel) and one not in found:
            found.add(one)
            waiting += [field.annotation for field in one.model_fields.values()]
        else:
            waiting += get_args(one)
    return found


def test_texts_go_and_everything_else_stays() -> None:
    assert "secret" in make.EVIDENCE.model_dump_json()
    bare = strip_texts(make.EVIDENCE)
    assert "secret" not in bare.model_dump_json()
    assert Evidence.model_validate_json(bare.model_dump_json()) == bare
    old, new = make.regression(), bare.regression
    assert new is not None
    assert new.changed[0].id == old.changed[0].id
    assert (new.changed[0].before, new.changed[0].after) == (0, 2)
    assert len(new.changed[0].options) == len(old.changed[0].options)
    assert bare.analysis is not None
    assert bare.analysis.evaluation == make.analysis().evaluation
    assert bare.comparison == make.EVIDENCE.comparison
    assert strip_texts(Evidence()) == Evidence()
    assert strip_texts(bare) == bare


def test_no_other_record_of_the_evidence_holds_texts() -> None:
    """A record that gets such a field has to be blanked as well."""
    holders = {kind for kind in reachable(Evidence) if TEXTS & set(kind.model_fields)}
    # What a kind of failure is called explains the kind, no question.
    assert holders == {ChangedAnswer, Prediction, Failure}
