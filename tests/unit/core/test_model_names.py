from __future__ import annotations

from pathlib import Path

import pytest

from medtune.core.model_names import disambiguate_labels


@pytest.mark.parametrize(
    ("a", "b", "found"),
    [
        (("base", "runs/x"), ("tuned", "runs/y"), ("base", "tuned")),
        (("tuned", "runs/lr-1/eval"), ("tuned", "runs/lr-2/eval"), ("tuned (1)", "tuned (2)")),
        (
            ("tuned", "eval/m-letter-0123abcd"),
            ("tuned", "eval/m-letter-first-5-4567cdef"),
            ("tuned", "tuned (first 5)"),
        ),
        (
            ("tuned", "eval/m-letter-0123abcd"),
            ("tuned", "eval/m-letter-4567cdef"),
            ("tuned (0123abcd)", "tuned (4567cdef)"),
        ),
        (("m", "same"), ("m", "same"), ("m, first", "m, second")),
    ],
)
def test_labels_say_what_the_folders_do_not_share(
    a: tuple[str, str], b: tuple[str, str], found: tuple[str, str]
) -> None:
    assert disambiguate_labels((a[0], Path(a[1])), (b[0], Path(b[1]))) == found
