"""The endpoint's pages in a real browser: keyboard, no script, a phone's width, contrast."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from tests.conftest import CommandLine
from tests.pipeline.serving.endpoint import CALIBRATION, HELD, QUESTION, SECRET, Unlearned
from tests.unit.reports.test_run import evaluation, questions
from tests.unit.reports.test_run import page as report_page

from medtune.core.progress import NoProgress
from medtune.core.prompt import PromptStyle
from medtune.core.protocols import ContinuationScore, ScoreRequest
from medtune.core.schemas.dataset import SnapshotManifest
from medtune.guardrails.pipeline import Guards
from medtune.guardrails.policy import load_policy
from medtune.models.fake import FakeModel
from medtune.reports.data import write_data_page
from medtune.retrieval.index import build_index
from medtune.retrieval.schema import Passage, PassageSource
from medtune.serving.app import build_app
from medtune.serving.auth.authorize import Authorizer, StartToken
from medtune.serving.dependencies import Services
from medtune.serving.inference.engine import Engine
from medtune.serving.inference.predictor import Predictor
from medtune.serving.metrics import Metrics
from medtune.serving.storage.store import Store

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.pages,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path"),
]

PHONE = {"width": 320, "height": 640}
DESK = {"width": 1280, "height": 900}
LONG: dict[str, Any] = {
    "stem": f"Which acid & {'pneumonoultramicroscopicsilicovolcanoconiosis' * 2} is it?",
    "options": ["Ascorbic acid, " * 12, "W" * 90, "Biotin", "Folate", "Niacin"],
}
CITED: dict[str, Any] = {
    "stem": "Which vitamin is lacking in scurvy, the disease of sailors?",
    "options": ["Ascorbic acid", "Retinol"],
    "subject": "Nutrition",
}
"""Of a subject that was never calibrated: a passage decides it."""
FACTS = (
    (
        CITED["stem"],
        "Ascorbic acid",
        "Collagen needs it; <b>citrus</b> fruits have much of it. " * 9,
    ),
    (LONG["stem"], LONG["options"][1], "M" * 300),
    (HELD["stem"], HELD["options"][0], "Into the thigh."),
    ("Which acid is a vitamin?", "Biotin", ""),
)
WATCH = """
addEventListener("securitypolicyviolation",
  (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
FAULTS = """() => {
  const faults = [];
  const shown = (node) => node.checkVisibility({ visibilityProperty: true });
  const named = (node) => node.labels?.length || node.getAttribute("aria-label")
    || node.getAttribute("aria-labelledby") || node.textContent.trim();
  for (const node of document.querySelectorAll("input:not([type=hidden]), textarea, select"))
    if (!node.labels.length) faults.push(`no label: ${node.outerHTML}`);
  for (const node of document.querySelectorAll("button, a[href], summary, nav, aside"))
    if (!named(node)) faults.push(`no name: ${node.outerHTML}`);
  for (const svg of document.querySelectorAll("svg"))
    if (svg.getAttribute("aria-hidden") !== "true" && svg.getAttribute("role") !== "img")
      faults.push("a drawing that is neither hidden nor an image");
  for (const table of document.querySelectorAll("table"))
    if (!table.caption) faults.push("a table without caption");
  for (const one of ["main", "header", "footer", "h1", "head title"])
    if (document.querySelectorAll(one).length !== 1) faults.push(`not one ${one}`);
  if (document.documentElement.lang !== "en") faults.push("no language");
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  if (new Set(ids).size < ids.length) faults.push("an id that stands twice");
  for (const at of ["aria-labelledby", "aria-describedby", "for", "list"])
    for (const node of document.querySelectorAll(`[${at}]`))
      if (!document.getElementById(node.getAttribute(at))) faults.push(`${at} leads nowhere`);
  let level = 0;
  for (const node of document.querySelectorAll("h1, h2, h3")) {
    if (+node.tagName[1] > level + 1) faults.push(`${node.tagName} after level ${level}`);
    level = +node.tagName[1];
  }
  // WCAG 2.2, 1.4.3 and 1.4.11
  const light = (c) => c.map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const colour = (text) => text.match(/[\\d.]+/g).map(Number);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const [r, g, b, a = 1] = colour(getComputedStyle(node).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0] : [255, 255, 255];
  };
  const ratio = (a, b) => {
    const [low, high] = [light(a), light(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  for (const node of document.body.querySelectorAll("*")) {
    const words = [...node.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!words || !shown(node) || node.closest("svg")) continue;
    const found = ratio(colour(getComputedStyle(node).color).slice(0, 3), behind(node));
    if (found < 4.5) faults.push(`contrast ${found.toFixed(2)}: ${node.outerHTML.slice(0, 120)}`);
  }
  for (const node of document.querySelectorAll("input[type=text], textarea, select")) {
    const edge = colour(getComputedStyle(node).borderTopColor).slice(0, 3);
    const found = ratio(edge, behind(node.parentElement));
    if (shown(node) && found < 3) faults.push(`edge ${found.toFixed(2)}: ${node.outerHTML}`);
  }
  return faults;
}"""


class Steady(FakeModel):
    """Likes some words better than others, always the same."""

    def score(self, requests: Any) -> list[tuple[ContinuationScore, ...]]:
        alike: list[ScoreRequest] = [replace(request, id="") for request in requests]
        return super().score(alike)


@dataclass
class Site:
    """An endpoint that listens."""

    url: str
    store: Store
    token: str
    """Of the start; it signs in."""
    heard: list[str] = field(default_factory=list)
    """What browsers complained of."""

    def hear(self, amiss: bool, what: str) -> None:
        if amiss:
            self.heard.append(what)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    store, metrics = Store.open(f"sqlite:///{tmp_path / 'e.db'}"), Metrics()
    passages = [
        Passage(id=f"fact-{i}", question=q, answer=a, text=t, source="facts.csv", licence="CC0-1.0")
        for i, (q, a, t) in enumerate(FACTS)
    ]
    source = PassageSource(source="facts.csv", licence="CC0-1.0", passages=len(passages))
    predictor = Predictor(
        model=Steady("noisy", {}),
        style=PromptStyle(),
        method="letter",
        guards=Guards(load_policy(), Unlearned()),
        calibration=CALIBRATION.model_copy(update={"temperature": 1.0, "threshold": 0.3}),
        release="smollm2-135m-medmcqa",
        index=build_index(passages, [source], tmp_path / "index", "english", NoProgress()),
    )
    engine = Engine(predictor, store, SECRET, metrics)
    start = StartToken.create()
    services = Services(engine, store, Authorizer(store.keys.find, start=start), metrics, SECRET)
    place = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(build_app(services), log_config=None, access_log=False, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield Site(f"http://127.0.0.1:{place.getsockname()[1]}", store, start.text)
    server.should_exit = True
    thread.join(timeout=30)
    place.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        with closing(chromium):
            yield chromium


@contextmanager
def at(site: Site, browser: Any, **how: Any) -> Iterator[Any]:
    """Open a window; nothing in it may complain."""
    with closing(browser.new_context(viewport=how.pop("viewport", DESK), **how)) as context:
        page = context.new_page()
        if how.get("java_script_enabled", True):
            page.add_init_script(WATCH)
        page.on("console", lambda said: site.hear(said.type == "error", said.text))
        page.on("pageerror", lambda error: site.heard.append(str(error)))
        page.on("response", lambda got: site.hear(got.status >= 400, got.url))
        page.goto(f"{site.url}/?token={site.token}")
        yield page
        assert site.heard == []


def ask(page: Any, question: dict[str, Any]) -> None:
    page.get_by_role("textbox", name="Question").fill(question["stem"])
    if len(question["options"]) > 4:
        page.get_by_text("More options").click()
    for letter, option in zip("ABCDEFGHIJ", question["options"], strict=False):
        page.get_by_label(f"Option {letter}", exact=True).fill(option)
    page.get_by_label("Subject").fill(question.get("subject", ""))
    with page.expect_navigation():
        page.get_by_role("button", name="Ask").click()


@pytest.fixture
def written(medtune: CommandLine, manifest: SnapshotManifest, tmp_path: Path) -> list[Path]:
    """Pages that are written into folders: data, two models beside each other, a whole run."""
    write_data_page(tmp_path / "data.html", manifest)
    for name in ("oracle", "noisy"):
        medtune.record("evaluate", f"fake:{name}", "starter:recall", "--out", name)
    medtune.record("compare", "noisy", "oracle", "--out", "compare")
    medtune.record("study", "robustness", "fake:noisy", "starter:recall", "--out", "robust")
    asked = questions(80)
    pairs = [
        (evaluation("base", asked, 17, method), evaluation("tuned", asked, 49, method))
        for method in ("cloze", "letter")
    ]
    run = tmp_path / "run"
    run.mkdir()
    report_page(run, [a for a, _ in pairs], [b for _, b in pairs], manifest)
    return sorted(tmp_path.rglob("*.html"))


def test_written_pages_fit_a_phone(written: list[Path], browser: Any) -> None:
    assert {path.name for path in written} >= {"data.html", "report.html"}
    with closing(browser.new_context()) as context:
        window = context.new_page()
        for width, path in product((320, 390), written):
            window.set_viewport_size({"width": width, "height": 844})
            window.goto(path.as_uri())
            assert window.evaluate(OVERFLOW) <= 0, path
            # What is wider scrolls in a frame of its own, and is drawn no larger than it must be.
            wide = "nodes => nodes.map(node => node.getBoundingClientRect().width)"
            widths = window.locator("figure svg").evaluate_all(wide)
            assert widths, path
            assert max(widths) <= 34 * 16, path


def test_a_question_is_asked_and_judged_with_the_keyboard_alone(site: Site, browser: Any) -> None:
    with at(site, browser) as page:
        keys = page.keyboard
        keys.press("Tab")
        assert page.locator(":focus").inner_text() == "Skip to the content"
        assert page.locator(":focus").bounding_box()["y"] >= 0  # it is seen once it has the focus
        keys.press("Enter")
        keys.press("Tab")
        for text in (QUESTION["stem"], *QUESTION["options"]):
            keys.type(text)
            keys.press("Tab")
        keys.press("Tab")  # past more options
        keys.type(QUESTION["subject"])
        keys.press("Tab")
        assert page.locator(":focus").inner_text() == "Ask"
        assert page.locator(":focus").evaluate("node => getComputedStyle(node).outlineStyle") != (
            "none"
        )
        keys.press("Enter")
        page.wait_for_selector(".given")
        assert page.evaluate("document.activeElement.tagName") == "H1"
        assert page.url == f"{site.url}/"
        assert "Vitamin" in page.locator(".given").inner_text()
        keys.press("Tab")
        keys.press("Space")
        keys.press("Tab")
        keys.type("B")
        keys.press("Tab")
        keys.press("Enter")
        page.get_by_text("Thank you.").wait_for()
        assert "Vitamin" in page.locator(".given").inner_text()
        (said,) = site.store.requests.list_feedback()
        assert (said.helpful, said.corrected) == (True, 1)


def test_the_passage_that_decides_is_shown(site: Site, browser: Any) -> None:
    with at(site, browser, viewport=PHONE) as page:
        ask(page, CITED)
        assert page.locator(".given").inner_text().endswith("Ascorbic acid")
        evidence = page.get_by_role("region", name="Evidence")
        assert evidence.locator("li").count() == 1
        marked = set(evidence.locator("mark").all_inner_texts())
        assert {"vitamin", "scurvy", "Ascorbic"} <= marked
        assert "Collagen" not in marked
        assert "<b>citrus</b>" in evidence.inner_text()
        assert page.locator(".number").count() == 0


def test_an_item_is_reviewed_from_end_to_end(site: Site, browser: Any) -> None:
    with at(site, browser) as page:
        ask(page, HELD)
        assert page.locator("h1").inner_text() == "A reviewer looks at this first"
        fate = page.get_by_role("link", name="See the status of this question").get_attribute(
            "href"
        )
        assert page.locator(".number").count() == 0
        page.get_by_role("link", name="Review").click()
        page.get_by_role("button", name="Claim the oldest").click()
        assert page.locator(".stem").first.inner_text() == HELD["stem"]
        assert page.locator(".number").count() == 3
        page.get_by_role("button", name="Decide").click()  # nothing is chosen: it stays
        page.locator(".choice", has_text="Approve").click()
        page.get_by_label("Note").fill("as in the guideline")
        page.get_by_role("button", name="Decide").click()
        assert page.get_by_role("status").inner_text().startswith("Decided.")
        page.goto(site.url + fate)
        assert "A reviewer approved the model's answer" in page.locator(".given").inner_text()
        page.get_by_role("link", name="Dashboard").click()
        assert "reviewers approved 1" in page.locator("main").inner_text()
        (one,) = site.store.reviews.list_decided()
        assert one.opinions[0].decision.note == "as in the guideline"


def test_nothing_needs_a_script(site: Site, browser: Any) -> None:
    with at(site, browser, java_script_enabled=False, viewport=PHONE) as page:
        ask(page, LONG)
        assert page.locator(".options li").count() == 5
        page.get_by_label("No", exact=True).check()
        page.locator(".feedback").get_by_role("button", name="Send").click()
        assert page.get_by_role("status").first.inner_text().startswith("Thank you")
        assert [said.helpful for said in site.store.requests.list_feedback()] == [False]
        page.goto(site.url)
        ask(page, HELD)
        page.goto(f"{site.url}/review")
        page.get_by_role("button", name="Claim item 1").click()
        page.get_by_role("button", name="Give back").click()
        assert "is released" in page.get_by_role("status").inner_text()


def views(site: Site, page: Any) -> Iterator[str]:
    """Go through every page, with much and with nothing on it."""
    yield "ask"
    page.goto(f"{site.url}/dashboard")
    yield "dashboard-empty"
    page.goto(f"{site.url}/review")
    yield "review-empty"
    page.goto(f"{site.url}/login")
    yield "login"
    for name, question in (
        ("answered", QUESTION),
        ("long", LONG),
        ("deferred", {**QUESTION, "subject": "Astrology"}),
        ("crisis", {"stem": "I took all my pills and want to die", "options": []}),
        ("scope", {"stem": "My child has a fever, what should I give?", "options": ["a", "b"]}),
        ("cited", CITED),
        ("deferred", {**CITED, "options": ["Biotin", "Retinol"]}),
        ("same", {"stem": "Which?", "options": ["a", "A"]}),
        ("pending", {**HELD, "subject": "Pharmacology"}),
        ("pending", {"stem": LONG["stem"] + " What is the dose?", "options": LONG["options"]}),
        ("pending", {"stem": "Which drug is given in pregnancy?", "options": ["a", "b"]}),
    ):
        page.goto(site.url)
        ask(page, question)
        yield name
    fate = page.get_by_role("link", name="See the status of this question").get_attribute("href")
    page.goto(site.url + fate)
    yield "fate-pending"
    page.goto(f"{site.url}/review")
    yield "review"
    page.get_by_role("button", name="Claim the oldest").click()
    yield "item"
    page.locator(".choice", has_text="Reject").click()
    page.get_by_label("Note").fill("The doses are out of date.")
    page.get_by_role("button", name="Decide").click()
    yield "review-done"
    page.get_by_role("button", name="Claim the oldest").click()
    item = page.url
    page.get_by_role("button", name="second opinion").click()
    yield "item-second"
    page.locator(".choice", has_text="Approve").click()
    page.get_by_role("button", name="Decide").click()
    page.goto(item)
    yield "item-own"
    page.goto(site.url + "/answer/" + site.store.reviews.list_decided()[0].item.request_id)
    yield "fate-rejected"
    page.goto(f"{site.url}/dashboard")
    yield "dashboard"
    _, key = site.store.keys.add("somebody.with-a-very-long-name-indeed", "review", 600)
    page.goto(f"{site.url}/login")
    page.get_by_label("Key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.goto(item)
    page.get_by_role("button", name="Claim this item").click()
    page.locator(".choice", has_text="Reject").click()
    page.get_by_role("button", name="Decide").click()
    yield "review-agreement"
    page.goto(item)
    yield "item-contested"
    page.goto(f"{site.url}/answer/{'0' * 32}")
    yield "not-there"


@pytest.mark.parametrize("width", ["phone", "desk"])
def test_every_page_fits_and_can_be_read(site: Site, browser: Any, width: str) -> None:
    screenshots = os.environ.get("MEDTUNE_SCREENSHOTS")
    with at(site, browser, viewport=PHONE if width == "phone" else DESK) as page:
        for place, name in enumerate(views(site, page)):
            page.wait_for_load_state()  # with its style
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                assert page.evaluate(OVERFLOW) <= 0, (scheme, name)
                assert page.evaluate(FAULTS) == [], (scheme, name)
                if screenshots is not None:
                    path = Path(screenshots) / f"{width}-{scheme}-{place:02}-{name}.png"
                    page.screenshot(path=path, full_page=True)
            if name in ("same", "not-there"):
                site.heard.clear()  # a refused form is an error to the console
