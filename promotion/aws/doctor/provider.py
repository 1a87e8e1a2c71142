"""Doctor checks of an identity provider's metadata against the requirements of sign-in.

OpenID Connect Discovery 1.0: https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderMetadata
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import requests

from promotion.aws.doctor.findings import Account, Finding, fail, not_checked, ok, warn
from promotion.aws.doctor.readiness import SIGN_IN_SKEW_S
from promotion.aws.identity import ALGORITHMS, TIMEOUT_S
from promotion.config.settings import Identity
from promotion.formatting import listed, one_line

ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


def provider(account: Account) -> Iterator[Finding]:
    """The discovery document: issuer, endpoints, keys, PKCE, scopes and the groups claim."""
    identity = account.settings.identity
    address = f"{identity.issuer.rstrip('/')}/.well-known/openid-configuration"
    try:
        answer = requests.get(address, timeout=TIMEOUT_S, allow_redirects=False)
        said = answer.json() if answer.status_code == 200 else None
    except (requests.RequestException, ValueError) as error:
        yield fail(
            "identity provider", f"{address} can't be read: {type(error).__name__}.", "Is [identity] issuer right?"
        )
        return
    if not isinstance(said, dict):
        yield fail("identity provider", f"{address} answered {answer.status_code}.", "Is [identity] issuer right?")
        return
    if str(said.get("issuer", "")).rstrip("/") != identity.issuer.rstrip("/"):
        do = "Put exactly what it says into [identity] issuer: tokens carry that."
        yield fail(
            "identity provider", f"it says it is {one_line(str(said.get('issuer')))}, not {identity.issuer}.", do
        )
        return
    origin = "/".join(identity.issuer.split("/")[:3])
    unusable = [name for name in ENDPOINTS if not str(said.get(name, "")).startswith(("https://", f"{origin}/"))]
    if unusable:
        yield fail(
            "identity provider",
            f"its discovery document has no usable {listed(unusable)}.",
            "Is this an OpenID Connect issuer?",
        )
        return
    yield ok("identity provider", f"{identity.issuer} answers.")
    yield from _clock(answer.headers.get("date"), emulated=account.emulated)
    yield _keys(said["jwks_uri"])
    yield from _abilities(said, identity)


def _clock(date: str | None, *, emulated: bool) -> Iterator[Finding]:
    try:
        skew = (datetime.now(UTC) - parsedate_to_datetime(date or "")).total_seconds()
    except (TypeError, ValueError):
        return
    if abs(skew) <= SIGN_IN_SKEW_S:
        return
    said = f"the identity provider's is {abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} this machine's."
    do = f"Tokens more than {SIGN_IN_SKEW_S} s off are refused: mend the clock that is wrong."
    # The local service moves its time on purpose.
    yield warn("clock", said, do) if emulated else fail("clock", said, do)


def _keys(address: str) -> Finding:
    try:
        document = requests.get(address, timeout=TIMEOUT_S, allow_redirects=False).json()
        keys = document["keys"] if isinstance(document, dict) else []
    except (requests.RequestException, ValueError, KeyError) as error:
        return fail(
            "sign-in keys", f"{address} can't be read: {type(error).__name__}.", "Ask the provider's administrator."
        )
    kinds = sorted({str(key.get("kty")) for key in keys if isinstance(key, dict) and key.get("kty") != "oct"})
    if not kinds:
        return fail("sign-in keys", f"{address} has no public key.", "Have ID tokens signed with an asymmetric key.")
    return ok("sign-in keys", f"{len(keys)} ({listed(kinds)}).")


def _abilities(said: dict[str, Any], identity: Identity) -> Iterator[Finding]:
    """Check metadata that is optional by section 3; a missing entry is no failure."""
    methods = said.get("code_challenge_methods_supported")
    if methods is None:
        yield not_checked("PKCE", "it doesn't say; Entra ID and Cognito support S256 without saying so.")
    elif "S256" in methods:
        yield ok("PKCE", "S256.")
    else:
        yield fail("PKCE", f"it supports {listed([str(m) for m in methods]) or 'none'}, not S256.", "Allow S256.")
    algorithms = said.get("id_token_signing_alg_values_supported")
    if isinstance(algorithms, list) and not set(algorithms) & set(ALGORITHMS):
        yield fail(
            "ID tokens", f"it signs with {listed(algorithms)}.", f"Have it sign with one of {listed(ALGORITHMS, 'or')}."
        )
    ways = said.get("token_endpoint_auth_methods_supported")
    if isinstance(ways, list) and not set(ways) & {"client_secret_basic", "none"}:
        yield fail("client secret", f"it takes {listed(ways)}.", "Allow client_secret_basic for this application.")
    scopes = said.get("scopes_supported")
    missing = [scope for scope in identity.scopes if isinstance(scopes, list) and scope not in scopes]
    if missing:
        yield warn(
            "scopes", f"it doesn't list {listed(missing)}.", "Mend [identity] scopes, or make sure that it knows them."
        )
    claims, wanted = said.get("claims_supported"), identity.groups_claim
    if not isinstance(claims, list):
        yield not_checked("groups claim", "it lists no claims; the first sign-in tells.")
    elif wanted in claims:
        yield ok("groups claim", f"it lists {wanted}.")
    else:
        do = "Add it to this application's ID tokens (docs/deploy.md), or mend [identity] groups_claim. Entra ID never lists it."
        yield warn("groups claim", f"it doesn't list {wanted}.", do)
