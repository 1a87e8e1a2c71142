"""Signing in, and every ID token that must not sign anybody in."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc.jwk import RSAKey

from promotion.aws.identity import discovery as identity
from promotion.domain.people import Authentication, Person
from promotion.errors import ProviderUnavailable, SignInFailed
from tests.identity.provider import (
    CLIENT_ID,
    CLIENT_SECRET,
    EC,
    NOW,
    ROTATED,
    RSA,
    STRANGER,
    Application,
    Made,
    Provider,
    by_hand,
    part,
    signed,
    unsigned,
)
from tests.identity.tls import TlsProvider

SOON = int(NOW.timestamp())
DISCOVERY = "/.well-known/openid-configuration"


def test_a_good_token_names_a_person_and_only_the_groups_that_mean_something(application: Application) -> None:
    assert application.signs_in() == Person(
        subject="subject-of-ann",
        name="Ann Adler",
        email="ann@example.com",
        groups=frozenset({"ml-dev", "ml-auditors"}),
        groups_brought=3,
        authentication=Authentication(
            issuer=application.provider.issuer,
            subject="subject-of-ann",
            names={"email": "ann@example.com", "name": "Ann Adler"},
            issued_at=NOW,
        ),
    )


def test_keys_on_elliptic_curves_are_as_good(application: Application) -> None:
    assert application.signs_in(key=EC).subject == "subject-of-ann"


def test_the_browser_is_sent_off_with_state_nonce_and_pkce(application: Application) -> None:
    address, sign_in = application.begin()
    query = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    challenge = base64.urlsafe_b64encode(hashlib.sha256(sign_in.verifier.encode()).digest()).decode().rstrip("=")
    assert query == {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": "https://promotion.example.com/callback",
        "scope": "openid profile email",
        "state": sign_in.state,
        "nonce": sign_in.nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    assert len({sign_in.state, sign_in.nonce, sign_in.verifier}) == 3
    assert min(map(len, (sign_in.state, sign_in.nonce, sign_in.verifier))) >= 32


def test_the_code_is_exchanged_with_its_verifier(application: Application, provider: Provider) -> None:
    _, sign_in = application.begin()
    provider.token = signed(provider.claims(sign_in), RSA)
    application.finish(sign_in)
    assert provider.form["code_verifier"] == [sign_in.verifier]
    assert provider.form["code"] == ["a-code"]


Forged = Callable[[Made], str]


HS256 = {"alg": "HS256", "kid": "rsa-1"}
FORGED: dict[str, Forged] = {
    "none": lambda claims: unsigned(claims, "none"),
    "None, spelt otherwise": lambda claims: unsigned(claims, "nOnE"),
    "no algorithm at all": lambda claims: f"{part({'typ': 'JWT'})}.{part(claims)}.",
    "HS256 with the public key as its secret": lambda claims: by_hand(HS256, claims, RSA.as_pem(private=False)),
    "HS256 with our client secret": lambda claims: by_hand(HS256, claims, CLIENT_SECRET.encode()),
    "HS256 without a word on the key": lambda claims: by_hand({"alg": "HS256"}, claims, RSA.as_pem(private=False)),
    "HS256 with no secret at all": lambda claims: by_hand(HS256, claims, b""),
    "a stranger's key under the provider's id": lambda claims: signed(claims, STRANGER),
    "a key that it brings itself": lambda claims: signed(claims, STRANGER, {"jwk": STRANGER.as_dict(private=False)}),
    "a key at an address that it brings itself": lambda claims: signed(
        claims, STRANGER, {"jku": "https://evil.example/keys"}
    ),
    "a critical extension that nobody knows": lambda claims: by_hand(
        {"alg": "RS256", "kid": "rsa-1", "crit": ["policy"], "policy": "strict"}, claims
    ),
    "a signature cut short": lambda claims: signed(claims, RSA)[:-20],
    "no signature": lambda claims: signed(claims, RSA).rpartition(".")[0] + ".",
    "claims of another token": lambda claims: _swapped(claims),
    "no token but a word": lambda claims: "token",
    "five parts": lambda claims: "a.b.c.d.e",
    "nothing": lambda claims: "",
}


def _swapped(claims: Made) -> str:
    header, _, signature = signed({**claims, "groups": []}, RSA).split(".")
    return f"{header}.{part(claims)}.{signature}"


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
def test_a_token_that_the_provider_did_not_sign_signs_nobody_in(
    application: Application, provider: Provider, forge: Forged
) -> None:
    _, sign_in = application.begin()
    provider.token = forge(provider.claims(sign_in))
    with pytest.raises(SignInFailed, match="signature does not hold"):
        application.finish(sign_in)


def test_the_forger_of_these_tests_would_get_in_with_the_right_key(
    application: Application, provider: Provider
) -> None:
    _, sign_in = application.begin()
    provider.token = by_hand({"alg": "RS256", "kid": "rsa-1"}, provider.claims(sign_in))
    assert application.finish(sign_in).subject == "subject-of-ann"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another issuer": ({"iss": "https://login.evil.example"}, "another issuer"),
    "no issuer": ({"iss": ...}, "another issuer"),
    "another application": ({"aud": "payroll"}, "another application"),
    "an audience that only begins alike": ({"aud": CLIENT_ID + "-2"}, "another application"),
    "no audience": ({"aud": ...}, "another application"),
    "an audience that is a number": ({"aud": 7}, "another application"),
    "two audiences and no word on whom it was issued to": ({"aud": [CLIENT_ID, "payroll"]}, "another application"),
    "issued to another application": ({"aud": [CLIENT_ID, "payroll"], "azp": "payroll"}, "another application"),
    "issued to another, for us alone": ({"azp": "payroll"}, "another application"),
    "another sign-in's nonce": ({"nonce": "n" * 32}, "another sign-in"),
    "no nonce": ({"nonce": ...}, "another sign-in"),
    "a nonce that is no text": ({"nonce": ["n"]}, "another sign-in"),
    "a nonce beyond ASCII": ({"nonce": "ñ"}, "another sign-in"),
    "expired": ({"exp": SOON - 61}, "expired"),
    "no expiry": ({"exp": ...}, "expired"),
    "an expiry that is text": ({"exp": "9999999999"}, "expired"),
    "an expiry that is true": ({"exp": True}, "expired"),
    "issued in the future": ({"iat": SOON + 120}, "not valid yet"),
    "not valid before later": ({"nbf": SOON + 120}, "not valid yet"),
    "no word on when it was issued": ({"iat": ...}, "when it was issued"),
    "nobody": ({"sub": ...}, "names nobody"),
    "an empty subject": ({"sub": ""}, "names nobody"),
    "a subject that is a number": ({"sub": 7}, "names nobody"),
    "a subject with a line end": ({"sub": "ann\nadmin"}, "names nobody"),
    "a subject without end": ({"sub": "a" * 300}, "names nobody"),
    "no groups": ({"groups": ...}, "has no claim “groups”.*administrator"),
    "more groups than fit, as Entra ID says it": (
        {"groups": ..., "_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://graph"}}},
        "more groups than a token can hold.*administrator",
    ),
    "more groups than fit, as the implicit flow says it": (
        {"groups": ..., "hasgroups": True},
        "more groups than a token can hold.*administrator",
    ),
    "groups of numbers": ({"groups": [1, 2]}, "no list of groups.*administrator"),
    "groups as an object": ({"groups": {"ml-dev": True}}, "no list of groups.*administrator"),
    "claim names that are no object": ({"groups": ..., "_claim_names": "groups"}, "has no claim “groups”"),
}


@pytest.mark.parametrize(("changes", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_signed_token_with_a_wrong_claim_signs_nobody_in(
    application: Application, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(SignInFailed, match=said):
        application.signs_in(**changes)


@pytest.mark.parametrize("skew", [-59, 59], ids=["behind", "ahead"])
def test_a_minute_of_clock_skew_is_forgiven(application: Application, skew: int) -> None:
    times: dict[str, Any] = {"exp": SOON - 59} if skew < 0 else {"iat": SOON + skew, "nbf": SOON + skew}
    assert application.signs_in(**times).subject == "subject-of-ann"


def test_app_roles_can_serve_instead_of_groups(provider: Provider) -> None:
    application = Application(provider, groups_claim="roles")
    assert application.signs_in(groups=..., roles=["ml-dev"]).groups == {"ml-dev"}
    with pytest.raises(SignInFailed, match="no claim “roles”"):
        application.signs_in()


def test_one_group_may_come_as_text(application: Application) -> None:
    assert application.signs_in(groups="ml-dev").groups == {"ml-dev"}


def test_a_name_cannot_break_a_line_or_turn_its_direction(application: Application) -> None:
    person = application.signs_in(name="Ann\r\nBcc: eve@example.com\u202e\x00" + "x" * 500)
    assert "\n" not in person.name
    assert "\u202e" not in person.name
    assert len(person.name) <= 120


def test_somebody_without_a_name_is_called_by_their_subject(application: Application) -> None:
    assert application.signs_in(name=" ", email="").name == "subject-of-ann"


def test_a_key_that_came_since_is_read_once(
    application: Application, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    application.signs_in()
    provider.keys = [ROTATED]
    monkeypatch.setattr(identity, "KEYS_REREAD_S", 0.0)
    assert application.signs_in(key=ROTATED).subject == "subject-of-ann"
    assert provider.asked["/keys"] == 2


def test_a_key_taken_back_is_forgotten_with_the_hour(
    application: Application, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    application.signs_in()
    provider.keys = [ROTATED]
    monkeypatch.setattr(identity, "DISCOVERY_LIFETIME_S", 0.0)
    with pytest.raises(SignInFailed, match="signature"):
        application.signs_in(key=RSA)


def test_forged_tokens_do_not_have_the_keys_read_again_and_again(application: Application, provider: Provider) -> None:
    for _ in range(5):
        with pytest.raises(SignInFailed):
            application.signs_in(key=STRANGER)
    assert provider.asked["/keys"] == 1


def test_a_sign_in_costs_one_question_to_the_provider(application: Application, provider: Provider) -> None:
    application.signs_in()
    provider.asked.clear()
    application.signs_in()
    assert provider.asked == {"/token": 1}


def test_a_used_code_signs_nobody_in(application: Application, provider: Provider) -> None:
    _, sign_in = application.begin()
    provider.token = None
    with pytest.raises(SignInFailed, match="invalid_grant"):
        application.finish(sign_in)


def test_a_code_without_an_id_token_signs_nobody_in(application: Application, provider: Provider) -> None:
    _, sign_in = application.begin()
    provider.answers["/token"] = (200, {"access_token": "opaque", "token_type": "Bearer"})
    with pytest.raises(SignInFailed, match=r"gave no ID token\. Is `openid` among"):
        application.finish(sign_in)


def test_nobody_signs_in_while_the_provider_is_down(application: Application, provider: Provider) -> None:
    provider.down = True
    with pytest.raises(ProviderUnavailable):
        application.begin()


ANSWERS: dict[str, tuple[str, tuple[int, Any], str]] = {
    "a page in place of JSON": (
        DISCOVERY,
        (200, b"<html>Sign in to the network</html>"),
        "answered with 200, not JSON",
    ),
    "a page with an error": (DISCOVERY, (502, b"Bad gateway"), "answered with 502, not JSON"),
    "JSON without end": (DISCOVERY, (200, b"[" * 100_000), "answered with 200, not JSON"),
    "a list": (DISCOVERY, (200, []), "something else than an object"),
    "too many requests": (DISCOVERY, (429, {"error": "slow_down"}), r"answered with 429\."),
    "keys that are no list": ("/keys", (200, {"keys": {}}), "keys can't be read"),
    "no keys": ("/keys", (200, {}), "keys can't be read"),
}


@pytest.mark.parametrize(("path", "answer", "said"), ANSWERS.values(), ids=ANSWERS.keys())
def test_a_provider_with_a_wrong_answer_is_unavailable_and_nobody_is_refused(
    application: Application, provider: Provider, path: str, answer: tuple[int, Any], said: str
) -> None:
    provider.answers[path] = answer
    with pytest.raises(ProviderUnavailable, match=said):
        application.signs_in()


def test_a_provider_that_is_not_reached_is_unavailable(provider: Provider) -> None:
    application = Application(provider)
    with Provider() as other:
        provider.changes = {"token_endpoint": f"{other.issuer}/token".replace("http:", "https:")}
    with pytest.raises(ProviderUnavailable, match="does not answer"):
        application.signs_in()


def test_a_proxy_that_is_not_reached_is_named_with_its_setting(provider: Provider) -> None:
    with pytest.raises(ProviderUnavailable, match=r"\[advanced.identity\] proxy"):
        Application(provider, proxy="http://127.0.0.1:9").begin()


def test_an_authority_that_is_not_trusted_is_named_with_its_setting(tmp_path: Path) -> None:
    with TlsProvider(tmp_path) as provider:
        with pytest.raises(ProviderUnavailable, match=r"127.0.0.1:\d+\) isn't trusted.*ca_bundle"):
            Application(provider).begin()
        assert Application(provider, ca_bundle=provider.certificate).signs_in().subject == "subject-of-ann"


def test_a_provider_that_says_it_is_another_is_refused(application: Application, provider: Provider) -> None:
    provider.changes = {"issuer": "https://login.evil.example"}
    with pytest.raises(SignInFailed, match="another issuer"):
        application.begin()


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
def test_an_endpoint_without_encryption_is_refused(application: Application, provider: Provider, name: str) -> None:
    provider.changes = {name: "http://login.example.com/endpoint"}
    with pytest.raises(SignInFailed, match=name):
        application.begin()


def test_a_key_meant_for_encryption_signs_nothing(application: Application, provider: Provider) -> None:
    provider.keys = [RSAKey.import_key({**RSA.as_dict(private=False), "use": "enc"})]
    _, sign_in = application.begin()
    provider.token = by_hand({"alg": "RS256", "kid": "rsa-1"}, provider.claims(sign_in))
    with pytest.raises(SignInFailed, match="signature does not hold"):
        application.finish(sign_in)


def test_a_sign_in_is_remembered_for_ten_minutes(application: Application) -> None:
    _, sign_in = application.begin()
    assert sign_in.expires_at == NOW + timedelta(minutes=10)


ENDS: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({}, ""),
    "one": ({"end_session_endpoint": "https://login.example.com/logout"}, "https://login.example.com/logout?"),
    "one with a query": ({"end_session_endpoint": "https://login.example.com/?p=1"}, "https://login.example.com/?p=1&"),
    "one without encryption": ({"end_session_endpoint": "http://login.example.com/logout"}, ""),
}


@pytest.mark.parametrize(("changes", "begins"), ENDS.values(), ids=ENDS.keys())
def test_a_sign_out_ends_the_providers_session_where_it_can(
    application: Application, provider: Provider, changes: dict[str, Any], begins: str
) -> None:
    provider.changes = changes
    query = "client_id=promotion&post_logout_redirect_uri=https%3A%2F%2Fpromotion.example.com%2F"
    assert application.identity.end_session("https://promotion.example.com/") == (begins and begins + query)


def test_a_sign_out_does_not_need_the_provider(application: Application, provider: Provider) -> None:
    provider.down = True
    assert application.identity.end_session("https://promotion.example.com/") == ""
