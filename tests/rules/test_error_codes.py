"""An error in JSON has a code for programs, also where no handler ran."""

from __future__ import annotations

import json

import pytest
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response

from lambdas.shared import http_app
from lambdas.shared.http_request import Answered, HttpRequest, serve
from lambdas.shared.variables import variables
from promotion import names
from promotion.errors import Conflict, ProviderUnavailable


@pytest.fixture(autouse=True)
def _at_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(names.PUBLIC_URL, "https://promotion.example.com")
    variables.cache_clear()


def event(host: str) -> dict[str, object]:
    return {
        "headers": {"host": host, "accept": "application/json"},
        "rawPath": "/",
        "requestContext": {"http": {"method": "GET", "path": "/"}, "stage": "$default"},
        "routeKey": "GET /",
    }


def test_another_host_has_a_code() -> None:
    with pytest.raises(Answered) as answered:
        HttpRequest(event("elsewhere.example")).check_host()
    assert json.loads(answered.value.response.body or "")["error"] == "unknown_host"


def test_an_internal_error_has_a_code() -> None:
    app = APIGatewayHttpResolver()

    @http_app.route(app, "/", "GET")
    def fail(visit: http_app.Visit) -> Response[str]:
        raise RuntimeError("unexpected")

    answer = serve(app, event("promotion.example.com"), None, "web")
    assert (answer["statusCode"], json.loads(str(answer["body"]))["error"]) == (500, "broken")


def test_a_message_that_is_no_error_has_no_code() -> None:
    said = HttpRequest(event("promotion.example.com")).message(200, "Signed out", "You are signed out.")
    assert "error" not in json.loads(said.body or "")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Conflict("summariser: somebody appended after event 4."), 409, "conflict"),
        (ProviderUnavailable("STS gives no answer; try again."), 503, "unavailable"),
    ],
)
def test_a_refusal_that_asks_to_try_again_has_a_code(error: Exception, status: int, code: str) -> None:
    answer = HttpRequest(event("promotion.example.com")).refusal(error, None)
    document = json.loads(answer.body or "")
    assert (answer.status_code, document["error"], document["why_not"]) == (status, code, str(error))
