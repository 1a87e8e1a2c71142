"""A decision's record on paper: what Chromium prints of it, in build/screenshots/ to be looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, Page

from promotion.ledger import decision_export
from promotion.rendering import record
from tests.browser.conftest import SCREENSHOTS
from tests.fakes import ANN, CONFIG, FakeService, signed_in

# The text area of A4 within the record's margins, at CSS's 96 pixels an inch.
WIDTH, HEIGHT = round((210 - 32) / 25.4 * 96), round((297 - 38) / 25.4 * 96)


def signed_record() -> str:
    """A version that climbed three environments by signatures, with reasons that take room."""
    fake = FakeService(
        replace(CONFIG, environments=tuple(replace(each, signature=True) for each in CONFIG.environments))
    )
    fake.register(1)
    for name, before in (("dev", ""), ("test", "dev")):
        if before:
            fake.measure(1, before)
        fake.decide(1, name, signed_in(ANN, fake.now), reason="Read the evidence. " * 20)
    return record.write(decision_export.bundle(fake.asked(1, "test"), fake.events())).decode()


@pytest.fixture
def printed(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    page.set_content(signed_record())
    page.emulate_media(media="print")
    yield page
    page.close()


def test_it_prints_on_a4_with_its_request_on_each_page(printed: Page) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    pdf = printed.pdf(path=SCREENSHOTS / "record.pdf", prefer_css_page_size=True)
    printed.screenshot(path=SCREENSHOTS / "record-on-paper.png", full_page=True)
    sizes = {tuple(round(float(each)) for each in box.split()) for box in re.findall(rb"/MediaBox\s*\[([^\]]+)\]", pdf)}
    assert {(width, height) for _, _, width, height in sizes} <= {(595, 842), (596, 842)}
    assert sizes, "no page was printed"


def test_nothing_is_cut_off_at_the_margin(printed: Page) -> None:
    assert printed.evaluate("document.documentElement.scrollWidth") <= WIDTH
    wide = printed.evaluate(
        f"[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > {WIDTH} + 1).length"
    )
    assert wide == 0


def test_a_signature_stays_on_one_page(printed: Page) -> None:
    found = printed.eval_on_selector_all(
        ".signature", "all => all.map(e => [getComputedStyle(e).breakInside, e.getBoundingClientRect().height])"
    )
    assert len(found) == 2
    for breaks, height in found:
        assert breaks == "avoid"
        # One that is higher than a page would be torn all the same.
        assert height < HEIGHT


def test_paper_says_that_it_encloses_no_events(printed: Page) -> None:
    said = printed.get_by_text("A printed copy encloses no events")
    assert said.is_visible()
    printed.emulate_media(media="screen")
    assert not said.is_visible()
