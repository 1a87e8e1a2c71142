"""A tiny OpenID Connect provider that says whatever a test has it say, and counts what it is asked."""

from __future__ import annotations

import base64
import hmac
import json
import threading
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from joserfc import jwt
from joserfc.jwk import ECKey, Key, RSAKey

from promotion.aws.identity import IdentityProvider
from promotion.config.advanced import EXPERT
from promotion.config.loading import parse
from promotion.domain.people import Person
from promotion.links.tokens import SignIn

CLIENT_ID = "promotion"
CLIENT_SECRET = "a client secret of more than thirty-two characters"
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
RSA = RSAKey.generate_key(2048, {"kid": "rsa-1", "use": "sig"})
ROTATED = RSAKey.generate_key(2048, {"kid": "rsa-2", "use": "sig"})
EC = ECKey.generate_key("P-256", {"kid": "ec-1", "use": "sig"})
STRANGER = RSAKey.generate_key(2048, {"kid": "rsa-1", "use": "sig"})

Made = dict[str, Any]


class Provider:
    """Runs in a thread of its own. `keys` are published; `token` is the next ID token, or None for an error."""

    def __init__(self) -> None:
        self.keys: list[Key | dict[str, Any] | str] = [RSA, EC]
        self.token: str | None = None
        self.asked: Counter[str] = Counter()
        self.form: dict[str, list[str]] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.changes: dict[str, Any] = {}
        # Other addresses below the issuer, with status and document (bytes are sent as they are).
        self.answers: dict[str, tuple[int, Any]] = {}
        self.userinfo: Any = None
        self.refusal: dict[str, Any] = {"error": "invalid_grant"}
        self.down = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def claims(self, sign_in: SignIn, **changes: Any) -> Made:
        """The claims of a good token, with changes; a change to `...` takes the claim out."""
        moment = int(NOW.timestamp())
        good: Made = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "sub": "subject-of-ann",
            "exp": moment + 3600,
            "iat": moment,
            "nonce": sign_in.nonce,
            "name": "Ann Adler",
            "email": "ann@example.com",
            "groups": ["ml-dev", "ml-auditors", "payroll"],
        }
        return {key: value for key, value in {**good, **changes}.items() if value is not ...}

    def answer(self, path: str) -> tuple[int, Any]:
        self.asked[path] += 1
        if self.down:
            return 503, {"error": "temporarily_unavailable"}
        if path in self.answers:
            return self.answers[path]
        match path:
            case "/.well-known/openid-configuration":
                return 200, {
                    "issuer": self.issuer,
                    "authorization_endpoint": f"{self.issuer}/authorize",
                    "token_endpoint": f"{self.issuer}/token",
                    "jwks_uri": f"{self.issuer}/keys",
                    **({} if self.userinfo is None else {"userinfo_endpoint": f"{self.issuer}/userinfo"}),
                    **self.changes,
                }
            case "/keys":
                return 200, {
                    "keys": [key if isinstance(key, dict | str) else key.as_dict(private=False) for key in self.keys]
                }
            case "/token":
                if self.token is None:
                    return 400, self.refusal
                return 200, {"access_token": "opaque", "token_type": "Bearer", "id_token": self.token}
            case "/userinfo":
                return 200, self.userinfo
            case "/par":
                return 201, {"request_uri": "urn:example:pushed", "expires_in": 60}
        return 404, {}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.headers[self.path] = dict(self.headers)
                self._say(*provider.answer(self.path))

            def do_POST(self) -> None:
                from urllib.parse import parse_qs

                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                provider.form, provider.headers[self.path] = parse_qs(body), dict(self.headers)
                self._say(*provider.answer(self.path))

            def _say(self, status: int, document: Any) -> None:
                body = document if isinstance(document, bytes) else json.dumps(document).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        return Handler


class Application:
    """Our end of it: an `IdentityProvider` of its own for each test."""

    def __init__(
        self, provider: Provider, *, secret: str = CLIENT_SECRET, group: str = '"ml-dev"', **identity: str
    ) -> None:
        text = CONFIG.replace("ISSUER", provider.issuer).replace('"ml-dev"', group)
        for key, value in identity.items():
            place = "EXPERT" if key in EXPERT["identity",] else "MORE"
            text = text.replace(place, f"{key} = {json.dumps(value)}\n{place}")
        self.config = parse(text.replace("EXPERT", "").replace("MORE", ""))
        self.provider = provider
        self.identity = IdentityProvider(self.config, secret, "https://promotion.example.com/callback")

    def begin(self) -> tuple[str, SignIn]:
        return self.identity.begin("/approvals/x", now=NOW)

    def signs_in(self, key: Key = RSA, header: Mapping[str, Any] | None = None, **changes: Any) -> Person:
        """A whole sign-in, on a token with these changes to its claims."""
        _, sign_in = self.begin()
        self.provider.token = signed(self.provider.claims(sign_in, **changes), key, header)
        return self.finish(sign_in)

    def finish(self, sign_in: SignIn) -> Person:
        return self.identity.person(self.identity.claims_for("a-code", sign_in, now=NOW))


def signed(claims: Made, key: Key, header: Mapping[str, Any] | None = None) -> str:
    algorithm = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}[key.key_type]
    made = {"alg": algorithm, "kid": key.kid, **(header or {})}
    made = {name: value for name, value in made.items() if value is not None}
    return jwt.encode(made, claims, key, algorithms=[made["alg"]])


def unsigned(claims: Made, algorithm: str) -> str:
    """`alg: none`, however it is spelt."""
    return f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(claims)}."


def by_hand(header: Made, claims: Made, secret: bytes | None = None) -> str:
    """A token whose signature holds, as no well-kept library would make it: by `secret` with HMAC, else by the provider's key."""
    said = f"{part(header)}.{part(claims)}"
    if secret is not None:
        signature = hmac.digest(secret, said.encode(), "sha256")
    else:
        private = serialization.load_pem_private_key(RSA.as_pem(private=True), None)
        assert isinstance(private, rsa.RSAPrivateKey)
        signature = private.sign(said.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{said}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def part(document: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


CONFIG = """
[mail]
sender = "models@example.com"
[identity]
issuer = "ISSUER"
client_id = "promotion"
auditors = { id = "ml-auditors", name = "ML auditors" }
MORE
[[environments]]
name = "dev"
approver_group = { id = "ml-dev", name = "ML approvers, dev" }
approvers = ["ann@example.com"]
[advanced.identity]
EXPERT
"""
