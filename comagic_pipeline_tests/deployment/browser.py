"""The Dagster UI in a real browser: Debian's Chromium without a window, steered as a user does it, by clicks and keys.

Add here how to find things on a page of the UI, which its releases may move. What should be on the page is for the
tests to say.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import Any, Literal

import pytest
from selenium import webdriver
from selenium.common.exceptions import TimeoutException, WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from comagic_pipeline_tests.deployment.command_line import PATIENCE

PROGRAMS = ("chromium", "chromedriver")
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # Chromium's own; root cannot use it, and the only pages are ours
    "--disable-dev-shm-usage",  # in containers it is too small
    "--disable-background-networking",
    # High enough for a list of all assets: rows that are out of sight are not in the document.
    "--window-size=1600,1600",
)
_DIALOG = "//*[@role='dialog']"

_MARKED = """
const shades = new Set(), probe = document.body.appendChild(document.createElement("i"));
for (const sheet of document.styleSheets) for (const rule of sheet.cssRules) for (const name of rule.style ?? [])
    if (name.startsWith("--color-") && name.includes(arguments[0])) {
        probe.style.color = `var(${name})`;
        shades.add(getComputedStyle(probe).color);
    }
probe.remove();
if (!shades.size) throw new Error(`the theme has no ${arguments[0]}`);
const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
function isMarked(element) {
    const style = getComputedStyle(element), box = element.getBoundingClientRect();
    const colours = [style.backgroundColor, style.backgroundImage];
    if (hasText(element)) colours.push(style.color);
    if (parseFloat(style.borderTopWidth)) colours.push(style.borderTopColor);
    if (element instanceof SVGElement) colours.push(style.fill, style.stroke);
    return box.width && box.height && element.checkVisibility({visibilityProperty: true})
        && colours.some((colour) => [...shades].some((shade) => colour.includes(shade)));
}
function textAround(element) {
    while (element && !element.innerText?.trim()) element = element.parentElement;
    return [...new Set(element?.innerText.trim().split("\\n"))].join(" ");
}
return [...document.body.querySelectorAll("*")].filter(isMarked).map(textAround);
"""
"""Finds by the shades that the UI's theme gives a colour: dots, icons, bars and borders have no text of their own."""

_CHECKS = """
const names = [...document.querySelectorAll("div[title]")].filter((name) => name.nextElementSibling?.matches("span"));
return Object.fromEntries(names.map((name) => [name.title, name.nextElementSibling.textContent]));
"""


def require_chromium() -> None:
    """Skip the test where Chromium or its driver is missing; fail where CI=true: there the UI has to be tested."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        reason = f"{' and '.join(missing)} not found: install Debian's packages chromium and chromium-driver"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


class Browser:
    """A browser for the UI at an address, as a context manager. A failure within leaves a screenshot in the folder."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        program, driver = map(shutil.which, PROGRAMS)
        options = webdriver.ChromeOptions()
        options.binary_location = program or ""
        for option in _OPTIONS:
            options.add_argument(option)
        # What Chromium leaves goes with it. Not into the test's folder: the path of its socket would be too long.
        self._home = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        environment = os.environ | {"HOME": self._home.name, "TMPDIR": self._home.name}
        # Both programs are named because Selenium would download them otherwise.
        self._driver = webdriver.Chrome(options, webdriver.ChromeService(driver, env=environment))

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        try:
            if error:
                picture = self.folder / "browser.png"
                self._driver.save_screenshot(str(picture))
                error.add_note(f"at {self._driver.current_url}, see {picture}")
        finally:
            self._driver.quit()
            self._home.cleanup()

    def open(self, path: str) -> None:
        """Go to a page. What it shows comes later: wait for it."""
        self._driver.get(self.url + path)

    def wait(self, condition: Callable[[], Any], patience: float = PATIENCE) -> Any:
        """Return the first true value of the condition; the page may be redrawn meanwhile."""

        def look(_: object) -> Any:
            return condition()

        waiting = WebDriverWait(self._driver, patience, 0.3, [WebDriverException])
        try:
            return waiting.until(look)
        except TimeoutException:
            shown = f"red: {self.marked('red')}, text:\n{self.text()}"
            raise AssertionError(f"did not happen in time; the page shows {shown}") from None

    def click(self, path: str) -> None:
        """Click the first element of an XPath as soon as it can be clicked."""

        def click() -> bool:
            self._driver.find_element(By.XPATH, path).click()
            return True

        self.wait(click)

    def text(self) -> str:
        """Return the text that the page shows."""
        return self._driver.find_element(By.TAG_NAME, "body").text

    def marked(self, colour: Literal["red", "green"]) -> list[str]:
        """Return the text of, or around, each thing on the page that has this colour of the UI's theme."""
        return list(self._driver.execute_script(_MARKED, colour))

    def checks(self) -> dict[str, str]:
        """Return the status of each check on the page "Checks" of an asset."""
        return dict(self._driver.execute_script(_CHECKS))

    def materialize(self, source: str, tables: Iterable[str], days: list[date]) -> None:
        """Tick assets in the catalog, choose days that follow each other, launch a backfill and go to its page."""
        self.open("/assets")
        for table in tables:
            self.click(f"//a[@href='/assets/{source}/{table}']/ancestor::*[.//label][1]//label")
        self.click("//button[contains(., 'Materialize selected')]")
        self.click(f"{_DIALOG}//input[@type='text']")
        field = self._driver.switch_to.active_element
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(f"[{days[0]}...{days[-1]}]", Keys.TAB)
        self.wait(lambda: f"{len(days)} partitions" in self.text().splitlines())
        self.click(f"{_DIALOG}//button[contains(., 'Launch backfill')]")
        self.click("//*[contains(@class, 'toast')]//*[self::a or self::button][normalize-space() = 'View']")

    def backfill_status(self) -> str:
        """Return the status on the page of a backfill."""
        return self._driver.find_element(By.XPATH, "//*[text() = 'Status']/following-sibling::*").text
