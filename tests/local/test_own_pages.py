"""The mailbox's pages: a mail with its pictures, and attachments, of which only pictures are shown in the browser."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from local.mailbox import Attachment, Mail
from local.own_pages import OwnPages
from local.payload import IncomingRequest, Response


class Mails:
    """A mailbox with at most one mail."""

    def __init__(self, *mails: Mail) -> None:
        self._mails = list(mails)

    def newest_first(self) -> list[Mail]:
        return self._mails

    def get(self, number: int) -> Mail | None:
        return next((mail for mail in self._mails if mail.number == number), None)


def attached(content_type: str, content_id: str = "") -> Attachment:
    return Attachment("file", content_type, content_id, b"content", inline=bool(content_id))


def mail(*attachments: Attachment, html: str = "", text: str = "") -> Mail:
    return Mail(
        number=1,
        sender="models@example.com",
        to=("ann@example.com",),
        subject="Approve?",
        text=text,
        html=html,
        headers={},
        attachments=attachments,
        sent_at=datetime(2026, 11, 30, tzinfo=UTC),
    )


def got(mails: Mails, path: str) -> Response:
    mailbox: Any = mails
    unused: Any = None
    answer = OwnPages(mailbox, unused, unused).answer(
        IncomingRequest(method="GET", target=path, headers=(), body=b"", source_ip="127.0.0.1")
    )
    assert answer is not None
    return answer


@pytest.mark.parametrize(
    ("content_type", "shown"),
    [("image/png", True), ("image/svg+xml", False), ("text/html", False), ("application/pdf", False)],
)
def test_only_a_picture_without_scripts_is_shown(content_type: str, shown: bool) -> None:
    answer = got(Mails(mail(attached(content_type))), "/_local/mailbox/1/attachments/0")
    headers = dict(answer.headers)
    assert (answer.status, answer.body, headers["content-type"]) == (200, b"content", content_type)
    assert headers.get("content-disposition", "inline") == ("inline" if shown else "attachment")
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["1/attachments/1", "2/attachments/0", "2/html"])
def test_a_part_that_does_not_exist_is_not_found(path: str) -> None:
    assert got(Mails(mail(attached("image/png"))), f"/_local/mailbox/{path}").status == 404


def test_a_mails_pictures_come_from_the_mailbox() -> None:
    pictures = (attached("application/pdf"), attached("image/png", "roc"), attached("image/png", "matrix"))
    shown = got(Mails(mail(*pictures, html='<img src="cid:matrix"><img src="cid:roc">')), "/_local/mailbox/1/html")
    text = bytes(shown.body).decode()
    assert '<img src="/_local/mailbox/1/attachments/2"><img src="/_local/mailbox/1/attachments/1">' in text
    assert "cid:" not in text


def test_a_mail_without_html_is_shown_as_its_text() -> None:
    shown = got(Mails(mail(text="a < b")), "/_local/mailbox/1/html")
    assert ">a &lt; b</pre>" in bytes(shown.body).decode()


def test_a_mail_lists_its_attachments_with_links() -> None:
    page = bytes(got(Mails(mail(attached("application/pdf"))), "/_local/mailbox").body).decode()
    assert "<a href='/_local/mailbox/1/attachments/0'>file</a>" in page


def test_an_empty_mailbox_tells_how_to_get_a_mail() -> None:
    page = bytes(got(Mails(), "/_local/mailbox").body).decode()
    assert "No mail yet." in page
    assert "Register a model package, then reload." in page
