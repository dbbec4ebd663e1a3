"""README, llms.txt and the site's pages: short, complete, and without a link that leads nowhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

import medtune

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LINK = re.compile(r"\[[^\]]+\]\(([^)#\s]+\.(?:md|txt|svg|ipynb|toml))(?:#[^)]*)?\)")
IN_ROOT = {
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
}
"""Pages of the site that lie in the root."""


def pages(tree: object) -> list[str]:
    """List the files of a navigation, in order."""
    if isinstance(tree, str):
        return [tree]
    if isinstance(tree, dict):
        tree = list(tree.values())
    assert isinstance(tree, list)
    return [page for part in tree for page in pages(part)]


def navigation() -> list[Path]:
    """List the files of the site's navigation."""
    tree = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    folder = {"notebooks": ROOT}
    return [
        ROOT / IN_ROOT[page] if page in IN_ROOT else folder.get(page.split("/")[0], DOCS) / page
        for page in pages(tree)
    ]


def links(path: Path) -> list[Path]:
    """List the files that a text links to."""
    found = LINK.findall(path.read_text())
    return [(path.parent / link).resolve() for link in found if "://" not in link]


def test_every_page_is_in_the_navigation_once() -> None:
    listed = navigation()
    assert len(listed) == len(set(listed))
    assert all(path.exists() for path in listed)
    assert {path for path in listed if path.parent == DOCS} == set(DOCS.glob("*.md"))


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "llms.txt"])
def test_links_of_the_root_lead_somewhere(name: str) -> None:
    found = links(ROOT / name)
    assert found
    assert [path for path in found if not path.exists()] == []


def test_llms_txt_has_title_and_summary_and_names_every_page() -> None:
    text = (ROOT / "llms.txt").read_text()
    title, _, summary = text.partition("\n\n")
    assert title == "# medtune"
    assert summary.startswith("> ")
    assert set(links(ROOT / "llms.txt")) == set(navigation())
    shown = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert shown is not None
    used = set(re.findall(r"mt\.(\w+)", shown[1]))
    assert used <= set(medtune.__all__)


def test_the_api_page_shows_every_promised_name() -> None:
    shown = re.findall(r"^::: medtune\.(\w+)$", (DOCS / "api.md").read_text(), re.MULTILINE)
    assert sorted(shown) == sorted(set(medtune.__all__) - {"__version__"})


def test_the_readme_begins_with_commands_a_picture_and_a_table() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 150
    first = "\n".join(lines[:28])
    assert re.findall("^make (run|test) ", first, re.MULTILINE) == ["run", "test"]
    assert first.count("](docs/quickstart.svg)") == 1
    assert len(re.findall(r"^\| --- ", first, re.MULTILINE)) == 1
