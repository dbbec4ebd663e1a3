from __future__ import annotations

from pathlib import Path

import pytest

from medtune.core.errors import ConfigError
from medtune.data.load import load_questions


def test_a_dict_maps_the_columns_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("Frage,A,B,key\nWhich vitamin prevents scurvy?,Vitamin A,Vitamin C,B\n")
    mapping = {"stem": "Frage", "options": ["A", "B"], "answer": "key"}
    (question,) = load_questions(path, columns=mapping)
    assert question.answer_text == "Vitamin C"
    with pytest.raises(ConfigError, match=r"stern: unknown key; did you mean stem"):
        load_questions(path, columns={"stern": "Frage"})
