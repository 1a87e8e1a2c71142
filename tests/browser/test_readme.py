"""The pictures of the README's tour: drawn from what pages and mails are now, and told when they no longer are.

`UPDATE_SNAPSHOTS=1 pytest tests/browser/test_readme.py` draws them anew. Each says in itself of which HTML it was drawn, so
that the fonts of a machine change nothing.
"""

from __future__ import annotations

import hashlib
import os
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Browser

from promotion.rendering import pages
from tests.browser.test_stories import many_groups
from tests.rules import scenarios
from tests.rules.snapshots import SNAPSHOTS

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "pictures"
DRAWN_OF = "Drawn of"
# In letters that every machine has a font for.
PEOPLE = ("Ann Adler", "Ben Okri", "Yael Cohen", "Wang Xiaoming", "Zoë Ångström")
# How much of each is shown, in CSS pixels.
SHOWN = {
    "mail": (700, 560),
    "request": (1280, 1130),
    "approved": (1280, 620),
    "board": (1280, 1300),
    "compare": (1280, 1000),
    "model": (1280, 1130),
}
PAGES = {"request": "request-open", "approved": "request-applied", "compare": "version-compared", "model": "model"}


def source_of(name: str) -> str:
    if name == "mail":
        return (SNAPSHOTS / "mails" / "registration.html").read_text(encoding="utf-8")
    html = many_groups(PEOPLE) if name == "board" else scenarios.pages()[PAGES[name]]
    return html.replace("</head>", f"<style>{pages.stylesheet()}</style></head>")


@pytest.mark.parametrize("name", SHOWN)
def test_a_picture_of_the_readme_shows_what_is_there_now(name: str, browser: Browser) -> None:
    html, path = source_of(name), PICTURES / f"{name}.png"
    digest = hashlib.sha256(html.encode()).hexdigest()
    if os.environ.get("UPDATE_SNAPSHOTS"):
        draw(html, path, browser, *SHOWN[name], digest)
    assert f"docs/pictures/{name}.png" in (ROOT / "README.md").read_text(encoding="utf-8")
    with Image.open(path) as picture:
        drawn_of = picture.info.get(DRAWN_OF)
    assert drawn_of == digest, f"{name}.png shows what was: run with UPDATE_SNAPSHOTS=1, look at it, and commit it."


def draw(html: str, path: Path, browser: Browser, width: int, height: int, digest: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
    page.set_content(html, wait_until="load")
    if path.stem == "compare":
        page.locator("#compare").evaluate("heading => heading.scrollIntoView()")
    seen = Image.open(BytesIO(page.screenshot()))
    page.close()
    about = PngInfo()
    about.add_text(DRAWN_OF, digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A palette: a third of the bytes, and no eye sees the difference on flat colours.
    seen.convert("RGB").quantize(128).save(path, pnginfo=about, optimize=True)
