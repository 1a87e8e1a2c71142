"""Headless Chromium on the pages, with screenshots of all that is seen into build/screenshots/."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from promotion.domain.people import Person
from tests.security.attacked import Attacked

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
NAMES = ("chromium", "chromium-browser", "google-chrome")

Opens = Callable[..., Page]
# A page that follows a decision answers after six seconds on a busy machine, and Playwright's own patience is five.
PATIENCE_MS = 120_000
expect.set_options(timeout=PATIENCE_MS)


# Not for the session: Playwright keeps an event loop running in this thread until it stops, where asyncio.run fails.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        pytest.fail(f"The browser tests need Chromium: none of {', '.join(NAMES)} is on PATH. `make test` says how.")
    with sync_playwright() as playwright:
        # Debian's Chromium refuses to run as root with its sandbox.
        running = playwright.chromium.launch(
            executable_path=found,
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
            timeout=PATIENCE_MS,
        )
        yield running
        running.close()


@pytest.fixture
def opens(attacked: Attacked, browser: Browser) -> Iterator[Opens]:
    """Opens a path of the service as somebody; `width`, `dark` and `scripts` say in what kind of browser."""
    contexts: list[BrowserContext] = []

    def open_page(
        path: str, who: Person | None = None, *, width: int = 1280, dark: bool = False, scripts: bool = True
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            java_script_enabled=scripts,
            reduced_motion="reduce",
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        if who is not None:
            name, _, value = attacked.cookie(who).partition("=")
            context.add_cookies([{"name": name, "value": value, "url": attacked.service.url}])
        page = context.new_page()
        page.goto(f"{attacked.service.url}{path}")
        return page

    yield open_page
    for context in contexts:
        context.close()


def shot(page: Page, name: str) -> None:
    """Keeps what is to be seen, whole."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
