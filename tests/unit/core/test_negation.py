from __future__ import annotations

import pytest

from medtune.core.negation import is_negated


@pytest.mark.parametrize(
    "stem",
    [
        "which is not seen",
        "All of the following are causes EXCEPT:",
        "Which isn’t a branch of the aorta?",
        "Least likely cause of cough",
        "Which drug is contraindicated?",
    ],
)
def test_exceptions(stem: str) -> None:
    assert is_negated(stem)


@pytest.mark.parametrize("stem", ["which is notable", "A knotted cord", "Wrongly named after him"])
def test_polarity_is_that_of_whole_words(stem: str) -> None:
    assert not is_negated(stem)
