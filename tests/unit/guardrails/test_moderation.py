"""Moderation models: what they are asked, how their answers are read, and what fails closed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.pipeline.serving.endpoint import Unlearned

from medtune.core.errors import ModelError, RemoteError
from medtune.core.protocols import Message
from medtune.core.schemas.guard_check import QuestionLine
from medtune.core.schemas.guardrails import GuardVerdict, Inquiry
from medtune.guardrails.benchmark.check_lines import check_line
from medtune.guardrails.moderation import ModerationGuard
from medtune.guardrails.pipeline import GuardOutcome, Guards, moderate, run_input_guards
from medtune.guardrails.policy import Moderation, Policy, load_policy
from medtune.guardrails.privacy.identifiers import Identifier
from medtune.guardrails.rules import make_verdict

QUESTION = Inquiry(stem="Which drug is it?", options=("this", "that"))


@dataclass
class Said:
    text: str


@dataclass
class Server:
    """Answers with given texts, one after the other."""

    answers: Iterator[str | Exception] = field(default_factory=lambda: iter(()))
    flags: dict[str, bool] = field(default_factory=dict)
    model_id: str = "guard-8b"
    asked: list[tuple[list[Message], dict[str, Any]]] = field(default_factory=list)
    moderated: list[str] = field(default_factory=list)

    def chat(self, messages: Sequence[Message], how: dict[str, Any]) -> Said:
        self.asked.append((list(messages), how))
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        return Said(answer)

    def moderate(self, text: str) -> dict[str, bool]:
        self.moderated.append(text)
        return self.flags


def rule(model: str, **settings: Any) -> Moderation:
    return Moderation.model_validate(
        {"model": model, "server": "remote:http://there/v1#x", **settings}
    )


def judge(model: str, *answers: str | Exception, **settings: Any) -> GuardVerdict:
    return ModerationGuard(rule(model, **settings), Server(iter(answers))).judge(QUESTION)


@pytest.mark.parametrize(
    ("model", "answers", "reason"),
    [
        ("llama-guard", ["\n\nsafe"], None),
        ("llama-guard", ["unsafe\nS2"], "moderation.harmful"),
        ("llama-guard", ["unsafe\nS6"], "moderation.patient"),
        ("llama-guard", ["unsafe\nS14"], "moderation.order"),
        ("llama-guard", ["unsafe\nS6,S11,S1"], "moderation.crisis"),
        ("llama-guard", ["unsafe"], "moderation.harmful"),
        ("llama-guard", [""], "moderation.no_label"),
        ("llama-guard", ["safely said: it is fine"], "moderation.no_label"),
        ("llama-guard", ["safe unsafe"], "moderation.no_label"),
        ("llama-guard", ["unsafe\nviolence"], "moderation.harmful"),
        ("llama-guard", ["unsafe\nS11,S"], "moderation.crisis"),
        ("granite-guardian", ["No", "No"], None),
        ("granite-guardian", ["<think>\n</think>\n<score> no </score>"] * 2, None),
        ("granite-guardian", ["No", "<score> yes </score>"], "moderation.order"),
        ("granite-guardian", ["Yes\n<confidence> High </confidence>", "No"], "moderation.harmful"),
        ("granite-guardian", ["No", "It may be"], "moderation.no_label"),
        ("shieldgemma", ["No, it does not"], None),
        ("shieldgemma", ["Yes"], "moderation.harmful"),
        ("shieldgemma", ["Notably"], "moderation.no_label"),
        ("gpt-oss-safeguard", ['{"category": "none"}'], None),
        ("gpt-oss-safeguard", [' {"category": "patient"}\n'], "moderation.patient"),
        ("gpt-oss-safeguard", ['It says {"category": "none"}'], "moderation.no_label"),
        ("gpt-oss-safeguard", ['{"category": "crisis"}'], "moderation.crisis"),
        ("gpt-oss-safeguard", ['{"category": "fine"}'], "moderation.no_label"),
        ("gpt-oss-safeguard", ['{"category": ["none"]}'], "moderation.no_label"),
        ("gpt-oss-safeguard", ['{"other": 1}'], "moderation.no_label"),
        ("gpt-oss-safeguard", ["{none}"], "moderation.no_label"),
        ("gpt-oss-safeguard", ["none"], "moderation.no_label"),
    ],
)
def test_answers_are_read_by_each_models_labels(
    model: str, answers: list[str], reason: str | None
) -> None:
    verdict = judge(model, *answers)
    assert (verdict.guard, verdict.reason) == ("moderation", reason)
    assert verdict.action == ("allow" if reason is None else "defer")
    assert verdict.engine == f"{model} guard-8b"
    assert verdict.card is None


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"violence": False, "self-harm": False, "flagged": False}, None),
        ({"violence": False, "flagged": True}, "moderation.harmful"),
        ({"self-harm": True, "flagged": True}, "moderation.crisis"),
        ({"violence": True, "self-harm/intent": True}, "moderation.crisis"),
        ({"illicit/violent": True}, "moderation.harmful"),
    ],
)
def test_openais_endpoint_tells_categories(flags: dict[str, bool], reason: str | None) -> None:
    server = Server(flags=flags)
    verdict = ModerationGuard(rule("openai-moderation"), server).judge(QUESTION)
    assert verdict.reason == reason
    assert server.moderated == ["Which drug is it?\nA. this\nB. that"]
    assert not server.asked


@pytest.mark.parametrize("unavailable", ["defer", "refuse"])
def test_a_server_that_fails_holds_back(unavailable: str) -> None:
    verdict = judge("llama-guard", RemoteError("no answer"), unavailable=unavailable)
    assert (verdict.action, verdict.reason) == (unavailable, "moderation.unavailable")
    verdict = judge("llama-guard", "what?", unavailable=unavailable)
    assert (verdict.action, verdict.reason) == (unavailable, "moderation.no_label")


def test_what_was_found_counts_where_a_further_request_fails() -> None:
    verdict = judge("granite-guardian", "Yes", RemoteError("no answer"), action="refuse")
    assert (verdict.action, verdict.reason) == ("refuse", "moderation.harmful")
    assert judge("granite-guardian", "No", RemoteError("x")).reason == "moderation.unavailable"


def test_what_was_not_judged_is_not_measured() -> None:
    moderation = ModerationGuard(rule("llama-guard"), Server(iter([RemoteError("no answer")])))
    guards = Guards(moderated("llama-guard"), Unlearned(), moderation=moderation)
    line = QuestionLine(id="1", stem="Which of the following is it?", options=("a", "b"))
    with pytest.raises(RemoteError, match=r"guard-8b did not judge[\s\S]*timeout_s"):
        check_line(line, guards)


def test_a_finder_that_fails_refuses_and_a_crisis_gets_its_card() -> None:
    def fail(text: str) -> list[Identifier]:
        raise ModelError("out of order")

    guards = Guards(load_policy(), Unlearned(), fail, "presidio 2")
    outcome = run_input_guards(QUESTION, guards)
    assert outcome.inquiry is None
    last = outcome.verdicts[-1]
    assert (last.action, last.reason, last.engine) == (
        "refuse",
        "privacy.unavailable",
        "presidio 2",
    )
    crisis = run_input_guards(Inquiry(stem="I took 40 tablets and want to die"), guards)
    assert crisis.verdicts[-1].card == "crisis"


def test_late_questions_are_held_back_unasked() -> None:
    server = Server()
    moderation = ModerationGuard(rule("llama-guard"), server)
    guards = Guards(moderated("llama-guard"), Unlearned(), moderation=moderation)
    outcome = GuardOutcome(QUESTION, ())
    assert moderate(outcome, guards, until=0.0).verdicts[-1].reason == "moderation.unavailable"
    assert not server.asked


def test_the_policy_says_what_is_done_and_what_does_not_count() -> None:
    assert judge("llama-guard", "unsafe\nS6", ignore=["S6"]).action == "allow"
    assert judge("llama-guard", "unsafe\nS6,S2", ignore=["S6"]).reason == "moderation.harmful"
    refused = judge("llama-guard", "unsafe\nS2", action="refuse")
    assert (refused.action, refused.card) == ("refuse", None)
    assert judge("llama-guard", "unsafe\nS11", action="refuse").card == "crisis"


def test_what_each_model_is_sent() -> None:
    server = Server(iter(["No", "No"]))
    ModerationGuard(rule("granite-guardian"), server).judge(QUESTION)
    risks = [how["chat_template_kwargs"]["guardian_config"] for _, how in server.asked]
    assert [risk["risk_name"] for risk in risks] == ["harm", "jailbreak"]
    assert all(how["temperature"] == 0 for _, how in server.asked)
    server = Server(iter(['{"category": "none"}']))
    ModerationGuard(rule("gpt-oss-safeguard"), server).judge(QUESTION)
    [(messages, _)] = server.asked
    assert [message.role for message in messages] == ["system", "user"]
    server = Server(iter(["No"]))
    ModerationGuard(rule("shieldgemma"), server).judge(QUESTION)
    [(messages, how)] = server.asked
    assert "Dangerous" in how["chat_template_kwargs"]["guideline"]
    assert messages == [Message("user", "Which drug is it?\nA. this\nB. that")]


def test_it_sees_no_identifier_and_every_turn_of_the_user() -> None:
    server = Server(iter(["safe"]))
    asked = Inquiry(
        stem="A 54-year-old man, Karl Weber, MRN 4482913, presents with chest pain. Which of the "
        "following is the drug of choice?",
        options=("heparin", "warfarin"),
        earlier=(
            Inquiry(
                stem="Write to karl@weber.example. Which of the following is it?",
                options=("a", "b"),
            ),
        ),
    )
    policy = moderated("llama-guard")
    assert policy.moderation is not None
    moderation = ModerationGuard(policy.moderation, server)
    outcome = run_input_guards(asked, Guards(policy, Unlearned(), moderation=moderation))
    assert outcome.verdicts[-1].guard == "moderation"
    [([message], _)] = server.asked
    assert "Weber" not in message.content
    assert "4482913" not in message.content
    assert "karl@" not in message.content
    assert message.content.startswith("Write to [")


def moderated(model: str) -> Policy:
    raw = load_policy().model_dump(exclude_none=True)
    order = list(raw["order"])
    order.insert(order.index("confidence"), "moderation")
    moderation = {"model": model, "server": "remote:http://there/v1#x"}
    return Policy.model_validate({**raw, "order": order, "moderation": moderation})


def test_what_was_refused_is_not_sent() -> None:
    server = Server()
    guards = Guards(
        moderated("llama-guard"),
        Unlearned(),
        moderation=ModerationGuard(rule("llama-guard"), server),
    )
    crisis = run_input_guards(Inquiry(stem="I took 40 tablets and want to die"), guards)
    assert crisis.verdicts[-1].card == "crisis"
    large = GuardOutcome(None, (make_verdict("size", "refuse", "size.stem"),))
    assert moderate(large, guards) is large
    assert not server.asked


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"moderation": None}, "a section and a place in the order, or neither"),
        ({"moderation": {"model": "llama-guard"}}, "server"),
        ({"moderation": {"model": "bouncer", "server": "remote:http://x/v1"}}, "llama-guard"),
        (
            {"order": ["size", "moderation", "privacy", "crisis", "scope", "output"]},
            "last of the guards that look at questions",
        ),
        ({"privacy": {"spacy_model": "en_core_web_lg"}}, 'engine = "presidio"'),
        ({"privacy": {"engine": "magic"}}, "presidio"),
    ],
)
def test_an_unusable_engine_is_refused(change: dict[str, Any], words: str) -> None:
    raw = moderated("llama-guard").model_dump(exclude_none=True)
    with pytest.raises(ValueError, match=words):
        Policy.model_validate({**raw, **change})


def test_a_policy_without_engines_keeps_its_hash() -> None:
    assert load_policy().version == "starter-4"
    assert load_policy().hash == "a587d6a5ced1310906e5022184049f3b0113e7da9ca2eaac8b443011f65b011c"
