"""The layout that docs/architecture.md promises."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "medtune"
MOST = 20
"""Modules in one folder."""
ALIKE = {"schema", "study", "analysis", "page", "__init__"}
"""Names of modules that every slice may have."""
PATH = re.compile(r"`((?:[a-z_]+/)+(?:[a-z_]+\.py|[a-z_]+\.html)?)(?: \w+)?`")


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.stem != "__init__")


def test_no_class_name_stands_twice() -> None:
    places = defaultdict(list)
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert {name: at for name, at in places.items() if len(at) > 1} == {}


def test_no_folder_is_too_full_and_none_has_a_single_module() -> None:
    sizes: dict[Path, int] = defaultdict(int)
    for path in modules():
        sizes[path.parent] += 1
    del sizes[PACKAGE]
    migrations = PACKAGE / "serving" / "storage" / "migrations"
    assert {at: n for at, n in sizes.items() if n > MOST} == {}
    assert {at for at, n in sizes.items() if n == 1} <= {migrations}


def test_no_module_name_stands_in_more_than_two_folders() -> None:
    places = defaultdict(list)
    for path in modules():
        if path.stem not in ALIKE:
            places[path.stem].append(str(path.parent.relative_to(PACKAGE)))
    assert {name: at for name, at in places.items() if len(at) > 2} == {}


def test_every_place_that_the_docs_name_exists() -> None:
    named = 0
    for doc in (ROOT / "docs" / "architecture.md", ROOT / "docs" / "glossary.md"):
        text = doc.read_text().partition("## Folders that medtune writes")[0]
        for path in PATH.findall(text):
            here = path.startswith(("tests/", "docs/", "src/"))
            template = re.sub(r"(NAME|MODULE|PACKAGE).*", "", path)
            assert ((ROOT if here else PACKAGE) / template).exists(), f"{doc.name}: {path}"
            named += 1
    assert named > 40
