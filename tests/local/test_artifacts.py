"""The demo's files: its report, and each mail in the order of sending, with its pictures inside."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from local.artifacts import save_mails, save_report

WEB = "http://127.0.0.1:8000"


def mail(subject: str, *, html: str | None = "<p>Hello</p>", pictures: tuple[str, ...] = ()) -> dict[str, Any]:
    """A mail as /_local/mailbox.json lists it."""
    attachments = [
        {"url": f"/_local/mailbox/1/attachments/{index}", "content_type": "image/png", "content_id": name}
        for index, name in enumerate(pictures)
    ]
    return {
        "to": ["ann@example.com", "ben@example.com"],
        "subject": subject,
        "text": "Hello",
        "html": html,
        "attachments": attachments,
    }


def test_the_report_is_readable_json(tmp_path: Path) -> None:
    save_report(tmp_path, {"person": "Søren", "closed": True})
    written = (tmp_path / "report.json").read_text()
    assert json.loads(written) == {"person": "Søren", "closed": True}
    assert "Søren" in written


def test_mails_are_numbered_in_the_order_of_sending(tmp_path: Path) -> None:
    save_mails(tmp_path / "mails", WEB, [mail("[dev] v2: approve/reject?"), mail("first " + "x" * 100)])
    assert sorted(file.name for file in (tmp_path / "mails").iterdir()) == [
        f"01-first-{'x' * 54}.html",
        f"01-first-{'x' * 54}.txt",
        "02--dev--v2--approve-reject-.html",
        "02--dev--v2--approve-reject-.txt",
    ]
    text = (tmp_path / "mails" / "02--dev--v2--approve-reject-.txt").read_text()
    assert text == "To: ann@example.com, ben@example.com\nSubject: [dev] v2: approve/reject?\n\nHello"


def test_a_mails_pictures_are_inside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def get(url: str, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(content=f"PNG of {url}".encode())

    monkeypatch.setattr(requests, "get", get)
    html = '<img src="cid:roc"><img src="cid:matrix">'
    save_mails(tmp_path, WEB, [mail("v1", html=html, pictures=("roc", "matrix"))])
    written = (tmp_path / "01-v1.html").read_text()
    assert [base64.b64decode(data).decode() for data in re.findall('src="data:image/png;base64,([^"]+)"', written)] == [
        f"PNG of {WEB}/_local/mailbox/1/attachments/{index}" for index in (0, 1)
    ]


def test_a_mail_without_html_has_an_empty_page(tmp_path: Path) -> None:
    save_mails(tmp_path, WEB, [mail("v1", html=None)])
    assert (tmp_path / "01-v1.html").read_text() == ""
