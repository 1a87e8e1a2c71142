"""Attacks on hosts, paths, sign-in, logout and signed commands."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from promotion.aws.caller_identity import PROOF_HEADER, prove
from promotion.links.tokens import SignIn
from tests.identity.provider import STRANGER as STRANGERS_KEY
from tests.identity.provider import signed
from tests.security.attacked import ANN, Answer, Attacked
from tests.security.attempts import (
    OPEN,
    ROLLBACK,
    VERDICT,
    WHY,
    Attack,
    Try,
    add,
    sign_in_cookie,
)

ATTACKS: list[Attack] = []
attack = partial(add, ATTACKS)

# Hosts, paths and methods.

EVIL_HOST = {"Host": "evil.example"}
attack("a foreign host", 400, lambda h: h.send("GET", h.link(OPEN), who=ANN, headers=EVIL_HOST))
attack("deciding at a foreign host", 400, lambda h: h.decide(OPEN, ANN, headers=EVIL_HOST))
attack("signing in at a foreign host", 400, lambda h: h.send("GET", "/login", headers=EVIL_HOST))
attack("coming back to a foreign host", 400, lambda h: h.send("GET", "/callback?code=x&state=y", headers=EVIL_HOST))
attack(
    "a host that begins as ours",
    400,
    lambda h: h.send("GET", "/", who=ANN, headers={"Host": h.service.url[7:] + ".evil"}),
)
attack("an unknown model", 404, lambda h: h.send("GET", "/models/nothing", who=ANN))
attack("a model with dots", 404, lambda h: h.send("GET", "/models/..%2F..%2Fetc", who=ANN))
attack("a path that climbs", 404, lambda h: h.send("GET", "/models/../../etc/passwd", who=ANN), by_gateway=True)
attack("a style sheet that climbs", 404, lambda h: h.send("GET", "/static/..%2Fpromotion.toml"))
attack("a file of ours", 404, lambda h: h.send("GET", "/static/config.py"))
attack("a version below nought", 404, lambda h: h.send("GET", "/models/open/versions/-1", who=ANN))
attack("a version in other digits", 404, lambda h: h.send("GET", "/models/open/versions/%D9%A1", who=ANN))
attack("a version beyond counting", 404, lambda h: h.send("GET", "/models/open/versions/99999999999", who=ANN))
attack("rolling back an unknown environment", 404, lambda h: h.post("/models/two/moon/rollback", ANN, WHY))
attack("revoking an unknown version", 404, lambda h: h.post("/models/open/versions/99/revoke", ANN, WHY))
attack("revoking a word", 404, lambda h: h.post("/models/open/versions/all/revoke", ANN, WHY))
attack("revoking of an unknown model", 404, lambda h: h.post("/models/nothing/versions/1/revoke", ANN, WHY))
attack("deciding by PUT", 404, lambda h: h.send("PUT", h.link(OPEN), who=ANN, body=urlencode(VERDICT)), by_gateway=True)
attack("deciding by DELETE", 404, lambda h: h.send("DELETE", h.link(OPEN), who=ANN), by_gateway=True)
attack("rolling back by GET", 404, lambda h: h.send("GET", f"{ROLLBACK}?reason=x", who=ANN), by_gateway=True)
attack("signing out by GET", 404, lambda h: h.send("GET", "/logout", who=ANN), by_gateway=True)
attack(
    "a method in a header", 403,
    lambda h: h.send("POST", h.link(OPEN), who=ANN, body=urlencode(VERDICT), headers={"X-HTTP-Method-Override": "GET"}),
)  # fmt: skip

# Signing in.


# The cookie of the sign-in whose state is "s".
SIGN_IN_COOKIE = f"sign-in-{hashlib.sha256(b's').hexdigest()[:16]}"


def callback(query: str, cookie: Callable[[Attacked], str] | None = None) -> Try:
    return lambda attacked: attacked.send(
        "GET", f"/callback?{query}", headers={"Cookie": f"{SIGN_IN_COOKIE}={cookie(attacked)}" if cookie else None}
    )


def late(attacked: Attacked) -> str:
    over = datetime.now(UTC) - timedelta(seconds=1)
    return attacked.sign_in_keys.sign_in_cookie(
        SignIn(state="s", nonce="n", verifier="v", return_to="/", expires_at=over)
    )


attack("coming back from a sign-in that was never begun", 403, callback("code=x&state=s"))
attack("coming back with another state", 403, callback("code=x&state=other", sign_in_cookie))
attack("coming back without a state", 403, callback("code=x", sign_in_cookie))
attack("coming back with two states", 403, callback("code=x&state=other&state=s", sign_in_cookie))
attack("coming back with half a character", 403, callback("code=x&state=%ED%A0%80", sign_in_cookie))
attack("coming back too late", 403, callback("code=x&state=s", late))
attack("coming back with a code of one's own", 403, callback("code=made-up&state=s", sign_in_cookie))
attack("coming back without a code", 403, callback("state=s", sign_in_cookie))
attack(
    "coming back with markup",
    403,
    callback("state=s&error_description=%3Cscript%3Ealert(1)%3C/script%3E", sign_in_cookie),
)
attack("a session as a sign-in", 403, callback("code=x&state=s", lambda h: h.cookie(ANN).partition("=")[2]))

# Ending other people's sessions.


def logging_out(token: str | None) -> Try:
    body = urlencode({"logout_token": token}) if token is not None else ""
    return lambda attacked: attacked.send("POST", "/backchannel-logout", body=body, headers={"Origin": None})


def made_up_logout(attacked: Attacked) -> str:
    claims = {
        "iss": attacked.service.idp_url,
        "aud": "promotion",
        "iat": int(datetime.now(UTC).timestamp()),
        "jti": "x",
        "sub": "ann",
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
    }
    return signed(claims, STRANGERS_KEY, {"typ": "logout+jwt"})


attack("a logout without a token", 400, logging_out(None))
attack("a logout by a word", 400, logging_out("ann"))
attack("a logout by a session", 400, lambda h: logging_out(h.cookie(ANN).partition("=")[2])(h))
attack("a logout by a stranger's token", 400, lambda h: logging_out(made_up_logout(h))(h))
attack(
    "a logout with two tokens",
    400,
    lambda h: h.send("POST", "/backchannel-logout", body="logout_token=a&logout_token=b"),
)
attack("a logout at a foreign host", 400, lambda h: h.send("POST", "/backchannel-logout", headers=EVIL_HOST))
attack("a logout by GET", 404, lambda h: h.send("GET", "/backchannel-logout?logout_token=x", who=ANN))

# Commands.


def command(document: Any, role: str | None = None) -> Try:
    """POST /operations, signed by the administrator, or by the role of one of the functions."""

    def attempt(attacked: Attacked) -> Answer:
        credentials = ReadOnlyCredentials("test", "test", None)
        if role is not None:
            given = attacked.service.role_session(role).credentials
            credentials = ReadOnlyCredentials(*(str(value) for value in given.values()))
        url = f"{attacked.service.url}/operations"
        body = document if isinstance(document, str) else json.dumps(document)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", attacked.service.aws_url)
            proof = prove(credentials, "us-east-1", body.encode(), attacked.service.url)
        headers = {"Content-Type": "application/json", "Host": attacked.service.url[7:], PROOF_HEADER: proof}
        signed = AWSRequest("POST", url, data=body, headers=headers)
        SigV4Auth(credentials, "execute-api", "us-east-1").add_auth(signed)
        return attacked.send("POST", "/operations", body=body, headers={"Origin": None, **dict(signed.headers)})

    return attempt


PACKAGES = "arn:aws:sagemaker:us-east-1:123456789012:model-package"
REVOCATION = {"operation": "revoke", "group": "open", "version": "1", "reason": "x"}
UNSIGNED = json.dumps(REVOCATION)
attack("a command without a signature", 403, lambda h: h.send("POST", "/operations", body=UNSIGNED), by_gateway=True)
attack(
    "a command with a session", 403, lambda h: h.send("POST", "/operations", who=ANN, body=UNSIGNED), by_gateway=True
)
attack("a command by a function's role", 403, command(REVOCATION, "web"), by_gateway=True)
attack("a command to approve", 400, command({"operation": "approve", "group": "open", "version": "1", "reason": "x"}))
REPORT = {"operation": "report", "group": "open", "environment": "dev", "version": "1", "metrics": '{"rougeL": 0.99}'}
attack("a report by a function's role", 403, command(REPORT, "web"), by_gateway=True)
attack("a report of what nobody approved", 403, command(REPORT))
attack("a report without numbers", 400, command({**REPORT, "metrics": "0.99"}))
attack("a report of another version's numbers", 400, command({**REPORT, "metrics": '{"model_package_version": 2}'}))
attack("a report of a version that isn't there", 404, command({**REPORT, "version": "999"}))
attack("a report above what a function takes", 413, command({**REPORT, "pictures": "A" * (5 << 20)}))
attack("a command that is no object", 400, command("[1]"))
attack("a command without a reason", 400, command({**REVOCATION, "reason": ""}))
attack("a command over a word", 404, command({**REVOCATION, "version": "all"}))
attack(
    "a command to adopt nothing",
    400,
    command({"operation": "adopt", "environment": "dev", "package": "null", "reason": "x"}),
)


def adoption(environment: str = "uat", **changes: Any) -> Try:
    container = {"image": "i", "model_data_url": "s3://promotion-models/open/model.tar.gz", "sha256": "0" * 64}
    package = {"group": "open", "version": 1, "arn": f"{PACKAGES}/open/1", "containers": [container], **changes}
    return command({"operation": "adopt", "environment": environment, "package": json.dumps(package), "reason": "x"})


attack("adopting under another version's ARN", 400, adoption(version=7))
attack("adopting what is not hashed", 400, adoption(containers=[{"image": "i"}]))
attack("adopting into an unknown environment", 404, adoption("moon"))
attack(
    "adopting over what is live",
    403,
    adoption("dev", group="two", arn="arn:aws:sagemaker:us-east-1:123456789012:model-package/two/1"),
)
