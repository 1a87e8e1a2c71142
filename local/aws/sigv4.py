"""AWS Signature Version 4, checked on the receiving side."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, urlencode

from local.aws import callers
from local.aws.callers import Caller, UnknownCaller

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<date>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request,\s*"
    r"SignedHeaders=(?P<headers>[^,\s]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)
_LARGEST_SKEW = dt.timedelta(minutes=5)


class SignatureInvalid(Exception):
    """The request is not signed, or not by who it says; the message is for the caller."""


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
    """Who signed this request to `service`. Header names are lower case; `path` is as it was on the wire.

    The signature's time must be near one of `now`: clients outside live in real time, functions in the local time.

    Raises:
        SignatureInvalid: no signature, a wrong one, another service's, too old, or an unknown key.
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
    canonical = "\n".join(
        (
            method,
            quote(path, safe="/-_.~"),
            "&".join(
                f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}"
                for k, v in sorted(parse_qsl(query, keep_blank_values=True))
            ),
            "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in signed),
            match["headers"],
            hashlib.sha256(body).hexdigest(),
        )
    )
    scope = f"{match['date']}/{match['region']}/{service}/aws4_request"
    to_sign = "\n".join(("AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{caller.secret_key}".encode()
    for part in (match["date"], match["region"], service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    if not hmac.compare_digest(hmac.digest(key, to_sign.encode(), "sha256").hex(), match["signature"]):
        raise SignatureInvalid("The request signature we calculated does not match the signature you provided.")
    return caller


def _from_query(query: str, headers: Mapping[str, str]) -> tuple[str, Mapping[str, str], dt.timedelta]:
    """A presigned request as one that has its signature in headers, and for how long it is good; any other as it is."""
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
