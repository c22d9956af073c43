"""The report in a real browser: axe-core has no complaint, nothing scrolls sideways, and no script runs."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deepmix.report.cluster_table import cluster_table
from tests.report.conftest import CASES, SEVERAL_SEEDS, rendered

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]


FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


PHONE, DESKTOP = 360, 1280


pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH: the report can't be opened in a browser"),
    pytest.mark.skipif(
        not (importlib.util.find_spec("playwright") and importlib.util.find_spec("axe_playwright_python")),
        reason="playwright or axe-playwright-python is missing: pip install '.[test]'",
    ),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium with a fresh profile."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS, headless=True)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Open a case's report from a file, at a width and in a colour scheme, with requests and scripts forbidden."""
    contexts = []

    def open_report(case: str, width: int, scheme: str) -> Any:
        path = tmp_path / "report.html"
        path.write_text(rendered(case), encoding="utf-8")
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.complaints = []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("dialog", lambda dialog: page.complaints.append(dialog.message))
        page.on("request", lambda request: page.complaints.append(request.url[:80]))
        page.goto(path.as_uri())
        page.complaints.remove(path.as_uri()[:80])
        page.complaints = [text for text in page.complaints if not text.startswith("data:image/png;base64,")]
        return page

    yield open_report
    for context in contexts:
        context.close()


@pytest.mark.parametrize(("width", "scheme"), [(PHONE, "light"), (DESKTOP, "dark")])
@pytest.mark.parametrize("case", [*CASES, SEVERAL_SEEDS])
def test_report_in_a_browser(opened, case, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = opened(case, width, scheme)
    assert page.complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    axe_results = Axe().run(page)
    assert axe_results.violations_count == 0, axe_results.generate_report()


def test_the_style_sheet_is_let_through_by_its_hash_and_an_added_script_is_not(opened):
    page = opened("images-with-labels", DESKTOP, "light")
    assert page.evaluate("getComputedStyle(document.body).maxWidth") != "none"
    page.evaluate(
        "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s)"
    )
    assert page.evaluate("window.ran") is None
    assert any("Content Security Policy" in text for text in page.complaints)


def test_the_table_of_clusters_can_be_downloaded(opened, tmp_path):
    page = opened("mixed-table", DESKTOP, "light")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download this table").click()
    assert download.value.suggested_filename == "clusters.csv"
    download.value.save_as(tmp_path / "clusters.csv")
    assert (tmp_path / "clusters.csv").read_bytes() == cluster_table(CASES["mixed-table"]())
    assert page.complaints == []


def test_the_keyboard_reaches_the_results_and_opens_the_details(opened):
    page = opened("images-with-labels", DESKTOP, "light")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the results"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "SUMMARY":
            break
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.parentElement.open")


@pytest.mark.parametrize("case", ["fifty-clusters", "mixed-table"])
def test_text_in_charts_is_legible_on_a_phone(opened, case):
    """A chart's smallest letters are at least 9 CSS pixels high."""
    page = opened(case, PHONE, "light")
    sizes = page.evaluate(
        """[...document.querySelectorAll('figure svg')].map(chart => {
            const scale = chart.getBoundingClientRect().width / chart.viewBox.baseVal.width;
            return Math.min(...[...chart.querySelectorAll('text')].map(
                text => scale * parseFloat(getComputedStyle(text).fontSize)));
        })"""
    )
    assert len(sizes) >= 10
    assert min(sizes) >= 9.0
