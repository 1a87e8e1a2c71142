"""Proof of the caller's identity by a presigned GetCallerIdentity request, as secret stores use it.

The command signs the request but doesn't send it. The service sends it, only to STS, and trusts only the answer of STS.
Two signed headers bind the proof to one request body and one service, so that it can't be replayed for another.
See https://developer.hashicorp.com/vault/docs/auth/aws, *IAM auth method*.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.parsers import ResponseParserError, create_parser
from botocore.session import Session

from promotion.errors import Invalid, ProviderUnavailable, Refused

if TYPE_CHECKING:
    import requests

PROOF_HEADER = "X-Promotion-Caller"
BODY_HEADER = "X-Promotion-Body-SHA256"
SERVICE_HEADER = "X-Promotion-Service"
WHO_MAY = "Principals under [operators] in promotion.toml."
LIFETIME_S = 60
TIMEOUT_S = 5.0
LONGEST_PROOF = 8192
_ASKED = {"Action": "GetCallerIdentity", "Version": "2011-06-15"}
_SIGNED = f"host;{BODY_HEADER.lower()};{SERVICE_HEADER.lower()}"
_PARAMETERS = frozenset(
    {
        *_ASKED,
        *(f"X-Amz-{name}" for name in ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")),
    }
)
_TOKEN = "X-Amz-Security-Token"  # noqa: S105 - a parameter's name
# Only characters that have no special meaning in a URL, a header or a log.
_PROOF = re.compile(r"[A-Za-z0-9%&=._~+*-]+", re.ASCII)


def sts_address(region: str) -> str:
    """Return the address of STS in a region, from botocore's data; command and service compute it independently."""
    return str(_client(region).meta.endpoint_url).rstrip("/") + "/"


def prove(credentials: ReadOnlyCredentials, region: str, body: bytes, service: str) -> str:
    """Return the query of a presigned GetCallerIdentity, bound to `body` and to the service at `service`."""
    request = AWSRequest("GET", f"{sts_address(region)}?{urlencode(_ASKED)}", headers=_bound(body, service))
    SigV4QueryAuth(credentials, "sts", region, expires=LIFETIME_S).add_auth(request)
    return urlsplit(str(request.url)).query


def confirm(proof: str, region: str, body: bytes, service: str) -> str:
    """Return the ARN, as STS states it, of the principal that made a proof for this body and service.

    Raises:
        Invalid: the text has not the form of a proof.
        Refused: STS rejects it: it is forged, expired, or made for another body or service.
        ProviderUnavailable: STS can't be reached.
    """
    # Imported here, because the command doesn't need it, and a function starts faster without it.
    import requests

    query = _checked(proof)
    address = f"{sts_address(region)}?{query}"
    try:
        answer = requests.get(
            address, headers=_bound(body, service), timeout=TIMEOUT_S, allow_redirects=False, stream=False
        )
    except requests.RequestException:
        raise ProviderUnavailable("STS gives no answer; try again.") from None
    if answer.status_code >= 500 or answer.status_code == 429:
        raise ProviderUnavailable("STS gives no answer; try again.")
    if answer.status_code != 200:
        text = "STS doesn't confirm who calls: the request is older than a minute, or was signed for something else."
        raise Refused(text, code="not_confirmed", who_may=WHO_MAY)
    return _arn(region, answer)


def _bound(body: bytes, service: str) -> dict[str, str]:
    return {BODY_HEADER: hashlib.sha256(body).hexdigest(), SERVICE_HEADER: service}


def _checked(proof: str) -> str:
    """Return the query if it is for the caller's identity only, valid for a minute, with our headers signed."""
    if len(proof) > LONGEST_PROOF or not _PROOF.fullmatch(proof):
        raise Invalid(PROOF_HEADER, "this is no presigned GetCallerIdentity.")
    pairs = parse_qsl(proof, keep_blank_values=True)
    given = dict(pairs)
    if len(pairs) != len(given) or given.keys() - {_TOKEN} != _PARAMETERS:
        raise Invalid(PROOF_HEADER, "this is no presigned GetCallerIdentity.")
    if any(given[name] != value for name, value in _ASKED.items()):
        raise Invalid(PROOF_HEADER, "it asks STS for something else than the caller's identity.")
    if given["X-Amz-SignedHeaders"] != _SIGNED:
        raise Invalid(PROOF_HEADER, f"the signed headers have to be {_SIGNED}.")
    if not given["X-Amz-Expires"].isdecimal() or int(given["X-Amz-Expires"]) > LIFETIME_S:
        raise Invalid(PROOF_HEADER, f"it may be good for {LIFETIME_S} s.")
    return urlencode(pairs)


def _arn(region: str, answer: requests.Response) -> str:
    model = _client(region).meta.service_model
    shape = model.operation_model("GetCallerIdentity").output_shape
    try:
        found = create_parser(model.protocol).parse(
            {"headers": dict(answer.headers), "status_code": 200, "body": answer.content}, shape
        )
        return str(found["Arn"])
    except (ResponseParserError, KeyError):
        raise ProviderUnavailable("STS gives no answer; try again.") from None


@cache
def _client(region: str) -> Any:
    session = Session()
    # Command and service must get the same address, with any version of botocore and any settings of the caller.
    session.set_config_variable("sts_regional_endpoints", "regional")
    return cast(Any, session).create_client("sts", region_name=region)
