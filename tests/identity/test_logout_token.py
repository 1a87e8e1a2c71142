"""Logout tokens of the provider: which end sessions, and every one that must not.

OpenID Connect Back-Channel Logout 1.0, sections 2.4 to 2.6.
"""

from __future__ import annotations

from typing import Any

import pytest

from promotion.aws.identity.logout_token import EVENT, Logout
from promotion.errors import SignInFailed
from tests.identity.provider import (
    CLIENT_ID,
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

SOON = int(NOW.timestamp())


def claims(provider: Provider, **changes: Any) -> Made:
    """The claims of a good logout token, with changes; a change to `...` takes the claim out."""
    good: Made = {
        "iss": provider.issuer,
        "aud": CLIENT_ID,
        "iat": SOON,
        "exp": SOON + 120,
        "jti": "a-token",
        "events": {EVENT: {}},
        "sub": "subject-of-ann",
        "sid": "session-at-the-provider",
    }
    return {key: value for key, value in {**good, **changes}.items() if value is not ...}


def said_by(application: Application, provider: Provider, **changes: Any) -> Logout:
    return application.identity.logout(signed(claims(provider, **changes), RSA, {"typ": "logout+jwt"}), now=NOW)


def test_a_good_token_names_the_session_and_its_person(application: Application, provider: Provider) -> None:
    assert said_by(application, provider) == Logout(
        token_id="a-token", subject="subject-of-ann", sid="session-at-the-provider"
    )


@pytest.mark.parametrize(
    ("changes", "subject", "sid"),
    [
        ({"sid": ...}, "subject-of-ann", ""),
        ({"sub": ...}, "", "session-at-the-provider"),
        ({"aud": ["payroll", CLIENT_ID]}, "subject-of-ann", "session-at-the-provider"),
        ({"exp": ...}, "subject-of-ann", "session-at-the-provider"),
        ({"events": {EVENT: {}, "https://example.com/more": {}}}, "subject-of-ann", "session-at-the-provider"),
    ],
    ids=["a person alone", "a session alone", "several audiences", "no expiry", "more events"],
)
def test_optional_and_additional_claims_are_accepted(
    application: Application, provider: Provider, changes: dict[str, Any], subject: str, sid: str
) -> None:
    found = said_by(application, provider, **changes)
    assert (found.subject, found.sid) == (subject, sid)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another issuer": ({"iss": "https://login.evil.example"}, "another issuer"),
    "no issuer": ({"iss": ...}, "another issuer"),
    "another application": ({"aud": "payroll"}, "another application"),
    "no audience": ({"aud": ...}, "another application"),
    "no time": ({"iat": ...}, "when it was issued"),
    "a time that is text": ({"iat": "now"}, "when it was issued"),
    "issued in the future": ({"iat": SOON + 120}, "not valid yet"),
    "issued long ago": ({"iat": SOON - 7200, "exp": SOON + 60}, "too old"),
    "expired": ({"exp": SOON - 61}, "expired"),
    "an expiry that is text": ({"exp": "9999999999"}, "expired"),
    "no id": ({"jti": ...}, "no id"),
    "an empty id": ({"jti": ""}, "no id"),
    "an id that is a number": ({"jti": 7}, "no id"),
    "no events": ({"events": ...}, "no back-channel logout"),
    "another event": ({"events": {"https://example.com/event": {}}}, "no back-channel logout"),
    "events as a list": ({"events": [EVENT]}, "no back-channel logout"),
    "an event that is text": ({"events": {EVENT: "yes"}}, "no back-channel logout"),
    "neither person nor session": ({"sub": ..., "sid": ...}, "names neither"),
    "a person that is a number": ({"sub": 7, "sid": ...}, "names neither"),
    "a person beyond all length": ({"sub": "x" * 300, "sid": ...}, "names neither"),
    "a nonce, as an ID token has": ({"nonce": "n"}, "nonce"),
    "an empty nonce": ({"nonce": ""}, "nonce"),
}


@pytest.mark.parametrize(("changes", "reason"), WRONG.values(), ids=WRONG.keys())
def test_a_token_with_a_wrong_claim_ends_nothing(
    application: Application, provider: Provider, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(SignInFailed, match=reason):
        said_by(application, provider, **changes)


FORGED: dict[str, Any] = {
    "none": lambda made: unsigned(made, "none"),
    "a stranger's key": lambda made: signed(made, STRANGER),
    "HS256 with the public key": lambda made: by_hand(
        {"alg": "HS256", "kid": "rsa-1"}, made, RSA.as_pem(private=False)
    ),
    "a critical extension": lambda made: by_hand({"alg": "RS256", "kid": "rsa-1", "crit": ["x"], "x": 1}, made),
    "cut short": lambda made: signed(made, RSA)[:-20],
    "claims of another": lambda made: ".".join(
        [(parts := signed({**made, "sub": "ben"}, RSA).split("."))[0], part(made), parts[2]]
    ),
    "nothing": lambda made: "",
    "a word": lambda made: "token",
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
def test_a_token_that_the_provider_did_not_sign_ends_nothing(
    application: Application, provider: Provider, forge: Any
) -> None:
    with pytest.raises(SignInFailed, match="signature does not hold"):
        application.identity.logout(forge(claims(provider)), now=NOW)


@pytest.mark.parametrize("kind", ["at+jwt", "secevent+jwt"])
def test_a_token_that_says_it_is_of_another_kind_ends_nothing(
    application: Application, provider: Provider, kind: str
) -> None:
    with pytest.raises(SignInFailed, match="kind"):
        application.identity.logout(signed(claims(provider), RSA, {"typ": kind}), now=NOW)


@pytest.mark.parametrize("kind", [None, "JWT", "jwt", "logout+jwt", "Logout+JWT", "application/logout+jwt"])
def test_its_kind_may_be_left_out_or_spelt_in_any_case(
    application: Application, provider: Provider, kind: str | None
) -> None:
    assert application.identity.logout(signed(claims(provider), RSA, {"typ": kind}), now=NOW).sid


def test_an_id_token_ends_nothing_and_a_logout_token_signs_nobody_in(
    application: Application, provider: Provider
) -> None:
    _, sign_in = application.begin()
    with pytest.raises(SignInFailed, match="no back-channel logout"):
        application.identity.logout(signed(provider.claims(sign_in, jti="x"), RSA), now=NOW)
    provider.token = signed({**claims(provider), "groups": ["ml-dev"]}, RSA)
    with pytest.raises(SignInFailed, match="another sign-in"):
        application.finish(sign_in)


def test_strangers_do_not_have_the_keys_read_for_every_name_that_they_make_up(
    application: Application, provider: Provider
) -> None:
    for number in range(5):
        with pytest.raises(SignInFailed):
            application.identity.logout(signed(claims(provider), STRANGER, {"kid": f"rsa-{number + 7}"}), now=NOW)
    assert provider.asked["/keys"] == 1


def test_a_new_key_is_found(application: Application, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    said_by(application, provider)
    provider.keys = [ROTATED]
    monkeypatch.setattr("promotion.aws.identity.discovery.KEYS_REREAD_S", 0.0)
    assert application.identity.logout(signed(claims(provider), ROTATED), now=NOW).sid == "session-at-the-provider"
