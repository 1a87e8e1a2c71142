"""Tokens, cookies and form tokens in hostile hands: one spelling, one purpose, one session."""

from __future__ import annotations

import string
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from itsdangerous import URLSafeSerializer
from itsdangerous.encoding import base64_encode
from msgspec.structs import replace

from promotion.domain.people import Person
from promotion.errors import LinkInvalid
from promotion.links.session import Session
from promotion.links.sessions import LONGEST_COOKIE, Sessions
from promotion.links.tokens import Keyring, SignIn, claimed_request_of, safe_return
from tests.fakes import session_key

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
OLD, NEW = "an older key, long enough to be one", "a newer key, long enough to be one"
KEYS = Keyring([NEW, OLD])
SESSIONS, OTHERS = session_key(), session_key()
ASKED = "news-summariser:12:prod:3"
TOKEN = KEYS.approval_token(ASKED)
BASE64 = string.ascii_letters + string.digits + "-_"
ANN = Person(subject="ann", name="Ann", email="ann@example.com", groups=frozenset({"ml-dev", "ml-prod"}))


def session(person: Person = ANN, **more: object) -> Session:
    return Session(id="a-random-id", person=person, expires_at=NOW + timedelta(hours=8))


def serializer_of(purpose: str) -> URLSafeSerializer:
    """A serializer of our own, with the keys and the salt of a purpose."""
    how = {"key_derivation": "hmac", "digest_method": _sha256}
    return URLSafeSerializer([OLD, NEW], salt=f"promotion.{purpose}", signer_kwargs=how)


def signed(purpose: str, value: object) -> str:
    return str(serializer_of(purpose).dumps(value))


def refused(token: str, keys: Keyring = KEYS) -> bool:
    try:
        keys.request_of(token)
    except LinkInvalid:
        return True
    return False


def test_a_token_stands_for_its_request() -> None:
    assert KEYS.request_of(TOKEN) == ASKED


def test_a_token_is_made_of_characters_that_mail_programs_leave_alone() -> None:
    assert set(TOKEN) <= set(BASE64 + ".")


@given(position=st.integers(0, len(TOKEN) - 1), character=st.sampled_from(BASE64 + ".=+/ %\n~é"))
def test_no_other_character_anywhere_gives_a_token(position: int, character: str) -> None:
    assume(TOKEN[position] != character)
    assert refused(TOKEN[:position] + character + TOKEN[position + 1 :])


@given(position=st.integers(0, len(TOKEN)), surplus=st.text(string.printable, min_size=1, max_size=4))
@example(position=len(TOKEN), surplus="=")
@example(position=len(TOKEN), surplus="==")
@example(position=len(TOKEN) - 20, surplus="!")
@example(position=0, surplus=".")
def test_nothing_can_be_put_into_a_token(position: int, surplus: str) -> None:
    assert refused(TOKEN[:position] + surplus + TOKEN[position:])


@given(st.integers(0, len(TOKEN) - 1))
def test_a_token_cut_short_is_refused(length: int) -> None:
    assert refused(TOKEN[:length])
    assert refused(TOKEN[len(TOKEN) - length :])


def test_the_signature_has_one_spelling() -> None:
    """32 bytes leave two bits over in base64: decoders take any of four last characters."""
    assert sum(not refused(TOKEN[:-1] + last) for last in BASE64) == 1


def test_a_compressed_spelling_of_the_same_request_is_refused() -> None:
    serializer = serializer_of("approval-link")
    payload = b"." + base64_encode(zlib.compress(f'"{ASKED}"'.encode()))
    signed = serializer.make_signer(serializer.salt).sign(payload).decode()
    assert serializer.loads(signed) == ASKED, "the signature itself is good"
    assert refused(signed)


@given(st.text(max_size=600))
@example("")
@example(".")
@example("..")
@example("a" * 600)
@example("." + "A" * 60)
def test_no_text_is_a_token(text: str) -> None:
    assume(text != TOKEN)
    assert refused(text)


def test_a_signature_of_one_purpose_is_refused_for_another() -> None:
    sign_in = SignIn(state="s", nonce="n", verifier="v", return_to="/", expires_at=NOW + timedelta(minutes=5))
    cookie, on_its_way, csrf = SESSIONS.cookie(session()), KEYS.sign_in_cookie(sign_in), KEYS.csrf_token(session())
    assert refused(cookie)
    assert refused(on_its_way)
    assert refused(csrf)
    assert SESSIONS.session(TOKEN, now=NOW) is None
    assert SESSIONS.session(on_its_way, now=NOW) is None
    assert KEYS.sign_in(cookie, now=NOW) is None
    assert KEYS.sign_in(TOKEN, now=NOW) is None
    assert not KEYS.csrf_is_good(session(), TOKEN)
    assert not KEYS.csrf_is_good(session(), cookie.rpartition(".")[2])
    payload, signature = TOKEN.rpartition(".")[::2]
    assert not KEYS.csrf_is_good(replace(session(), id=payload), signature)


def test_the_signature_of_one_purpose_holds_for_no_other() -> None:
    """Also for a value in the right form: keys of links and of forms may be the same by mistake."""
    ends = int((NOW + timedelta(minutes=5)).timestamp())
    readers: dict[str, tuple[object, Callable[[str], bool]]] = {
        "approval-link": (ASKED, lambda text: not refused(text)),
        "sign-in": (["s", "n", "v", "/", ends], lambda text: KEYS.sign_in(text, now=NOW) is not None),
        "sign-in-state": (["s", "/"], lambda text: KEYS.returns_to(text) is not None),
        "kept-form": ([ends, {"verdict": "Approved"}], lambda text: bool(KEYS.form_kept(text, now=NOW))),
    }
    for purpose, (value, is_read) in readers.items():
        assert [made_for for made_for in readers if is_read(signed(made_for, value))] == [purpose]


def test_a_number_or_a_list_signed_as_a_token_is_none() -> None:
    for other in (7, ["a"], {"a": 1}, None, True):
        assert refused(signed("approval-link", other))


class TestClaims:
    """The unverified content of a link, for functions without the key: only the provider's parameters depend on it."""

    def test_a_link_tells_its_request_to_who_has_no_key(self) -> None:
        assert claimed_request_of(TOKEN) == ASKED

    @given(st.one_of(st.text(max_size=600), st.text(BASE64 + ".", max_size=600)))
    def test_any_other_token_claims_text_or_nothing(self, token: str) -> None:
        try:
            assert isinstance(claimed_request_of(token), str)
        except LinkInvalid:
            return

    def test_a_token_without_a_request_is_no_link(self) -> None:
        for token in ("", "x", signed("approval-link", {"deep": [1]}), "a" * 600):
            with pytest.raises(LinkInvalid):
                claimed_request_of(token)


class TestKeys:
    def test_a_signature_of_the_older_key_is_still_valid(self) -> None:
        before = Keyring([OLD])
        assert KEYS.request_of(before.approval_token(ASKED)) == ASKED
        assert KEYS.csrf_is_good(session(), before.csrf_token(session()))

    def test_the_newest_key_signs(self) -> None:
        assert Keyring([NEW]).request_of(TOKEN) == ASKED
        assert refused(TOKEN, Keyring([OLD]))

    def test_a_key_that_was_taken_out_holds_no_longer(self) -> None:
        assert not Keyring([NEW]).csrf_is_good(session(), Keyring([OLD]).csrf_token(session()))

    def test_a_key_that_another_function_has_seen_first_is_asked_for(self) -> None:
        asked: list[int] = []

        def newer() -> list[str]:
            asked.append(1)
            return [NEW, OLD]

        behind = Keyring([OLD], newer=newer)
        assert behind.request_of(Keyring([OLD]).approval_token(ASKED)) == ASKED
        assert asked == []
        assert behind.csrf_is_good(session(), KEYS.csrf_token(session()))
        assert len(asked) == 1

    def test_nothing_is_asked_for_what_is_no_base64(self) -> None:
        def newer() -> list[str]:
            raise AssertionError

        assert refused("a b.c d", Keyring([OLD], newer=newer))

    def test_no_key_is_no_keyring(self) -> None:
        with pytest.raises(ValueError, match="at least one"):
            Keyring([])


class TestSessions:
    def test_a_session_of_another_key_is_none(self) -> None:
        assert SESSIONS.session(OTHERS.cookie(session()), now=NOW) is None

    def test_the_public_key_alone_makes_no_session(self) -> None:
        with pytest.raises(PermissionError, match="sign_in alone"):
            Sessions(SESSIONS.pem).cookie(session())
        assert Sessions(SESSIONS.pem).session(SESSIONS.cookie(session()), now=NOW) == session()

    def test_a_session_longer_than_sessions_last_is_none(self) -> None:
        cookie = SESSIONS.cookie(session())
        eight, seven = (Sessions(SESSIONS.pem, longest=timedelta(hours=hours)) for hours in (8, 7))
        assert eight.session(cookie, now=NOW) == session()
        assert seven.session(cookie, now=NOW) is None

    def test_a_session_that_was_too_long_is_none_in_its_last_hours_too(self) -> None:
        begun = replace(session(), made_at=NOW - timedelta(days=300))
        assert SESSIONS.session(SESSIONS.cookie(begun), now=NOW) is None
        assert SESSIONS.session(SESSIONS.cookie(replace(begun, made_at=NOW)), now=NOW) is not None

    def test_while_a_rotation_lasts_both_keys_hold(self) -> None:
        both = Sessions(SESSIONS.pem + OTHERS.pem)
        assert [both.session(each.cookie(session()), now=NOW) for each in (SESSIONS, OTHERS)] == [session()] * 2

    def test_a_signature_for_another_purpose_is_no_session(self) -> None:
        payload = SESSIONS.cookie(session()).rpartition(".")[0]
        assert SESSIONS.sign is not None
        signature = base64_encode(SESSIONS.sign(payload.encode())).decode()
        assert SESSIONS.session(f"{payload}.{signature}", now=NOW) is None

    @given(position=st.integers(0), character=st.sampled_from(BASE64 + "."))
    def test_a_tampered_cookie_is_no_session(self, position: int, character: str) -> None:
        cookie = SESSIONS.cookie(session())
        position %= len(cookie)
        assume(cookie[position] != character)
        assert SESSIONS.session(cookie[:position] + character + cookie[position + 1 :], now=NOW) is None

    def test_a_session_ends_with_its_time(self) -> None:
        cookie = SESSIONS.cookie(session())
        assert SESSIONS.session(cookie, now=session().expires_at - timedelta(seconds=1)) == session()
        assert SESSIONS.session(cookie, now=session().expires_at) is None

    def test_a_cookie_holds_what_is_needed_and_no_token(self) -> None:
        assert SESSIONS.serializer.loads(SESSIONS.cookie(session())) == {
            "i": "a-random-id",
            "s": "ann",
            "n": "Ann",
            "m": "ann@example.com",
            "g": ["ml-dev", "ml-prod"],
            "e": int(session().expires_at.timestamp()),
        }

    @given(groups=st.integers(0, 200), name=st.text(max_size=400))
    def test_a_cookie_has_at_most_three_kilobytes_or_is_none(self, groups: int, name: str) -> None:
        ids = frozenset(f"{number:08x}-aaaa-bbbb-cccc-{number * 7919:012x}" for number in range(groups))
        person = Person(subject="s" * 64, name=name, email="ann@example.com", groups=ids)
        try:
            length = len(SESSIONS.cookie(session(person)))
        except ValueError:
            length = 0
        assert length <= LONGEST_COOKIE
        assert length > 0 or groups > 40

    def test_forty_groups_of_a_directory_fit(self) -> None:
        ids = frozenset(f"{number:08x}-1c2d-4e3f-8a9b-{number * 104729:012x}" for number in range(40))
        assert len(SESSIONS.cookie(session(Person(subject="s" * 43, name="Ann Adler", groups=ids)))) <= LONGEST_COOKIE

    @pytest.mark.parametrize(
        "signed", [{}, [], "ann", {"i": 1}, {"i": "a", "s": "a", "n": "", "m": "", "g": 7, "e": 1}]
    )
    def test_a_signed_text_that_is_no_session_is_refused(self, signed: object) -> None:
        assert SESSIONS.session(str(SESSIONS.serializer.dumps(signed)), now=NOW) is None


class TestForms:
    def test_a_token_is_good_for_its_own_session_alone(self) -> None:
        other = Session(id="another-id", person=ANN, expires_at=session().expires_at)
        assert KEYS.csrf_is_good(session(), KEYS.csrf_token(session()))
        assert not KEYS.csrf_is_good(other, KEYS.csrf_token(session()))

    @given(st.text(max_size=80))
    @example("")
    @example("é")
    @example("\ud800")
    def test_no_text_is_a_form_token(self, text: str) -> None:
        assert not KEYS.csrf_is_good(session(), text)


class TestReturning:
    @pytest.mark.parametrize(
        "path", ["/", "/approvals/abc.def", "/models/churn", "/models/churn/versions/3?x=1", "/a//b", "/%2F/x"]
    )
    def test_a_path_of_ours_is_gone_back_to(self, path: str) -> None:
        assert safe_return(path) == path

    @pytest.mark.parametrize(
        "path",
        [
            None,
            "",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example",
            "https:evil.example",
            "javascript:alert(1)",
            "evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "/x\r\nSet-Cookie: session=1",
            " //evil.example",
            "/é",
            "/\x00",
            "/" + "a" * 2000,
        ],
    )
    def test_nothing_else_is(self, path: str | None) -> None:
        assert safe_return(path) == "/"

    @given(st.text(max_size=40))
    @example("/\u2028//evil.example")
    def test_any_return_address_becomes_a_path_of_this_service(self, path: str) -> None:
        found = safe_return(path)
        assert found.startswith("/")
        assert found[1:2] not in ("/", "\\")
        assert found.isascii()
        assert found.isprintable()


def _sha256(data: bytes = b"") -> object:
    import hashlib

    return hashlib.sha256(data)
