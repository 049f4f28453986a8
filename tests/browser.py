"""Headless Chromium and axe-core for tests of pages; tests are skipped where either is missing."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

AXE = "ATTUNE_AXE"  # variable with the path of axe.min.js (npm pack axe-core); default: PyPI's axe-core-python
NO_CHROMIUM = "needs Chromium and its driver (Debian: apt-get install chromium chromium-driver)"


@contextmanager
def browser(width: int = 1280, height: int = 900, dark: bool = False) -> Iterator["Chrome"]:
    """Yields a driver that logs requests and the console, with a window of this size in CSS pixels."""
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    driver_file = shutil.which("chromedriver")
    if not binary or not driver_file:
        pytest.skip(NO_CHROMIUM)
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    # containers need no-sandbox; the last flag prevents Chromium's own requests
    for flag in "headless=new no-sandbox disable-dev-shm-usage disable-gpu disable-background-networking".split():
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_file))
    driver.set_script_timeout(300)  # axe-core takes its time on a machine that does other work
    try:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        yield driver
    finally:
        driver.quit()


def serious_violations(driver: "Chrome") -> list[str]:
    """Returns axe-core's serious and critical violations on the current page, one line each."""
    path = Path(os.environ.get(AXE) or Path(pytest.importorskip("axe_core_python").__file__).with_name("axe.min.js"))
    # the page's Content-Security-Policy does not restrict the debugger
    driver.execute_cdp_cmd("Runtime.evaluate", {"expression": path.read_text(encoding="utf-8")})
    result: dict[str, Any] = driver.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    return [
        f"{violation['id']}: {violation['help']}: {[node['target'] for node in violation['nodes']]}"
        for violation in result["violations"]
        if violation["impact"] in ("serious", "critical")
    ]
