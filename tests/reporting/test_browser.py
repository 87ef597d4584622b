"""The page in a real browser: what it shows without a script, what the script adds, and whether everybody can use it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from difftuning.reporting.page import render
from report_data import full

pytestmark = pytest.mark.slow  # a browser on a busy machine takes minutes

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 120_000
"""Milliseconds; a loaded machine is slow to start a browser."""
WIDTHS = {"desktop": 1280, "phone": 390}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        own = driver.chromium.executable_path
        found = next(filter(None, map(shutil.which, BROWSERS)), own if Path(own).is_file() else None)
        if found is None:
            pytest.skip("no Chromium; install the package `chromium`, or run `playwright install chromium`")
        # The sandbox of Chromium does not start for root, which a container often is.
        opened = driver.chromium.launch(executable_path=found, args=["--no-sandbox"], timeout=PATIENCE)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(full()), encoding="utf-8")
    return path


def opened(browser: Browser, file: Path, width: int = 1280, scheme: str = "light", script: bool = True) -> Page:
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if scheme == "dark" else "light",
        java_script_enabled=script,
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(file.as_uri())
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_has_no_serious_fault_of_accessibility_and_fits(
    browser: Browser, file: Path, scheme: str, width: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = opened(browser, file, WIDTHS[width], scheme)
    found = Axe().run(page).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert not serious, json.dumps([(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in serious])
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_its_picture_is_as_bright_as_was_asked_and_full_of_things(
    browser: Browser, file: Path, scheme: str, width: str, tmp_path: Path
) -> None:
    page = opened(browser, file, WIDTHS[width], scheme)
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    picture = np.asarray(Image.open(tmp_path / "page.png").convert("L"), dtype=np.float32)
    assert picture.shape[1] == WIDTHS[width]
    background = float(np.median(picture))
    assert (background > 200) == (scheme == "light")
    assert (background < 60) == (scheme == "dark")
    # No stretch as high as a window is empty.
    drawn = (np.abs(picture - background) > 40).any(1)
    empty = np.diff(np.flatnonzero(np.concatenate([[True], drawn, [True]])))
    assert int(empty.max()) < 900
    page.context.close()


HOSTILE = """</title></script><script>harmed=1</script><img src=x onerror="harmed = 1"><svg onload="harmed = 1">"'${harmed = 1}`"""
"""What a caption, a class or a run may be called: it leaves text, attributes and scripts by every way out that there is."""


def test_a_hostile_caption_is_text_and_does_nothing(browser: Browser, tmp_path: Path) -> None:
    told = full(name=HOSTILE, text=HOSTILE)
    (tmp_path / "report.html").write_text(render(told), encoding="utf-8")
    page = opened(browser, tmp_path / "report.html")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for summary in page.locator("summary").all():
        summary.click()
    for control in page.locator("input[type=range]").all():
        control.press("ArrowRight")
    for mark in page.locator("[tabindex='0']").all():
        mark.focus()
    page.locator("svg[role=img]").first.hover()
    assert page.evaluate("typeof harmed") == "undefined"
    assert page.locator("script").count() == 1
    assert page.locator("img[src='x'], [onerror], [onload]").count() == 0
    assert not [url for url in asked if not url.startswith("data:")]
    assert page.title().startswith(HOSTILE[:20])
    assert page.locator("body").inner_text().count(HOSTILE) > 5
    page.context.close()


def test_without_a_script_everything_is_told(browser: Browser, file: Path) -> None:
    page = opened(browser, file, script=False)
    assert [page.locator(".slide").nth(index).is_visible() for index in range(4)] == [True, True, False, False]
    assert page.locator("svg[role=img]").count() == page.locator("details", has_text="the numbers").count() == 7
    assert page.locator(".tools").count() == page.locator("input").count() == 0
    page.context.close()


def test_pointing_at_a_curve_tells_its_number_and_a_box_zooms(browser: Browser, file: Path) -> None:
    asked: list[str] = []
    faults: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE)
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    page.goto(file.as_uri())
    figure = page.locator("figure", has_text="on held-out images of the target")
    svg, tip = figure.locator("svg"), figure.locator(".tip")
    svg.scroll_into_view_if_needed()
    told = json.loads(svg.locator("metadata").text_content() or "")
    ours = next(one for one in told["series"] if one["name"] == "diff-tuning")
    (x, y), (left, top, right, bottom) = ours["points"][4], told["box"]
    place = svg.evaluate(
        "(svg, [x, y]) => { const p = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM()); return [p.x, p.y]; }",
        [
            left + (x - told["xlim"][0]) / (told["xlim"][1] - told["xlim"][0]) * (right - left),
            bottom - (y - told["ylim"][0]) / (told["ylim"][1] - told["ylim"][0]) * (bottom - top),
        ],
    )
    page.mouse.move(*place)
    assert tip.inner_text().splitlines()[0] == "diff-tuning"
    assert tip.inner_text().splitlines()[1:] == [
        "forgetting clock u (0: data, 1: noise): 0.45",
        "held-out error: change in %: -10",
    ]
    page.mouse.move(place[0] - 30, place[1] - 30)
    page.mouse.down()
    page.mouse.move(place[0] + 30, place[1] + 30)
    page.mouse.up()
    assert "zoomed" in (svg.get_attribute("class") or "")
    labels = [float(text) for text in svg.locator(".view text").all_text_contents()]
    assert labels
    assert min(abs(label - 0.45) for label in labels) < 0.1
    page.mouse.dblclick(*place)
    assert "zoomed" not in (svg.get_attribute("class") or "")
    assert asked == [file.as_uri()], "the page asked for something outside itself"
    assert not faults
    page.close()


def test_the_keyboard_reaches_every_point(browser: Browser, file: Path) -> None:
    page = opened(browser, file)
    figure = page.locator("figure", has_text="on held-out images of the target")
    figure.get_by_role("button", name="next point").press("Enter")
    assert figure.get_by_role("status").inner_text().startswith("pretrained")
    figure.get_by_role("button", name="previous point").press("Enter")
    assert figure.get_by_role("status").inner_text().startswith("diff-tuning")
    figure.get_by_role("button", name="zoom in").press("Enter")
    assert figure.locator("svg.zoomed").count() == 1
    figure.get_by_role("button", name="show all of it").press("Enter")
    assert figure.locator("svg.zoomed").count() == 0
    page.context.close()


def test_the_sliders_move_over_steps_and_shares(browser: Browser, file: Path) -> None:
    page = opened(browser, file)
    steps = page.get_by_role("slider", name="training step")
    shown = page.locator(".slide.shown")
    assert shown.evaluate_all("all => all.map((one) => one.dataset.place)") == ["10", "0 %"]
    steps.press("Home")
    assert shown.first.get_attribute("data-place") == "0"
    assert page.locator(".slider").first.inner_text() == "training step: 0"
    page.get_by_role("slider", name="last steps taken by the pretrained model").press("End")
    assert shown.last.get_attribute("data-place") == "50 %"
    page.context.close()


def test_the_page_of_a_run_that_goes_on_follows_it(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(render(replace(full(), title="one", reload=1)), encoding="utf-8")
    page = opened(browser, file)
    page.wait_for_function("document.title === 'one'")
    file.write_text(render(replace(full(), title="two")), encoding="utf-8")
    page.wait_for_function("document.title === 'two'")
    page.context.close()
