"""A role that is taken over, or a right to invoke given by mistake, decides nothing, whatever event is forged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError

from promotion.aws.caller_identity import PROOF_HEADER, prove
from tests.security.attacked import Attacked

ADMINISTRATOR = "arn:aws:iam::123456789012:user/administrator"
BEHIND_THE_API = ("decide", "operate", "sign_in", "web")
PACKAGE = {"group": "victim", "version": 1, "arn": "arn:aws:sagemaker:us-east-1:123456789012:model-package/victim/1"}
COMMANDS = (
    {"operation": "revoke", "group": "open", "version": "1", "reason": "x"},
    {"operation": "rollback", "group": "open", "environment": "dev", "reason": "x"},
    {"operation": "adopt", "environment": "prod", "reason": "x", "package": json.dumps(PACKAGE)},
    {"operation": "report", "group": "open", "environment": "dev", "version": "1", "metrics": '{"rougeL": 0.99}'},
)


def api_event(attacked: Attacked, path: str, body: dict[str, str], **headers: str) -> dict[str, Any]:
    """Return API Gateway's event for an operator's POST: a caller of the function can forge every word of it."""
    return {
        "version": "2.0",
        "routeKey": f"POST {path}",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"host": attacked.service.url[7:], "content-type": "application/json", **headers},
        "requestContext": {
            "http": {"method": "POST", "path": path},
            "stage": "$default",
            "authorizer": {"iam": {"userArn": ADMINISTRATOR}, "jwt": {"claims": {"sub": "ann"}}},
        },
        "body": json.dumps(body),
        "isBase64Encoded": False,
    }


def forgeries(attacked: Attacked) -> Iterator[dict[str, Any]]:
    for command in COMMANDS:
        yield api_event(attacked, "/operations", command)
    verdict = {"verdict": "Approved", "reason": "x", "csrf": "x"}
    yield api_event(attacked, attacked.link("open:1:dev:1"), verdict)
    yield api_event(attacked, "/models/open/versions/1/revoke", {"reason": "x", "csrf": "x"})
    yield api_event(attacked, "/models/open/dev/rollback", {"reason": "x", "csrf": "x"})


def roles(attacked: Attacked) -> list[str]:
    pages = attacked.aws("iam").get_paginator("list_roles").paginate()
    return [role["Arn"] for page in pages for role in page["Roles"]]


def invoked(client: Any, function: str, event: dict[str, Any]) -> str:
    """The code of the refusal, or the answer itself."""
    try:
        answer = client.invoke(FunctionName=function, Payload=json.dumps(event).encode())
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return str(answer["Payload"].read().decode())


def test_no_role_of_the_template_may_send_an_event_to_what_decides_or_makes_sessions(attacked: Attacked) -> None:
    before = attacked.state("open")
    answers = {}
    found = roles(attacked)
    for arn in found:
        session = attacked.aws("sts").assume_role(RoleArn=arn, RoleSessionName="taken-over")["Credentials"]
        client = attacked.service.session(session).client("lambda")
        for event in forgeries(attacked):
            for module in BEHIND_THE_API:
                answers[arn, module, event["routeKey"]] = invoked(client, attacked.function(module), event)
    assert set(answers.values()) == {"AccessDeniedException"}
    assert len(found) >= len(attacked.aws("lambda").list_functions()["Functions"])
    assert attacked.state("open") == before


def test_functions_that_may_be_invoked_accept_no_request_of_a_person_or_an_operator(attacked: Attacked) -> None:
    before = attacked.state("open")
    for event in forgeries(attacked):
        assert "nothing that a function may record" in attacked.invoke("record", event)["error"]
    assert attacked.state("open") == before


def test_an_invoker_of_decide_decides_nothing_without_a_signed_session(attacked: Attacked) -> None:
    before = attacked.state("open")
    events = [event for event in forgeries(attacked) if event["rawPath"] != "/operations"]
    assert [attacked.invoke("decide", event)["statusCode"] for event in events] == [401, 401, 401]
    assert attacked.state("open") == before


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command["operation"]))
def test_an_invoker_of_operate_is_no_operator_by_the_events_claims(attacked: Attacked, command: dict[str, str]) -> None:
    before = attacked.state("open")
    event = api_event(attacked, "/operations", command)
    body = event["body"].encode()
    held = attacked.service.role_session("web").credentials
    web = ReadOnlyCredentials(*(str(value) for value in held.values()))
    administrator = ReadOnlyCredentials("test", "test", None)
    guessed = ReadOnlyCredentials("test", "guessed", None)
    url = attacked.service.url
    proofs = {
        "none": ("", 400),
        "its own role's": (proof(attacked, web, body, url), 403),
        "a guessed secret's": (proof(attacked, guessed, body, url), 403),
        "an operator's for another body": (proof(attacked, administrator, b"{}", url), 403),
        "an operator's for another service": (proof(attacked, administrator, body, "https://elsewhere.example"), 403),
    }
    answered = {}
    for name, (given, _) in proofs.items():
        forged = {**event, "headers": {**event["headers"], PROOF_HEADER.lower(): given}}
        answered[name] = attacked.invoke("operate", forged)["statusCode"]
    assert answered == {name: status for name, (_, status) in proofs.items()}
    assert attacked.state("open") == before


def proof(attacked: Attacked, credentials: ReadOnlyCredentials, body: bytes, service: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", attacked.service.aws_url)
        return prove(credentials, "us-east-1", body, service)
