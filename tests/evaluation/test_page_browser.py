"""The page in a real browser: it requests nothing, runs nothing, and is accessible."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser import browser, serious_violations
from page_inputs import NASTY, make_page, make_results

COMMITTED = Path(__file__).resolve().parents[2] / "metrics/report.html"

if TYPE_CHECKING:
    from selenium.webdriver import Chrome


@pytest.fixture(scope="module")
def driver() -> Iterator["Chrome"]:
    """One browser for all tests of this file; without Chromium they are skipped."""
    with browser() as one:
        yield one


def look(driver: "Chrome", url: str, width: int = 1280, scheme: str = "light") -> None:
    """Opens a page at a width in CSS pixels, in a colour scheme."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    driver.get(url)


def requests(driver: "Chrome") -> list[str]:
    """The addresses requested since the last call, blocked ones included; data: URLs are no requests."""
    events = (json.loads(entry["message"])["message"] for entry in driver.get_log("performance"))
    urls = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [url for url in urls if not url.startswith("data:")]


def complaints(driver: "Chrome") -> list[str]:
    """Console messages since the last call."""
    return [entry["message"] for entry in driver.get_log("browser")]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a page on disk."""
    folder = tmp_path_factory.mktemp("page")
    file = folder / "report.html"
    file.write_text(make_page(make_results(folder)), encoding="utf-8")
    return file.as_uri()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark"), (320, "light")])
def test_the_page_is_accessible(driver: "Chrome", url: str, width: int, scheme: str) -> None:
    """On desktop and phone, light and dark: axe-core reports nothing serious, and nothing scrolls sideways."""
    look(driver, url, width, scheme)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    assert serious_violations(driver) == []


@pytest.mark.parametrize("width", [320, 1280])
def test_the_committed_page_has_no_sideways_scroll(driver: "Chrome", width: int) -> None:
    """Real hashes, code and names, which are longer than those of the test page, do not overflow."""
    if not COMMITTED.exists():
        pytest.skip("no metrics/report.html here: `dvc repro report` makes it")
    look(driver, COMMITTED.as_uri(), width)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width


def test_the_page_makes_no_request_and_logs_nothing(driver: "Chrome", url: str) -> None:
    """The browser requests the page alone, and the console stays empty."""
    look(driver, "about:blank")
    requests(driver), complaints(driver)
    look(driver, url)
    assert requests(driver) == [url]
    assert complaints(driver) == []
    assert driver.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_markup_in_documents_is_text(driver: "Chrome", url: str) -> None:
    """A script in a document is shown as text; it becomes no element and does not run."""
    look(driver, url)
    assert driver.execute_script("return document.scripts.length + document.images.length") == 0
    assert driver.execute_script("return typeof planted") == "undefined"
    assert NASTY in driver.execute_script("return document.querySelector('#negatives .document').textContent")


def test_the_browser_tests_can_fail(driver: "Chrome", tmp_path: Path) -> None:
    """A page with a script, an external picture without text, low contrast and overflow fails each of the checks."""
    page = tmp_path / "bad.html"
    body = (
        "<p style='color: #ccc; width: 2000px'>pale</p><img src='http://127.0.0.1:9/x.png'><script>planted = 1</script>"
    )
    page.write_text(f"<!DOCTYPE html><title>bad</title>{body}")
    look(driver, page.as_uri())
    assert "http://127.0.0.1:9/x.png" in requests(driver)
    assert complaints(driver) != []
    assert driver.execute_script("return planted") == 1
    assert driver.execute_script("return document.documentElement.scrollWidth") > 1280
    assert {line.partition(":")[0] for line in serious_violations(driver)} >= {"image-alt", "color-contrast"}
