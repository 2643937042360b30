"""A page in headless Chromium, by the devtools protocol: what it says, what it asks for, what sticks out of it.

By hand, for pictures: `python tests/support/report_browser.py PAGE.html FOLDER`.
"""

from __future__ import annotations

import asyncio
import base64
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-default-apps"),
    *("--disable-extensions", "--remote-debugging-port=0"),
]
WIDTHS, THEMES = (360, 768, 1400), ("light", "dark")
PATIENCE = 30.0

OVERFLOW = """[...document.querySelectorAll('body *')].filter(e => {
  if (e.closest('svg') && e.tagName !== 'svg') return false;
  for (let p = e.parentElement; p; p = p.parentElement)
    if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(p).overflowX)) return false;
  const box = e.getBoundingClientRect();
  return box.width && (box.right > innerWidth + 0.5 || box.left < -0.5);
}).map(e => e.tagName + '.' + e.className).concat(
  document.documentElement.scrollWidth > innerWidth ? ['the page: ' + document.documentElement.scrollWidth] : [])"""
"""What stands out of the window, but for what scrolls within itself."""

CONTRAST = """(() => {
  const rgb = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const part = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = c => 0.2126 * part(c[0]) + 0.7152 * part(c[1]) + 0.0722 * part(c[2]);
  const behind = e => { for (; e; e = e.parentElement) {
    const c = rgb(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] > 0) return c; } return [255, 255, 255]; };
  const low = [];
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || !e.getClientRects().length) continue;
    const style = getComputedStyle(e), ink = light(rgb(e.tagName === 'text' ? style.fill : style.color));
    const paper = light(behind(e)), ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (ratio < 4.5) low.push(ratio.toFixed(2) + ' ' + e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 30));
  }
  return low;
})()"""
"""Texts of less contrast than 4.5 to 1."""


@dataclass
class Seen:
    """`said`: on the console; `asked`: every address but the page's own; `out` and `faint` by width and theme."""

    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    out: dict[tuple[int, str], list[str]] = field(default_factory=dict)
    faint: dict[tuple[int, str], list[str]] = field(default_factory=dict)


def look(page: Path, pictures: Path | None = None) -> Seen:
    """The page at each width and in each theme; `pictures`: a folder for what it looks like."""
    with _chromium() as port:
        return asyncio.run(_look(page.absolute().as_uri(), port, pictures))


@contextmanager
def _chromium() -> Iterator[int]:
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [CHROMIUM, *FLAGS, f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            line = next(line for line in process.stderr if "DevTools listening" in line)
            yield int(line.split("127.0.0.1:")[1].split("/")[0])
        finally:
            process.kill()
            process.communicate()


class Tab:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self.events: list[dict[str, Any]] = []

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        while True:
            message = await self._socket.receive_json(timeout=PATIENCE)
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    async def heard(self, method: str) -> None:
        """Returns when the browser has said so."""
        while not any(event.get("method") == method for event in self.events):
            self.events.append(await self._socket.receive_json(timeout=PATIENCE))

    async def value(self, script: str) -> Any:
        result = await self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"]["value"]


async def _look(url: str, port: int, pictures: Path | None) -> Seen:
    seen = Seen()
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            target = next(tab for tab in await answer.json() if tab["type"] == "page")["webSocketDebuggerUrl"]
        async with session.ws_connect(target, max_msg_size=0) as socket:
            tab = Tab(socket)
            for domain in ("Log", "Runtime", "Network", "Page"):
                await tab.ask(f"{domain}.enable")
            await tab.ask("Page.navigate", url=url)
            await tab.heard("Page.loadEventFired")
            for width in WIDTHS:
                for theme in THEMES:
                    await _shown(tab, width, theme, seen, pictures)
    _heard(tab, url, seen)
    return seen


async def _shown(tab: Tab, width: int, theme: str, seen: Seen, pictures: Path | None) -> None:
    feature = {"name": "prefers-color-scheme", "value": theme}
    await tab.ask("Emulation.setEmulatedMedia", media="screen", features=[feature])
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 700}
    await tab.ask("Emulation.setDeviceMetricsOverride", **size)
    seen.out[width, theme] = await tab.value(OVERFLOW)
    seen.faint[width, theme] = await tab.value(CONTRAST)
    if pictures is not None:
        taken = await tab.ask("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        (pictures / f"{width}-{theme}.png").write_bytes(base64.b64decode(taken["data"]))


def _heard(tab: Tab, url: str, seen: Seen) -> None:
    for event in tab.events:
        method, params = event.get("method"), event.get("params", {})
        if method == "Log.entryAdded":
            seen.said.append(params["entry"]["text"])
        elif method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            seen.said.append(str(params))
        elif method == "Network.requestWillBeSent" and params["request"]["url"] not in (url, "data:,"):
            seen.asked.append(params["request"]["url"])


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    print(look(Path(sys.argv[1]), folder))  # noqa: T201
