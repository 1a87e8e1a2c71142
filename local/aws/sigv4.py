"""Verification of AWS Signature Version 4: botocore signs the request again, and the signatures are compared."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from local.aws import callers
from local.aws.callers import Caller, UnknownCaller

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<date>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request,\s*"
    r"SignedHeaders=(?P<headers>[^,\s]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)
_LARGEST_SKEW = dt.timedelta(minutes=5)


class SignatureInvalid(Exception):
    """The request is not signed, or with another key; the message is for the caller."""


def verify(
    *,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    body: bytes,
    service: str,
    now: tuple[dt.datetime, ...],
) -> Caller:
    """Return the caller who signed this request to `service`. Header names are lower case; `path` is as it was on the wire.

    The signature's time must be near one of `now`, because external clients use real time, but functions the local
    time.

    Raises:
        SignatureInvalid: the signature is missing, wrong, expired or for another service, or its key is unknown.
    """
    query, headers, lifetime = _from_query(query, headers)
    match = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
    if match is None:
        raise SignatureInvalid("Missing Authentication Token")
    if match["service"] != service:
        raise SignatureInvalid(f"Credential should be scoped to correct service: '{service}'.")
    try:
        caller = callers.find(match["key"], headers.get("x-amz-security-token"))
    except UnknownCaller:
        raise SignatureInvalid("The security token included in the request is invalid.") from None
    stamp = headers.get("x-amz-date", "")
    try:
        signed_at = dt.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
    except ValueError:
        raise SignatureInvalid("The request has no valid x-amz-date.") from None
    if not stamp.startswith(match["date"]) or all(
        not -_LARGEST_SKEW <= moment - signed_at <= lifetime for moment in now
    ):
        raise SignatureInvalid(f"Signature expired: {stamp} is not within {lifetime} of now.")
    signed = match["headers"].split(";")
    if "host" not in signed or any(name not in headers for name in signed):
        raise SignatureInvalid("A signed header is missing from the request.")
    # botocore would use the value of this header.
    digest = hashlib.sha256(body).hexdigest()
    if headers.get("x-amz-content-sha256", digest) != digest:
        raise SignatureInvalid("The provided 'x-amz-content-sha256' header does not match what was computed.")
    # A list, because a name may occur twice; botocore accepts one, though its types don't declare it.
    given: Any = parse_qsl(query, keep_blank_values=True)
    request = AWSRequest(
        method=method,
        url=f"https://{headers['host']}{path}",
        headers={name: headers[name] for name in signed},
        data=body,
        params=given,
    )
    request.context["timestamp"] = stamp
    signer = SigV4Auth(Credentials(match["key"], caller.secret_key), service, match["region"])
    wanted = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    if not hmac.compare_digest(wanted, match["signature"]):
        raise SignatureInvalid("The request signature we calculated does not match the signature you provided.")
    return caller


def _from_query(query: str, headers: Mapping[str, str]) -> tuple[str, Mapping[str, str], dt.timedelta]:
    """Return a presigned request with its signature in headers, and its lifetime; any other request unchanged."""
    pairs = parse_qsl(query, keep_blank_values=True)
    given = {name.lower(): value for name, value in pairs}
    if "x-amz-signature" not in given:
        return query, headers, _LARGEST_SKEW
    names = ("x-amz-credential", "x-amz-signedheaders", "x-amz-signature")
    credential, signed, signature = (given.get(name, "") for name in names)
    header = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature={signature}"
    kept: dict[str, str] = {name: given[name] for name in ("x-amz-date", "x-amz-security-token") if name in given}
    rest = urlencode([(name, value) for name, value in pairs if name.lower() != "x-amz-signature"])
    expires = given.get("x-amz-expires", "")
    lifetime = dt.timedelta(seconds=int(expires)) if expires.isdecimal() else _LARGEST_SKEW
    return rest, {**headers, **kept, "authorization": header}, lifetime
