"""Hooks of the site's build: pages that lie outside of docs/, and the source beside every page."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
ROOT_PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "llms.txt": "llms.txt",
}
"""Files of the repository's root, and their names on the site."""
DIAGRAMS = re.compile(r'<script type="module">(?:(?!</script>).)*mermaid.*?</script>', re.DOTALL)
"""The script that nbconvert puts into every notebook; no notebook has a diagram."""


@event_priority(100)  # before mkdocs-jupyter looks for notebooks
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the root's pages and the notebooks."""
    for name, page in ROOT_PAGES.items():
        text = rewrite_links((ROOT / name).read_text(encoding="utf-8"))
        files.append(File.generated(config, page, content=text))
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        page = str(notebook.relative_to(ROOT))
        files.append(File(page, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> Navigation:
    """Put the source of every page beside it, where llms.txt points."""
    for page in nav.pages:
        files.append(PageSource(page.file, config))
    return nav


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:  # noqa: ARG001
    """Remove the script of a notebook's page that loads a renderer of diagrams from elsewhere."""
    return DIAGRAMS.sub("", output) if page.file.src_uri.endswith(".ipynb") else output


class PageSource(File):
    """The source of a page, copied as it is."""

    def __init__(self, page: File, config: MkDocsConfig) -> None:
        super().__init__(
            f"{page.src_uri}.source",
            src_dir=None,
            dest_dir=config.site_dir,
            use_directory_urls=config.use_directory_urls,
            dest_uri=page.src_uri,
        )
        self._content = page.content_bytes


def rewrite_links(text: str) -> str:
    """Return a text of the root with its links as they are on the site."""
    text = re.sub(r"\]\(docs/", "](", text)
    for name, page in ROOT_PAGES.items():
        text = text.replace(f"]({name}", f"]({page}")
    return text
