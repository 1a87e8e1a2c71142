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
from promotion.aws.identity.client_authentication import METHODS
from promotion.aws.identity.discovery import http_session
from promotion.config.settings import Identity
from promotion.formatting import listed, one_line

ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


def provider(account: Account) -> Iterator[Finding]:
    """Check the discovery document: issuer, endpoints, keys, PKCE, scopes and the groups claim."""
    identity = account.settings.identity
    address = f"{identity.issuer.rstrip('/')}/.well-known/openid-configuration"
    http = http_session(identity)
    try:
        answer = http.get(address, timeout=TIMEOUT_S, allow_redirects=False)
        said = answer.json() if answer.status_code == 200 else None
    except (requests.RequestException, ValueError, RecursionError) as error:
        yield _unreadable("identity provider", address, error, "Is [identity] issuer right?")
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
    yield from _clock(answer.headers.get("date"))
    yield _keys(said["jwks_uri"], http)
    yield from _abilities(said, identity)


def _clock(date: str | None) -> Iterator[Finding]:
    try:
        skew = (datetime.now(UTC) - parsedate_to_datetime(date or "")).total_seconds()
    except (TypeError, ValueError):
        return
    if abs(skew) <= SIGN_IN_SKEW_S:
        return
    said = f"the identity provider's is {abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} this machine's."
    do = f"Tokens more than {SIGN_IN_SKEW_S} s off are refused: mend the clock that is wrong."
    yield fail("clock", said, do)


def _unreadable(check: str, address: str, error: Exception, otherwise: str) -> Finding:
    """Return the finding for an address that can't be read, with the setting that repairs it."""
    do = otherwise
    # Proxy and TLS errors are subclasses of the connection error, so they are checked first.
    if isinstance(error, requests.exceptions.SSLError):
        do = "Its certificate isn't trusted: put the certificate of your authority into [advanced.identity] ca_bundle."
    elif isinstance(error, requests.exceptions.ProxyError):
        do = "Is [advanced.identity] proxy right?"
    return fail(check, f"{address} can't be read: {type(error).__name__}.", do)


def _keys(address: str, http: requests.Session) -> Finding:
    try:
        document = http.get(address, timeout=TIMEOUT_S, allow_redirects=False).json()
    except (requests.RequestException, ValueError, RecursionError) as error:
        return _unreadable("sign-in keys", address, error, "Ask the provider's administrator.")
    found = document.get("keys") if isinstance(document, dict) else None
    keys = found if isinstance(found, list) else []
    kinds = sorted({str(key.get("kty")) for key in keys if isinstance(key, dict) and key.get("kty") != "oct"})
    if not kinds:
        return fail("sign-in keys", f"{address} has no public key.", "Have ID tokens signed with an asymmetric key.")
    return ok("sign-in keys", f"{len(keys)} ({listed(kinds)}).")


def _client_authentication(listed_ways: object, identity: Identity) -> Iterator[Finding]:
    """Compare the provider's methods with those that sign-in can use; a missing list means Basic (section 3)."""
    ways = [str(way) for way in listed_ways] if isinstance(listed_ways, list) else ["client_secret_basic"]
    known = [str(way) for way in ways if way in METHODS]
    chosen = identity.client_authentication
    check = "client authentication"
    if chosen is not None:
        if isinstance(listed_ways, list) and chosen not in ways:
            yield warn(
                check, f"it lists {listed(ways)}, not {chosen}.", "Mend [advanced.identity] client_authentication."
            )
        else:
            yield ok(check, f"{chosen}, as configured.")
    elif not known:
        yield fail(check, f"it takes {listed(ways)}.", f"Allow one of {listed(METHODS, 'or')} for this application.")
    elif "client_secret_basic" in known or "client_secret_post" in known:
        yield ok(check, f"it takes {listed(known)}.")
    elif "private_key_jwt" in known:
        do = "Put a private key into the identity secret (docs/identity.md); a client secret will not do."
        yield warn(check, f"it takes {listed(known)}.", do)
    else:
        yield warn(check, "it takes public clients only.", "Leave the client secret empty.")


def _abilities(said: dict[str, Any], identity: Identity) -> Iterator[Finding]:
    """Check metadata that is optional by section 3; a missing entry is no failure."""
    methods = said.get("code_challenge_methods_supported")
    if not isinstance(methods, list):
        yield not_checked("PKCE", "it doesn't say; Entra ID and Cognito support S256 without saying so.")
    elif "S256" in methods:
        yield ok("PKCE", "S256.")
    else:
        yield fail("PKCE", f"it supports {listed([str(m) for m in methods]) or 'none'}, not S256.", "Allow S256.")
    algorithms = said.get("id_token_signing_alg_values_supported")
    if isinstance(algorithms, list) and not any(each in ALGORITHMS for each in algorithms):
        yield fail(
            "ID tokens",
            f"it signs with {listed([str(each) for each in algorithms])}.",
            f"Have it sign with one of {listed(ALGORITHMS, 'or')}.",
        )
    yield from _client_authentication(said.get("token_endpoint_auth_methods_supported"), identity)
    scopes = said.get("scopes_supported")
    missing = [scope for scope in identity.scopes if isinstance(scopes, list) and scope not in scopes]
    if missing:
        yield warn(
            "scopes",
            f"it doesn't list {listed(missing)}.",
            "Mend [advanced.identity] scopes, or make sure that it knows them.",
        )
    claims, wanted = said.get("claims_supported"), identity.groups_claim
    if not isinstance(claims, list):
        yield not_checked("groups claim", "it lists no claims; the first sign-in tells.")
    elif wanted in claims:
        yield ok("groups claim", f"it lists {wanted}.")
    else:
        do = "Add it to this application's ID tokens (docs/deploy.md), or mend [identity] groups_claim. Entra ID never lists it."
        yield warn("groups claim", f"it doesn't list {wanted}.", do)
