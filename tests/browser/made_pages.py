"""Pages that tests have rendered, in a browser as if they had come from the service."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from playwright.sync_api import Browser, BrowserContext, Page, Route

from promotion.rendering.pages import stylesheet

ADDRESS = "https://promotion.example.com"
Shows = Callable[..., Page]


@contextmanager
def showing(browser: Browser, pages: Mapping[str, str]) -> Iterator[Shows]:
    """Yield a function that opens a page by its name; `width` and `dark` say in what kind of browser."""
    contexts: dict[tuple[int, bool], BrowserContext] = {}

    def answer(route: Route) -> None:
        path = route.request.url.removeprefix(ADDRESS)
        if path.startswith("/static/"):
            route.fulfill(body=stylesheet(), content_type="text/css; charset=utf-8")
        else:
            route.fulfill(body=pages[path.strip("/")], content_type="text/html; charset=utf-8")

    def show(name: str, *, width: int, dark: bool = False) -> Page:
        key = (width, dark)
        if key not in contexts:
            contexts[key] = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
            )
            contexts[key].route("**/*", answer)
        opened = contexts[key].new_page()
        opened.goto(f"{ADDRESS}/{name}", wait_until="load")
        return opened

    yield show
    for context in contexts.values():
        context.close()
