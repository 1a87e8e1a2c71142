"""`promotion doctor` on the identity provider's own description."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from promotion.aws.doctor.provider import provider as look_at_provider
from tests.cli.doctor_account import account, by_check, configured
from tests.identity.provider import Provider
from tests.identity.tls import TlsProvider


@pytest.mark.parametrize(
    ("changes", "check", "state"),
    [
        ({}, "PKCE", "not checked"),
        ({"code_challenge_methods_supported": ["S256", "plain"]}, "PKCE", "ok"),
        ({"code_challenge_methods_supported": ["plain"]}, "PKCE", "fail"),
        ({"issuer": "https://elsewhere.example"}, "identity provider", "fail"),
        ({"token_endpoint": "http://10.0.0.1/token"}, "identity provider", "fail"),
        ({"jwks_uri": "https://127.0.0.1:1/keys"}, "sign-in keys", "fail"),
        ({"claims_supported": ["sub", "groups"]}, "groups claim", "ok"),
        ({"claims_supported": ["sub"]}, "groups claim", "warn"),
        ({}, "groups claim", "not checked"),
        ({"scopes_supported": ["openid"]}, "scopes", "warn"),
        ({"id_token_signing_alg_values_supported": ["HS256"]}, "ID tokens", "fail"),
        ({}, "client authentication", "ok"),
        ({"token_endpoint_auth_methods_supported": ["client_secret_post"]}, "client authentication", "ok"),
        ({"token_endpoint_auth_methods_supported": ["private_key_jwt"]}, "client authentication", "warn"),
        ({"token_endpoint_auth_methods_supported": ["none"]}, "client authentication", "warn"),
        ({"token_endpoint_auth_methods_supported": ["tls_client_auth"]}, "client authentication", "fail"),
    ],
)
def test_the_providers_description_is_compared_with_the_needs_of_a_sign_in(
    provider: Provider, changes: dict[str, Any], check: str, state: str
) -> None:
    provider.changes = changes
    found = by_check(list(look_at_provider(account(configured(provider)))))
    assert found[check].state == state


def test_a_configured_method_that_the_provider_does_not_list_is_warned_of(provider: Provider) -> None:
    provider.changes = {"token_endpoint_auth_methods_supported": ["client_secret_basic"]}
    config = configured(provider)
    config = replace(config, identity=replace(config.identity, client_authentication="client_secret_post"))
    assert by_check(list(look_at_provider(account(config))))["client authentication"].state == "warn"


def test_a_configured_method_that_the_provider_lists_is_right(provider: Provider) -> None:
    provider.changes = {"token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"]}
    config = configured(provider)
    config = replace(config, identity=replace(config.identity, client_authentication="client_secret_post"))
    found = by_check(list(look_at_provider(account(config))))["client authentication"]
    assert (found.state, found.found) == ("ok", "client_secret_post, as configured.")


@pytest.mark.parametrize(
    "document",
    [
        {"keys": []},
        {"keys": None},
        {"keys": {"kty": "RSA"}},
        {},
        [],
        {"keys": [{"kty": "oct", "k": "c2VjcmV0"}, "RSA"]},
    ],
)
def test_a_provider_without_a_public_key_is_a_failure(provider: Provider, document: object) -> None:
    provider.answers["/keys"] = 200, document
    assert by_check(list(look_at_provider(account(configured(provider)))))["sign-in keys"].state == "fail"


@pytest.mark.parametrize(("off_s", "said"), [(90, "behind"), (-90, "ahead of"), (20, None)])
def test_a_clock_apart_from_the_providers_is_a_failure(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, off_s: int, said: str | None
) -> None:
    date = format_datetime(datetime.now(UTC) - timedelta(seconds=off_s))
    monkeypatch.setattr(BaseHTTPRequestHandler, "date_time_string", lambda *_: date)
    found = by_check(list(look_at_provider(account(configured(provider))))).get("clock")
    assert (found is not None and found.state) == (said is not None and "fail")
    assert found is None or f"{said} this machine's" in found.found


def test_a_provider_without_a_clock_is_not_compared(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BaseHTTPRequestHandler, "date_time_string", lambda *_: "today")
    found = by_check(list(look_at_provider(account(configured(provider)))))
    assert ("clock" in found, found["sign-in keys"].state) == (False, "ok")


@pytest.mark.parametrize(
    ("changes", "check", "state"),
    [
        ({"code_challenge_methods_supported": 256}, "PKCE", "not checked"),
        ({"id_token_signing_alg_values_supported": [{"alg": "RS256"}, 7]}, "ID tokens", "fail"),
    ],
)
def test_metadata_of_a_wrong_type_stops_no_check(
    provider: Provider, changes: dict[str, Any], check: str, state: str
) -> None:
    provider.changes = changes
    found = by_check(list(look_at_provider(account(configured(provider)))))
    assert (found[check].state, "groups claim" in found) == (state, True)


@pytest.mark.parametrize(
    ("path", "check"), [("/.well-known/openid-configuration", "identity provider"), ("/keys", "sign-in keys")]
)
@pytest.mark.parametrize("body", [b"[" * 100_000, b"<html>"], ids=["without end", "no JSON"])
def test_an_answer_that_is_no_json_is_a_failure(provider: Provider, path: str, check: str, body: bytes) -> None:
    provider.answers[path] = 200, body
    found = by_check(list(look_at_provider(account(configured(provider)))))[check]
    assert (found.state, "can't be read" in found.found) == ("fail", True)


def test_a_proxy_that_does_not_answer_is_named(provider: Provider) -> None:
    config = configured(provider)
    config = replace(config, identity=replace(config.identity, proxy="http://127.0.0.1:9"))
    (found,) = look_at_provider(account(config))
    assert (found.state, found.do) == ("fail", "Is [advanced.identity] proxy right?")


def test_an_authority_of_ones_own_is_trusted_by_ca_bundle_alone(tmp_path: Path) -> None:
    with TlsProvider(tmp_path) as provider:
        config = configured(provider)
        (found,) = look_at_provider(account(config))
        assert found.state == "fail"
        assert "ca_bundle" in found.do
        trusting = replace(config, identity=replace(config.identity, ca_bundle=provider.certificate))
        found_then = by_check(list(look_at_provider(account(trusting))))
    assert (found_then["identity provider"].state, found_then["sign-in keys"].state) == ("ok", "ok")


def test_a_provider_that_does_not_answer_is_said(provider: Provider) -> None:
    provider.down = True
    (found,) = look_at_provider(account(configured(provider)))
    assert found.state == "fail"
