from __future__ import annotations

import inspect
import re

import pytest

from medtune.core import errors
from medtune.core.errors import (
    CheckFailed,
    ConfigError,
    DataError,
    FolderError,
    InputError,
    Interrupted,
    LabelError,
    MedtuneError,
    first_line,
)


def drawn_tree() -> dict[str, tuple[str | None, str]]:
    """Read the docstring's drawing: name -> (parent's name, remark)."""
    drawing = (errors.__doc__ or "").split("```")[1]
    tree: dict[str, tuple[str | None, str]] = {}
    branch: list[str] = []
    for line in filter(str.strip, drawing.splitlines()):
        match = re.fullmatch(r"([│├└─ ]*)(\w+)\s+(.*)", line)
        assert match is not None, line
        depth, ragged = divmod(len(match[1]), 4)
        assert ragged == 0, line
        branch[depth:] = [match[2]]
        tree[match[2]] = (branch[depth - 1] if depth else None, match[3])
    return tree


def defined_classes() -> dict[str, type[MedtuneError]]:
    return {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, MedtuneError)
    }


def test_the_drawn_tree_names_exactly_the_classes_that_exist() -> None:
    assert set(drawn_tree()) == set(defined_classes())


@pytest.mark.parametrize("name", sorted(defined_classes()))
def test_a_class_hangs_where_the_drawing_shows_it(name: str) -> None:
    bases = [b for b in defined_classes()[name].__bases__ if issubclass(b, MedtuneError)]
    assert drawn_tree()[name][0] == (bases[0].__name__ if bases else None)


@pytest.mark.parametrize("name", sorted(defined_classes()))
def test_exit_codes_are_those_of_the_drawing(name: str) -> None:
    tree = drawn_tree()
    at: str | None = name
    while at is not None and not (said := re.match(r"exit (\d+)", tree[at][1])):
        at = tree[at][0]
    assert said is not None
    assert defined_classes()[name].exit_code == int(said[1])


def test_exit_codes_by_hand() -> None:
    assert (MedtuneError.exit_code, FolderError.exit_code, LabelError.exit_code) == (2, 2, 2)
    assert (CheckFailed.exit_code, Interrupted.exit_code) == (1, 130)


def test_input_errors_are_value_errors_and_the_others_are_not() -> None:
    assert issubclass(InputError, ValueError)
    assert not issubclass(FolderError, ValueError)


def test_a_message_says_what_was_found_what_was_expected_and_what_to_do() -> None:
    error = DataError("no column cop", expected="cop", fix="map it")
    assert str(error) == "no column cop\nexpected: cop\nto do: map it"
    assert (error.found, error.expected, error.fix) == ("no column cop", "cop", "map it")


@pytest.mark.parametrize(
    ("expected", "fix", "message"),
    [("", "", "found"), ("x", "", "found\nexpected: x"), ("", "y", "found\nto do: y")],
)
def test_a_message_leaves_out_what_is_not_said(expected: str, fix: str, message: str) -> None:
    assert str(MedtuneError("found", expected=expected, fix=fix)) == message


def test_a_config_error_lists_every_fault() -> None:
    error = ConfigError("a.toml", ["seed: found 'x'", "name: missing"])
    assert error.faults == ["seed: found 'x'", "name: missing"]
    assert error.found == "a.toml: 2 faults\n  - seed: found 'x'\n  - name: missing"
    assert "\nto do: correct the keys above" in str(error)
    assert "medtune run" not in str(error), "callers from Python read it, too"


def test_a_config_error_counts_a_single_fault_in_the_singular() -> None:
    assert str(ConfigError("a.toml", ["x"])).startswith("a.toml: 1 fault\n  - x\n")


@pytest.mark.parametrize(
    ("error", "said"),
    [(OSError("\na\nb"), "a"), (OSError(), "OSError"), (ValueError(" \n"), "ValueError")],
)
def test_an_error_without_a_message_is_told_by_its_type(error: Exception, said: str) -> None:
    assert first_line(error) == said
