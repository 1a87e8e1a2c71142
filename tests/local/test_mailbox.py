"""The mailbox holds each mail that SES accepted, raw or simple."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from local.mailbox import Mailbox

RAW = (
    b"From: models@example.com\r\nTo: Ann <ann@example.com>\r\nCc: ben@example.com\r\nSubject: Approve?\r\n"
    b"Content-Type: text/plain\r\n\r\nhttps://example.com/approvals/x\r\n"
)


@pytest.fixture
def ses() -> Iterator[Any]:
    with mock_aws():
        client = boto3.client("sesv2")
        client.create_email_identity(EmailIdentity="example.com")
        yield client


def send(ses: Any, content: dict[str, Any], **destination: list[str]) -> None:
    ses.send_email(FromEmailAddress="models@example.com", Destination=destination, Content=content)


def test_mails_are_kept_once_and_numbered_in_the_order_of_sending(ses: Any) -> None:
    mailbox = Mailbox()
    for _ in range(2):
        send(ses, {"Raw": {"Data": RAW}}, ToAddresses=["ann@example.com"])
        mailbox.take_new()
    mailbox.take_new()
    assert [mail.number for mail in mailbox.newest_first()] == [2, 1]
    assert mailbox.get(3) is None
    kept = mailbox.get(2)
    assert kept is not None
    assert (kept.to, kept.subject) == (("ann@example.com", "ben@example.com"), "Approve?")
    assert kept.links == ["https://example.com/approvals/x"]


def test_a_simple_mail_has_all_its_recipients(ses: Any) -> None:
    content = {"Simple": {"Subject": {"Data": "Hello"}, "Body": {"Html": {"Data": "<p>Hello</p>"}}}}
    send(ses, content, ToAddresses=["ann@example.com", "ben@example.com"], CcAddresses=["cho@example.com"])
    mailbox = Mailbox()
    mailbox.take_new()
    (found,) = mailbox.newest_first()
    shown = found.described()
    assert shown["to"] == ["ann@example.com", "ben@example.com", "cho@example.com"]
    assert (shown["from"], shown["subject"], shown["html"]) == ("models@example.com", "Hello", "<p>Hello</p>")
