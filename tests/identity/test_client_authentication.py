"""Client authentication by each method, as providers list them."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from msgspec.structs import replace

from promotion.aws.identity.discovery import http_session
from promotion.errors import SignInFailed
from tests.identity.provider import CLIENT_ID, CLIENT_SECRET, NOW, RSA, Application, Provider, signed

PRIVATE = RSAKey.generate_key(2048, {"kid": "client-1"})


def signs_in(application: Application) -> None:
    _, sign_in = application.begin()
    application.provider.token = signed(application.provider.claims(sign_in), RSA)
    application.finish(sign_in)


def basic(provider: Provider, path: str = "/token") -> str:
    return base64.b64decode(provider.headers[path]["Authorization"].removeprefix("Basic ")).decode()


def test_basic_is_the_only_authentication_in_its_request(application: Application, provider: Provider) -> None:
    signs_in(application)
    assert basic(provider) == f"{CLIENT_ID}:{quote_plus(CLIENT_SECRET)}"
    assert provider.form.keys() == {"grant_type", "code", "redirect_uri", "code_verifier"}


@pytest.mark.parametrize("secret", ["plus+and%percent", "a:b", "percent%41", "%zz", "ümlaut/=~. end"])
def test_id_and_secret_are_form_encoded_for_basic(provider: Provider, secret: str) -> None:
    signs_in(Application(provider, secret=secret))
    assert basic(provider) == f"{CLIENT_ID}:{quote_plus(secret)}"


def test_post_is_used_where_basic_is_not_listed(provider: Provider) -> None:
    provider.changes = {"token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_post"]}
    signs_in(Application(provider))
    assert "Authorization" not in provider.headers["/token"]
    assert (provider.form["client_id"], provider.form["client_secret"]) == ([CLIENT_ID], [CLIENT_SECRET])


def test_the_configuration_can_choose_post_where_both_are_listed(provider: Provider) -> None:
    provider.changes = {"token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"]}
    signs_in(Application(provider, client_authentication="client_secret_post"))
    assert provider.form["client_secret"] == [CLIENT_SECRET]
    assert "Authorization" not in provider.headers["/token"]


def test_a_public_client_sends_its_id_alone(provider: Provider) -> None:
    signs_in(Application(provider, secret=""))
    assert "Authorization" not in provider.headers["/token"]
    assert provider.form["client_id"] == [CLIENT_ID]
    assert "client_secret" not in provider.form


def test_a_provider_that_takes_no_secret_is_named_with_what_it_lists(provider: Provider) -> None:
    provider.changes = {"token_endpoint_auth_methods_supported": ["private_key_jwt", "tls_client_auth"]}
    with pytest.raises(SignInFailed, match=r"private_key_jwt, tls_client_auth.*private key"):
        signs_in(Application(provider))


KEYS: dict[str, tuple[RSAKey | ECKey | OKPKey, list[str], str]] = {
    "RSA": (PRIVATE, ["RS256", "PS256"], "RS256"),
    "RSA where PS256 alone is listed": (PRIVATE, ["PS256"], "PS256"),
    "P-256": (ECKey.generate_key("P-256"), ["RS256", "ES256"], "ES256"),
    "P-384": (ECKey.generate_key("P-384"), ["ES384"], "ES384"),
    "Ed25519 by its own name": (OKPKey.generate_key("Ed25519"), ["Ed25519"], "Ed25519"),
}


@pytest.mark.parametrize(("key", "listed", "algorithm"), KEYS.values(), ids=KEYS.keys())
def test_a_private_key_in_place_of_the_secret_signs_an_assertion(
    provider: Provider, key: RSAKey | ECKey | OKPKey, listed: list[str], algorithm: str
) -> None:
    provider.changes = {"token_endpoint_auth_signing_alg_values_supported": listed}
    signs_in(Application(provider, secret=key.as_pem(private=True).decode()))
    token = jwt.decode(provider.form["client_assertion"][0], key, algorithms=[algorithm])
    moment = int(NOW.timestamp())
    assert token.claims.pop("jti")
    assert token.claims == {
        "iss": CLIENT_ID,
        "sub": CLIENT_ID,
        "aud": f"{provider.issuer}/token",
        "iat": moment,
        "exp": moment + 60,
    }
    assert provider.form["client_assertion_type"] == ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"]
    assert "Authorization" not in provider.headers["/token"]
    assert "client_secret" not in provider.form


def test_providers_that_know_ed25519_by_its_old_name_get_that(provider: Provider) -> None:
    provider.changes = {"token_endpoint_auth_signing_alg_values_supported": ["EdDSA"]}
    signs_in(Application(provider, secret=OKPKey.generate_key("Ed25519").as_pem(private=True).decode()))
    header = provider.form["client_assertion"][0].partition(".")[0]
    assert json.loads(base64.urlsafe_b64decode(header + "==="))["alg"] == "EdDSA"


def test_a_json_web_key_names_itself_in_the_assertion(provider: Provider) -> None:
    signs_in(Application(provider, secret=json.dumps(PRIVATE.as_dict(private=True))))
    token = jwt.decode(provider.form["client_assertion"][0], PRIVATE, algorithms=["RS256"])
    assert token.header["kid"] == "client-1"


@pytest.mark.parametrize("secret", ["-----BEGIN PRIVATE KEY-----\nbm8=\n-----END PRIVATE KEY-----\n", '{"kty": "RSA"}'])
def test_a_damaged_private_key_is_told_as_that(provider: Provider, secret: str) -> None:
    with pytest.raises(SignInFailed, match="private key"):
        signs_in(Application(provider, secret=secret))


def certificate() -> x509.Certificate:
    """A certificate that is its own authority, as `openssl req -x509` makes one."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "promotion")])
    key = ec.generate_private_key(ec.SECP256R1())
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    return made.serial_number(1).not_valid_before(NOW).not_valid_after(NOW).sign(key, hashes.SHA256())


@pytest.mark.parametrize("comes_first", ["key", "certificate"])
def test_a_certificate_beside_the_key_is_named_by_its_thumbprints(provider: Provider, comes_first: str) -> None:
    """Entra ID finds the certificate by them, and takes no assertion without."""
    found = certificate()
    both = [PRIVATE.as_pem(private=True).decode(), found.public_bytes(Encoding.PEM).decode()]
    signs_in(Application(provider, secret="".join(both if comes_first == "key" else both[::-1])))
    header = jwt.decode(provider.form["client_assertion"][0], PRIVATE, algorithms=["RS256"]).header
    der = found.public_bytes(Encoding.DER)
    for name, algorithm in (("x5t", "sha1"), ("x5t#S256", "sha256")):
        assert base64.urlsafe_b64decode(header[name] + "=") == hashlib.new(algorithm, der).digest()


def test_a_damaged_certificate_is_told_as_that(provider: Provider) -> None:
    damaged = certificate().public_bytes(Encoding.PEM).decode().replace("MII", "MIX")
    with pytest.raises(SignInFailed, match="certificate"):
        signs_in(Application(provider, secret=PRIVATE.as_pem(private=True).decode() + damaged))


def test_the_authorization_request_is_pushed_where_the_provider_requires_it(provider: Provider) -> None:
    provider.changes = {
        "require_pushed_authorization_requests": True,
        "pushed_authorization_request_endpoint": f"{provider.issuer}/par",
    }
    address, sign_in = Application(provider).begin()
    assert parse_qs(urlsplit(address).query) == {"client_id": [CLIENT_ID], "request_uri": ["urn:example:pushed"]}
    assert provider.form["state"] == [sign_in.state]
    assert basic(provider, "/par").startswith(f"{CLIENT_ID}:")


def test_a_provider_that_requires_pushing_without_an_endpoint_is_told(provider: Provider) -> None:
    provider.changes = {"require_pushed_authorization_requests": True}
    with pytest.raises(SignInFailed, match="pushed"):
        Application(provider).begin()


def test_the_answer_is_asked_for_as_a_form_where_configured(provider: Provider) -> None:
    address, _ = Application(provider, response_mode="form_post").begin()
    assert parse_qs(urlsplit(address).query)["response_mode"] == ["form_post"]


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "code alone": ({"error": "invalid_client"}, "The identity provider refused: invalid_client."),
    "with a description": (
        {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."},
        "The identity provider refused: invalid_client (AADSTS7000215: Invalid client secret provided).",
    ),
    "with escapes and direction": (
        {"error": "invalid_request", "error_description": "a\x1b[2Jb\u202ec\u200b\r\nd"},
        "The identity provider refused: invalid_request (a [2Jbc d).",
    ),
}


@pytest.mark.parametrize(("said", "told"), REFUSALS.values(), ids=REFUSALS.keys())
def test_the_providers_reason_is_told_in_one_clean_line(
    application: Application, provider: Provider, said: dict[str, Any], told: str
) -> None:
    provider.refusal = said
    _, sign_in = application.begin()
    with pytest.raises(SignInFailed) as refused:
        application.finish(sign_in)
    assert str(refused.value) == told


def test_the_configured_proxy_comes_before_that_of_the_environment(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    identity = replace(Application(provider).config.identity, proxy=provider.issuer)
    answer = http_session(identity).get("http://login.corp.example.test/through-the-proxy", timeout=10)
    assert answer.status_code == 404
    assert provider.asked["http://login.corp.example.test/through-the-proxy"] == 1
