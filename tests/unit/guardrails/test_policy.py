from __future__ import annotations

from pathlib import Path

import pytest
from tests.pipeline.serving.endpoint import Unlearned

from medtune.core.errors import ConfigError
from medtune.guardrails.pipeline import Guards
from medtune.guardrails.policy import Policy, load_policy

STARTER = load_policy().model_dump()


def test_the_starter_policy_is_whole() -> None:
    policy = load_policy()
    assert policy.order[0] == "size"
    assert policy.order[-2:] == ("confidence", "output")
    assert policy.privacy.keep == "queued"
    assert len(policy.hash) == 64
    assert Policy.model_validate({**STARTER, "version": "2"}).hash != policy.hash


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"order": ("size", "privacy", "crisis")}, "goes without scope"),
        ({"order": ("privacy", "size", "crisis", "scope")}, "size comes first"),
        ({"order": ("size", "privacy", "crisis", "crisis", "scope")}, "twice"),
        ({"order": ("size", "confidence", "privacy", "crisis", "scope")}, "come last"),
        ({"crisis": {"action": "annotate"}}, "crisis and scope refuse"),
        ({"unknown": 1}, "Extra inputs"),
        ({"privacy": {"keep": "all"}}, "none"),
    ],
)
def test_an_unsafe_policy_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Policy.model_validate({**STARTER, **change})


def test_faults_of_a_file_are_told(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    with pytest.raises(ConfigError, match="no such file"):
        load_policy(path)
    path.write_text("version = ")
    with pytest.raises(ConfigError, match="not TOML"):
        load_policy(path)
    path.write_text('version = "x"\norder = ["size"]\n[classifier]\naction = "shout"\n')
    with pytest.raises(ConfigError, match=r"classifier\.action"):
        load_policy(path)


def test_guards_without_one_have_a_hash_of_their_own() -> None:
    guards = Guards(load_policy(), Unlearned())
    assert guards.policy.hash != guards.without("sensitive").policy.hash
