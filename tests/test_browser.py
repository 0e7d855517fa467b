"""The HTML report in a real browser, in light and dark, on a wide screen and on a telephone.

Skipped where there is no Chromium. Where the environment variable AXE_CORE names the file axe.min.js of the npm package
axe-core, the page is also held against its rules of accessibility.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import samples

from memaudit.reports import html

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
)  # fmt: skip


class _Browser:
    """A browser that is spoken to in the DevTools protocol, over pipes: a message of JSON, then a NUL."""

    def __init__(self, folder: Path) -> None:
        reading, self._commands = os.pipe()
        self._answers, writing = os.pipe()
        wired = f'exec "$@" 3<&{reading} 4>&{writing}'  # where Chromium looks for the pipes
        self._process = subprocess.Popen(
            ["bash", "-c", wired, "sh", str(CHROMIUM), *_FLAGS, f"--user-data-dir={folder}", "about:blank"],
            pass_fds=(reading, writing),
            stderr=subprocess.DEVNULL,
        )
        os.close(reading)
        os.close(writing)
        self._numbers, self._rest = itertools.count(1), b""
        self.events: list[dict[str, Any]] = []
        self._session: str | None = None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "Audits"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> Any:
        """Returns the answer to a command; what happens meanwhile is added to the events."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def wait(self, event: str) -> None:
        """Waits until something has happened."""
        while not any(seen["method"] == event for seen in self.events):
            self.events.append(self._next())

    def evaluate(self, expression: str) -> Any:
        """Returns the value of an expression of JavaScript on the page."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)["result"].get(
            "value"
        )

    def close(self) -> None:
        """Ends the browser."""
        os.close(self._commands)
        os.close(self._answers)
        self._process.terminate()
        self._process.wait(timeout=30)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._answers, 1 << 20)
            assert part, "the browser has ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a report in which everything occurs."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_bytes(html.render(samples.sample_report()))
    return path


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[_Browser]:
    opened = _Browser(tmp_path / "profile")
    yield opened
    opened.close()


def _open(browser: _Browser, page: Path, scheme: str = "light", width: int = 1000, scripts: bool = True) -> None:
    browser.ask("Emulation.setScriptExecutionDisabled", value=not scripts)
    browser.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
    browser.events.clear()
    browser.ask("Page.navigate", url=page.as_uri())
    browser.wait("Page.loadEventFired")


@pytest.mark.parametrize("width", [1000, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_asks_for_nothing_complains_of_nothing_and_fits(
    browser: _Browser, page: Path, scheme: str, width: int
) -> None:
    _open(browser, page, scheme, width)
    asked = [e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
    troubles = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Audits.issueAdded")
    assert not [event for event in browser.events if event["method"] in troubles]
    assert browser.evaluate("document.scrollingElement.scrollWidth - innerWidth") <= 0
    assert browser.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(23, 27, 33)"}[scheme]
    shown = browser.evaluate("[...document.images].filter(i => i.offsetParent).map(i => i.className)")
    assert {"light": "dark", "dark": "light"}[scheme] not in shown
    assert scheme in shown


def test_the_page_is_whole_without_javascript(browser: _Browser, page: Path) -> None:
    _open(browser, page)
    words = browser.evaluate("document.body.innerText")
    _open(browser, page, scripts=False)
    assert browser.evaluate("document.body.innerText") == words
    assert "The model leaks more than the limit allows, with 95% confidence." in words


def test_the_page_can_be_printed_from_a_dark_screen(browser: _Browser, page: Path) -> None:
    _open(browser, page, "dark")
    printed = base64.b64decode(browser.ask("Page.printToPDF", preferCSSPageSize=True)["data"])
    assert printed.startswith(b"%PDF")
    assert 5 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 30


@pytest.mark.skipif("AXE_CORE" not in os.environ, reason="AXE_CORE does not name axe.min.js")
@pytest.mark.parametrize("width", [1000, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_rule_of_accessibility_is_broken(browser: _Browser, page: Path, scheme: str, width: int) -> None:
    _open(browser, page, scheme, width)
    browser.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    browser.evaluate(Path(os.environ["AXE_CORE"]).read_text("utf-8") + "; 1")
    found = browser.evaluate(
        "axe.run(document).then(r => ({broken: r.violations.map(v => v.id), kept: r.passes.length}))"
    )
    assert found["broken"] == []
    assert found["kept"] > 30
