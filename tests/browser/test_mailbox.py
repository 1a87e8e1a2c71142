"""The local service's mailbox on a phone: a long list, or the mail that was opened, and nothing wider than the screen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from local.mailbox import Mail
from local.own_pages import OwnPages
from local.payload import IncomingRequest
from tests.browser.conftest import shot

MAILS = 200
NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)


class Mails:
    """Two hundred mails, the newest first."""

    def newest_first(self) -> list[Mail]:
        return [
            Mail(
                number=number,
                sender="models@example.com",
                to=("ann@example.com", "ben@example.com"),
                subject=f"[dev] harbour-summariser v{number}: approve for dev",
                text="Approve?",
                html="<p>Approve?</p>",
                headers={},
                attachments=(),
                sent_at=NOW + timedelta(minutes=number),
            )
            for number in range(MAILS, 0, -1)
        ]


def opened(browser: Browser, path: str, width: int) -> Page:
    mailbox: Any = Mails()
    unused: Any = None
    answer = OwnPages(mailbox, unused, unused).answer(
        IncomingRequest(method="GET", target=path, headers=(), body=b"", source_ip="127.0.0.1")
    )
    assert answer is not None
    page = browser.new_page(viewport={"width": width, "height": 844})
    page.set_content(bytes(answer.body).decode())
    return page


@pytest.mark.parametrize("width", [360, 390])
def test_of_200_mails_a_phone_shows_the_list_or_the_one_that_was_opened(browser: Browser, width: int) -> None:
    listed, mail = (opened(browser, path, width) for path in ("/_local/mailbox", "/_local/mailbox/7"))
    assert listed.locator("nav a strong").count() == MAILS
    assert not listed.locator("main").is_visible()
    heading = mail.get_by_role("heading", name="[dev] harbour-summariser v7: approve for dev").bounding_box()
    assert heading is not None
    assert heading["y"] < 200, "in the first screen"
    assert not mail.locator("nav").is_visible()
    assert mail.get_by_role("link", name="All mails").is_visible()
    for page, name in ((listed, "list"), (mail, "mail")):
        shot(page, f"mailbox-{name}-{width}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.close()
