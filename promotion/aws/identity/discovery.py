"""The provider's discovery document, its keys, and the HTTP requests to it.

OpenID Connect Discovery 1.0: https://openid.net/specs/openid-connect-discovery-1_0.html
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import certifi
import requests
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import JWKRegistry, Key, KeySet, OctKey

from promotion.config.settings import Identity
from promotion.errors import ClientRefused, ProviderUnavailable, SignInFailed
from promotion.formatting import one_line

# Neither `none` nor HMAC: otherwise a token signed with our own client secret would be accepted.
ALGORITHMS = ["RS256", "PS256", "ES256", "RS384", "PS384", "ES384", "RS512", "PS512", "ES512", "EdDSA", "Ed25519"]
TIMEOUT_S = 10.0
DISCOVERY_LIFETIME_S = 3600.0
# A token with an unknown key makes the keys be read again at once, but repeated forged tokens don't.
KEYS_REREAD_S = 10.0
# Errors caused by this application's registration, not by the person (RFC 6749, section 5.2).
_ABOUT_US = ("invalid_client", "unauthorized_client")
LONGEST_REASON = 400
MOST_KEYS = 100


class Discovery:
    """A provider's discovery document and keys, each read once an hour."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._http = http_session(identity)
        self._metadata: tuple[float, dict[str, object]] | None = None
        self._keys: tuple[float, KeySet] | None = None
        self._missed: tuple[float, str | None] | None = None

    def metadata(self) -> dict[str, Any]:
        """Return the discovery document.

        Raises:
            SignInFailed: the document is of another issuer, or has no usable endpoint.
            ProviderUnavailable: the document can't be read.
        """
        if self._metadata is None or time.monotonic() - self._metadata[0] > DISCOVERY_LIFETIME_S:
            issuer = self._identity.issuer.rstrip("/")
            metadata = self.request("GET", f"{issuer}/.well-known/openid-configuration")
            if str(metadata.get("issuer", "")).rstrip("/") != issuer:
                raise SignInFailed("The identity provider says it is another issuer than the configured one.")
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                if not self._is_usable(metadata.get(name)):
                    raise SignInFailed(f"The identity provider's discovery document has no usable {name}.")
            self._metadata = (time.monotonic(), metadata)
        return self._metadata[1]

    def endpoint(self, name: str) -> str:
        """Return an optional endpoint; empty if the provider has none that can be used safely."""
        found = self.metadata().get(name)
        return str(found) if self._is_usable(found) else ""

    def _is_usable(self, address: object) -> bool:
        # Over plain http, anybody on the network path could read our client secret or replace the keys that we trust.
        return str(address or "").startswith(("https://", f"{_origin(self._identity.issuer)}/"))

    def keys(self) -> KeySet:
        """Return the provider's keys, read once an hour."""
        if self._keys is None or time.monotonic() - self._keys[0] >= DISCOVERY_LIFETIME_S:
            return self._read_keys()
        return self._keys[1]

    def newer_keys(self, key_id: str | None) -> KeySet | None:
        """Read the keys again for a token whose key `key_id` is missing or doesn't fit; None if that can't help.

        An unknown key may be a new one, so the keys are read at once; for the same key id they are not read again for a
        while.
        """
        moment = time.monotonic()
        known = {key.kid for key in self.keys().keys}
        age = moment - self._keys[0] if self._keys else 0.0
        missed = self._missed
        missed_lately = missed is not None and moment - missed[0] < KEYS_REREAD_S
        is_new = key_id is not None and key_id not in known and not (missed_lately and missed and missed[1] == key_id)
        if not is_new and (age < KEYS_REREAD_S or missed_lately):
            return None
        self._missed = (moment, key_id)
        return self._read_keys()

    def _read_keys(self) -> KeySet:
        document = self.request("GET", self.metadata()["jwks_uri"])
        listed = document.get("keys")
        if not isinstance(listed, list):
            raise ProviderUnavailable("The identity provider's keys can't be read.")
        found = KeySet([key for key in map(_key, listed[:MOST_KEYS]) if key is not None])
        self._keys = (time.monotonic(), found)
        return found

    def request(self, method: str, url: str, **extra: Any) -> dict[str, Any]:
        """Return the JSON object that an address of the provider answers with.

        Raises:
            SignInFailed: the provider refused; the message has its reason.
            ProviderUnavailable: the provider doesn't answer, answers with no JSON, or throttles (429).
        """
        try:
            answer = self._http.request(method, url, timeout=TIMEOUT_S, allow_redirects=False, **extra)
        except requests.exceptions.SSLError:
            raise ProviderUnavailable(
                f"The certificate of the identity provider ({urlsplit(url).netloc}) isn't trusted. A certificate authority of "
                "your own goes into [advanced.identity] ca_bundle."
            ) from None
        except requests.exceptions.ProxyError:
            raise ProviderUnavailable(
                "The proxy of [advanced.identity] proxy doesn't reach the identity provider."
            ) from None
        except requests.RequestException:
            raise ProviderUnavailable("The identity provider does not answer. Try again in a while.") from None
        try:
            document = answer.json()
        except (ValueError, RecursionError):
            raise ProviderUnavailable(f"The identity provider answered with {answer.status_code}, not JSON.") from None
        if answer.status_code >= 500 or answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            raise ProviderUnavailable(f"The identity provider answered with {answer.status_code}.")
        if not isinstance(document, dict):
            raise ProviderUnavailable("The identity provider answered with something else than an object.")
        if answer.status_code >= 400:
            kind = ClientRefused if document.get("error") in _ABOUT_US else SignInFailed
            raise kind(f"The identity provider refused: {refusal(document, str(answer.status_code))}.")
        return document


def refusal(said: Mapping[str, object], otherwise: str) -> str:
    """Return an error answer's code and description in one line, without control and invisible characters."""
    error: Any = said.get("error")
    description: Any = said.get("error_description")
    if isinstance(error, Mapping):
        # The form of Microsoft Graph's errors: https://learn.microsoft.com/en-us/graph/errors
        error, description = error.get("code"), error.get("message")
    code = one_line(str(error or otherwise), 80)
    description = one_line(str(description or ""), LONGEST_REASON).rstrip(".")
    return f"{code} ({description})" if description else code


class _Session(requests.Session):
    """A session whose proxies and CA certificates override HTTPS_PROXY and REQUESTS_CA_BUNDLE, unlike in requests."""

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        own = self.verify if verify is None else verify
        return super().merge_environment_settings(url, {**self.proxies, **(proxies or {})}, stream, own, cert)


def http_session(identity: Identity) -> requests.Session:
    """Return an HTTP session that uses `[advanced.identity] proxy` and also trusts `ca_bundle`."""
    session = _Session()
    if identity.proxy:
        session.proxies = {"http": identity.proxy, "https": identity.proxy}
    if identity.ca_bundle:
        session.verify = _trusted(identity.ca_bundle)
    return session


@cache
def _trusted(certificates: str) -> str:
    """Return the path of a file with the usual CA certificates and `certificates`, kept as long as the process."""
    with tempfile.NamedTemporaryFile("w", suffix=".pem", delete=False, encoding="utf-8") as file:
        with Path(certifi.where()).open(encoding="utf-8") as usual:
            file.write(usual.read())
        file.write(f"\n{certificates.strip()}\n")
    return file.name


def _key(document: object) -> Key | None:
    """Return a public key for signatures; None if its kind isn't supported."""
    if not isinstance(document, dict) or document.get("use", "sig") != "sig":
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)
            key = JWKRegistry.import_key(document)
            if isinstance(key, OctKey):
                return None
            key.as_pem(private=False)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return key


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
