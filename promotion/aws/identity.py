"""Signing in with any OpenID Connect provider: discovery, authorization code with PKCE, and the ID token held to its claims.

OpenID Connect Core 1.0: https://openid.net/specs/openid-connect-core-1_0.html, section 3.1.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from promotion.config.loading import Config
from promotion.domain import policy
from promotion.domain.model import Person
from promotion.errors import ProviderUnavailable, SignInFailed
from promotion.formatting import one_line
from promotion.links.tokens import SignIn

# Never `none`, never a shared secret: a token signed with our own client secret would otherwise pass.
ALGORITHMS = ["RS256", "PS256", "ES256", "RS384", "ES384", "RS512", "ES512", "EdDSA"]
TIMEOUT_S = 5.0
DISCOVERY_LIFETIME_S = 3600.0
# Keys are read again for a token that names an unknown one, but not for each forged token anew.
KEYS_REREAD_S = 10.0
LONGEST_NAME = 120
# OpenID Connect Core 1.0, section 2: a subject has at most 255 ASCII characters.
LONGEST_SUBJECT = 255
SIGN_IN_LIFETIME = timedelta(minutes=10)
CLOCK_SKEW_S = 60


class IdentityProvider:
    """One provider, discovered once an hour, its keys with it; they are read again when a token names one we don't know."""

    def __init__(self, config: Config, client_secret: str, redirect_uri: str) -> None:
        self._config = config
        self._identity = config.identity
        self._client_secret = client_secret
        self._redirect_uri = redirect_uri
        self._http = requests.Session()
        self._metadata: tuple[float, dict[str, Any]] | None = None
        self._keys: tuple[float, KeySet] | None = None

    def begin(self, return_to: str, *, now: datetime) -> tuple[str, SignIn]:
        """Where to send the browser, and what to remember until it comes back."""
        sign_in = SignIn(
            state=secrets.token_urlsafe(24),
            nonce=secrets.token_urlsafe(24),
            verifier=secrets.token_urlsafe(48),
            return_to=return_to,
            expires_at=now + SIGN_IN_LIFETIME,
        )
        query = {
            "response_type": "code",
            "client_id": self._identity.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": " ".join(self._identity.scopes),
            "state": sign_in.state,
            "nonce": sign_in.nonce,
            "code_challenge": create_s256_code_challenge(sign_in.verifier),
            "code_challenge_method": "S256",
        }
        endpoint = self._discover()["authorization_endpoint"]
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}", sign_in

    def finish(self, code: str, sign_in: SignIn, *, now: datetime) -> Person:
        """The person that a code stands for: one request to the provider.

        Raises:
            SignInFailed: the code or the token is not good, or the groups can't be told from it.
            ProviderUnavailable: it doesn't answer.
        """
        answer = self._request(
            "POST",
            self._discover()["token_endpoint"],
            data={
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": self._redirect_uri,
                "code_verifier": sign_in.verifier,
                "client_id": self._identity.client_id,
            },
            auth=(self._identity.client_id, self._client_secret) if self._client_secret else None,
        )
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise SignInFailed(f"The identity provider gave no ID token: {answer.get('error', 'no reason said')}.")
        return self._person(self._claims(token, sign_in.nonce, now=now))

    def _claims(self, token: str, nonce: str, *, now: datetime) -> Mapping[str, Any]:
        """The claims of an ID token, once its signature, issuer, audience, times and nonce hold."""
        claims = self._verified(token).claims
        moment = now.timestamp()
        audience = claims.get("aud")
        audiences = [audience] if isinstance(audience, str) else audience
        if claims.get("iss") != self._discover()["issuer"]:
            raise SignInFailed("The ID token comes from another issuer.")
        if not isinstance(audiences, list) or self._identity.client_id not in audiences:
            raise SignInFailed("The ID token was made for another application.")
        if (len(audiences) > 1 or "azp" in claims) and claims.get("azp") != self._identity.client_id:
            raise SignInFailed("The ID token was issued to another application.")
        if not _is_number(claims.get("exp")) or moment > claims["exp"] + CLOCK_SKEW_S:
            raise SignInFailed("The ID token has expired.")
        for name in ("iat", "nbf"):
            if name in claims and (not _is_number(claims[name]) or claims[name] > moment + CLOCK_SKEW_S):
                raise SignInFailed("The ID token is not valid yet; is a clock wrong?")
        brought = claims.get("nonce")
        if not isinstance(brought, str) or not secrets.compare_digest(brought.encode(errors="replace"), nonce.encode()):
            raise SignInFailed("The ID token answers another sign-in.")
        subject = claims.get("sub")
        if not isinstance(subject, str) or not subject.isprintable() or not 0 < len(subject) <= LONGEST_SUBJECT:
            raise SignInFailed("The ID token names nobody.")
        return claims

    def _verified(self, token: str) -> jwt.Token:
        trouble = ""
        for fresh in (False, True):
            keys = self._key_set(fresh=fresh)
            if keys is None:
                break
            try:
                return jwt.decode(token, keys, algorithms=ALGORITHMS)
            except (JoseError, ValueError, TypeError, RecursionError) as error:
                # A key we don't know may be a rotated one: the provider's keys are read again, once.
                trouble = type(error).__name__
        raise SignInFailed(f"The ID token's signature does not hold ({trouble}).")

    def _person(self, claims: Mapping[str, Any]) -> Person:
        name = self._identity.groups_claim
        if name not in claims:
            # Entra ID leaves the groups out beyond 200 and sends a claim that says where to ask instead.
            # https://learn.microsoft.com/en-us/entra/identity-platform/id-token-claims-reference#groups-overage-claim
            elsewhere = claims.get("_claim_names")
            if (isinstance(elsewhere, dict) and name in elsewhere) or claims.get("hasgroups"):
                raise SignInFailed(
                    "You are in more groups than a token can hold. Ask your administrator to send only the groups assigned "
                    "to this application, or app roles."
                )
            raise SignInFailed(
                f"The ID token has no claim “{name}”. Ask your administrator to add it to this application's tokens."
            )
        found = claims[name]
        groups = [found] if isinstance(found, str) else found
        if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
            raise SignInFailed(f"The claim “{name}” is no list of groups. Ask your administrator to look at it.")
        email = one_line(str(claims.get("email") or claims.get("preferred_username") or ""), LONGEST_SUBJECT)
        named = (claims.get(claim) for claim in ("name", "preferred_username", "email", "sub"))
        name = next((text for text in (one_line(str(given or ""), LONGEST_NAME) for given in named) if text), "")
        return Person(
            subject=claims["sub"],
            # It will stand in registry entries, records and mail subjects: one line, and nothing that turns its direction.
            name=name,
            email=email if "@" in email else "",
            # Only the groups that mean something here: a cookie has room for no more.
            groups=frozenset(groups) & policy.known_groups(self._config),
        )

    def _discover(self) -> dict[str, Any]:
        if self._metadata is None or time.monotonic() - self._metadata[0] > DISCOVERY_LIFETIME_S:
            issuer = self._identity.issuer.rstrip("/")
            metadata = self._request("GET", f"{issuer}/.well-known/openid-configuration")
            if str(metadata.get("issuer", "")).rstrip("/") != issuer:
                raise SignInFailed("The identity provider says it is another issuer than the configured one.")
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                # Over plain http our client secret, or the keys that we trust, would be anybody's on the way.
                if not str(metadata.get(name, "")).startswith(("https://", f"{_origin(issuer)}/")):
                    raise SignInFailed(f"The identity provider's discovery document has no usable {name}.")
            self._metadata = (time.monotonic(), metadata)
        return self._metadata[1]

    def _key_set(self, *, fresh: bool) -> KeySet | None:
        """The provider's keys; None where fresh ones are wanted and these are fresh already."""
        age = time.monotonic() - self._keys[0] if self._keys else None
        if self._keys and age is not None:
            if fresh and age < KEYS_REREAD_S:
                return None
            if not fresh and age < DISCOVERY_LIFETIME_S:
                return self._keys[1]
        document = self._request("GET", self._discover()["jwks_uri"])
        try:
            keys = KeySet.import_key_set(document)  # type: ignore[arg-type]
        except (JoseError, ValueError, TypeError, KeyError):
            raise ProviderUnavailable("The identity provider's keys can't be read.") from None
        self._keys = (time.monotonic(), keys)
        return keys

    def _request(self, method: str, url: str, **extra: Any) -> dict[str, Any]:
        try:
            answer = self._http.request(method, url, timeout=TIMEOUT_S, allow_redirects=False, **extra)
        except requests.RequestException:
            raise ProviderUnavailable("The identity provider does not answer. Try again in a while.") from None
        try:
            document = answer.json()
        except (ValueError, RecursionError):
            raise ProviderUnavailable(f"The identity provider answered with {answer.status_code}, not JSON.") from None
        if answer.status_code >= 500:
            raise ProviderUnavailable(f"The identity provider answered with {answer.status_code}.")
        if not isinstance(document, dict):
            raise ProviderUnavailable("The identity provider answered with something else than an object.")
        if answer.status_code >= 400:
            raise SignInFailed(f"The identity provider refused: {document.get('error', answer.status_code)}.")
        return document


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
