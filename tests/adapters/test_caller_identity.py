"""Proof of a caller's identity: valid for one body, one service and one minute, and sent to STS alone."""

from __future__ import annotations

import datetime as dt
import io
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import requests
from botocore.credentials import ReadOnlyCredentials

from local.aws import sigv4
from local.aws.sigv4 import SignatureInvalid
from promotion.aws.caller_identity import confirm, prove
from promotion.errors import Invalid, ProviderUnavailable, Refused

REGION, BODY, SERVICE = "eu-central-1", b'{"operation": "revoke"}', "https://promotion.example.com"
CREDENTIALS = ReadOnlyCredentials("test", "test", None)
ADMINISTRATOR = "arn:aws:iam::123456789012:user/administrator"


class Sts:
    """STS in as far as it checks a presigned request; `asked` has the addresses that it was called under."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.later = dt.timedelta(0)
        self.broken = False
        # A status and a body in place of STS's own.
        self.answer: tuple[int, bytes] | None = None

    def get(self, address: str, *, headers: dict[str, str], **_: object) -> requests.Response:
        self.asked.append(address)
        answer = requests.Response()
        if self.broken:
            raise requests.ConnectionError("no route")
        if self.answer is not None:
            answer.status_code, answer.raw = self.answer[0], io.BytesIO(self.answer[1])
            return answer
        url = urlsplit(address)
        given = {"host": url.netloc, **{name.lower(): value for name, value in headers.items()}}
        now = (dt.datetime.now(dt.UTC) + self.later,)
        try:
            caller = sigv4.verify(
                method="GET", path=url.path, query=url.query, headers=given, body=b"", service="sts", now=now
            )
            answer.status_code = 200
            text = (
                f"<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>{caller.arn}</Arn></GetCallerIdentityResult>"
                "</GetCallerIdentityResponse>"
            )
            answer.raw = io.BytesIO(text.encode())
        except SignatureInvalid:
            answer.status_code = 403
        return answer


@pytest.fixture
def sts(monkeypatch: pytest.MonkeyPatch) -> Sts:
    found = Sts()
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setattr(requests, "get", found.get)
    return found


def test_sts_says_who_made_a_proof(sts: Sts) -> None:
    assert confirm(prove(CREDENTIALS, REGION, BODY, SERVICE), REGION, BODY, SERVICE) == ADMINISTRATOR
    assert [urlsplit(address).netloc for address in sts.asked] == ["sts.eu-central-1.amazonaws.com"]


@pytest.mark.parametrize(
    ("body", "service"), [(b"{}", SERVICE), (BODY, "https://another.example.com")], ids=["body", "service"]
)
def test_a_proof_is_good_for_nothing_else(sts: Sts, body: bytes, service: str) -> None:
    with pytest.raises(Refused):
        confirm(prove(CREDENTIALS, REGION, BODY, SERVICE), REGION, body, service)


def test_a_proof_is_good_for_a_minute(sts: Sts) -> None:
    proof = prove(CREDENTIALS, REGION, BODY, SERVICE)
    sts.later = dt.timedelta(seconds=70)
    with pytest.raises(Refused):
        confirm(proof, REGION, BODY, SERVICE)


def test_a_wrong_secret_proves_nothing(sts: Sts) -> None:
    with pytest.raises(Refused):
        confirm(prove(ReadOnlyCredentials("test", "guessed", None), REGION, BODY, SERVICE), REGION, BODY, SERVICE)


def altered(**changed: str) -> str:
    return urlencode(dict(parse_qsl(prove(CREDENTIALS, REGION, BODY, SERVICE))) | changed)


@pytest.mark.parametrize(
    "proof",
    [
        "",
        "https://evil.example/?Action=GetCallerIdentity",
        "@evil.example/",
        "Action=GetCallerIdentity",
        altered(Action="GetSessionToken"),
        altered(**{"X-Amz-Expires": "604800"}),
        altered(**{"X-Amz-SignedHeaders": "host"}),
        altered(Host="evil.example"),
        altered() + "&Action=AssumeRole",
        altered() + "#",
        altered(**{"X-Amz-Signature": "x" * 9000}),
    ],
)
def test_an_invalid_proof_is_not_sent_anywhere(sts: Sts, proof: str) -> None:
    with pytest.raises(Invalid, match="X-Promotion-Caller"):
        confirm(proof, REGION, BODY, SERVICE)
    assert sts.asked == []


def test_a_deaf_sts_confirms_nobody(sts: Sts) -> None:
    sts.broken = True
    with pytest.raises(ProviderUnavailable):
        confirm(prove(CREDENTIALS, REGION, BODY, SERVICE), REGION, BODY, SERVICE)


@pytest.mark.parametrize(
    "answer",
    [
        (503, b""),
        (429, b""),
        (200, b""),
        (200, b"<html>"),
        (200, b"<html/>"),
        (200, b"<GetCallerIdentityResponse/>"),
        (200, b"{}"),
    ],
)
def test_an_answer_that_is_not_of_sts_confirms_nobody(sts: Sts, answer: tuple[int, bytes]) -> None:
    sts.answer = answer
    with pytest.raises(ProviderUnavailable):
        confirm(prove(CREDENTIALS, REGION, BODY, SERVICE), REGION, BODY, SERVICE)
