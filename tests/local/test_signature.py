"""Only who holds the secret can sign, only what was signed passes, and only for a while."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from local import ADMINISTRATOR_ARN
from local.aws import sigv4
from local.aws.sigv4 import SignatureInvalid

URL = "http://127.0.0.1:8000/operations?b=2&a=x%20y"
BODY = b'{"operation":"rollback"}'


def signed(
    service: str = "execute-api", secret: str = "test", key: str = "test", *, digest: str | None = None
) -> dict[str, str]:
    headers = {"Host": "127.0.0.1:8000", "Content-Type": "application/json"}
    headers |= {"X-Amz-Content-SHA256": digest} if digest else {}
    request = AWSRequest("POST", URL, data=BODY, headers=headers)
    SigV4Auth(Credentials(key, secret), service, "us-east-1").add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


def verify(headers: dict[str, str], **changed: Any) -> str:
    now = changed.pop("now", (dt.datetime.now(dt.UTC),))
    arguments: dict[str, Any] = {
        "method": "POST",
        "path": "/operations",
        "query": "b=2&a=x%20y",
        "body": BODY,
        **changed,
    }
    return sigv4.verify(headers=headers, service="execute-api", now=now, **arguments).arn


def test_a_signature_of_botocore_passes() -> None:
    assert verify(signed()) == ADMINISTRATOR_ARN


@pytest.mark.parametrize(
    "changed",
    [{"body": b"{}"}, {"method": "PUT"}, {"path": "/operation"}, {"query": "b=2&a=x"}],
    ids=["body", "method", "path", "query"],
)
def test_an_unsigned_call_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(SignatureInvalid, match="does not match"):
        verify(signed(), **changed)


def test_another_body_under_the_signed_digest_does_not_pass() -> None:
    digest = hashlib.sha256(BODY).hexdigest()
    assert verify(signed(digest=digest)) == ADMINISTRATOR_ARN
    with pytest.raises(SignatureInvalid, match="x-amz-content-sha256"):
        verify(signed(digest=digest), body=b"{}")


def test_a_wrong_secret_does_not_pass() -> None:
    with pytest.raises(SignatureInvalid, match="does not match"):
        verify(signed(secret="guessed"))


def test_an_unknown_key_does_not_pass() -> None:
    with pytest.raises(SignatureInvalid, match="security token"):
        verify(signed(key="AKIAUNKNOWN000000000"))


def test_a_signature_for_another_service_does_not_pass() -> None:
    with pytest.raises(SignatureInvalid, match="execute-api"):
        verify(signed(service="s3"))


def test_no_signature_does_not_pass() -> None:
    with pytest.raises(SignatureInvalid, match="Missing Authentication Token"):
        verify({"host": "127.0.0.1:8000"})


def test_a_signature_expires() -> None:
    with pytest.raises(SignatureInvalid, match="expired"):
        verify(signed(), now=(dt.datetime.now(dt.UTC) + dt.timedelta(minutes=6),))


@pytest.mark.parametrize("stamp", ["", "yesterday", "20261130T250000Z"])
def test_a_signature_without_a_valid_time_does_not_pass(stamp: str) -> None:
    with pytest.raises(SignatureInvalid, match="no valid x-amz-date"):
        verify(signed() | {"x-amz-date": stamp})


@pytest.mark.parametrize("lacking", ["content-type", "host"])
def test_a_request_that_lacks_a_signed_header_does_not_pass(lacking: str) -> None:
    headers = signed()
    del headers[lacking]
    with pytest.raises(SignatureInvalid, match="signed header is missing"):
        verify(headers)


def test_a_signature_that_leaves_out_the_host_does_not_pass() -> None:
    headers = signed()
    with pytest.raises(SignatureInvalid, match="signed header is missing"):
        verify(headers | {"authorization": headers["authorization"].replace(";host;", ";")})
