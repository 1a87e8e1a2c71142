"""Client authentication at the token endpoint, by the method that the provider's discovery document lists.

RFC 6749, section 2.3: a client uses one method in each request, never two. OpenID Connect Core 1.0, section 9, names them.
"""

from __future__ import annotations

import base64
import json
import secrets
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, get_args
from urllib.parse import quote_plus

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from joserfc import jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from promotion.errors import SignInFailed

Method = Literal["client_secret_basic", "client_secret_post", "private_key_jwt", "none"]
METHODS: tuple[Method, ...] = get_args(Method)
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_LIFETIME_S = 60
_KEY_KINDS: tuple[Callable[[Any], Key], ...] = (RSAKey.import_key, ECKey.import_key, OKPKey.import_key)


class ClientAuthentication:
    """Client authentication at the provider's token endpoint.

    Args:
        client_id: The id that the provider gave.
        secret: A client secret, a private key (PEM, with its certificate where the provider wants a thumbprint; or a JWK),
            or nothing for a public client with PKCE.
        method: The method to use. None chooses by what the secret is and what the provider lists.
    """

    def __init__(self, client_id: str, secret: str, method: Method | None = None) -> None:
        self._client_id = client_id
        self._secret = secret
        self._method = method

    def method(self, metadata: Mapping[str, Any]) -> Method:
        """The method for a provider.

        Raises:
            SignInFailed: the provider lists no method that works with this secret.
        """
        if self._method is not None:
            return self._method
        if not self._secret:
            return "none"
        if _is_private_key(self._secret):
            return "private_key_jwt"
        # A missing list means Basic (OpenID Connect Discovery 1.0, section 3).
        listed = metadata.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        if "client_secret_basic" in listed:
            return "client_secret_basic"
        if "client_secret_post" in listed:
            return "client_secret_post"
        raise SignInFailed(
            "The identity provider takes no client secret; it lists "
            f"{', '.join(map(str, listed))}. Put a private key into the secret, or leave it empty for a public client."
        )

    def apply(
        self, form: Mapping[str, str], metadata: Mapping[str, object], *, now: datetime
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Return the form and the headers of a request that authenticates the client.

        Raises:
            SignInFailed: the secret or the provider's list of methods doesn't fit.
        """
        match self.method(metadata):
            case "client_secret_basic":
                # Id and secret are form-encoded first (RFC 6749, section 2.3.1), so that `:`, `%` and `+` arrive
                # unchanged.
                pair = f"{quote_plus(self._client_id)}:{quote_plus(self._secret)}"
                return dict(form), {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
            case "client_secret_post":
                return {**form, "client_id": self._client_id, "client_secret": self._secret}, {}
            case "private_key_jwt":
                assertion = self._assertion(metadata, now=now)
                named = {"client_id": self._client_id, "client_assertion_type": ASSERTION_TYPE}
                return {**form, **named, "client_assertion": assertion}, {}
            case "none":
                return {**form, "client_id": self._client_id}, {}

    @cached_property
    def _private_key(self) -> tuple[Key, dict[str, str]]:
        """Return the key, and the header of an assertion signed with it."""
        if self._secret.lstrip().startswith("{"):
            try:
                document = json.loads(self._secret)
                kinds: dict[str, Callable[[object], Key]] = dict(zip(("RSA", "EC", "OKP"), _KEY_KINDS, strict=True))
                key = kinds[document["kty"]](document)
                return key, {"kid": str(document["kid"])} if "kid" in document else {}
            except (JoseError, ValueError, KeyError, TypeError):
                raise SignInFailed("The client's private key is no usable JSON Web Key.") from None
        private = _block(self._secret, "PRIVATE KEY")
        for kind in _KEY_KINDS:
            try:
                key = kind(private)
                break
            except (JoseError, ValueError, TypeError, AttributeError):
                continue
        else:
            raise SignInFailed("The client's private key can't be read: it has to be PEM without a password, or a JWK.")
        return key, _thumbprints(_block(self._secret, "CERTIFICATE"))

    def _assertion(self, metadata: Mapping[str, Any], *, now: datetime) -> str:
        """Return a JWT that proves possession of the private key (RFC 7523, section 2.2)."""
        key, header = self._private_key
        moment = int(now.timestamp())
        claims = {
            "iss": self._client_id,
            "sub": self._client_id,
            "aud": metadata["token_endpoint"],
            "jti": secrets.token_urlsafe(18),
            "iat": moment,
            "exp": moment + ASSERTION_LIFETIME_S,
        }
        algorithm = _algorithm(key, metadata.get("token_endpoint_auth_signing_alg_values_supported"))
        with warnings.catch_warnings():
            # EdDSA is the old name of Ed25519 (RFC 9864), and the only one that most providers know.
            warnings.simplefilter("ignore", SecurityWarning)
            return jwt.encode({"alg": algorithm, **header}, claims, key, algorithms=[algorithm])


def _algorithm(key: Key, listed: Sequence[str] | None) -> str:
    """Return the first algorithm of a key that the provider lists, else the key's usual one."""
    curve = str(key.as_dict(private=False).get("crv", ""))
    usual = {
        "RSA": ["RS256", "PS256", "RS384", "RS512"],
        "EC": [{"P-384": "ES384", "P-521": "ES512"}.get(curve, "ES256")],
        "OKP": ["Ed25519", "EdDSA"] if listed and "Ed25519" in listed else ["EdDSA"],
    }[key.key_type]
    return next((name for name in usual if listed and name in listed), usual[0])


def _is_private_key(secret: str) -> bool:
    text = secret.lstrip()
    return text.startswith("-----BEGIN ") or (text.startswith("{") and '"kty"' in text)


def _block(text: str, kind: str) -> str:
    """Return the first PEM block whose label ends in `kind`; empty if there is none."""
    for part in text.split("-----BEGIN ")[1:]:
        label, _, _ = part.partition("-----")
        if label.endswith(kind):
            return f"-----BEGIN {part.partition(f'-----END {label}-----')[0]}-----END {label}-----\n"
    return ""


def _thumbprints(certificate: str) -> dict[str, str]:
    """Return a certificate's thumbprints for Entra ID, as header parameters of the assertion.

    https://learn.microsoft.com/entra/identity-platform/certificate-credentials

    Raises:
        SignInFailed: the certificate is damaged.
    """
    if not certificate:
        return {}
    try:
        found = x509.load_pem_x509_certificate(certificate.encode())
    except ValueError:
        raise SignInFailed("The certificate beside the client's private key can't be read: it has to be PEM.") from None
    sha1 = found.fingerprint(hashes.SHA1())  # noqa: S303 - the header's name says SHA-1
    return {"x5t": base64url(sha1), "x5t#S256": base64url(found.fingerprint(hashes.SHA256()))}


def base64url(digest: bytes) -> str:
    """Return bytes in base64url without padding."""
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
