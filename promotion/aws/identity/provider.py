"""Sign-in: redirect to the provider, exchange of the returned code, and checks of the ID token's claims."""

from __future__ import annotations

import hashlib
import secrets
import warnings
from collections.abc import Mapping
from datetime import datetime, timedelta
from urllib.parse import urlencode

from joserfc import jws, jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import KeySet

from promotion.aws.identity import graph
from promotion.aws.identity.claims import LONGEST_SUBJECT, find, is_overage, person_of, wants_userinfo
from promotion.aws.identity.client_authentication import ClientAuthentication, base64url
from promotion.aws.identity.discovery import ALGORITHMS, Discovery
from promotion.aws.identity.logout_token import CLOCK_SKEW_S, Logout, is_number, logout_of
from promotion.config.loading import Config
from promotion.domain import policy
from promotion.domain.people import Person
from promotion.errors import ProviderUnavailable, SignInFailed
from promotion.links.tokens import SignIn

SIGN_IN_LIFETIME = timedelta(minutes=10)


class IdentityProvider:
    """Sign-in of people with the configured provider."""

    def __init__(self, config: Config, client_secret: str, redirect_uri: str) -> None:
        self._config = config
        self._identity = config.identity
        self._client = ClientAuthentication(
            config.identity.client_id, client_secret, config.identity.client_authentication
        )
        self._redirect_uri = redirect_uri
        self._discovery = Discovery(config.identity)

    def begin(
        self, return_to: str, *, now: datetime, state: str = "", demands: Mapping[str, str] | None = None
    ) -> tuple[str, SignIn]:
        """Return the URL for the browser, and the state to keep until it returns.

        Args:
            return_to: The path on this service to redirect to after sign-in.
            now: The current time.
            state: The `state` parameter to send; a random one if empty.
            demands: Parameters that require more than a session at the provider, such as `prompt` and `acr_values`.

        Raises:
            SignInFailed: the provider's discovery document doesn't fit what sign-in requires.
            ProviderUnavailable: the provider doesn't answer.
        """
        sign_in = SignIn(
            state=state or secrets.token_urlsafe(24),
            nonce=secrets.token_urlsafe(24),
            verifier=secrets.token_urlsafe(48),
            return_to=return_to,
            expires_at=now + SIGN_IN_LIFETIME,
        )
        query = {
            "response_type": "code",
            "client_id": self._identity.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": " ".join(self._scopes()),
            "state": sign_in.state,
            "nonce": sign_in.nonce,
            "code_challenge": base64url(hashlib.sha256(sign_in.verifier.encode()).digest()),
            "code_challenge_method": "S256",
            **({"response_mode": "form_post"} if self._identity.response_mode == "form_post" else {}),
            **(demands or {}),
        }
        metadata = self._discovery.metadata()
        if metadata.get("require_pushed_authorization_requests") is True:
            query = self._pushed(query, now=now)
        endpoint = metadata["authorization_endpoint"]
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}", sign_in

    def _pushed(self, query: Mapping[str, str], *, now: datetime) -> dict[str, str]:
        """Push the authorization request (RFC 9126); return the parameters that remain for the browser."""
        endpoint = self._discovery.endpoint("pushed_authorization_request_endpoint")
        if not endpoint:
            raise SignInFailed(
                "The identity provider wants pushed authorization requests, and names no endpoint for them."
            )
        form, headers = self._client.apply(query, self._discovery.metadata(), now=now)
        answer = self._discovery.request("POST", endpoint, data=form, headers=headers)
        return {"client_id": self._identity.client_id, "request_uri": str(answer.get("request_uri", ""))}

    def person(self, claims: Mapping[str, object]) -> Person:
        """Return the person that verified claims describe.

        Raises:
            SignInFailed: the claims don't contain the groups.
        """
        return person_of(claims, self._identity, policy.known_groups(self._config))

    def logout(self, token: str, *, now: datetime) -> Logout:
        """Return the sessions that a logout token of the provider ends.

        Raises:
            SignInFailed: the token is not signed by the provider, or is no logout token for this application.
            ProviderUnavailable: the provider's keys can't be read.
        """
        # Anybody may send a logout token, so an invented key id must not cause a request to the provider each time.
        found = self._verified(token, "logout token", new_key=None)
        return logout_of(
            found.header,
            found.claims,
            issuer=self._discovery.metadata()["issuer"],
            client_id=self._identity.client_id,
            now=now,
        )

    def claims_for(self, code: str, sign_in: SignIn, *, now: datetime) -> Mapping[str, object]:
        """Return verified claims, by one request to the provider, and a second one if the ID token is incomplete.

        Raises:
            SignInFailed: the code or the token is invalid.
            ProviderUnavailable: the provider doesn't answer.
        """
        metadata = self._discovery.metadata()
        form, headers = self._client.apply(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": self._redirect_uri,
                "code_verifier": sign_in.verifier,
            },
            metadata,
            now=now,
        )
        answer = self._discovery.request("POST", metadata["token_endpoint"], data=form, headers=headers)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise SignInFailed("The identity provider gave no ID token. Is `openid` among [advanced.identity] scopes?")
        claims = self._with_graph(self._claims(token, sign_in.nonce, now=now), answer.get("access_token"))
        if wants_userinfo(claims, self._identity) and not is_overage(claims, self._identity.groups_claim):
            claims = self._with_userinfo(claims, answer.get("access_token"))
        return claims

    def end_session(self, back_to: str) -> str:
        """Return the provider's sign-out URL, which returns to `back_to`; empty if it has none.

        OpenID Connect RP-Initiated Logout 1.0: https://openid.net/specs/openid-connect-rpinitiated-1_0.html
        """
        try:
            endpoint = self._discovery.endpoint("end_session_endpoint")
        except (ProviderUnavailable, SignInFailed):
            return ""
        query = urlencode({"client_id": self._identity.client_id, "post_logout_redirect_uri": back_to})
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}" if endpoint else ""

    def _scopes(self) -> tuple[str, ...]:
        at = self._identity.graph
        return (*self._identity.scopes, *([graph.scope(at)] if at else []))

    def _with_graph(self, claims: Mapping[str, object], access_token: object) -> Mapping[str, object]:
        """Add the groups that don't fit into a token, if the configuration names Microsoft Graph."""
        name, at = self._identity.groups_claim, self._identity.graph
        if at is None or not is_overage(claims, name) or not isinstance(access_token, str):
            return claims
        return {**claims, name: graph.groups_of(access_token, at, self._discovery)}

    def _with_userinfo(self, claims: Mapping[str, object], access_token: object) -> Mapping[str, object]:
        """Add claims of the userinfo endpoint (OpenID Connect Core 1.0, section 5.3); those of the ID token win."""
        endpoint = self._discovery.endpoint("userinfo_endpoint")
        if not endpoint or not isinstance(access_token, str):
            return claims
        try:
            said = self._discovery.request("GET", endpoint, headers={"Authorization": f"Bearer {access_token}"})
        except (ProviderUnavailable, SignInFailed):
            # If only a name or an address is missing, the sign-in continues: policy refuses people that it can't identify.
            if find(claims, self._identity.groups_claim) is not None:
                return claims
            raise
        if said.get("sub") != claims["sub"]:
            # Its claims must not be used in this case (section 5.3.2); a person whose groups are known signs in without
            # them.
            if find(claims, self._identity.groups_claim) is not None:
                return claims
            raise SignInFailed("The userinfo endpoint speaks of another person than the ID token.")
        return {**said, **claims}

    def _claims(self, token: str, nonce: str, *, now: datetime) -> Mapping[str, object]:
        """Return the claims of an ID token after its signature, issuer, audience, times and nonce were verified."""
        claims = self._verified(token, "ID token", new_key=_key_id(token)).claims
        moment = now.timestamp()
        audience = claims.get("aud")
        audiences = [audience] if isinstance(audience, str) else audience
        if claims.get("iss") != self._discovery.metadata()["issuer"]:
            raise SignInFailed("The ID token comes from another issuer.")
        if not isinstance(audiences, list) or self._identity.client_id not in audiences:
            raise SignInFailed("The ID token was made for another application.")
        if (len(audiences) > 1 or "azp" in claims) and claims.get("azp") != self._identity.client_id:
            raise SignInFailed("The ID token was issued to another application.")
        if not is_number(claims.get("exp")) or moment > claims["exp"] + CLOCK_SKEW_S:
            raise SignInFailed("The ID token has expired.")
        if not is_number(claims.get("iat")):
            raise SignInFailed("The ID token doesn't say when it was issued (iat).")
        for name in ("iat", "nbf"):
            if name in claims and (not is_number(claims[name]) or claims[name] > moment + CLOCK_SKEW_S):
                raise SignInFailed("The ID token is not valid yet; is a clock wrong?")
        brought = claims.get("nonce")
        if not isinstance(brought, str) or not secrets.compare_digest(brought.encode(errors="replace"), nonce.encode()):
            raise SignInFailed("The ID token answers another sign-in.")
        subject = claims.get("sub")
        if not isinstance(subject, str) or not subject.isprintable() or not 0 < len(subject) <= LONGEST_SUBJECT:
            raise SignInFailed("The ID token names nobody.")
        return claims

    def _verified(self, token: str, kind: str, *, new_key: str | None) -> jwt.Token:
        keys = self._discovery.keys()
        try:
            return _decoded(token, keys)
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            trouble = type(error).__name__
        # An unknown key may be a new one, so the provider's keys are read again, once.
        newer = self._discovery.newer_keys(new_key)
        if newer is not None:
            try:
                return _decoded(token, newer)
            except (JoseError, ValueError, TypeError, RecursionError) as error:
                trouble = type(error).__name__
        raise SignInFailed(f"The {kind}'s signature does not hold ({trouble}).")


def _decoded(token: str, keys: KeySet) -> jwt.Token:
    with warnings.catch_warnings():
        # EdDSA is the old name of Ed25519 (RFC 9864), and the only one that most providers know.
        warnings.simplefilter("ignore", SecurityWarning)
        return jwt.decode(token, keys, algorithms=ALGORITHMS)


def _key_id(token: str) -> str | None:
    """Return the key id in a token's header, which is not verified yet."""
    try:
        found = jws.extract_compact(token.encode()).headers().get("kid")
    except (JoseError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return found if isinstance(found, str) else None
