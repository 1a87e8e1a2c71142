"""What a person sees, and what the alarm counts, where a sign-in can't begin or end as it should."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest
from msgspec.structs import replace

from lambdas.handlers import sign_in
from lambdas.shared import back_channel, http_app, http_request, sign_in_flow
from lambdas.shared.variables import variables
from promotion import names
from promotion.errors import ClientRefused, ProviderUnavailable, SignInFailed
from tests.fakes import CONFIG, raises

URL = "https://promotion.example.com"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The metrics that are counted of a service at its address, with a provider that only takes redirects."""
    made: list[str] = []

    def count(metric: str, value: float, **_: str) -> None:
        made.append(metric)

    monkeypatch.setenv(names.PUBLIC_URL, URL)
    variables.cache_clear()
    monkeypatch.setattr(sign_in_flow, "count", count)
    monkeypatch.setattr(http_request, "count", count)
    monkeypatch.setattr(sign_in, "config", lambda: CONFIG)
    monkeypatch.setattr(http_app, "ended_sessions", lambda: None)
    return made


def answer(
    method: str, path: str, query: dict[str, str] | None = None, form: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    event = {
        "version": "2.0", "routeKey": "", "rawPath": path, "rawQueryString": "", "isBase64Encoded": False,
        "headers": {
            "host": URL.removeprefix("https://"), "origin": URL, "accept": "application/json",
            "content-type": "application/x-www-form-urlencoded",
        },
        "queryStringParameters": query or {}, "body": urlencode(form or {}),
        "requestContext": {"http": {"method": method, "path": path}, "stage": "$default"},
    }  # fmt: skip
    given = sign_in.handler(event, None)
    return int(str(given["statusCode"])), json.loads(str(given["body"]))


@pytest.mark.parametrize(
    ("error", "status", "broken"),
    [
        (ProviderUnavailable("The identity provider does not answer."), 503, True),
        (ClientRefused("The client secret has expired."), 403, True),
        (SignInFailed("The provider says that it is another."), 403, False),
    ],
)
def test_a_sign_in_that_cant_begin_says_why_and_leads_back_to_its_page(
    monkeypatch: pytest.MonkeyPatch, counted: list[str], error: Exception, status: int, broken: bool
) -> None:
    monkeypatch.setattr(sign_in_flow, "identity", lambda: SimpleNamespace(begin=raises(error)))
    monkeypatch.setattr(sign_in_flow, "sign_in_keys", lambda: SimpleNamespace(sign_in_state=lambda back: "state"))
    monkeypatch.setattr(sign_in_flow, "now", lambda: None)
    got, document = answer("GET", "/login", {"return_to": "/models/summariser"})
    assert (got, document["error"], document["message"]) == (status, "sign_in_failed", str(error))
    assert document["link"]["href"] == "/login?return_to=/models/summariser"
    assert (names.BROKEN_SIGN_INS_METRIC in counted) is broken


def test_a_form_that_the_provider_was_not_asked_for_signs_nobody_in(counted: list[str]) -> None:
    status, document = answer("POST", "/callback")
    assert (status, document["error"]) == (403, "sign_in_failed")
    assert document["message"] == "The identity provider wasn't asked to answer with a form."


def test_a_form_that_the_provider_was_asked_for_is_read_as_a_redirect_is(
    monkeypatch: pytest.MonkeyPatch, counted: list[str]
) -> None:
    """Its state is of another browser here: its page is offered again."""
    asked = replace(CONFIG, identity=replace(CONFIG.identity, response_mode="form_post"))
    keys = SimpleNamespace(sign_in=lambda cookie, now: None, returns_to=lambda state: f"/models/{state}")
    monkeypatch.setattr(sign_in, "config", lambda: asked)
    monkeypatch.setattr(sign_in_flow, "sign_in_keys", lambda: keys)
    monkeypatch.setattr(sign_in_flow, "now", lambda: None)
    status, document = answer("POST", "/callback", form={"code": "c", "state": "summariser"})
    assert (status, document["error"]) == (403, "sign_in_failed")
    assert document["link"]["href"] == "/login?return_to=/models/summariser"


def test_sessions_end_at_the_provider_only_if_the_team_chose_so(
    monkeypatch: pytest.MonkeyPatch, counted: list[str]
) -> None:
    monkeypatch.setattr(back_channel, "ended_sessions", lambda: None)
    status, document = answer("POST", "/backchannel-logout", form={"logout_token": "x"})
    assert (status, document["error"]) == (404, "unknown")


@pytest.mark.parametrize(
    ("error", "broken"),
    [
        (ProviderUnavailable("The identity provider's keys can't be read."), True),
        (SignInFailed("The token has no valid signature."), False),
    ],
)
def test_sessions_that_cant_be_ended_are_said_to_the_provider_and_counted_if_it_is_to_blame(
    monkeypatch: pytest.MonkeyPatch, counted: list[str], error: Exception, broken: bool
) -> None:
    ended: list[object] = []
    table = SimpleNamespace(end=lambda **given: ended.append(given))
    monkeypatch.setattr(back_channel, "ended_sessions", lambda: table)
    monkeypatch.setattr(back_channel, "identity", lambda: SimpleNamespace(logout=raises(error)))
    monkeypatch.setattr(back_channel, "now", lambda: None)
    monkeypatch.setattr(back_channel, "count", lambda metric, value, **_: counted.append(metric))
    status, document = answer("POST", "/backchannel-logout", form={"logout_token": "x"})
    assert (status, document) == (400, {"error": "invalid_request", "error_description": str(error)})
    assert (names.BROKEN_SIGN_INS_METRIC in counted) is broken
    assert ended == []


def test_a_sign_out_that_the_provider_does_not_share_says_so(counted: list[str]) -> None:
    """Nobody is signed in here, so that nobody is sent to the provider."""
    status, document = answer("POST", "/logout")
    assert (status, document["link"]) == (200, {"href": "/login", "label": "Sign in"})
    assert "close the browser on a shared machine" in document["message"]
