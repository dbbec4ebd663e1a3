"""The site as it is built: whole, from nowhere else, and readable on a phone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from tests.unit.test_docs import ROOT, navigation

CHROMIUM = shutil.which("chromium")
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
"""Elements that a browser loads, and the attribute that says from where."""
FRAMED = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
"""Pixels by which a page is wider than its window."""


class Page(HTMLParser):
    """The links, the loaded files and the anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        place = given.get(LOADED.get(tag, ""), "")
        if place and given.get("rel") not in ("canonical", "next", "prev"):
            self.loaded.append(place)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site strictly, as `make check` does."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """Parse every page of the site."""
    found = {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    assert len(found) == len(navigation())
    return found


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    found = {place for page in pages.values() for place in page.loaded}
    assert found
    assert [place for place in found if re.match(r"(https?:)?//", place)] == []
    for path in pages:
        assert not re.search(r"import\([^)]*https?:|cdnjs|unpkg|googleapis", path.read_text()), path
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", sheet.read_text()), sheet


def test_every_link_of_the_site_leads_to_a_page_and_an_anchor(
    site: Path, pages: dict[Path, Page]
) -> None:
    broken = []
    for path, page in pages.items():
        for link in page.links:
            place, anchor = urldefrag(unquote(link))
            if re.match(r"[a-z]+:", place):
                continue
            target = (path.parent / place).resolve() if place else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (target in pages and anchor not in pages[target].anchors):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert broken == []


def test_programs_find_llms_txt_and_the_markdown_of_every_page_that_it_names(site: Path) -> None:
    named = re.findall(r"\]\(([^)]+)\)", (site / "llms.txt").read_text())
    assert len(named) == len(navigation())
    assert [name for name in named if not (site / name).is_file()] == []


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.mark.pages
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path")
def test_no_page_is_wider_than_a_phone(pages: dict[Path, Page], browser: object) -> None:
    window = browser.new_page(viewport={"width": 390, "height": 844})  # type: ignore[attr-defined]
    for path in pages:
        window.goto(path.as_uri())
        assert window.evaluate(FRAMED) <= 0, path
    window.close()
