"""The guards' time grows with a text's length and no faster, whatever the text."""

from __future__ import annotations

import ast
import importlib
import inspect
import math
import pkgutil
import re
import time
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from functools import partial
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest

import medtune.guardrails
from medtune.core.schemas.guardrails import Inquiry
from medtune.guardrails import linear_search
from medtune.guardrails.classifier.learned import load_default_classifier
from medtune.guardrails.inquiry_text import normalize_text
from medtune.guardrails.pipeline import Guards, run_input_guards
from medtune.guardrails.policy import Policy, load_policy
from medtune.workflows.open_guards import open_guards

SHORT, LONG = 5000, 20_000
"""Characters; the latter is the longest stem that any policy allows."""
FLOOR_S = 0.02
"""Times below it are too short to be compared."""
STEP_S = 0.05
"""Longest that one search may keep all other threads waiting, on a busy machine."""
GENERAL = (
    "a", " ", "1", "A", "\n", "@", "-", ".", "_", "a ", "A ", "a. ", "A. ", "a) ", "1 ", "1.", "1-",
    "a.", "a-", "a@", "A'", "Aa ", "Aa, ", "Aa-", "Aa", "aA", "A B", "\"a", "“a", "[", "<a", "{",
    "I ", "my ", "a\n", "1a", "0 ", "é", "Mr ", "Van ", "Dr A", "(", ", ", "- ", "A1", "http://",
    "aB1/ ", "12/3/", "' ", "Ab-Cd ", "x y\n",
)  # fmt: skip


def modules() -> list[Any]:
    found = pkgutil.walk_packages(medtune.guardrails.__path__, "medtune.guardrails.")
    return [importlib.import_module(one.name) for one in found]


def within(value: Any, name: str) -> Iterator[tuple[str, re.Pattern[str]]]:
    """Find all patterns in a value."""
    if isinstance(value, re.Pattern):
        yield name, value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from within(one, f"{name}[{key}]")
    elif isinstance(value, tuple | list):
        for place, one in enumerate(value):
            yield from within(one, f"{name}[{place}]")
    elif is_dataclass(value) and not isinstance(value, type):
        for part in fields(value):
            yield from within(getattr(value, part.name), f"{name}.{part.name}")


def patterns() -> dict[str, re.Pattern[str]]:
    """Find all patterns of all guards, each once."""
    found: dict[str, re.Pattern[str]] = {}
    for module in modules():
        short = module.__name__.rpartition(".")[2]
        for name, value in vars(module).items():
            for place, pattern in within(value, f"{short}.{name}"):
                if pattern not in found.values():
                    found[place] = pattern
    del found["rules._BLANK"]  # reads rules, no text
    return found


def only_matched() -> set[str]:
    """Name the patterns that are held against one place of a text, and search none."""
    matched: set[str] = set()
    searched: set[str] = set()
    for module in modules():
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                (matched if node.attr == "match" else searched).add(node.value.id)
            if isinstance(node, ast.Call):
                searched |= {arg.id for arg in node.args if isinstance(arg, ast.Name)}
    return matched - searched


PATTERNS, MATCHED = patterns(), only_matched()


def literals(parsed: Any) -> Iterator[str]:
    """Find the literal texts in a pattern, those of its branches and repetitions as well."""
    run = ""
    for kind, value in parsed:
        if str(kind) == "LITERAL":
            run += chr(value)
            continue
        yield run
        run = ""
        match str(kind):
            case "BRANCH":
                for branch in value[1]:
                    yield from literals(branch)
            case "SUBPATTERN":
                yield from literals(value[3])
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                yield from literals(value[2])
            case "ASSERT" | "ASSERT_NOT":
                yield from literals(value[1])
            case "ATOMIC_GROUP":
                yield from literals(value)
    yield run


def units(pattern: re.Pattern[str]) -> list[str]:
    """List what may be repeated to hold a pattern up."""
    own = dict.fromkeys(
        one for one in literals(parser.parse(pattern.pattern, pattern.flags)) if one
    )
    return [*GENERAL, *own, *(f"{one} " for one in own)]


def filled(unit: str, length: int) -> str:
    return (unit * (length // len(unit) + 1))[:length]


def seconds(work: Callable[[], object], runs: int = 3) -> float:
    times = []
    for _ in range(runs):
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return min(times)


def fits(short: float, long: float) -> bool:
    """Tell whether a time grew as n log n does, within what noise does to it."""
    growth = LONG / SHORT * math.log(LONG) / math.log(SHORT)
    return long < FLOOR_S or long < 2 * growth * short


def test_all_patterns_are_there() -> None:
    assert len(PATTERNS) > 90
    assert {name.partition(".")[0] for name in PATTERNS} >= {
        "crisis", "identifiers", "injection", "inquiry_text", "learned",
        "scope", "sensitive_topics", "tagger", "template_texts", "train_tagger",
    }  # fmt: skip


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_takes_time_in_proportion_to_the_text(name: str) -> None:
    pattern = PATTERNS[name]
    matched = name.rpartition(".")[2] in MATCHED

    def search(text: str) -> object:
        if matched:
            return pattern.match(text)
        return sum(1 for _ in linear_search.find_all(pattern, text))

    def step(text: str) -> object:
        return pattern.match(text) if matched else sum(1 for _ in pattern.finditer(text))

    held = {u: seconds(partial(step, filled(u, linear_search.WINDOW)), 1) for u in units(pattern)}
    worst = sorted(held, key=held.__getitem__)[-2:]
    for unit in worst:
        again = seconds(lambda: step(filled(unit, linear_search.WINDOW)))  # noqa: B023
        assert again < STEP_S, f"{unit!r} holds the interpreter for {1000 * again:.0f} ms"
        short = seconds(lambda: search(filled(unit, SHORT)))  # noqa: B023
        long = seconds(lambda: search(filled(unit, LONG)))  # noqa: B023
        assert fits(short, long), f"{unit!r}: {1000 * short:.1f} ms and {1000 * long:.1f} ms"


@pytest.mark.parametrize(
    "unit", ["A'", "Aa, ", "Dr A ", "@a", "ab1. ", "Adam Smith, ", "1-", "\u0315\u0316", "é"]
)
def test_all_guards_together_take_time_in_proportion(unit: str) -> None:
    guards = Guards(largest(), load_default_classifier())
    looks = [
        seconds(partial(run_input_guards, question(unit, n), guards), 2) for n in (SHORT, LONG)
    ]
    assert fits(*looks), f"{unit!r}: {looks}"


def largest() -> Policy:
    sizes = {"stem": LONG, "option": 4000, "options": 10}
    return Policy.model_validate({**load_policy().model_dump(), "size": sizes})


def question(unit: str, length: int) -> Inquiry:
    return Inquiry(stem=filled(unit, length), options=("one", "two"))


@pytest.mark.parametrize(
    "text", ["", "a", "ab " * 100, "ab " * 2000, "x" * 5000 + " ab", "a\n" * 900]
)
@pytest.mark.parametrize("way", [r"ab", r"\bab?\b", r"^a", r"(?<= )a", r"b (?=a)", r"$", r"x{1,9}"])
def test_a_scan_finds_what_a_search_finds(way: str, text: str) -> None:
    pattern = re.compile(way, re.MULTILINE)
    spans = [match.span() for match in linear_search.find_all(pattern, text)]
    assert spans == [match.span() for match in pattern.finditer(text)]
    assert linear_search.replace_all(pattern, "<>", text) == pattern.sub("<>", text)
    first = linear_search.find_first(pattern, text)
    assert (first and first.span()) == (spans[0] if spans else None)


def test_folding_is_that_of_unicode_and_sorts_no_long_rows_of_marks() -> None:
    for text in ("cafe\u0301 \u1e9b\u0323 ﬁne", "한국어 " * 200, "हिन्दी " * 200, "e\u0301" * 1000):
        assert normalize_text(text) == unicodedata.normalize("NFKC", text).strip()
    short, long = (filled("\u0315\u0316", n) for n in (SHORT, LONG))
    assert fits(seconds(lambda: normalize_text(short)), seconds(lambda: normalize_text(long)))


def test_characters_that_stand_for_many_count_as_many() -> None:
    inquiry = Inquiry(stem="\ufdfa" * 3000, options=("one", "two"))
    verdict = run_input_guards(inquiry, open_guards()).verdicts[-1]
    assert (verdict.action, verdict.reason) == ("refuse", "size.stem")


def test_what_is_late_is_refused_with_the_crisis_card_until_a_crisis_is_ruled_out() -> None:
    asked = question("a ", 100)
    looked = run_input_guards(asked, open_guards(), until=0.0)
    assert [(v.reason, v.action, v.card) for v in looked.verdicts] == [
        ("size.time", "refuse", "crisis")
    ]
    assert looked.inquiry is None  # nothing of it was redacted, so nothing may be kept
    policy = load_policy()
    slow = policy.model_copy(update={"order": ("size", "privacy", "crisis", "classifier", "scope")})
    until = time.monotonic() + 0.2

    class Slow:
        def judge(self, *_: Any) -> Any:
            time.sleep(0.3)
            return load_default_classifier().judge(*_)

    last = run_input_guards(asked, Guards(slow, Slow()), until=until).verdicts[-1]
    assert (last.reason, last.card) == ("size.time", "scope")
