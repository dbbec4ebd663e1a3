"""The public names of the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import medtune
from medtune.core.provenance import installed_version

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", medtune.__all__)
def test_every_promised_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(medtune, name)
    if name != "__version__":
        assert name in value.__name__
        assert value.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'train_model'"):
        _ = medtune.train_model


def test_importing_the_package_loads_nothing_heavy() -> None:
    program = (
        "import sys, medtune; assert dir(medtune) == medtune.__all__; medtune.__version__;"
        "print([m for m in ('torch', 'numpy', 'pydantic', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_importing_the_package_is_quick() -> None:
    # The shortest of three, as another process may hold the machine.
    program = (
        "import time; start = time.process_time(); import medtune;"
        "print(time.process_time() - start)"
    )
    seconds = min(
        float(subprocess.check_output([sys.executable, "-c", program], text=True)) for _ in range(3)
    )
    assert seconds < 0.15


def test_the_version_is_the_installed_one_and_has_an_entry() -> None:
    assert installed_version("medtune") == medtune.__version__
    assert f"## {medtune.__version__} - " in (ROOT / "CHANGELOG.md").read_text()
