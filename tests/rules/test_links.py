"""Signed things: what we made is taken, whatever else is not."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from promotion.domain.people import Authentication
from promotion.errors import LinkInvalid
from promotion.links.session import Session
from promotion.links.tokens import LONGEST_TOKEN, Keyring, SignIn, safe_return
from tests.fakes import ANN, BEGINNING, session_key

RING = Keyring(["a" * 40])
SESSIONS = session_key()
OLDER = Keyring(["b" * 40])
ROTATED = Keyring(["b" * 40, "a" * 40])
SESSION = Session(id="s1", person=ANN, expires_at=BEGINNING + timedelta(hours=8))
SIGN_IN = SignIn(state="s", nonce="n", verifier="v", return_to="/", expires_at=BEGINNING + timedelta(minutes=10))
ASKED = "summariser:1:dev:1"


@given(st.text(max_size=200))
@example(ASKED)
@example("")
def test_a_token_brings_its_request_back(asked: str) -> None:
    token = RING.approval_token(asked)
    if len(token) <= LONGEST_TOKEN:
        assert RING.request_of(token) == asked


@given(st.text(max_size=600))
@example("")
@example(".")
@example("a.b.c")
@example("\x00")
@example("é" * 10)
@example("=" * 40)
def test_a_foreign_token_is_no_link(token: str) -> None:
    with pytest.raises(LinkInvalid):
        RING.request_of(token)


@given(st.data())
def test_no_single_changed_character_gets_through(data: st.DataObject) -> None:
    token = RING.approval_token(ASKED)
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda c: c != token[at]))
    changed = token[:at] + other + token[at + 1 :]
    # The signature's last character has bits that base64 drops; the payload has none to spare.
    if at == len(token) - 1:
        try:
            assert RING.request_of(changed) == ASKED
        except LinkInvalid:
            return
    else:
        with pytest.raises(LinkInvalid):
            RING.request_of(changed)


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_truncated_link_is_no_link(cut: int) -> None:
    with pytest.raises(LinkInvalid):
        RING.request_of(RING.approval_token(ASKED)[:-cut])


def test_a_rotation_breaks_no_link_and_a_removed_key_does() -> None:
    token = RING.approval_token(ASKED)
    assert ROTATED.request_of(token) == ASKED
    assert ROTATED.approval_token(ASKED) == OLDER.approval_token(ASKED), "the newest key signs"
    with pytest.raises(LinkInvalid):
        OLDER.request_of(token)


def test_one_signed_thing_can_not_stand_in_for_another() -> None:
    cookie = SESSIONS.cookie(SESSION)
    with pytest.raises(LinkInvalid):
        RING.request_of(cookie)
    assert SESSIONS.session(RING.approval_token("i"), now=BEGINNING) is None
    assert SESSIONS.session(RING.sign_in_cookie(SIGN_IN), now=BEGINNING) is None
    assert RING.sign_in(cookie, now=BEGINNING) is None
    assert not RING.csrf_is_good(SESSION, RING.approval_token("s1"))


def test_a_session_lasts_until_it_is_over() -> None:
    cookie = SESSIONS.cookie(SESSION)
    assert SESSIONS.session(cookie, now=BEGINNING) == SESSION
    assert SESSIONS.session(cookie, now=SESSION.expires_at) is None
    assert SESSIONS.session(cookie[:-1], now=BEGINNING) is None
    assert SESSIONS.session("", now=BEGINNING) is None


def test_a_session_too_large_for_a_cookie_is_refused() -> None:
    crowd = replace(ANN, groups=frozenset(hashlib.sha256(bytes([n])).hexdigest() for n in range(256)))
    crowd = replace(crowd, groups=crowd.groups | {f"more-{n}" for n in range(256)})
    with pytest.raises(ValueError, match="3 KB"):
        SESSIONS.cookie(replace(SESSION, person=crowd))


def test_somebody_in_200_known_groups_has_them_all_and_no_others() -> None:
    known = [f"{n:08x}-1111-4222-8333-444444444444" for n in range(300)]
    crowd = replace(ANN, groups=frozenset(known[:200]), groups_brought=254)
    cookie = SESSIONS.cookie(replace(SESSION, person=crowd))
    found = SESSIONS.session(cookie, now=BEGINNING, known=known)
    assert found is not None
    assert found.person == crowd


def test_a_group_that_has_left_the_configuration_leaves_the_session() -> None:
    known = [f"{n:08x}-1111-4222-8333-444444444444" for n in range(100)]
    cookie = SESSIONS.cookie(replace(SESSION, person=replace(ANN, groups=frozenset(known))))
    found = SESSIONS.session(cookie, now=BEGINNING, known=known[1:])
    assert found is not None
    assert found.person.groups == set(known[1:])


def test_a_session_keeps_how_its_person_was_authenticated() -> None:
    how = Authentication(
        issuer="https://login.example.com",
        subject=ANN.subject,
        names={"email": ANN.email, "upn": "a.adler@corp.example.test", "name": ANN.name},
        issued_at=BEGINNING,
        auth_time=BEGINNING - timedelta(hours=1),
        acr="loa-2",
        amr=("pwd", "mfa"),
    )
    whole = replace(SESSION, person=replace(ANN, authentication=how), made_at=BEGINNING, made_for="/approvals/x")
    whole = replace(whole, sid="session-at-the-provider")
    assert SESSIONS.session(SESSIONS.cookie(whole), now=BEGINNING) == whole


def test_a_sign_in_comes_back_as_it_went() -> None:
    cookie = RING.sign_in_cookie(SIGN_IN)
    assert RING.sign_in(cookie, now=BEGINNING) == SIGN_IN
    assert RING.sign_in(cookie, now=SIGN_IN.expires_at) is None
    assert RING.sign_in("", now=BEGINNING) is None


def test_a_form_is_good_for_its_own_session_alone() -> None:
    token = RING.csrf_token(SESSION)
    assert RING.csrf_is_good(SESSION, token)
    assert ROTATED.csrf_is_good(SESSION, token)
    assert not RING.csrf_is_good(replace(SESSION, id="s2"), token)
    for forged in ("", token[:-2], "x" * 600, "é"):
        assert not RING.csrf_is_good(SESSION, forged)


def test_a_keyring_needs_a_key() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Keyring([])


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("/models/a", "/models/a"),
        ("/approvals/x.y", "/approvals/x.y"),
        (None, "/"),
        ("", "/"),
        ("https://evil.example", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/a\\b", "/"),
        ("/a\r\nSet-Cookie: x", "/"),
        ("/\t/evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/" + "a" * 2000, "/"),
    ],
)
def test_after_signing_in_nobody_is_sent_elsewhere(path: str | None, to: str) -> None:
    assert safe_return(path) == to
