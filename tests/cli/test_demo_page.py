"""Demo page in Chromium: by keyboard, on a phone, in dark mode, with a hostile document."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser import browser, serious_violations
from demo_project import HOSTILE, finished_pipeline, served

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytest.importorskip("selenium")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, tiny_onnx: Path, other_onnx: Path) -> Iterator[str]:
    with served(finished_pipeline(tmp_path_factory.mktemp("page") / "project", other_onnx, tiny_onnx)) as address:
        yield address


@pytest.fixture(scope="module")
def desk() -> Iterator["Chrome"]:
    with browser() as driver:
        yield driver


def keys(driver: "Chrome", *pressed: str) -> None:
    """Presses keys wherever the focus is."""
    from selenium.webdriver import ActionChains

    ActionChains(driver).send_keys(*pressed).perform()


def focused(driver: "Chrome") -> str:
    return str(driver.execute_script("return document.activeElement.tagName"))


def titles(driver: "Chrome", system: str) -> list[str]:
    headings = driver.find_elements("css selector", f"section[aria-labelledby={system}] article h3")
    return [heading.text for heading in headings]


def test_a_search_a_text_and_an_example_work_by_keyboard_alone(url: str, desk: "Chrome") -> None:
    """The box has the focus; Enter searches; Tab reaches each text, Enter unfolds it; then come the examples."""
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.expected_conditions import title_contains
    from selenium.webdriver.support.wait import WebDriverWait

    desk.get(url)
    assert focused(desk) == "INPUT"
    keys(desk, "stack rows", Keys.ENTER)
    WebDriverWait(desk, 300).until(title_contains("stack rows"))
    assert len(titles(desk, "base")) == len(titles(desk, "tuned")) == 7
    assert titles(desk, "base") != titles(desk, "tuned")
    assert "cosine" in desk.find_element("css selector", "article .facts").text
    assert len(desk.find_elements("css selector", "article.answer")) == 2
    for _ in range(12):
        keys(desk, Keys.TAB)
        if focused(desk) == "SUMMARY":
            break
    keys(desk, Keys.ENTER)
    assert desk.find_element("css selector", "details[open] pre").is_displayed()
    for _ in range(60):
        keys(desk, Keys.TAB)
        if focused(desk) == "A" and "sort rows" in desk.switch_to.active_element.text:
            break
    keys(desk, Keys.ENTER)
    WebDriverWait(desk, 300).until(title_contains("sort rows & <columns>"))
    assert desk.find_element("id", "q").get_property("value") == "sort rows & <columns>"


def test_a_document_with_script_is_shown_as_text(url: str, desk: "Chrome") -> None:
    """Letter by letter in both columns; no script ran and no element was made."""
    desk.get(f"{url}?q=hostile")
    shown = [each.get_property("textContent") for each in desk.find_elements("css selector", "article pre")]
    assert shown.count(HOSTILE) == 2
    assert desk.title == "hostile · attune: base and tuned side by side"
    assert not desk.find_elements("css selector", "script, main img, main i, h3 i")
    assert "<i>hostile</i>" in titles(desk, "tuned")


def test_no_request_leaves_the_page_and_the_console_is_silent(url: str, desk: "Chrome") -> None:
    """By Chromium's own log of requests, emptied before."""
    for kind in ("performance", "browser"):
        desk.get_log(kind)
    desk.get(f"{url}?q=graph")
    events = [json.loads(entry["message"])["message"] for entry in desk.get_log("performance")]
    requested = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    assert {f"{url}?q=graph", f"{url}demo.css"} <= requested
    assert {each for each in requested if not each.startswith((url, "data:"))} == set()
    assert desk.get_log("browser") == []


def test_script_is_forbidden_even_if_it_got_in(url: str, desk: "Chrome") -> None:
    """The Content-Security-Policy holds: an inline script added to the page does not run."""
    desk.get(f"{url}?q=graph")
    put = "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s)"
    desk.execute_script(
        f"{put}; document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = 1\">')"
    )
    assert desk.execute_script("return window.ran === undefined")


def test_axe_finds_nothing_serious(url: str, desk: "Chrome") -> None:
    """On the start page, with results, and with a refused query."""
    for path in ("", "?q=stack%20rows", f"?q={'x' * 2001}"):
        desk.get(url + path)
        assert serious_violations(desk) == []


def test_it_is_readable_on_a_phone_and_in_the_dark(url: str) -> None:
    """390 pixels: one column, no sideways scrolling, a button of 44 pixels; dark mode: contrast by axe."""
    with browser(390, 844, dark=True) as phone:
        phone.get(f"{url}?q=hostile")
        assert phone.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        base, tuned = (phone.find_element("id", name).rect for name in ("base", "tuned"))
        assert base["x"] == tuned["x"] and base["y"] < tuned["y"]
        assert phone.find_element("css selector", "form button").rect["height"] >= 44
        ground = phone.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert sum(map(int, ground.removeprefix("rgb(").removesuffix(")").split(","))) < 150
        assert serious_violations(phone) == []


def test_the_tests_of_requests_and_of_axe_can_fail(desk: "Chrome") -> None:
    """On a page with another server's picture, without alternative text."""
    desk.get_log("performance")
    desk.get("data:text/html,<!doctype html><title>x</title><img src='http://127.0.0.1:9/x.png'>")
    assert any("127.0.0.1:9/x.png" in entry["message"] for entry in desk.get_log("performance"))
    assert any("image-alt" in line for line in serious_violations(desk))
