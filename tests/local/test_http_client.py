"""A visitor of the local service sends what a browser would, and says when a sign-in did not work."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from requests.adapters import BaseAdapter

from local.http_client import Visitor

LINK = "/approvals/token"
FORM = '<form action="/interaction/1"><input name="prompt" value="login"></form><form action="/other"></form>'


class Site(BaseAdapter):
    """Gives the answers in order, and keeps what was sent."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        super().__init__()
        self.answers: Iterator[tuple[int, str]] = iter(answers)
        self.sent: list[tuple[str, str, str]] = []

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        self.sent.append((str(request.method), request.path_url, str(request.body or "")))
        made = requests.Response()
        made.status_code, text = next(self.answers)
        made.raw = io.BytesIO(text.encode())
        made.url, made.request = str(request.url), request
        return made

    def close(self) -> None:
        pass


def visiting(*answers: tuple[int, str]) -> tuple[Visitor, Site]:
    visitor, site = Visitor("http://127.0.0.1:8000", "ann"), Site(*answers)
    visitor.http.mount("http://", site)
    return visitor, site


def page(csrf: str) -> tuple[int, str]:
    return 200, json.dumps({"csrf": csrf})


def test_a_provider_without_a_form_is_named_by_its_answer() -> None:
    visitor, site = visiting((502, "no provider"))
    with pytest.raises(RuntimeError, match=r"^ann could not sign in: 502 at http://127\.0\.0\.1:8000/login$"):
        visitor.sign_in()
    assert len(site.sent) == 1


def test_a_sign_in_without_a_session_is_an_error() -> None:
    visitor, site = visiting((200, FORM), (200, "wrong password"))
    with pytest.raises(RuntimeError, match=r"^ann was given no session\.$"):
        visitor.sign_in()
    assert site.sent[1] == ("POST", "/interaction/1", "prompt=login&login=ann&password=ann")


def test_a_sign_in_with_a_session_returns_the_visitor() -> None:
    visitor, _ = visiting((200, FORM), (200, "welcome"))
    visitor.http.cookies.set("session", "s")
    assert visitor.sign_in() is visitor


def test_a_decision_is_sent_again_after_a_new_sign_in_if_the_old_one_is_too_old() -> None:
    visitor, site = visiting(page("old"), (401, ""), (200, ""), page("new"), (303, ""))
    assert visitor.decide(LINK, "Approved", "fine").status_code == 303
    assert site.sent == [
        ("GET", LINK, ""),
        ("POST", LINK, "verdict=Approved&reason=fine&csrf=old"),
        ("GET", "/login?return_to=%2Fapprovals%2Ftoken&renew=1", ""),
        ("GET", LINK, ""),
        ("POST", LINK, "verdict=Approved&reason=fine&csrf=new"),
    ]


def test_a_refused_decision_is_sent_once() -> None:
    visitor, site = visiting(page("c"), (403, "no"))
    assert visitor.decide(LINK, "Approved", "fine").status_code == 403
    assert len(site.sent) == 2


def test_a_rollback_is_sent_with_the_csrf_token_of_the_models_page() -> None:
    visitor, site = visiting(page("c"), (303, ""))
    assert visitor.roll_back("churn", "prod", "worse", 2).status_code == 303
    assert site.sent == [
        ("GET", "/models/churn", ""),
        ("POST", "/models/churn/prod/rollback", "reason=worse&csrf=c&to_version=2"),
    ]
